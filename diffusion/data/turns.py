"""Where a model's answer ends, and which of its tokens are no text.

A model that was tuned to chat ends its turn with a token of its own (`<|eot_id|>` of LLaDA,
`<|im_end|>` of Dream). In the rest of its slot it writes fill tokens. Neither that token nor any
other special token is part of the answer.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from support.errors import UserError
from support.files import read_json

GENERATION_CONFIG = "generation_config.json"
_PROBE = "polytrace"  # an answer that is put into the chat template, to see what follows it
# Tokens that end a turn in widely used chat templates: a tokenizer may have one, and no template.
# DiffuCoder pads with a token of its own, and fills the rest of its answers with it.
_KNOWN = (
    *("<|eot_id|>", "<|im_end|>", "<|endoftext|>", "<|end|>", "<end_of_turn>", "<|role_end|>"),
    "<|dlm_pad|>",
)


def turn_end_ids(folder: Path, config: Mapping[str, Any], tokenizer: Any) -> frozenset[int]:
    """The ids of every token that ends an answer, as the model's directory says.

    They are the tokenizer's EOS, `eos_token_id` of generation_config.json (without that file, of
    config.json, as in transformers), the first special token that the chat template puts behind an
    answer, and known names among the tokenizer's added tokens. UserError if a value is no token id.
    """
    file = folder / GENERATION_CONFIG
    has_file = file.exists()
    generation = read_json_object(file) if has_file else config
    added = {str(token): number for number, token in tokenizer.added_tokens_decoder.items()}
    return frozenset(
        [
            *_ids(file if has_file else folder / "config.json", generation.get("eos_token_id")),
            *_ids(folder / "tokenizer_config.json", tokenizer.eos_token_id),
            *_behind_an_answer(tokenizer),
            *(added[name] for name in _KNOWN if name in added),
        ]
    )


def special_token_ids(tokenizer: Any) -> frozenset[int]:
    """The ids of every special token, added ones included."""
    # An added token may be marked as special without being listed in `all_special_ids`.
    added = getattr(tokenizer, "added_tokens_decoder", {}).items()
    return frozenset([*tokenizer.all_special_ids, *(n for n, token in added if token.special)])


def _behind_an_answer(tokenizer: Any) -> Iterator[int]:
    """The first special token that the chat template puts behind an answer, if there is one."""
    if not tokenizer.chat_template:
        return
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
    with suppress(TemplateError):  # a template may refuse the turns
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        _, probe, behind = text.rpartition(_PROBE)
        ids = tokenizer(behind, add_special_tokens=False)["input_ids"] if probe else []
        known = special_token_ids(tokenizer)
        yield from [token for token in ids if token in known][:1]


def read_json_object(file: Path) -> Mapping[str, Any]:
    """A JSON file of a model's directory; UserError where it cannot be read or holds no object."""
    try:
        data = read_json(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read: {error}; fetch it again") from None
    if not isinstance(data, dict):
        raise UserError(f"{file}: is not a JSON object; take the file of the model's repository")
    return data


def _ids(file: Path, value: Any) -> list[int]:
    """A token's id, or a list of them, as a list; `file` is where `value` was read."""
    ids = [] if value is None else value if isinstance(value, list) else [value]
    for token in ids:
        if not isinstance(token, int) or isinstance(token, bool):
            raise UserError(
                f"{file}: eos_token_id: {token!r} is no token's id; take the file of the model's "
                "repository"
            )
    return ids
