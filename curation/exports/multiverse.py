"""Multiverse: fork and join (`<Goal>`, paths and `<Conclusion>` in `<Parallel>`) as JSON Lines.

Source: data/prompt/step3-prompt.txt, data/src/data/tokenization_multiverse.py,
train/sft_multiverse.py and train/utils.py of Multiverse, read in a copy (the folder Multiverse of
the repository ryogishiki-0217/Multiverse), because the authors' own repository is not stored. The
trainer reads a column `text` with the chat markup of Qwen2.5, and computes positions of paths only
behind a `<Goal>`. An outline says what its path finds out. Ours all find out the same, so each
outline is one fixed sentence. No system turn is written, and the sentence that the authors add to a
question to ask for parallel thinking is left to the user.
"""

import re
from collections.abc import Sequence

from curation.exports import ExportFormat, Line, RowRefusal
from curation.exports._markers import CHAT, find_marker
from schemas.records import Released

OUTLINE = "The whole problem, solved independently."
MARKERS = re.compile(r"</?(?:Think|Parallel|Goal|Outline|Path|Conclusion)>")


def block(row: Released) -> str:
    """The fork, the numbered paths and the join of a canvas."""
    numbers = range(1, len(row.paths) + 1)
    outlines = "\n".join(f"<Outline>\n{n}: {OUTLINE}\n</Outline>" for n in numbers)
    paths = "\n".join(f"<Path>\n{n}: {path.text}\n</Path>" for n, path in enumerate(row.paths, 1))
    return (
        f"<Parallel>\n<Goal>\n{outlines}\n</Goal>\n{paths}\n"
        f"<Conclusion>\n{row.summary}\n</Conclusion>\n</Parallel>"
    )


def lines(row: Released) -> Sequence[Line] | RowRefusal:
    """`text`, and beside it `problem`, `gold` and `id`."""
    if refusal := find_marker(row, MARKERS, CHAT):
        return refusal
    text = (
        f"<|im_start|>user\n{row.prompt}<|im_end|>\n<|im_start|>assistant\n"
        f"<Think>\n{block(row)}\n</Think>\n\nAnswer: {row.gold}<|im_end|>\n"
    )
    return [{"text": text, "problem": row.prompt, "gold": row.gold, "id": row.id}]


def build() -> ExportFormat:
    """`train.jsonl` and `test.jsonl`, which is the split that the trainer evaluates."""
    return ExportFormat(lines=lines, validation="test")
