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
    """A CSV source.

    Args:
        path: a file, or a folder of .csv or .tsv files (packed too); or a URL of either.
        delimiter: what stands between two fields; default: comma, semicolon or tab, as the header.
        columns: where prompt and gold stand; default: the usual names.
        gold_after: the gold is what follows the last occurrence of this mark.
        traces: where recorded traces stand.
        strip_annotations: remove GSM8K's calculator annotations from recorded traces.
        self_contained: reject prompts that point at a drawing, an image or a link they lack.
        max_chars: the longest prompt.
        license: SPDX-like id of the data's license.
        label: the data's name on cards; default: the file's name.
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
