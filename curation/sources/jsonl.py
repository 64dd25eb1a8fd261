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
    """A JSONL source.

    Args:
        path: a file, or a folder of .jsonl, .ndjson or .json (packed too); or a URL of either.
        columns: where prompt and gold stand (dotted paths); default: the usual names.
        gold_after: the gold is what follows the last occurrence of this mark.
        traces: where recorded traces stand.
        strip_annotations: remove GSM8K's calculator annotations from recorded traces.
        self_contained: reject prompts that point at a drawing, an image or a link they lack.
        max_chars: the longest prompt.
        license: SPDX-like id of the data's license.
        label: the data's name on cards; default: the file's name.
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
