"""dFactory (LLaDA 2): `messages` as JSON Lines.

Source: scripts/build_gsm8k_dataset.py, tasks/dataset/data_transform.py and
configs/sft/llada2_flash_bd_sft.yaml of the repository inclusionAI/dFactory. `data.text_keys` names
the column, and `data.train_path` the file. The last message is the answer, whose tokens are masked.
A text of more than `data.max_seq_len` tokens (2,048 there) is cut at the end without a message.
"""

from curation.exports import ExportFormat
from curation.exports._messages import messages


def build() -> ExportFormat:
    """`train.jsonl`, and `test.jsonl` for validation, as its own script names them."""
    return ExportFormat(lines=messages, validation="test")
