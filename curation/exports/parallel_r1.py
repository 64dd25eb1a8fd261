"""Parallel-R1: `<Parallel><Path>…</Path>…</Parallel>`, `<Summary>…</Summary>`, as Parquet.

Source: verl/verl/utils/dataset/parallel_thinking_sft_dataset.py, verl/training_scripts/sft_exp.sh,
verl/verl/utils/reward_score/gsm8k_accuracy_add_parallel.py and the Parquet files of
verl/data_preprocess_scripts/data in the repository zhengkid/Parallel-R1. The trainer reads
`extra_info.question` and `extra_info.answer`. Nothing stands between two paths, because a path must
not see its sibling; a block has at least two; a line `Final Answer:` ends the answer, which the
reward of the later stages looks for. In the published files a block stands in the midst of a
solution; here the paths are whole solutions.
"""

import re
from collections.abc import Sequence

import pyarrow as pa

from curation.exports import ExportFormat, Line, RowRefusal
from curation.exports._markers import CHAT, find_marker
from curation.exports._messages import turn
from schemas.records import Released

FEWEST_PATHS = 2
MARKERS = re.compile(r"</?(?:Parallel|Path|Summary)>")
TURN = pa.struct([("content", pa.string()), ("role", pa.string())])
SCHEMA = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", pa.list_(TURN)),
        ("reward_model", pa.struct([("ground_truth", pa.string()), ("style", pa.string())])),
        (
            "extra_info",
            pa.struct([("answer", pa.string()), ("id", pa.string()), ("question", pa.string())]),
        ),
    ]
)


def lines(row: Released) -> Sequence[Line] | RowRefusal:
    """One line with the columns of `SCHEMA`."""
    if refusal := find_marker(row, MARKERS, CHAT):
        return refusal
    if len(row.paths) < FEWEST_PATHS:
        return RowRefusal("too_few_paths", "one path; a block of it has at least two")
    paths = "".join(f"<Path>\n{path.text}\n</Path>" for path in row.paths)
    answer = (
        f"<Parallel>{paths}</Parallel>\n<Summary>\n{row.summary}\n</Summary>\n\n"
        f"Final Answer: {row.gold}"
    )
    return [
        {
            "data_source": row.source,
            "prompt": [turn("user", row.prompt)],
            "reward_model": {"style": "rule", "ground_truth": row.gold},
            "extra_info": {"question": row.prompt, "answer": answer, "id": row.id},
        }
    ]


def build() -> ExportFormat:
    """`train.parquet` and `validation.parquet`."""
    return ExportFormat(lines=lines, schema=SCHEMA)
