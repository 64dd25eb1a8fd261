"""ParaThinker: `<think1>…</think1><think2>…</think2><summary>…</summary>` as JSON Lines.

Source: train/train_script.py (the special tokens `<think1>` to `<think8>` and `<summary>`) and
train/custom_data_collator.py of the repository MobileLLM/ParaThinker, and
examples/parathinker/example.py of LeslieKid/vllm-parathinker. Three facts follow from the collator.
It takes the first marker of a row for one of the prompt, so the prompt must name `<summary>` once.
The last one must be the `<summary>` of the answer. Paths beyond the sixth may end the training,
because it exchanges the markers of two random paths for those of the seventh and eighth.

The trainer loads token ids that `datasets` saved to a folder (`input_ids`, `labels`); this file
holds the texts, and docs/export.md says how they become token ids. White space between markers
could not be verified in the published data; there is none here.
"""

import re
from collections.abc import Sequence

from curation.exports import ExportFormat, Line, RowRefusal
from curation.exports._markers import CHAT, find_marker
from schemas.records import Released

MOST_PATHS = 6
ASK = "Write several solutions side by side, then <summary> the final answer </summary>."
MARKERS = re.compile(r"</?(?:think[0-9]+|summary)>|<vllm_pad>")


def lines(row: Released) -> Sequence[Line] | RowRefusal:
    """`problem`, `prompt` (which names the summary's marker), `response`, `gold` and `id`."""
    if refusal := find_marker(row, MARKERS, CHAT):
        return refusal
    if len(row.paths) > MOST_PATHS:
        detail = f"{len(row.paths)} paths; its training takes at most {MOST_PATHS}"
        return RowRefusal("too_many_paths", detail)
    paths = (f"<think{n}>{path.text}</think{n}>" for n, path in enumerate(row.paths, 1))
    return [
        {
            "problem": row.prompt,
            "prompt": f"{row.prompt}\n{ASK}",
            "response": f"{''.join(paths)}<summary>{row.summary}</summary>",
            "gold": row.gold,
            "id": row.id,
        }
    ]


def build() -> ExportFormat:
    """`train.jsonl` and `validation.jsonl`."""
    return ExportFormat(lines=lines)
