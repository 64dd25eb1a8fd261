"""The source behind every tabular kind: raw records in, rows out, one for one.

    reader (files, hub) ─► record ─► prompt, gold, recorded traces ─► Row, good or with a reason

Checks run in a fixed order and the first fault is the row's reason, so counts are reproducible.

The options that these kinds share:

    columns            where prompt and gold stand (dotted paths; default: the usual names), and,
                       where there are any, license, choices and tests
    gold_after         the gold is what follows the last occurrence of this mark
    traces             where recorded traces stand
    strip_annotations  remove GSM8K's calculator annotations (`<<48/2=24>>`) from recorded traces
    self_contained     reject prompts that point at a drawing, an image or a link they lack
    max_chars          the longest prompt, in characters
    license            SPDX-like id of the data's license
    label              the data's name on cards; default: the file's name, or hub id@commit
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice

from curation.sources import BadTrace, Row
from curation.sources.columns.fields import (
    ABSENT,
    Columns,
    RawRow,
    SourceLayout,
    TraceColumns,
    dig,
    first_present,
    require,
    require_traces,
)
from curation.sources.columns.gold import CONTROL, SURROGATE
from curation.sources.columns.group import grouped
from curation.sources.columns.reasons import RowFault
from curation.sources.columns.references import read_references, with_choices
from curation.sources.columns.self_containment import missing_reference
from curation.sources.columns.traces import RowTraces, recorded, scores
from curation.sources.readers.reader import Reader, Record, check_encoding, values
from schemas.records import Recorded
from support.errors import UserError

SAMPLE_ROWS = 100
MAX_CHARS = 20_000
PROMPT_NAMES = ("prompt", "problem", "question")
GOLD_NAMES = ("gold", "answer", "final_answer", "ground_truth", "expected_answer")

Resolve = Callable[[Sequence[RawRow], str], SourceLayout]
"""(first rows, label) -> layout; raises UserError where a needed column is missing."""


class Tabular:
    """Rows with named columns, whatever they are stored in.

    `resolve` decides on the columns when the first rows are seen; `tidy_gold` cleans a gold's text.
    """

    def __init__(
        self,
        *,
        reader: Reader,
        resolve: Resolve,
        license: str,
        label: str | None,
        max_chars: int,
        strip_annotations: bool = False,
        self_contained: bool = True,
        tidy_gold: Callable[[str], str] = str.strip,
    ) -> None:
        if max_chars < 1:
            raise UserError(
                f"source.max_chars is {max_chars}; give at least 1 (default {MAX_CHARS})"
            )
        self.label = label or reader.name()
        self.license = license
        self._reader = reader
        self._resolve = resolve
        self._max_chars = max_chars
        self._strip_annotations = strip_annotations
        self._self_contained = self_contained
        self._tidy_gold = tidy_gold

    def fingerprint(self) -> str:
        """sha256 over the data's fingerprint and every option that shapes a row."""
        layout = self._layout
        traces = layout.traces.model_dump(mode="json") if layout.traces else None
        facts = (
            self._reader.fingerprint(),
            [self.label, self.license, self._max_chars, self._strip_annotations],
            self._self_contained,
            [layout.prompt, layout.gold, layout.gold_after, traces, layout.license],
            *([[layout.choices, layout.tests]] if layout.choices or layout.tests else []),
        )
        text = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def rows(self, *, traces: bool, most: int | None = None) -> Iterator[Row]:
        """The first `most` records (default: all), each as one row, streamed.

        Where traces are grouped by prompt, all of them are read before the first row comes out.

        Raises UserError if there is no row at all, or if a configured column is missing.
        """
        layout = self._layout
        rows = islice(self._rows(layout, traces=traces), most)
        if traces and layout.traces and layout.traces.group:
            return grouped(rows)
        return rows

    def has_traces(self) -> bool:
        """Whether it is known where in a row recorded traces stand."""
        return self._layout.traces is not None

    def first_traces(self) -> Sequence[Recorded]:
        """The recorded traces of the first rows."""
        spec = self._layout.traces
        if spec is None:
            return ()
        rows = self._reader.sample(SAMPLE_ROWS)
        return [t for row in rows for t in recorded(row, spec, strip_annotations=False).traces]

    def first_scores(self) -> Sequence[object]:
        """What the first rows hold in the place of labels and is neither 0 nor 1, but a number."""
        spec = self._layout.traces
        if spec is None or spec.correct is None:
            return ()
        return [one for row in self._reader.sample(SAMPLE_ROWS) for one in scores(row, spec)]

    def _rows(self, layout: SourceLayout, *, traces: bool) -> Iterator[Row]:
        is_empty = True
        for record in self._reader.records(layout.paths(traces=traces)):
            is_empty = False
            yield self._row(record, layout, traces=traces)
        if is_empty:
            raise UserError(f"{self.label}: holds no rows; give a file with at least one")

    @cached_property
    def _layout(self) -> SourceLayout:
        head = self._reader.head(SAMPLE_ROWS)
        layout = self._resolve(values(head), self.label)
        check_encoding(self._reader, head, layout.paths(traces=True))
        return layout

    def _row(self, record: Record, layout: SourceLayout, *, traces: bool) -> Row:
        raw = dig(record.value, layout.prompt)
        held = RowTraces()
        if traces and layout.traces and record.value is not None:
            held = recorded(record.value, layout.traces, strip_annotations=self._strip_annotations)
        row = Row(
            number=record.number,
            text=raw.strip() if isinstance(raw, str) and not record.reason else "",
            gold="",
            recorded=held.traces,
            bad_traces=tuple(
                BadTrace(str(reason), f"{record.where}, {detail}") for reason, detail in held.bad
            ),
        )

        def rejected(reason: str, detail: str) -> Row:
            return replace(row, reason=str(reason), detail=f"{record.where}: {detail}")

        if record.value is None or record.reason:
            return rejected(record.reason, record.detail)
        reason, detail = prompt_fault(raw, self._max_chars)
        if reason:
            return rejected(reason, f"column {layout.prompt!r}: {detail}")
        references = read_references(record.value, layout, self._tidy_gold)
        if references.reason:
            return rejected(references.reason, references.detail)
        row = replace(row, text=with_choices(row.text, references.choices))
        if self._self_contained and (missing := missing_reference(row.text)):
            return rejected(RowFault.NOT_SELF_CONTAINED, f"column {layout.prompt!r}: {missing}")
        license = dig(record.value, layout.license) if layout.license else None
        return replace(
            row,
            gold=references.gold,
            license=license if isinstance(license, str) else "",
            choices=references.choices,
            more_golds=references.more_golds,
            tests=references.tests,
        )


