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
    """A hub source.

    Args:
        repo: hub id (owner/name), or a local folder in the hub's layout.
        config: the dataset's configuration.
        split: the split to read.
        revision: branch, tag or commit; default: the main branch as it stands now.
        columns: where prompt and gold stand (dotted paths); default: the usual names.
        gold_after: the gold is what follows the last occurrence of this mark.
        traces: where recorded traces stand.
        strip_annotations: remove GSM8K's calculator annotations from recorded traces.
        self_contained: reject prompts that point at a drawing, an image or a link they lack.
        max_chars: the longest prompt.
        license: SPDX-like id of the data's license.
        label: the data's name on cards; default: hub id@commit.
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
