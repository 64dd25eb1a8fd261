"""Rows of a release as the page shows them: a line of the list, and a whole canvas.

Control characters are made visible here, and numbers are rounded; the page puts every text in as
text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from curation.inspect import draws
from curation.inspect.terminal_view import LONGEST, MARKS, dependence, seqdep
from curation.release.reader import ReleaseReader, rows
from curation.release.rows import PATH_TOKENS
from curation.viewer.numbers import MEASURES, PATH_GRADES
from schemas import arrow
from schemas.records import Grade, Released, ReleasedPath
from support.display.digits import rounded
from support.display.text import one_line, shorten, visible

BRIEF = 200  # characters of a prompt in the list
BRIEF_GOLD = 40
_COLUMNS = [
    *("id", "prompt", "gold", PATH_TOKENS, PATH_GRADES),
    *(one.column for one in MEASURES if one.column),
]
_KINDS = {Grade.CORRECT: "right", Grade.WRONG: "wrong"}  # of all others: unread


@dataclass(frozen=True, slots=True)
class ListRow:
    """A line of the list; `values` are rounded, by the key of their measure."""

    number: int  # from 0, train first
    id: str
    prompt: str
    gold: str
    grades: tuple[str, ...]  # right, wrong or unread, path by path
    values: dict[str, str]


@dataclass(frozen=True, slots=True)
class CutText:
    """A text, and how many characters of it are not shown."""

    text: str
    more: int


@dataclass(frozen=True, slots=True)
class PathPanel:
    """A path with its grade in words and in short, what was measured, and where it comes from."""

    mark: str
    kind: str
    answer: str
    tokens: int
    text: CutText
    measured: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CanvasPanel:
    """A whole canvas."""

    number: int
    id: str
    prompt: CutText
    gold: CutText
    paths: tuple[PathPanel, ...]
    summary: CutText
    facts: tuple[tuple[str, str], ...]
    provenance: tuple[tuple[str, str], ...]


def list_rows(corpus: ReleaseReader, numbers: Sequence[int]) -> list[ListRow]:
    """The lines of these rows; only the columns that the list shows are read."""
    shown = []
    for place, table in rows(corpus.places(numbers), _COLUMNS):
        (row,) = table.to_pylist()
        paths = row["paths"] or ()
        grades = tuple(_KINDS.get(path["grade"], "unread") for path in paths)
        values = {one.key: row.get(one.column) for one in MEASURES if one.column}
        values |= {
            "right": grades.count("right") / len(grades) if grades else None,
            "tokens": sum(path["tokens"] or 0 for path in paths),
        }
        shown.append(
            ListRow(
                number=place.number,
                id=one_line(row["id"]),
                prompt=one_line(shorten(row["prompt"], BRIEF)),
                gold=one_line(shorten(row["gold"] or "", BRIEF_GOLD)),
                grades=grades,
                values={key: rounded(value) for key, value in values.items() if value is not None},
            )
        )
    return shown


def canvas(corpus: ReleaseReader, number: int, limit: int | None = LONGEST) -> CanvasPanel:
    """A canvas with all that is known of it; each text up to `limit` characters."""
    row = _row(corpus, number)
    return CanvasPanel(
        number=number,
        id=one_line(row.id),
        prompt=_cut(row.prompt, limit),
        gold=_cut(row.gold, limit),
        paths=tuple(_path(n, row, limit) for n in range(len(row.paths))),
        summary=_cut(row.summary, limit),
        facts=tuple(_facts(row)),
        provenance=(
            ("source", one_line(f"{row.source}, row {row.source_row:,}")),
            ("license", one_line(row.license)),
            ("summary written by", one_line(row.summary_by)),
            *(
                (("scorer", one_line(f"{row.scorer} ({row.scorer_revision})")),)
                if row.scorer
                else ()
            ),
        ),
    )


def long_cot(corpus: ReleaseReader, number: int, limit: int | None = LONGEST) -> CutText:
    """The same paths and summary as one left-to-right text."""
    return _cut(_row(corpus, number).long_cot, limit)


def _row(corpus: ReleaseReader, number: int) -> Released:
    ((_, table),) = rows(corpus.places([number]))
    (row,) = arrow.records(Released, table)
    return row


def _facts(row: Released) -> Iterator[tuple[str, str]]:
    right = sum(path.grade is Grade.CORRECT for path in row.paths)
    yield "right paths", f"{right} of {len(row.paths)}"
    tokens = ", ".join(str(path.tokens) for path in row.paths)
    yield "tokens", f"{tokens} in the paths, {row.summary_tokens} in the summary"
    yield "highest similarity of two paths", rounded(row.similarity)
    yield "SeqDep", visible(seqdep(row).removeprefix("SeqDep: ").removeprefix("SeqDep, "))
    if row.seqdep_is_cut:
        yield "note", "some of it was measured on the part that fits into the scorer's context"
    if samples := draws.of_row(row):
        yield "samples", samples


def _path(index: int, row: Released, limit: int | None) -> PathPanel:
    path = row.paths[index]
    return PathPanel(
        mark=MARKS[path.grade][0],
        kind=_KINDS.get(path.grade, "unread"),
        answer=visible(shorten(path.answer or "", limit or len(path.answer or ""))),
        tokens=path.tokens,
        text=_cut(path.text, limit),
        measured=tuple(dependence(index, row)),
        provenance=tuple((name, one_line(value)) for name, value in _provenance(path)),
    )


def _provenance(path: ReleasedPath) -> Iterator[tuple[str, str]]:
    trace = path.trace
    yield "teacher", f"{trace.teacher} ({trace.revision})" if trace.revision else trace.teacher
    known = {
        "sample": trace.index + 1,
        "temperature": trace.temperature,
        "top_p": trace.top_p,
        "most tokens": trace.max_tokens,
        "seed": trace.seed,
        "hint": trace.hint,
        "stopped by": trace.finish_reason,
        "prompt tokens": trace.prompt_tokens,
        "tokens by the server": trace.completion_tokens,
    }
    yield from ((name, str(value)) for name, value in known.items() if value is not None)


def _cut(text: str, limit: int | None) -> CutText:
    if limit is None or len(text) <= limit:
        return CutText(visible(text), 0)
    return CutText(visible(text[:limit]), len(text) - limit)
