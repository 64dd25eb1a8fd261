"""SDAR, through its fork of LLaMA-Factory: `messages` as JSON Lines, and `dataset_info.json`.

Source: the guide and data/dataset_info.json of training/llama_factory_sdar in the repository
JetAstra/SDAR, read in copies of it (AlekseyCalvin/SDAR), because the stored copy of the original
lacks that folder; data/README.md of the repository hiyouga/LLaMA-Factory. The format is `sharegpt`
with the tags of OpenAI's messages, as for the dataset `open_r1_math` of SDAR's own example. Its
template `qwen3` gives `<think>` a meaning.
"""

import json
from collections.abc import Mapping, Sequence

from curation.exports import ExportFormat
from curation.exports._messages import messages

TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
}


def dataset_info(names: Sequence[str]) -> Mapping[str, str]:
    """`dataset_info.json` with an entry `polytrace_train`, `polytrace_validation` for each file."""
    entries = {
        f"polytrace_{name.partition('.')[0]}": {
            "file_name": name,
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": TAGS,
        }
        for name in names
    }
    return {"dataset_info.json": json.dumps(entries, indent=2) + "\n"}


def build() -> ExportFormat:
    """`train.jsonl`, `validation.jsonl` and `dataset_info.json`, which describes both."""
    return ExportFormat(lines=messages, beside=dataset_info)
