"""NVIDIA NeMo AutoModel: `messages` as JSON Lines, for its class `ChatDataset`.

Source: nemo_automodel/components/datasets/llm/chat_dataset.py and examples/dllm_sft/llada2_sft.yaml
of the repository NVIDIA-NeMo/Automodel. A row needs a list `messages`; other keys but `tools` are
ignored. A local file is read as a whole and split by `str.splitlines`, which also breaks at U+2028
and the like, so all characters beyond ASCII must be escaped, as they are in every file here. The
tokenizer must have a chat template. The class cuts only if its option `truncation` says so, as that
example does at 1,024 tokens, and then at the end.
"""

from curation.exports import ExportFormat
from curation.exports._messages import messages


def build() -> ExportFormat:
    """`train.jsonl` and `validation.jsonl`."""
    return ExportFormat(lines=messages)
