"""Preference pairs for DPO: a right path, and a wrong path of the same canvas, as JSON Lines.

Source: docs/source/dataset_formats.md of the repository huggingface/trl (preference,
conversational, explicit prompt). The first right path is paired with the first wrong one, and so
on, so that no path is used twice. A path whose answer could not be read, or was not decided in
time, is no wrong one.
"""

from collections.abc import Sequence

from curation.exports import ExportFormat, Line, RowRefusal
from curation.exports._markers import CHAT, find_marker
from curation.exports._messages import turn
from schemas.records import Grade, Released


def lines(row: Released) -> Sequence[Line] | RowRefusal:
    """As many pairs as there are right or wrong paths, whichever are fewer."""
    if refusal := find_marker(row, CHAT):
        return refusal
    right = [path.text for path in row.paths if path.grade is Grade.CORRECT]
    wrong = [path.text for path in row.paths if path.grade is Grade.WRONG]
    if not right:
        return RowRefusal("no_right_path", f"none of its {len(row.paths)} paths is right")
    if not wrong:
        return RowRefusal("no_wrong_path", f"none of its {len(row.paths)} paths is graded as wrong")
    return [
        {
            "prompt": [turn("user", row.prompt)],
            "chosen": [turn("assistant", chosen)],
            "rejected": [turn("assistant", rejected)],
            "gold": row.gold,
            "id": row.id,
        }
        for chosen, rejected in zip(right, wrong, strict=False)
    ]


def build() -> ExportFormat:
    """`train.jsonl` and `validation.jsonl`."""
    return ExportFormat(lines=lines)
