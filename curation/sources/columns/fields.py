"""Which columns of a row mean what: the option models shared by all tabular sources.

Rows come in as mappings of plain Python values (str, int, float, Decimal, bool, None, list, dict),
the only shape that every file format shares; `dig` takes one value out by a dotted path.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from support.errors import UserError
from support.plugins import hint

RawRow = Mapping[str, object]

ABSENT: Final = object()
"""What `dig` returns where a path leads nowhere; None is a value."""

SHOWN_NAMES = 40

_Path = Annotated[str, Field(min_length=1)]


class Options(BaseModel):
    """A strict section of a source's options; an unknown key is an error with a suggestion."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for name in data:
                if name not in cls.model_fields:
                    raise ValueError(
                        f"unknown key {name!r}; {hint(str(name), tuple(cls.model_fields))}"
                    )
        return data


class Columns(Options):
    """Where prompt and gold stand; a dotted path leads into nested objects.

    A prompt and a gold that are not named are looked for under the usual names (`PROMPT_NAMES`,
    `GOLD_NAMES`); choices and tests are read where they are named.
    """

    prompt: str | None = Field(default=None, min_length=1)
    gold: str | None = Field(default=None, min_length=1)
    license: str | None = Field(default=None, min_length=1, description="Where rows differ.")
    choices: _Path | Annotated[tuple[_Path, ...], Field(min_length=2)] | None = Field(
        default=None,
        description="The options of a question: a column with a list of texts, a mapping of "
        "letters to texts, or a mapping with a list `text`, in CSV as JSON; or several columns, "
        "one for each option.",
    )
    tests: str | None = Field(
        default=None, min_length=1, description="Tests of a program; then no gold is needed."
    )

    @property
    def choice_columns(self) -> tuple[str, ...]:
        """The column of all options, or those of each."""
        return (self.choices,) if isinstance(self.choices, str) else self.choices or ()


class TraceColumns(Options):
    """Where recorded traces stand.

    Either `column`: a list column of texts, or of objects whose field `text` holds the text; then
    `model`, `correct` and `finish_reason` name fields of these objects, or list columns aligned
    with `column`. Or `columns`: name -> path of one text each; then the name is the model, and
    `correct` and `finish_reason` are siblings of the text. Labels may be null or absent.
    `group: prompt` joins the traces of all rows of one prompt: for one generation a row.
    """

    column: str | None = Field(default=None, min_length=1)
    columns: Mapping[str, str] | None = Field(default=None, min_length=1)
    text: str | None = Field(default=None, min_length=1)
    model: str | None = Field(default=None, min_length=1)
    model_name: str | None = Field(default=None, description="The model where no column names it.")
    correct: str | None = Field(default=None, min_length=1)
    finish_reason: str | None = Field(default=None, min_length=1)
    group: Literal["prompt"] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "TraceColumns":
        if (self.column is None) == (self.columns is None):
            raise ValueError("give either column (a list column) or columns (name: path), not both")
        if self.columns is not None and (self.text or self.model):
            raise ValueError("text and model belong to column; with columns, each path is the text")
        return self

    @property
    def texts(self) -> list[str]:
        """The paths of the texts: that of the list column, or those of `columns`, sorted."""
        return [self.column] if self.column else sorted((self.columns or {}).values())


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLayout:
    """The columns of one source, resolved; `gold_after` is the mark that precedes the gold."""

    prompt: str
    gold: str | None
    gold_after: str | None = None
    traces: TraceColumns | None = None
    license: str | None = None
    choices: str | tuple[str, ...] | None = None
    tests: str | None = None

    def paths(self, *, traces: bool) -> tuple[str, ...]:
        """Every path that has to be read."""
        choices = (self.choices,) if isinstance(self.choices, str) else self.choices or ()
        single = (self.prompt, self.gold, self.license, *choices, self.tests)
        paths = [path for path in single if path]
        spec = self.traces
        if traces and spec is not None:
            labels = [p for p in (spec.model, spec.correct, spec.finish_reason) if p]
            paths += [*spec.texts, *labels]
            paths += [sibling(text, label) for text in spec.texts for label in labels]
        return tuple(dict.fromkeys(paths))


