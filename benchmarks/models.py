"""Random models of a given size: what they say means nothing, what they cost does."""

from pathlib import Path
from typing import Any


def random_llama(
    folder: Path, *, vocabulary: int, layers: int = 8, hidden: int = 512, heads: int = 8
) -> Path:
    """A Llama with a tokenizer of single bytes; float32, and the same weights each time."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|end|>"]
    tokenizer = Tokenizer(models.BPE(vocab={w: i for i, w in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=tokenizer, eos_token="<|end|>").save_pretrained(folder)
    torch.manual_seed(0)
    model: Any = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=hidden * 8 // 3 // 64 * 64,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=16_384,
            bos_token_id=None,
            eos_token_id=len(words) - 1,
        )
    )
    model.save_pretrained(folder)
    return folder


def random_masked_lm(
    tokenizer: Any, *, vocabulary: int, layers: int, hidden: int, heads: int, inner: int
) -> Any:
    """A ModernBERT in which every layer sees the whole row; the same weights each time."""
    import torch
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    torch.manual_seed(0)
    return ModernBertForMaskedLM(
        ModernBertConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=inner,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=1024,
            global_attn_every_n_layers=1,  # type: ignore[call-arg]
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            cls_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            sep_token_id=tokenizer.eos_token_id,
        )
    )
