"""The layout of an answer in tokens: headers, and slots of fixed length (Eq. 5, Li et al. 2026).

In: prompt ids, and the ids of every slot's text. Out: one row: the prompt, then each header and its
slot, filled up with fill tokens. Training and decoding both lay out their rows here, so that the
ids of `x` and of the headers are the same in both. The long-CoT form is the layout with one slot
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
    """One instance laid out; all fields are [T].

    `answer_T` marks what may be masked (slots with their fill), `content_T` their text alone.
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
        """M, the tokens of all slots; headers are not counted."""
        return sum(self.slots)

    @property
    def header_tokens(self) -> int:
        """The tokens of all headers, which are never masked."""
        return sum(map(len, self.headers))

    @property
    def tokens(self) -> int:
        """Length of an answer in tokens: slots and headers."""
        return self.masks + self.header_tokens

    def lay(self, prompt: Ids, texts: Sequence[Ids]) -> TrainingRow:
        """The row of a prompt and its slots' texts; ValueError if a text exceeds its slot."""
        if len(texts) != len(self.slots):
            raise ValueError(f"{len(texts)} texts for {len(self.slots)} slots")
        ids_T = np.full(len(prompt) + self.tokens, self.fill_id, dtype=np.int32)
        answer_T = np.zeros(len(ids_T), dtype=np.bool_)
        content_T = np.zeros(len(ids_T), dtype=np.bool_)
        ids_T[: len(prompt)] = prompt
        start = len(prompt)
        for head, length, text in zip(self.headers, self.slots, texts, strict=True):
            if len(text) > length:
                raise ValueError(f"a text of {len(text)} tokens in a slot of {length}")
            ids_T[start : start + len(head)] = head
            start += len(head)
            ids_T[start : start + len(text)] = text
            content_T[start : start + len(text)] = True
            answer_T[start : start + length] = True
            start += length
        return TrainingRow(ids_T, answer_T, content_T)

    def slot_of(self) -> list[int]:
        """The slot of every column of an answer, -1 in headers."""
        return [
            slot
            for number, (head, length) in enumerate(zip(self.headers, self.slots, strict=True))
            for slot in (*[-1] * len(head), *[number] * length)
        ]

    def columns_in(self, row: "CanvasLayout") -> list[int]:
        """Where each column of this layout is in an answer of `row`; the first one is at 0.

        Both have the same slots. Of a longer header of `row` only the first tokens are columns.
        """
        assert self.slots == row.slots, "layouts of one batch differ in headers alone"
        columns, start = [], 0
        for mine, head, length in zip(self.headers, row.headers, self.slots, strict=True):
            columns += [start + min(n, len(head) - 1) for n in range(len(mine))]
            start += len(head)
            columns += range(start, start + length)
            start += length
        return columns

    def contents(self, ids_C: Ids, ends: Collection[int] = ()) -> list[Ids]:
        """The ids of each slot's text in a decoded answer, up to its first fill token.

        A token among `ends` ends a text, too.
        """
        texts, start = [], 0
        for head, length in zip(self.headers, self.slots, strict=True):
            start += len(head)
            slot = ids_C[start : start + length]
            stops = np.flatnonzero(np.isin(slot, [self.fill_id, *ends]))
            texts.append(slot[: stops[0]] if len(stops) else slot)
            start += length
        return texts


def layout_of(
    tokenizer: Any,
    fill_id: int,
    *,
    form: Form,
    paths: int,
    slot_tokens: int,
    summary_tokens: int,
) -> CanvasLayout:
    """The layout of `paths` paths for a model; both forms have the same number of masks."""
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
    """The ids of a text, without added special tokens."""
    return np.asarray(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int32)


def encode_prompt(tokenizer: Any, prompt: str) -> Ids:
    """The ids of `x`, in the tokenizer's chat template with generation prompt if it has one."""
    if tokenizer.chat_template:
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
        )
    return encode(tokenizer, prompt)
