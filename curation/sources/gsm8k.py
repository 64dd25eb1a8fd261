"""GSM8K (Cobbe et al. 2021): grade-school word problems whose gold follows `####`.

From the hub (`openai/gsm8k`, config main), or from files of that schema. The file of recorded
samples, example_model_solutions.jsonl, is recognised by its columns: gold after `A:`, and four
models' solutions with their labels.
"""

from collections.abc import Sequence
from typing import Literal

from curation.sources import Source
from curation.sources._tabular import MAX_CHARS, Tabular
from curation.sources.columns.fields import (
    RawRow,
    SourceLayout,
    TraceColumns,
    first_present,
    require,
    require_traces,
)
from curation.sources.columns.gold import plain_number
from curation.sources.readers.choose import choose

REPO = "openai/gsm8k"

EXAMPLE_MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
EXAMPLE_TRACES = TraceColumns(
    columns={name: f"{name}.solution" for name in EXAMPLE_MODELS}, correct="is_correct"
)


def build(
    *,
    path: str | None = None,
    split: Literal["train", "test"] = "train",
    revision: str | None = None,
    traces: TraceColumns | None = None,
    strip_annotations: bool = True,
    self_contained: bool = True,
    max_chars: int = MAX_CHARS,
    license: str = "mit",
    label: str | None = None,
) -> Source:
    """GSM8K; the shared options are described in `_tabular.py`.

    `path` is a file or a folder of Parquet, JSONL or CSV files of the schema, or a URL; default:
    the hub, where `split` and `revision` (branch, tag or commit) hold. `traces` defaults to the
    columns of example_model_solutions.jsonl.
    """

    def resolve(sample: Sequence[RawRow], label: str) -> SourceLayout:
        require(sample, "question", "kind gsm8k", label)
        if traces is not None:
            require_traces(sample, traces, label)
        is_example = first_present(sample, ("answer", "ground_truth")) == "ground_truth"
        has_models = first_present(sample, EXAMPLE_MODELS) is not None
        return SourceLayout(
            prompt="question",
            gold="ground_truth" if is_example else "answer",
            gold_after="A:" if is_example else "####",
            traces=traces or (EXAMPLE_TRACES if has_models else None),
        )

    return Tabular(
        reader=choose(path, repo=REPO, config="main", split=split, revision=revision),
        resolve=resolve,
        license=license,
        label=label,
        max_chars=max_chars,
        strip_annotations=strip_annotations,
        self_contained=self_contained,
        tidy_gold=plain_number,
    )
