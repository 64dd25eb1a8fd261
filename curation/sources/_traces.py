"""Recorded traces out of a raw row: texts with the labels that belong to them.

Every entry that is not null comes out, in its order. One that cannot be a trace (no text, half a
surrogate pair, NUL) comes out with an empty text, so that it is counted and rejected as empty later
instead of vanishing here. Other control characters stay: models do write them, and a trace is kept
as it was recorded. Labels are joined by position before anything is left out.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from curation.sources._fields import ABSENT, RawRow, TraceColumns, dig, sibling
from curation.sources._gold import SURROGATE
from schemas.records import FinishReason, Recorded

# To the end of the line where it is not closed: no other one behind it is, and none is looked for.
_ANNOTATION = re.compile(r"<<[^\n]*?(?:(?P<close>>>)|$)", re.M)

_FINISH = {
    "stop": FinishReason.STOP,
    "eos": FinishReason.STOP,
    "end_turn": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
}


class _Entry(NamedTuple):
    text: object
    model: object
    correct: object
    finish_reason: object


def recorded(row: RawRow, spec: TraceColumns, *, strip_annotations: bool) -> tuple[Recorded, ...]:
    """The recorded traces of a row; `strip_annotations` removes GSM8K's `<<48/2=24>>`."""
    entries = _listed(row, spec) if spec.column else _mapped(row, spec)
    return tuple(
        _trace(entry, spec.model_name, strip_annotations)
        for entry in entries
        if entry.text is not None and entry.text is not ABSENT
    )


def without_annotations(text: str) -> str:
    """The text without calculator annotations (`<<48/2=24>>24` -> `24`)."""
    return _ANNOTATION.sub(lambda found: "" if found["close"] else found[0], text)


def _listed(row: RawRow, spec: TraceColumns) -> Iterator[_Entry]:
    """One entry for every element of the list column; a single text counts as a list of one."""
    assert spec.column is not None
    value = dig(row, spec.column)
    if value is None or value is ABSENT:
        return
    elements = value if isinstance(value, list) else [value]
    for index, element in enumerate(elements):
        text = element
        if element is not None and spec.text is not None:
            text = dig(element, spec.text)
            # an object without its text field is a damaged trace, not an absent one
            text = 0 if text is ABSENT else text
        yield _Entry(
            text,
            *(
                _label(row, element, name, index, len(elements))
                for name in (spec.model, spec.correct, spec.finish_reason)
            ),
        )


def _label(row: RawRow, element: object, name: str | None, index: int, total: int) -> object:
    """A label inside the element, else in the list column aligned with it.

    A list of another length cannot be aligned: no label is better than a wrong one.
    """
    if name is None:
        return None
    inside = dig(element, name)
    if inside is not ABSENT:
        return inside
    aligned = dig(row, name)
    if isinstance(aligned, list):
        return aligned[index] if len(aligned) == total else None
    return aligned if total == 1 and not isinstance(aligned, Mapping) else None


def _mapped(row: RawRow, spec: TraceColumns) -> Iterator[_Entry]:
    """One entry a named path, sorted by name: the order of a mapping is no fact."""
    for name, path in sorted((spec.columns or {}).items()):
        correct, finish = (
            dig(row, sibling(path, label)) if label else None
            for label in (spec.correct, spec.finish_reason)
        )
        yield _Entry(dig(row, path), name, correct, finish)


def _trace(entry: _Entry, model_name: str | None, strip_annotations: bool) -> Recorded:
    text = entry.text if isinstance(entry.text, str) else ""
    if SURROGATE.search(text) or "\0" in text:
        text = ""
    model = (
        entry.model if isinstance(entry.model, str) and not SURROGATE.search(entry.model) else None
    )
    return Recorded(
        text=without_annotations(text) if strip_annotations else text,
        model=model or model_name,
        correct=_verdict(entry.correct),
        finish_reason=_finish(entry.finish_reason),
    )


def _verdict(value: object) -> bool | None:
    return bool(value) if isinstance(value, int) and value in (0, 1) else None


def _finish(value: object) -> FinishReason:
    return (
        _FINISH.get(value, FinishReason.UNKNOWN) if isinstance(value, str) else FinishReason.UNKNOWN
    )
