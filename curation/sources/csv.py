"""Prompts from CSV with a header line: one file, or the .csv and .tsv files of a folder by name."""

from typing import Annotated

from pydantic import Field

from curation.sources import Source
from curation.sources._tabular import MAX_CHARS, Tabular, configured
from curation.sources.columns.fields import Columns, TraceColumns
from curation.sources.readers.csv import CsvReader


def build(
    *,
    path: str,
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None,
    columns: Columns | None = None,
    gold_after: str | None = None,
    traces: TraceColumns | None = None,
    strip_annotations: bool = False,
    self_contained: bool = True,
    max_chars: int = MAX_CHARS,
    license: str = "unknown",
    label: str | None = None,
) -> Source:
    """Prompts from CSV files; the shared options are described in `_tabular.py`.

    `path` is a file, or a folder of .csv or .tsv files (packed too), or a URL of either.
    `delimiter` stands between two fields; default: comma, semicolon or tab, as in the header.
    """
    return Tabular(
        reader=CsvReader(path, delimiter),
        resolve=configured(columns, gold_after, traces),
        license=license,
        label=label,
        max_chars=max_chars,
        strip_annotations=strip_annotations,
        self_contained=self_contained,
    )
