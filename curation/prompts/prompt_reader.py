"""The first stage: rows of all sources in, one prompt or one rejection out for each, in order.

    sources ─► rows ─► readable? ─► in an evaluation set? ─► seen before? ─► Prompt
                           └───────────────┴─────────────────────┴────────► Rejection

Only accepted prompts count as seen: if a row is damaged and an intact duplicate follows, the
duplicate is kept. Traces are counted here too: those of a rejected row, and entries that cannot be
traces, have a rejection of their own.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple

from curation.prompts.decontaminate import EvaluationIndex
from curation.prompts.dedup import CONFLICTING, EXACT, Duplicate, SeenPrompts, prompt_id
from curation.sources import BadTrace, Row, Source
from curation.sources.columns.fields import printable
from schemas.records import Prompt, Rejection, Stage
from support.errors import UserError


class RowOutcome(NamedTuple):
    """The prompt or the rejection of one row, and the rejections of its traces.

    `held` is the number of traces in the row; `apart` of them are new traces of a prompt that an
    earlier row of the same source holds, and could be joined with that row's.
    """

    outcome: Prompt | Rejection
    traces: tuple[Rejection, ...] = ()
    held: int = 0
    apart: int = 0


def read_prompts(
    sources: Sequence[Source],
    index: EvaluationIndex,
    *,
    traces: bool,
    limit: int | None,
    editions: Sequence[Sequence[int]] = (),
    fault: Callable[[Prompt], str] = lambda prompt: "",
) -> Iterator[RowOutcome]:
    """Every row of `sources` as a prompt or a rejection, streamed.

    Args:
        sources: read one after the other; duplicates are found across them.
        index: the evaluation sets whose problems are kept out; it counts what it finds.
        traces: read recorded traces too.
        limit: most rows read, over all sources and before anything is rejected.
        editions: rows of every source that were read at former times; they come first, in the
            order in which they were read then, and what has been added since comes after them.
        fault: why a prompt cannot be graded; an empty text where it can be.

    Raises:
        UserError: a source cannot be read, or has fewer rows than at a former time.
    """
    if limit is not None and limit <= 0:
        return
    seen = SeenPrompts()
    with closing(_rows(sources, traces, limit, editions)) as rows:
        for number, row in islice(rows, limit):
            yield judge(row, number, sources, index, seen, fault)


def judge(
    row: Row,
    number: int,
    sources: Sequence[Source],
    index: EvaluationIndex,
    seen: SeenPrompts,
    fault: Callable[[Prompt], str],
) -> RowOutcome:
    """The outcome of one row of source `number`."""
    source = sources[number]
    held = len(row.recorded) + len(row.bad_traces)
    apart = 0
    if row.reason:
        outcome: Prompt | Rejection = _reject(row, source, row.reason, row.detail)
    elif detail := fault(prompt := _prompt(row, source)):
        outcome = _reject(row, source, "not_gradable", detail)
    elif hit := index.find(row.text):
        outcome = _reject(row, source, hit.reason, hit.detail)
    elif duplicate := seen.add(
        row.text, row.gold, number, row.number, [trace.text for trace in row.recorded]
    ):
        outcome = _reject(row, source, duplicate.reason, _explain(duplicate, row, sources))
        if duplicate.has_other_traces and duplicate.source == number:
            apart = held if duplicate.reason != CONFLICTING else 0
    else:
        outcome = prompt
    return RowOutcome(outcome, tuple(_lost(row, outcome)), held, apart)


def _prompt(row: Row, source: Source) -> Prompt:
    return Prompt(
        id=prompt_id(row.text),
        text=row.text,
        gold=row.gold,
        source=source.label,
        row=row.number,
        license=row.license or source.license,
        recorded=row.recorded,
        choices=row.choices,
        more_golds=row.more_golds,
        tests=row.tests,
    )


def _lost(row: Row, outcome: Prompt | Rejection) -> Iterator[Rejection]:
    """The traces of a row that go no further; `index` counts what the row holds, bad ones last."""
    faults = list(row.bad_traces)
    first = len(row.recorded)
    if isinstance(outcome, Rejection):
        left = BadTrace("prompt_rejected", f"{outcome.reason}: {outcome.detail}")
        faults, first = [left] * len(row.recorded) + faults, 0
    for index, fault in enumerate(faults, first):
        yield Rejection(
            stage=Stage.PROMPTS,
            prompt_id=outcome.prompt_id if isinstance(outcome, Rejection) else outcome.id,
            source=outcome.source,
            row=outcome.row,
            index=index,
            reason=fault.reason,
            detail=fault.detail,
        )


def _rows(
    sources: Sequence[Source],
    traces: bool,
    limit: int | None,
    editions: Sequence[Sequence[int]],
) -> Generator[tuple[int, Row], None, None]:
    """(number of the source, row): edition by edition, then the rest; in each source by source."""
    streams = [source.rows(traces=traces, most=limit) for source in sources]
    for counts in editions:
        for number, count in enumerate(counts):
            for _ in range(count):
                row = next(streams[number], None)
                if row is None:
                    raise UserError(
                        f"{sources[number].label}: has fewer rows than were read before; a growing "
                        "corpus takes new rows after the old ones. Put them back, or build into "
                        "another directory (--out)"
                    )
                yield number, row
    for number, stream in enumerate(streams):
        for row in stream:
            yield number, row


def _reject(row: Row, source: Source, reason: str, detail: str) -> Rejection:
    place = f"{source.label}\0{row.number}".encode("utf-8", "surrogatepass")
    place_id = blake2b(place, digest_size=10).hexdigest()
    return Rejection(
        stage=Stage.PROMPTS,
        prompt_id=prompt_id(row.text) if row.text else place_id,
        source=source.label,
        row=row.number,
        index=None,
        reason=reason,
        detail=detail,
    )


def _explain(duplicate: Duplicate, row: Row, sources: Sequence[Source]) -> str:
    first = f"row {duplicate.row} of {sources[duplicate.source].label}"
    if duplicate.reason == CONFLICTING:
        gold = repr(printable(row.gold))
        return f"the problem of {first} with another gold, {gold}; the first is kept"
    same = "the text" if duplicate.reason == EXACT else "but for its form the text"
    other = " with other traces" if duplicate.has_other_traces else ""
    return f"repeats {same} of {first}{other}"
