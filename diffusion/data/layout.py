"""The frame of an answer in tokens: fixed headers, slots of fixed length (Eq. 5, Li et al. 2026).

In: prompt ids, and the ids of every slot's text. Out: one row: prompt, headers clamped, slots
filled with fill tokens to their full length. Training and decoding lay their rows here, so that
the ids of `x` and of the headers are the same in both. The long-CoT form is the frame with one slot
and no header (METHOD section 1).

Axes: T tokens of a row, N slots.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.canvas import header, summary_header

Ids = NDArray[np.int32]


class Form(StrEnum):
    """How the traces of a group are laid out for training."""

    CANVAS = "canvas"  # P slots and a summary slot, between headers
    LONG_COT = "long_cot"  # one slot of as many masks


class TrainingRow(NamedTuple):
    """One instance laid out; all [T].

    `answer_T` marks what may be masked (slots: content and fill), `content_T` its text alone.
    """

    ids_T: Ids
    answer_T: NDArray[np.bool_]
    content_T: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class CanvasLayout:
    """Headers (token ids, one before each slot), slot lengths in tokens, and the fill token."""

    headers: tuple[tuple[int, ...], ...]
    slots: tuple[int, ...]
    fill_id: int

    @property
    def masks(self) -> int:
        """M: all slots together; headers come on top."""
        return sum(self.slots)

    @property
    def header_tokens(self) -> int:
        """Clamped tokens."""
        return sum(map(len, self.headers))

    @property
    def tokens(self) -> int:
        """Length of an answer: masks and headers."""
        return self.masks + self.header_tokens

    def lay(self, prompt: Ids, texts: Sequence[Ids]) -> TrainingRow:
        """The row of a prompt and its slots' texts; ValueError where one exceeds its slot."""
        if len(texts) != len(self.slots):
            raise ValueError(f"{len(texts)} texts for {len(self.slots)} slots")
        ids_T = np.full(len(prompt) + self.tokens, self.fill_id, dtype=np.int32)
        answer_T = np.zeros(len(ids_T), dtype=np.bool_)
        content_T = np.zeros(len(ids_T), dtype=np.bool_)
        ids_T[: len(prompt)] = prompt
        at = len(prompt)
        for head, length, text in zip(self.headers, self.slots, texts, strict=True):
            if len(text) > length:
                raise ValueError(f"a text of {len(text)} tokens in a slot of {length}")
            ids_T[at : at + len(head)] = head
            at += len(head)
            ids_T[at : at + len(text)] = text
            content_T[at : at + len(text)] = True
            answer_T[at : at + length] = True
            at += length
        return TrainingRow(ids_T, answer_T, content_T)

    def slot_of(self) -> list[int]:
        """The slot of every column of an answer, -1 in headers."""
        return [
            slot
            for number, (head, length) in enumerate(zip(self.headers, self.slots, strict=True))
            for slot in (*[-1] * len(head), *[number] * length)
        ]

    def contents(self, ids_C: Ids, ends: Collection[int] = ()) -> list[Ids]:
        """Each slot's text on a decoded answer: what stands before its first fill token.

        A token among `ends` ends a text, too.
        """
        found, at = [], 0
        for head, length in zip(self.headers, self.slots, strict=True):
            slot = ids_C[at + len(head) : at + len(head) + length]
            stops = np.flatnonzero(np.isin(slot, [self.fill_id, *ends]))
            found.append(slot[: stops[0]] if len(stops) else slot)
            at += len(head) + length
        return found


def layout_of(
    tokenizer: Any,
    fill_id: int,
    *,
    form: Form,
    paths: int,
    slot_tokens: int,
    summary_tokens: int,
) -> CanvasLayout:
    """The frame of `paths` paths in a model's tokens; both forms have the same number of masks."""
    masks = paths * slot_tokens + summary_tokens
    if form is Form.LONG_COT:
        return CanvasLayout(headers=((),), slots=(masks,), fill_id=fill_id)
    texts = (*(header(j) for j in range(1, paths + 1)), summary_header(paths))
    return CanvasLayout(
        headers=tuple(tuple(encode(tokenizer, text).tolist()) for text in texts),
        slots=(*[slot_tokens] * paths, summary_tokens),
        fill_id=fill_id,
    )


def encode(tokenizer: Any, text: str) -> Ids:
    """The ids of a text on its own, without added special tokens."""
    return np.asarray(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int32)


def encode_prompt(tokenizer: Any, prompt: str) -> Ids:
    """The ids of `x`: the chat template with generation prompt; raw text where there is none."""
    if tokenizer.chat_template:
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
        )
    return encode(tokenizer, prompt)
