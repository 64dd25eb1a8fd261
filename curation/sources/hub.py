"""Prompts from any dataset on the Hugging Face hub, streamed at a pinned commit.

Private data needs a token in the environment (HF_TOKEN); it is never an option here.
"""

from curation.sources import Source
from curation.sources._tabular import MAX_CHARS, Tabular, configured
from curation.sources.columns.fields import Columns, TraceColumns
from curation.sources.readers.hub import HubReader


def build(
    *,
    repo: str,
    config: str | None = None,
    split: str = "train",
    revision: str | None = None,
    columns: Columns | None = None,
    gold_after: str | None = None,
    traces: TraceColumns | None = None,
    strip_annotations: bool = False,
    self_contained: bool = True,
    max_chars: int = MAX_CHARS,
    license: str = "unknown",
    label: str | None = None,
) -> Source:
    """Prompts from the hub; the shared options are described in `_tabular.py`.

    `repo` is a hub id (owner/name), or a local folder in the hub's layout. `config` and `split`
    name the part that is read. `revision` is a branch, tag or commit; default: the main branch as
    it is now.
    """
    return Tabular(
        reader=HubReader(repo=repo, config=config, split=split, revision=revision),
        resolve=configured(columns, gold_after, traces),
        license=license,
        label=label,
        max_chars=max_chars,
        strip_annotations=strip_annotations,
        self_contained=self_contained,
    )