def prompt_fault(raw: object, max_chars: int) -> tuple[str, str]:
    """Reason and sentence for a value that cannot be a prompt; two empty strings if it can."""
    if not isinstance(raw, str):
        is_absent = raw is None or raw is ABSENT
        detail = "there is no prompt" if is_absent else f"{type(raw).__name__}, not text"
        return RowFault.MISSING_PROMPT, detail
    if not raw.strip():
        return RowFault.MISSING_PROMPT, "the prompt is empty"
    if len(raw) > max_chars:
        return RowFault.TOO_LONG, f"{len(raw)} characters, over max_chars ({max_chars})"
    if SURROGATE.search(raw):
        return RowFault.BAD_ENCODING, "the prompt holds half of a surrogate pair"
    if control := CONTROL.search(raw):
        return RowFault.CONTROL_CHARACTERS, f"the prompt holds U+{ord(control[0]):04X}"
    if not any(c.isalnum() for c in raw):
        return RowFault.MISSING_PROMPT, "the prompt has neither letter nor digit"
    return "", ""


def configured(
    columns: Columns | None, gold_after: str | None, traces: TraceColumns | None
) -> Resolve:
    """The layout that options describe; what they leave open is looked for by the usual names."""
    if gold_after == "":
        raise UserError(
            "source.gold_after is empty; give the mark before the gold, or leave it out"
        )

    def resolve(sample: Sequence[RawRow], label: str) -> SourceLayout:
        chosen = columns or Columns()
        prompt = chosen.prompt or first_present(sample, PROMPT_NAMES) or PROMPT_NAMES[0]
        require(sample, prompt, "columns.prompt", label)
        if chosen.gold is not None:
            require(sample, chosen.gold, "columns.gold", label)
        if traces is not None:
            require_traces(sample, traces, label)
        named = [("license", chosen.license), ("tests", chosen.tests)]
        for option, path in [*named, *(("choices", path) for path in chosen.choice_columns)]:
            if path:
                require(sample, path, f"columns.{option}", label)
        return SourceLayout(
            prompt=prompt,
            gold=chosen.gold or first_present(sample, GOLD_NAMES),
            gold_after=gold_after,
            traces=traces,
            license=chosen.license,
            choices=chosen.choices,
            tests=chosen.tests,
        )

    return resolve
