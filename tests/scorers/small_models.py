"""Small real models for the scorers' tests: random weights, a byte-level BPE made on the spot."""

from functools import cache
from pathlib import Path
from typing import Any

CORPUS = (
    "Tom has 3 boxes of 12 apples and 4 bags.\n3 * 12 = 36\n36 + 24 = 60\nThe answer is 60.",
    "<think 1>\nHe pays $3.50 a day. So 3.5 * 2 = 7.\n</think 1>\n<summary>\nIt is 7.\n</summary>",
    "é漢字🙂 naïve café\n\nÜber allem  steht   x² + y² = 1. \tDone!",
) * 3
TEMPLATE = (
    "{% for m in messages %}<|user|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|bot|>{% endif %}"
)
SPECIAL = ("<|end|>", "<|user|>", "<|bot|>")


@cache
def byte_level_bpe() -> Any:
    """A byte-level BPE of 320 tokens that trims offsets, as GPT-2's does, three of them special."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def save(
    folder: Path, config: str, *, chat: bool = True, auto: str = "CausalLM", **options: Any
) -> Path:
    """A model directory `folder/model` of two layers; `config` is a configuration class's name."""
    import torch
    import transformers

    directory = folder / "model"
    fast: Any = transformers.PreTrainedTokenizerFast
    tokenizer = fast(
        tokenizer_object=byte_level_bpe(),
        eos_token="<|end|>",
        additional_special_tokens=["<|user|>", "<|bot|>"],
    )
    if chat:
        tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(directory)
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,  # far from uniform, so that every mistake shows
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": 0,
    }
    settings = getattr(transformers, config)(**(sizes | options))
    torch.manual_seed(0)
    model: Any = getattr(transformers, f"AutoModelFor{auto}").from_config(settings)
    model.save_pretrained(directory)
    return directory
