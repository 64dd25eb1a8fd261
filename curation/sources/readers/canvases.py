"""Parallel corpora of any of the known forms, read as prompts with recorded traces.

In: the records of another reader. Out: one record for each, with `prompt`, `gold`, `license` and
`traces` (objects with `text`, and for our own release `model` and `correct`). A path is the part of
its trace that counts, so why the trace ended is not handed on.

A row holds its paths as a list (our release), or in one text with markers: `<think 1>` (our
canvases, and those of NAP), `<think1>` (ParaThinker), or `<Path>` in one `<Parallel>` (Parallel-R1,
Multiverse). The text is a column, or the last turn of a chat. White space around a path, and the
number that Multiverse puts before it, belong to the form. A row without whole paths has a reason.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from curation.sources.columns.fields import ABSENT, RawRow, dig
from curation.sources.columns.reasons import RowFault
from curation.sources.readers.reader import Reader, Record

PROMPTS = ("problem", "question", "extra_info.question", "prompt")
GOLDS = (
    *("gold", "answer", "final_answer", "ground_truth", "expected_answer"),
    "reward_model.ground_truth",
)
TEXTS = ("response", "completion", "output", "text", "extra_info.answer")
CHATS = ("messages", "conversations")
PATHS, SUMMARY, LICENSE = "paths", "summary", "license"  # columns of our release

_THINK = re.compile(r"<think ?(\d+)>(.*?)</think ?\1>", re.DOTALL)
_PATH = re.compile(r"<Path>(.*?)</Path>", re.DOTALL)
_OPENING = re.compile(r"<(?:think ?\d+|Path)>")
_NUMBER = re.compile(r"\s*\d+:\s")
_SUMMARY = re.compile(r"<(summary|Summary|Conclusion)>(.*?)(?:</\1>|\Z)", re.DOTALL)
_BLOCK = "<Parallel>"


@dataclass(frozen=True, slots=True, kw_only=True)
class CanvasFields:
    """The columns that a recipe names; one that is None is looked for by the usual names.

    With `gold_in_summary` the summary is the gold of a row that has no column for it.
    """

    prompt: str | None = None
    gold: str | None = None
    text: str | None = None
    license: str | None = None
    gold_in_summary: bool = False

    @property
    def paths(self) -> tuple[str, ...]:
        """All columns that may be in use."""
        named = (self.prompt, self.gold, self.text, self.license)
        usual = (*PROMPTS, *GOLDS, *TEXTS, *CHATS, PATHS, SUMMARY, LICENSE)
        return (*filter(None, named), *usual)


class FoundPaths(NamedTuple):
    """The paths of a row, as objects with a `text`, and its summary; or why there are none."""

    traces: tuple[Mapping[str, object], ...] = ()
    summary: str = ""
    fault: str = ""


class CanvasReader(Reader):
    """The records of `inner`, each as `prompt`, `gold`, `license` and `traces`."""

    def __init__(self, inner: Reader, fields: CanvasFields) -> None:
        self._inner, self._fields = inner, fields

    def name(self) -> str:
        """The name of the data."""
        return self._inner.name()

    def fingerprint(self) -> str:
        """The fingerprint of the data, and the columns that are read."""
        return f"{self._inner.fingerprint()} {self._fields}"

    def records(self, paths: tuple[str, ...] | None) -> Iterator[Record]:
        """Every record. `paths` names our columns, so `inner` is asked for what they come from."""
        for record in self._inner.records(self._fields.paths):
            yield record if record.value is None else self._read(record, record.value)

    def _read(self, record: Record, row: RawRow) -> Record:
        fields = self._fields
        found = find_paths(row, fields.text)
        gold = _first(row, fields.gold, GOLDS)
        if gold is ABSENT and fields.gold_in_summary and found.summary:
            gold = found.summary
        value = {
            "prompt": _prompt(row, fields.prompt),
            "gold": gold,
            "license": dig(row, fields.license or LICENSE),
            "traces": [dict(trace) for trace in found.traces],
        }
        value = {name: one for name, one in value.items() if one is not ABSENT}
        if record.reason or not found.fault:
            return replace(record, value=value)
        return replace(record, value=value, reason=RowFault.NO_CANVAS, detail=found.fault)


def find_paths(row: RawRow, column: str | None) -> FoundPaths:
    """The paths of a row: those of our release, or those in its text (`column`, if it is named)."""
    listed = row.get(PATHS)
    if column is None and isinstance(listed, list) and all(isinstance(p, Mapping) for p in listed):
        summary = row.get(SUMMARY)
        return FoundPaths(
            tuple(
                {
                    "text": dig(path, "text"),
                    "model": dig(path, "trace.teacher"),
                    "correct": dig(path, "grade"),
                }
                for path in listed
            ),
            summary if isinstance(summary, str) else "",
        )
    text = dig(row, column) if column else _text(row)
    if not isinstance(text, str):
        where = f"column {column!r} holds no text" if column else "no column holds text"
        return FoundPaths(fault=f"{where} with paths between markers")
    return parse(text)


def parse(text: str) -> FoundPaths:
    """The paths and the summary of a text with markers, or what is wrong with it."""
    if (blocks := text.count(_BLOCK)) > 1:
        return FoundPaths(fault=f"{blocks} blocks {_BLOCK}: their paths are parts of a solution")
    numbered = _THINK.findall(text)
    paths = [path for _, path in numbered] or _PATH.findall(text)
    if not paths:
        return FoundPaths(fault="no path between markers (<think 1>, <think1> or <Path>)")
    if len(paths) != len(_OPENING.findall(text)):
        return FoundPaths(fault="a path is not closed")
    if numbered and [int(number) for number, _ in numbered] != [*range(1, len(numbered) + 1)]:
        return FoundPaths(fault=f"the markers do not number {len(numbered)} paths in order")
    if "<Goal>" in text and all(_NUMBER.match(path) for path in paths):
        paths = [_NUMBER.sub("", path, count=1) for path in paths]
    summary = _SUMMARY.search(text)
    return FoundPaths(
        tuple({"text": path.strip()} for path in paths), summary[2].strip() if summary else ""
    )


def _first(row: RawRow, column: str | None, usual: Sequence[str]) -> object:
    """The value of the named column, or of the first usual one that the row has."""
    if column is not None:
        return dig(row, column)
    values = (dig(row, name) for name in usual)
    return next((value for value in values if value is not ABSENT and value is not None), ABSENT)


def _prompt(row: RawRow, column: str | None) -> object:
    """The prompt: a text, or the first turn of a user in a chat."""
    value = _first(row, column, (*PROMPTS, *CHATS))
    return _turn(value, ("user", "human"), 0) if isinstance(value, list) else value


def _text(row: RawRow) -> object:
    """The text that may hold the paths: a column, or the last turn of a model in a chat."""
    value = _first(row, None, (*TEXTS, *CHATS))
    return _turn(value, ("assistant", "gpt"), -1) if isinstance(value, list) else value


def _turn(chat: Sequence[object], roles: Sequence[str], which: int) -> object:
    """The text of a turn of one of `roles`, in the form of OpenAI or of ShareGPT; ABSENT: none."""
    turns = [t for t in chat if isinstance(t, Mapping) and t.get("role", t.get("from")) in roles]
    return turns[which].get("content", turns[which].get("value")) if turns else ABSENT
