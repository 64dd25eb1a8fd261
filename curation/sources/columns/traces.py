"""Read recorded traces from a raw row: texts with the labels that belong to them.

Every entry becomes a trace, in its order, or a reason why it cannot be one (null, not text, half a
surrogate pair, NUL), so that it is counted. Other control characters stay: models do write them,
and a trace is kept as it was recorded. Labels are matched to texts by position first, and bad
entries left out afterwards, so that no label moves to another text. A label that may belong to
several texts, or that another label of the same text contradicts, is none.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

from curation.sources import BadTrace
from curation.sources.columns.fields import ABSENT, RawRow, TraceColumns, dig, printable, sibling
from curation.sources.columns.gold import SURROGATE
from curation.sources.columns.reasons import RowFault
from schemas.records import FinishReason, Recorded

# `<<48/2=24>>`. One that its line does not close matches to the end of the line and is kept; no
# other one behind it is closed either, so none is looked for.
_ANNOTATION = re.compile(r"<<[^\n]*?(?:(?P<close>>>)|$)", re.M)

_FINISH = {
    "stop": FinishReason.STOP,
    "eos": FinishReason.STOP,
    "end_turn": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
}

_LABELS = {  # a label in words: in CSV every value is text
    **dict.fromkeys(("true", "yes", "correct", "right", "1", "1.0"), True),
    **dict.fromkeys(("false", "no", "incorrect", "wrong", "0", "0.0"), False),
}
_NUMBER = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?")


class RowTraces(NamedTuple):
    """The traces of a row, and the entries that cannot be traces."""

    traces: tuple[Recorded, ...] = ()
    bad: tuple[BadTrace, ...] = ()


class _Entry(NamedTuple):
    text: object
    model: object
    correct: object
    finish_reason: object


def recorded(row: RawRow, spec: TraceColumns, *, strip_annotations: bool) -> RowTraces:
    """All traces of a row; `strip_annotations` removes GSM8K's `<<48/2=24>>`."""
    traces: list[Recorded] = []
    bad: list[BadTrace] = []
    for number, entry in enumerate(_entries(row, spec), 1):
        if fault := _fault(entry.text, spec):
            bad.append(fault._replace(detail=f"trace {number}: {fault.detail}"))
        else:
            traces.append(_trace(entry, spec.model_name, strip_annotations))
    return RowTraces(agreeing(traces), tuple(bad))


def agreeing(traces: Sequence[Recorded]) -> tuple[Recorded, ...]:
    """The traces of one prompt; a text that is labelled right and wrong has no label."""
    right, wrong = ({t.text.strip() for t in traces if t.correct is one} for one in (True, False))
    disputed = right & wrong
    if not disputed:
        return tuple(traces)
    return tuple(replace(t, correct=None) if t.text.strip() in disputed else t for t in traces)


def scores(row: RawRow, spec: TraceColumns) -> Iterator[object]:
    """What stands in the place of labels and is a number of a scale: neither 0 nor 1."""
    for entry in _entries(row, spec):
        label = entry.correct
        if isinstance(label, str):
            is_number = _NUMBER.fullmatch(label.strip()) is not None
        else:
            is_number = _is_number(label)
        if is_number and _verdict(label) is None:
            yield label


def without_annotations(text: str) -> str:
    """The text without calculator annotations (`<<48/2=24>>24` -> `24`)."""
    return _ANNOTATION.sub(lambda match: "" if match["close"] else match[0], text)


def _entries(row: RawRow, spec: TraceColumns) -> Iterator[_Entry]:
    return _listed(row, spec) if spec.column else _mapped(row, spec)


def _listed(row: RawRow, spec: TraceColumns) -> Iterator[_Entry]:
    """One entry for every element of the list column; a single text counts as a list of one."""
    assert spec.column is not None
    value = dig(row, spec.column)
    if value is ABSENT or (value is None and spec.group is None):
        return  # nothing is recorded; where rows are joined, null is a generation
    elements = value if isinstance(value, list) else [value]
    for index, element in enumerate(elements):
        text = element
        if element is not None and spec.text is not None:
            text = dig(element, spec.text)
        labels = (
            _label(row, element, name, index, len(elements))
            for name in (spec.model, spec.correct, spec.finish_reason)
        )
        yield _Entry(text, *labels)


def _label(row: RawRow, element: object, name: str | None, index: int, total: int) -> object:
    """A label inside the element, else in the list column aligned with it.

    A list of another length cannot be aligned, and gives no label: a missing one does less harm
    than a wrong one.
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
    """One entry for each of `traces.columns`, sorted by name, because a mapping has no order.

    A label beside several of the texts would be that of one of them, nobody knows which.
    """
    columns = spec.columns or {}
    beside = Counter(sibling(path, "") for path in columns.values())
    for name, path in sorted(columns.items()):
        text = dig(row, path)
        if text is ABSENT:
            continue
        correct, finish = (
            dig(row, sibling(path, label)) if label and beside[sibling(path, "")] == 1 else None
            for label in (spec.correct, spec.finish_reason)
        )
        yield _Entry(text, name, correct, finish)


def _fault(text: object, spec: TraceColumns) -> BadTrace | None:
    """Why what stands in the place of a trace's text cannot be one."""
    if text is None:
        return BadTrace(RowFault.NULL_TRACE, "it is null")
    if text is ABSENT:
        return BadTrace(RowFault.TRACE_NOT_TEXT, f"no object with a field {spec.text!r}")
    if isinstance(text, Mapping):
        fields = ", ".join(printable(name) for name in text)
        detail = f"an object (fields: {fields}), and traces.text does not name its text"
        return BadTrace(RowFault.TRACE_NOT_TEXT, printable(detail, 200))
    if not isinstance(text, str):
        return BadTrace(RowFault.TRACE_NOT_TEXT, f"{type(text).__name__}, not text")
    if SURROGATE.search(text):
        return BadTrace(RowFault.BAD_ENCODING, "it is not UTF-8, or holds half of a surrogate pair")
    if "\0" in text:
        return BadTrace(RowFault.CONTROL_CHARACTERS, "it holds U+0000")
    return None


def _trace(entry: _Entry, model_name: str | None, strip_annotations: bool) -> Recorded:
    text, model, correct, finish_reason = entry
    assert isinstance(text, str), "checked by _fault"
    is_name = isinstance(model, str) and not SURROGATE.search(model)
    return Recorded(
        text=without_annotations(text) if strip_annotations else text,
        model=str(model) if is_name and model else model_name,
        correct=_verdict(correct),
        finish_reason=_FINISH.get(str(finish_reason), FinishReason.UNKNOWN),
    )


def _verdict(label: object) -> bool | None:
    """A source's label as true or false; None where it is neither."""
    if isinstance(label, str):
        return _LABELS.get(label.strip().casefold())
    if isinstance(label, bool):
        return label
    return label == 1 if _is_number(label) and label in (0, 1) else None


def _is_number(label: object) -> bool:
    """Whether it is a number; NaN stands for a label that is missing."""
    return isinstance(label, int | float | Decimal) and label == label
