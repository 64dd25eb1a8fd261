"""Prompts from a parallel corpus of anybody: its paths are recorded traces, to be graded anew.

Our own release, what `polytrace export` writes with paths, and files of the forms that
`readers/canvases.py` names. A summary is read only where it holds the gold.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from curation.sources import Source
from curation.sources._tabular import MAX_CHARS, SAMPLE_ROWS, Tabular
from curation.sources.columns.fields import Options, RawRow, SourceLayout, TraceColumns
from curation.sources.readers.canvases import CanvasFields, CanvasReader
from curation.sources.readers.choose import of_files
from support.errors import UserError

TRACES = TraceColumns(column="traces", text="text", model="model", correct="correct")


class CanvasColumns(Options):
    """Where things stand; what is not named is looked for by the usual names."""

    prompt: str | None = Field(default=None, min_length=1)
    gold: str | None = Field(default=None, min_length=1)
    text: str | None = Field(
        default=None, min_length=1, description="The text that holds the paths between markers."
    )
    license: str | None = Field(default=None, min_length=1, description="Where rows differ.")


def build(
    *,
    path: str,
    columns: CanvasColumns | None = None,
    gold_after: str | None = None,
    self_contained: bool = True,
    max_chars: int = MAX_CHARS,
    license: str = "unknown",
    label: str | None = None,
) -> Source:
    """Prompts with the paths of their canvases; the shared options are described in `_tabular.py`.

    `path` is a run, its release, or a file or a folder of Parquet or JSON Lines, or a URL of
    either. Where no column holds the gold, `gold_after` finds it in the summary.
    """
    if gold_after == "":
        raise UserError(
            "source.gold_after is empty; give the mark before the gold, or leave it out"
        )
    named = columns or CanvasColumns()
    fields = CanvasFields(
        prompt=named.prompt,
        gold=named.gold,
        text=named.text,
        license=named.license,
        gold_in_summary=gold_after is not None,
    )

    def resolve(sample: Sequence[RawRow], label: str) -> SourceLayout:
        if sample and not any(row["traces"] for row in sample):
            raise UserError(
                f"{label}: none of the first {min(len(sample), SAMPLE_ROWS)} rows holds paths in a "
                "form that is known; set columns.text to the column that has them, or give kind "
                "jsonl or parquet with traces"
            )
        return SourceLayout(
            prompt="prompt",
            gold="gold",
            gold_after=gold_after,
            traces=TRACES,
            license="license",
        )

    return Tabular(
        reader=CanvasReader(of_files(_data(path)), fields),
        resolve=resolve,
        license=license,
        label=label,
        max_chars=max_chars,
        self_contained=self_contained,
    )


def _data(path: str) -> str:
    """The folder of the data in a run or a release; `path` itself where it is neither.

    UserError for the folder of an export, which holds other files beside the rows.
    """
    root = Path(path).expanduser()
    if (root / "export.json").is_file():
        raise UserError(
            f"source path {path!r}: is the folder of an export; give one of its files, such as "
            "train.jsonl"
        )
    for folder in (root / "release" / "data", root / "data"):
        if folder.is_dir():
            return str(folder)
    return path
