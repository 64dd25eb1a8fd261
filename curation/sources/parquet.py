"""Prompts from Parquet: one file, or the .parquet files of a folder in order of their names."""

from curation.sources import Source
from curation.sources._tabular import MAX_CHARS, Tabular, configured
from curation.sources.columns.fields import Columns, TraceColumns
from curation.sources.readers.parquet import ParquetReader


def build(
    *,
    path: str,
    columns: Columns | None = None,
    gold_after: str | None = None,
    traces: TraceColumns | None = None,
    strip_annotations: bool = False,
    self_contained: bool = True,
    max_chars: int = MAX_CHARS,
    license: str = "unknown",
    label: str | None = None,
) -> Source:
    """Prompts from Parquet, of which only the columns in use are read.

    `path` is a file, or a folder of .parquet files, or a URL of either. The shared options are
    described in `_tabular.py`.
    """
    return Tabular(
        reader=ParquetReader(path),
        resolve=configured(columns, gold_after, traces),
        license=license,
        label=label,
        max_chars=max_chars,
        strip_annotations=strip_annotations,
        self_contained=self_contained,
    )
