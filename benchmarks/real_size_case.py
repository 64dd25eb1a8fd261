"""The ways of `real_size.py`: random models of one size, and what decodes a batch with each.

A random model's output is made steep, as a trained one's is: else all tokens tie. Prompts are
random and of one length, since Fast-dLLM's LLaDA code takes no padding.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import decoding_peer
from benchmarks.real_size_peers import DLLM, FAST_DLLM, dllm, fast_dllm
from diffusion.data.layout import CanvasLayout
from diffusion.decoding import Rule
from diffusion.decoding.decode import Request, decode
from diffusion.decoding.kv_cache import CachedPositions, CacheSettings
from diffusion.decoding.rules.blockwise import Blockwise
from diffusion.decoding.rules.confidence import Confidence
from diffusion.models import dream, llada, sdar
from diffusion.models.network.denoiser import Denoiser, Dlm

Way = Callable[[], list[list[int]]]
PROMPT, MASKS, BLOCK, STEPS = 192, 64, 32, 16
EXACT_STEPS = 4  # of the Dream, whose every step costs the same
SDAR_BLOCK = 4
_STEEP = 8.0
_VOCABULARY, _HIDDEN, _INNER, _LAYERS, _HEADS = 49_152, 768, 2048, 14, 12
MASK = _VOCABULARY - 1
_QWEN = {
    "vocab_size": _VOCABULARY,
    "hidden_size": _HIDDEN,
    "intermediate_size": _INNER,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "tie_word_embeddings": False,
}
LLADA = {
    "d_model": _HIDDEN,
    "n_heads": _HEADS,
    "n_layers": _LAYERS,
    "mlp_hidden_size": _INNER,
    "vocab_size": _VOCABULARY,
    "max_sequence_length": 2048,
    "rope_theta": 5e5,
    "weight_tying": False,
}
_LAYOUT = CanvasLayout(headers=((),), slots=(MASKS,), fill_id=0)


def dream_ways(batch: int, device: str, dtype: torch.dtype) -> Mapping[str, Way]:
    """Exact decoding: ours, the plain loop, dLLM's sampler where it is."""
    raw = _steep(dream.blank(_QWEN, dtype, trust=False), device)
    ours = _ours(_steep(dream.blank(_QWEN, dtype, trust=False), device), "dream", batch)
    laid = decoding_peer.laid(_LAYOUT, requests(batch), MASK, device)

    def plain() -> list[list[int]]:
        ids_BT, _ = decoding_peer.decode(raw, laid, MASK, EXACT_STEPS, shift=True)
        return [row[PROMPT:] for row in ids_BT.tolist()]

    ways = {"ours": ours(Confidence(), EXACT_STEPS, None), "plain": plain}
    if (sample := dllm()) is not None:
        ways[DLLM] = lambda: [
            row[PROMPT:] for row in sample(raw, laid.ids_BT[:, :PROMPT], MASK, MASKS, EXACT_STEPS)
        ]
    return ways


def llada_ways(batch: int, device: str, dtype: torch.dtype) -> Mapping[str, Way]:
    """Blocks without a cache, with two, and with Fast-dLLM's where its code is."""
    net = _steep(llada.blank(LLADA, dtype, trust=False), device)
    theirs = fast_dllm(net, LLADA, llada.rename, MASK)
    ours = _ours(net, "llada", batch)
    rule = Blockwise(block=BLOCK)
    ways = {
        "exact": ours(rule, STEPS, None),
        "dual": ours(rule, STEPS, CachedPositions.DUAL),
        "prefix": ours(rule, STEPS, CachedPositions.PREFIX),
    }
    if theirs is not None:
        prompts_BT = torch.from_numpy(np.stack([one.prompt for one in requests(batch)])).long()

        def fast(kind: str) -> list[list[int]]:
            ids_BT = theirs(kind, prompts_BT.to(device), MASKS, BLOCK, STEPS, MASK)
            return [row[PROMPT:] for row in ids_BT]

        for kind in ("dual", "prefix"):
            ways[f"{FAST_DLLM}_{kind}"] = partial(fast, kind)
    return ways


def sdar_ways(batch: int, device: str, dtype: torch.dtype) -> Mapping[str, Way]:
    """A block-causal model in its own blocks, two steps each, with and without its exact cache."""
    net = _steep(sdar.blank({**_QWEN, "model_type": "sdar"}, dtype, trust=False), device)
    ours = _ours(net, "sdar", batch, SDAR_BLOCK)
    rule, steps = Blockwise(block=SDAR_BLOCK), MASKS // 2
    return {
        "exact": ours(rule, steps, None),
        "finished": ours(rule, steps, CachedPositions.FINISHED),
    }


def requests(batch: int) -> list[Request]:
    """Random prompts of one length, the same each time."""
    draw = np.random.default_rng(0)
    return [Request(str(i), draw.integers(5, 900, PROMPT).astype(np.int32)) for i in range(batch)]


def _steep(net: Any, device: str) -> Any:
    draw = torch.Generator().manual_seed(0)
    for name, weight in net.named_parameters():
        if weight.ndim == 2:
            weight.data.copy_(torch.empty(weight.shape).normal_(0, 0.06, generator=draw))
        elif name.endswith("norm.weight"):
            weight.data.fill_(1.0)
    net.base_model.norm.weight.data.mul_(_STEEP)
    return net.to(device).eval()


def _ours(
    net: Any, family: str, batch: int, block: int | None = None
) -> Callable[[Rule, int, CachedPositions | None], Way]:
    shift = family == "dream"
    dlm = Dlm(
        family=family,
        denoiser=Denoiser(net, shift=shift, block=block).eval(),
        tokenizer=None,
        mask_id=MASK,
        fill_id=0,
        context=None,
        folder=Path(),
    )

    def way(rule: Rule, steps: int, kind: CachedPositions | None) -> Way:
        caching = None if kind is None else CacheSettings(kind=kind)

        def work() -> list[list[int]]:
            rows = decode(dlm, _LAYOUT, requests(batch), rule, steps=steps, caching=caching)
            return [row.ids_C.tolist() for row in rows]

        return work

    return way
