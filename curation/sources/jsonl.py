"""Prompts from JSON Lines or JSON: one file, or the .jsonl files of a folder by their names."""

from curation.sources import Source
from curation.sources._tabular import MAX_CHARS, Tabular, configured
from curation.sources.columns.fields import Columns, TraceColumns
from curation.sources.readers.jsonl import JsonlReader


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
    """Prompts from JSON Lines; the shared options are described in `_tabular.py`.

    `path` is a file, or a folder of .jsonl, .ndjson or .json files (packed too), or a URL.
    """
    return Tabular(
        reader=JsonlReader(path),
        resolve=configured(columns, gold_after, traces),
        license=license,
        label=label,
        max_chars=max_chars,
        strip_annotations=strip_annotations,
        self_contained=self_contained,
    )
