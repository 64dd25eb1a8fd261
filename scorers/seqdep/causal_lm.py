"""A causal language model that scores text. In: text. Out: token ids and log-probabilities.

One batched pass gives the log-probabilities (nats) of chosen tokens. The output head is applied to
the rows that predict them, some at a time, so that memory does not grow with the vocabulary.
Axes: B batch, T tokens, R rows whose next token is scored, V vocabulary, H hidden.
"""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import date
from itertools import accumulate
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorers.seqdep.attention import AttentionLayout, Branch, through
from support.errors import UserError

_CHUNK_LOGITS = 1 << 23  # logits held in float32 at a time: 32 MiB for any vocabulary
_SURROGATES = re.compile("[\ud800-\udfff]")
_TODAY = date(2025, 1, 1)  # some templates print the date; a score must not depend on it


class Tokens(NamedTuple):
    """One tokenisation: token ids, and the character each token begins with (non-decreasing)."""

    ids_T: tuple[int, ...]
    starts_T: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Right-padded rows of tokens, and the tokens whose log-probabilities are computed.

    `rows_R` are flat indices b*T + t of the rows that predict, `targets_R` the ids they predict.
    With `branches` there is one row, which holds many sequences that share their beginnings, and
    `positions_BT` are the positions of its tokens. Without `branches`, attention is causal.
    """

    ids_BT: Tensor
    rows_R: Tensor
    targets_R: Tensor
    positions_BT: Tensor | None = None
    branches: tuple[Branch, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """A causal language model that scores text.

    `name` and `revision` (a hash of the model's files) are written into records. `context` is the
    longest text in tokens (None: no limit). `packed_tokens` is the longest sequence that may share
    a row with others (None: any; 0: the model does not take our attention). `direct_head`: whether
    the output head can be applied to single rows; if not, a pass computes all logits. `chat`:
    whether the model's chat template is applied to prompts, if it has one.
    """

    name: str
    revision: str
    context: int | None
    packed_tokens: int | None
    direct_head: bool
    model: Any
    tokenizer: Any
    plain: Any  # the tokenizer that reads special tokens as text and trims no offsets
    chat: bool = True
    # A pass sets the model's attention, so only one may run at a time.
    lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def prompt_ids(self, prompt: str) -> tuple[int, ...]:
        """The ids of `x`: chat template with generation prompt, else the raw text; never empty.

        A text without a prompt gets one BOS, else one EOS token.
        """
        ids_T = self._chat_ids(prompt) if prompt else ()
        if ids_T:
            return ids_T
        for start in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if start is not None:
                return self._known([int(start)])
        raise UserError(f"scorer {self.name}: its tokenizer has no BOS or EOS to begin a text with")

    def encode(self, text: str) -> Tokens:
        """One tokenisation of a text; special tokens are neither added nor recognised in it.

        A lone surrogate, which no tokenizer takes, counts as U+FFFD. UserError if the tokenizer
        gives an id that the model does not have.
        """
        encoding = self.plain.encode(_SURROGATES.sub("\ufffd", text), add_special_tokens=False)
        # The running maximum keeps segments contiguous under normalisers that reorder characters.
        starts_T = tuple(accumulate((start for start, _ in encoding.offsets), max))
        return Tokens(self._known(encoding.ids), starts_T)

    @torch.inference_mode()
    def log_probs(self, batch: Batch) -> Tensor:
        """Log-probabilities [R] in nats, on the CPU: float32, or float64 for a float64 model."""
        device = self.model.device
        inputs: dict[str, Any] = {"input_ids": batch.ids_BT.to(device), "use_cache": False}
        if batch.positions_BT is not None:
            inputs["position_ids"] = batch.positions_BT.to(device)
        with self.lock, self._attention(batch):
            if self.direct_head:
                source = self.model.base_model(**inputs).last_hidden_state.flatten(0, 1)
                vocabulary = self.model.get_output_embeddings().weight.shape[0]
            else:
                source = self.model(**inputs).logits.flatten(0, 1)
                vocabulary = source.shape[-1]
        rows_R, targets_R = batch.rows_R.to(device), batch.targets_R.to(device)
        size = max(1, _CHUNK_LOGITS // vocabulary)
        chunks = [
            self._chosen(source[rows_r], targets_r)
            for rows_r, targets_r in zip(
                torch.split(rows_R, size), torch.split(targets_R, size), strict=True
            )
        ]
        return torch.cat(chunks).cpu()

    def _attention(self, batch: Batch) -> AbstractContextManager[None]:
        if not batch.branches:
            return nullcontext()
        tokens, model = batch.ids_BT.shape[1], self.model
        return through(model, AttentionLayout(tokens, batch.branches, model.dtype, model.device))

    def _chat_ids(self, prompt: str) -> tuple[int, ...]:
        if not self.chat or not self.tokenizer.chat_template:
            return self.encode(prompt).ids_T
        from jinja2 import TemplateError  # only templates need it

        try:
            ids = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": _SURROGATES.sub("\ufffd", prompt)}],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=False,
                strftime_now=_TODAY.strftime,
            )
        except TemplateError as error:
            raise UserError(f"scorer {self.name}: its chat template fails: {error}") from None
        return self._known(ids)

    def _known(self, ids: Sequence[int]) -> tuple[int, ...]:
        rows = self.model.get_input_embeddings().weight.shape[0]
        if ids and max(ids) >= rows:
            raise UserError(
                f"scorer {self.name}: token id {max(ids)} is beyond the model's {rows} embeddings; "
                "give the model its own tokenizer"
            )
        return tuple(ids)

    def _chosen(self, source_RX: Tensor, targets_R: Tensor) -> Tensor:
        """Log-probabilities of the targets, from hidden states or from logits."""
        logits_RV = self._head(source_RX) if self.direct_head else source_RX
        logits_RV = logits_RV.to(torch.promote_types(logits_RV.dtype, torch.float32))
        chosen_R = logits_RV.gather(1, targets_R[:, None]).squeeze(1)
        most_R = logits_RV.amax(1)  # in place below: a second [R, V] would double the peak
        return chosen_R - most_R - logits_RV.sub_(most_R[:, None]).exp_().sum(1).log()

    def _head(self, hidden_RH: Tensor) -> Tensor:
        """The model's logits: the output head, then the scale or soft cap if there is one."""
        config = self.model.config.get_text_config()
        logits_RV: Tensor = self.model.get_output_embeddings()(hidden_RH)
        if scale := getattr(config, "logit_scale", None):  # Cohere
            logits_RV = logits_RV * scale
        if scale := getattr(config, "logits_scaling", None):  # Granite
            logits_RV = logits_RV / scale
        if cap := getattr(config, "final_logit_softcapping", None):  # Gemma
            logits_RV = torch.tanh(logits_RV / cap) * cap
        return logits_RV


def plain_tokenizer(backend: Any) -> Any:
    """A copy of a fast tokenizer that reads special tokens as text and gives whole offsets."""
    plain = type(backend).from_str(backend.to_str())
    plain.encode_special_tokens = True
    plain.post_processor = None  # it would trim leading blanks off the offsets
    plain.no_truncation()
    plain.no_padding()
    return plain
