"""OpenR1-Math-220k: problems with one to six generations of DeepSeek-R1 each, Math-Verify labelled.

From the hub (`open-r1/OpenR1-Math-220k`), or from Parquet or JSONL files of that schema. Labels and
finish reasons are null in many rows. Without a column `answer` every row is a counted rejection.
"""

from collections.abc import Sequence
from typing import Literal

from curation.sources import Source
from curation.sources._tabular import MAX_CHARS, Tabular
from curation.sources.columns.fields import RawRow, SourceLayout, TraceColumns, require
from curation.sources.readers.choose import choose

REPO = "open-r1/OpenR1-Math-220k"

GENERATIONS = TraceColumns(
    column="generations",
    correct="correctness_math_verify",
    finish_reason="finish_reasons",
    model_name="deepseek-ai/DeepSeek-R1",  # the data card's only teacher
)


def build(
    *,
    path: str | None = None,
    config: Literal["default", "extended", "all"] = "default",
    revision: str | None = None,
    traces: TraceColumns = GENERATIONS,
    strip_annotations: bool = False,
    self_contained: bool = True,
    max_chars: int = MAX_CHARS,
    license: str = "apache-2.0",
    label: str | None = None,
) -> Source:
    """OpenR1-Math; the shared options are described in `_tabular.py`.

    `path` is a file or a folder of Parquet, JSONL or CSV files of the schema, or a URL; default:
    the hub, where `config` (default: 93,733 rows, extended: 131,396, or all) and `revision`
    (branch, tag or commit) hold.
    """

    def resolve(sample: Sequence[RawRow], label: str) -> SourceLayout:
        require(sample, "problem", "kind openr1_math", label)
        return SourceLayout(prompt="problem", gold="answer", traces=traces)

    return Tabular(
        reader=choose(path, repo=REPO, config=config, split="train", revision=revision),
        resolve=resolve,
        license=license,
        label=label,
        max_chars=max_chars,
        strip_annotations=strip_annotations,
        self_contained=self_contained,
    )
