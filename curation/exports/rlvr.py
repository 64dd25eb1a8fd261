"""Reinforcement learning with verifiable rewards: prompt, answer and pass rate, as Parquet.

Source: docs/preparation/prepare_data.rst of the repository volcengine/verl, whose five columns are
here, and docs/source/dataset_formats.md of huggingface/trl, whose prompt-only form has the same
column `prompt`. verl chooses a reward function by `data_source`, which is the source's label here;
name your own function for it. `pass_rate` is null in releases that do not know it. Neither paths
nor summary are written.
"""

from collections.abc import Sequence

import pyarrow as pa

from curation.exports import ExportFormat, Line, RowRefusal
from curation.exports._markers import CHAT
from curation.exports._messages import turn
from schemas.records import Released

TURN = pa.struct([("role", pa.string()), ("content", pa.string())])
SCHEMA = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", pa.list_(TURN)),
        ("ability", pa.string()),
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
        ("extra_info", pa.struct([("id", pa.string()), ("index", pa.int64())])),
        ("answer", pa.string()),
        ("pass_rate", pa.float64()),
        ("samples_drawn", pa.int64()),
        ("samples_correct", pa.int64()),
    ]
)


def lines(row: Released) -> Sequence[Line] | RowRefusal:
    """One line with the columns of `SCHEMA`; `extra_info.index` is the row in the source."""
    if found := CHAT.search(row.prompt):
        return RowRefusal("contains_marker", f"the prompt contains {found.group()!r}")
    return [
        {
            "data_source": row.source,
            "prompt": [turn("user", row.prompt)],
            "ability": "reasoning",
            "reward_model": {"style": "rule", "ground_truth": row.gold},
            "extra_info": {"id": row.id, "index": row.source_row},
            "answer": row.gold,
            "pass_rate": row.pass_rate,
            "samples_drawn": row.samples_drawn,
            "samples_correct": row.samples_correct,
        }
    ]


def build() -> ExportFormat:
    """`train.parquet` and `validation.parquet`."""
    return ExportFormat(lines=lines, schema=SCHEMA)