def dig(row: object, path: str) -> object:
    """The value at a dotted path, or ABSENT; a name that holds dots itself comes first."""
    if not isinstance(row, Mapping):
        return ABSENT
    if path in row:
        return row[path]
    name, dot, rest = path.partition(".")
    return dig(row[name], rest) if dot and name in row else ABSENT


def sibling(path: str, name: str) -> str:
    """The path of `name` beside `path`: ("a.b", "c") -> "a.c"."""
    parent, dot, _ = path.rpartition(".")
    return f"{parent}{dot}{name}"


def names(sample: Iterable[RawRow]) -> tuple[str, ...]:
    """The columns of a sample of rows in order of appearance, one level of nesting included."""
    columns: dict[str, None] = {}
    for row in sample:
        for name, value in row.items():
            columns[printable(name)] = None
            if isinstance(value, Mapping):
                columns.update(dict.fromkeys(f"{printable(name)}.{printable(n)}" for n in value))
    return tuple(columns)


def require(sample: Sequence[RawRow], path: str, option: str, label: str) -> None:
    """UserError if no row of a non-empty sample has `path`; the columns that exist are listed."""
    if sample and all(dig(row, path) is ABSENT for row in sample):
        raise UserError(
            _missing(f"{label}: {option}: no column {path!r}", path, names(sample), len(sample))
        )


def require_traces(sample: Sequence[RawRow], spec: TraceColumns, label: str) -> None:
    """UserError if a column of recorded traces, of their text or of a label, is not there."""
    for path in spec.texts:
        require(sample, path, "traces", label)
    values = [dig(row, path) for row in sample for path in spec.texts]
    elements = [e for value in values for e in (value if isinstance(value, list) else [value])]
    _require_labels(sample, elements, spec, label)
    if not spec.column:
        return
    objects = [e for e in elements if isinstance(e, Mapping)]
    if spec.text:
        require(objects, spec.text, f"traces.text (inside {spec.column})", label)
    elif objects and len(objects) == sum(e is not None for e in elements):
        fields = ", ".join(names(objects)[:SHOWN_NAMES])
        raise UserError(
            f"{label}: traces: the elements of {spec.column!r} are objects; set traces.text to the "
            f"field that holds the text; fields there are: {fields}"
        )


def _require_labels(
    sample: Sequence[RawRow], elements: Sequence[object], spec: TraceColumns, label: str
) -> None:
    """UserError for a `traces.correct` or the like that no row and no trace has."""
    for option in ("model", "correct", "finish_reason"):
        path: str | None = getattr(spec, option)
        if path is None or not sample:
            continue
        places = [path, *(sibling(text, path) for text in spec.texts)]
        inside = any(dig(element, path) is not ABSENT for element in elements)
        if not inside and all(dig(row, place) is ABSENT for row in sample for place in places):
            known = (*names(sample), *names([e for e in elements if isinstance(e, Mapping)]))
            what = f"{label}: traces.{option}: no column {path!r}"
            raise UserError(_missing(what, path, tuple(dict.fromkeys(known)), len(sample)))


def first_present(sample: Sequence[RawRow], choices: Sequence[str]) -> str | None:
    """The first of `choices` that some row has."""
    return next((c for c in choices if any(c in row for row in sample)), None)


def printable(name: object, longest: int = 60) -> str:
    """Foreign text made safe for a message: one line, no controls, no surrogates, cut."""
    text = str(name)[: longest + 1]
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return safe if len(text) <= longest else safe[:longest] + "…"


def _missing(what: str, path: str, existing: tuple[str, ...], rows: int) -> str:
    shown = existing[:SHOWN_NAMES]
    more = f" … and {len(existing) - len(shown)} more" if len(existing) > len(shown) else ""
    listed = hint(path, shown).replace("choices:", "columns there are:", 1)
    return f"{what} in the first {rows} rows; {listed}{more}"
