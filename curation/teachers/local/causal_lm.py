"""A causal LM directory for a teacher: text to token ids, and back again without loss.

`check_model_directory` looks at the directory without loading anything; `load_causal_lm` reads
tokenizer and weights. Every mistake of a user about the directory is a UserError of one line.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from scorers.weights import weight_files
from support.capacity import raise_if_out_of_memory
from support.errors import UserError, first_line

# Some chat templates print today's date; a corpus may not depend on the day it was sampled.
_TODAY = date(2025, 1, 1)
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")


def check_model_directory(path: Path) -> None:
    """UserError unless `path` is a directory with a config, weights and a tokenizer."""
    if not path.is_dir():
        raise UserError(f"teacher.path: {path}: no such directory; give a local model directory")
    if not (path / "config.json").is_file():
        raise UserError(f"teacher.path: {path}: holds no model (no config.json)")
    try:
        weight_files(path)
    except UserError as error:
        raise UserError(f"teacher.path: {error}") from None
    if not any((path / name).is_file() for name in _TOKENIZER_FILES):
        raise UserError(f"teacher.path: {path}: holds no tokenizer (no tokenizer.json or the like)")


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalLM:
    """Model and tokenizer; `context` is the number of positions (None where nothing says)."""

    path: Path
    model: Any
    tokenizer: Any
    context: int | None
    end_ids: frozenset[int]

    def encode(self, message: str) -> list[int]:
        """Ids of one user message with the generation prompt; raw text where there is no template.

        Raises UnicodeEncodeError for text that no tokenizer takes (lone surrogates).
        """
        message.encode("utf-8")
        if self.tokenizer.chat_template is None:
            ids: list[int] = self.tokenizer.encode(message)
        else:
            ids = self.tokenizer.encode(self._chat(message), add_special_tokens=False)
        if not ids:  # an empty text still needs a position to predict from
            bos = self.tokenizer.bos_token_id
            ids = [min(self.end_ids, default=0) if bos is None else bos]
        return ids

    def decode(self, ids: Sequence[int], before: int) -> str:
        """The text of `ids` that follow the id `before`, nothing dropped.

        Special tokens other than the end stay visible, because a reply without them would look
        different from what it is. `before` keeps the leading space that some tokenizers strip.
        """
        head, whole = self._text([before]), self._text([before, *ids])
        return whole[len(head) :] if whole.startswith(head) else self._text(ids)

    def stop_test(self, stop: Sequence[str]) -> Callable[[Sequence[int]], bool]:
        """A function that tells whether a reply's last id has completed one of the stop strings."""
        if not stop:
            return lambda ids: False
        last_characters = {text[-1] for text in stop} | {"\ufffd"}  # half a character: may be one
        tail = max(len(text.encode("utf-8", "surrogatepass")) for text in stop) + 4
        may_end: dict[int, bool] = {}

        def is_stopped(ids: Sequence[int]) -> bool:
            token = ids[-1]
            if token not in may_end:
                may_end[token] = not last_characters.isdisjoint(self._text([token]))
            if not may_end[token]:
                return False
            text = self._text(ids[-tail:])  # a token is at least a byte, so the stop is in there
            return any(string in text for string in stop)

        return is_stopped

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def _chat(self, message: str) -> str:
        from jinja2 import TemplateError

        try:
            text: str = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": message}],
                add_generation_prompt=True,
                tokenize=False,
                strftime_now=_TODAY.strftime,
            )
        except TemplateError as error:
            raise UserError(
                f"teacher.path: {self.path}: its chat template fails: {error}"
            ) from None
        return text


def load_causal_lm(path: Path, device: str | None, trust_remote_code: bool) -> CausalLM:
    """Tokenizer and weights, the latter in their own dtype, on `device` (default: GPU if any)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    quiet: Any = logging
    quiet.disable_progress_bar()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path, dtype="auto", use_safetensors=True, output_loading_info=True, **options
        )
        model, info = loaded
        model = model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    except Exception as error:  # tokenizers raises bare Exception, remote code raises anything
        raise_if_out_of_memory(error)
        raise UserError(
            f"teacher.path: {path}: cannot load the model: {first_line(error)}"
        ) from error
    if info["missing_keys"]:  # transformers would fill them with noise and go on
        names = ", ".join(sorted(info["missing_keys"])[:3])
        raise UserError(f"teacher.path: {path}: the weights lack {names}; this is not a causal LM")
    return CausalLM(
        path=path,
        model=model,
        tokenizer=tokenizer,
        context=getattr(model.config.get_text_config(), "max_position_embeddings", None),
        end_ids=_end_ids(model, tokenizer),
    )


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every id that ends a reply: the generation config's (one or several) and the tokenizer's."""
    named = (model.generation_config.eos_token_id, model.config.eos_token_id)
    ids = [tokenizer.eos_token_id]
    for value in named:
        ids.extend(value if isinstance(value, list | tuple) else [value])
    return frozenset(int(value) for value in ids if value is not None)


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop string, and whether there was one."""
    ends = [at for at in (text.find(string) for string in stop) if at >= 0]
    return (text[: min(ends)], True) if ends else (text, False)
