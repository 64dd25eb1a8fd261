"""Small checkpoints in the own layouts of further families: config.json, and shapes of weights."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
Layout = tuple[dict[str, Any], Shapes]
WIDTH, LAYERS, HEADS, INNER, EXPERTS, EXPERT = 32, 2, 2, 48, 4, 24
HEAD = WIDTH // HEADS
BLOCK = 4  # tokens of a block of the block-causal ones


def drawn(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Random weights that are the same with every version of every library: numpy's old stream."""
    weights = {}
    for number, (name, shape) in enumerate(sorted(shapes.items())):
        draw = np.random.RandomState(number).standard_normal(shape) * 0.2
        is_norm = "norm" in name or "ln_f" in name
        weights[name] = torch.from_numpy((draw + is_norm).astype(np.float32))
    return weights


def _config(tokens: Any, model_type: str, architecture: str, **more: Any) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "architectures": [architecture],
        "hidden_act": "silu",
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "max_position_embeddings": 512,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": 1,
        "pad_token_id": tokens.pad_token_id,
        "eos_token_id": tokens.eos_token_id,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "transformers_version": "4.57.1",
        "vocab_size": len(tokens),
        **more,
    }


def _outside(tokens: Any, embeddings: str = "model.embed_tokens") -> Shapes:
    return {
        f"{embeddings}.weight": (len(tokens), WIDTH),
        "model.norm.weight": (WIDTH,),
        "lm_head.weight": (len(tokens), WIDTH),
    }


def _attention(layer: str, *, bias: bool = False, norms: bool = False) -> Shapes:
    shapes: Shapes = {
        f"{layer}.{name}.weight": (WIDTH,)
        for name in ("input_layernorm", "post_attention_layernorm")
    }
    for name, size in (("q_proj", WIDTH), ("k_proj", HEAD), ("v_proj", HEAD)):
        shapes[f"{layer}.self_attn.{name}.weight"] = (size, WIDTH)
        if bias:
            shapes[f"{layer}.self_attn.{name}.bias"] = (size,)
    shapes[f"{layer}.self_attn.o_proj.weight"] = (WIDTH, WIDTH)
    if norms:
        shapes |= {f"{layer}.self_attn.{name}.weight": (HEAD,) for name in ("q_norm", "k_norm")}
    return shapes


def _mlp(part: str, inner: int) -> Shapes:
    return {
        f"{part}.gate_proj.weight": (inner, WIDTH),
        f"{part}.up_proj.weight": (inner, WIDTH),
        f"{part}.down_proj.weight": (WIDTH, inner),
    }


def _mixture(part: str) -> Shapes:
    shapes: Shapes = {f"{part}.gate.weight": (EXPERTS, WIDTH)}
    for number in range(EXPERTS):
        shapes |= _mlp(f"{part}.experts.{number}", EXPERT)
    return shapes


def _dense(
    model_type: str, architecture: str, *, bias: bool = False, norms: bool = False, **more: Any
) -> Callable[[Any], Layout]:
    def layout(tokens: Any) -> Layout:
        shapes = _outside(tokens)
        for number in range(LAYERS):
            layer = f"model.layers.{number}"
            shapes |= _attention(layer, bias=bias, norms=norms) | _mlp(f"{layer}.mlp", INNER)
        own = {"head_dim": HEAD} if norms else {}
        return _config(tokens, model_type, architecture, **own, **more), shapes

    return layout


def _sdar_moe(tokens: Any) -> Layout:
    config = _config(
        tokens,
        "sdar_moe",
        "SDARMoeForCausalLM",
        head_dim=HEAD,
        block_size=BLOCK,
        mask_token_id=tokens.mask_token_id,
        num_experts=EXPERTS,
        num_experts_per_tok=2,
        moe_intermediate_size=EXPERT,
        norm_topk_prob=True,
        decoder_sparse_step=1,
        mlp_only_layers=[],
    )
    shapes = _outside(tokens)
    for number in range(LAYERS):
        layer = f"model.layers.{number}"
        shapes |= _attention(layer, norms=True) | _mixture(f"{layer}.mlp")
    return config, shapes


def _llada_moe(tokens: Any) -> Layout:
    """The first layer is dense, which `moe_layer_freq` allows."""
    config = _config(
        tokens,
        "llada",
        "LLaDAMoEModelLM",
        dense_intermediate_size=INNER,
        expert_intermediate_size=EXPERT,
        shared_expert_intermediate_size=None,
        moe_layer_freq=[0, 1],
        num_experts=EXPERTS,
        num_experts_per_tok=2,
        qk_layernorm=True,
        partial_rotary_factor=1,
        moe_router_enable_expert_bias=False,
        moe_router_score_function="softmax",
        routed_scaling_factor=1,
        norm_topk_prob=None,
    )
    shapes = _outside(tokens)
    for number in range(LAYERS):
        layer = f"model.layers.{number}"
        shapes |= _attention(layer, norms=True)
        shapes |= _mixture(f"{layer}.mlp") if number else _mlp(f"{layer}.mlp", INNER)
    return config, shapes


def _llada2(tokens: Any) -> Layout:
    """Experts in two groups, of which one is chosen; the first layer is dense."""
    config = _config(
        tokens,
        "llada2_moe",
        "LLaDA2MoeModelLM",
        head_dim=HEAD,
        block_size=BLOCK,
        mask_token_id=tokens.mask_token_id,
        first_k_dense_replace=1,
        moe_intermediate_size=EXPERT,
        num_experts=EXPERTS,
        num_experts_per_tok=2,
        num_shared_experts=1,
        n_group=2,
        topk_group=1,
        norm_topk_prob=True,
        norm_head=False,
        partial_rotary_factor=0.5,
        routed_scaling_factor=2.5,
        score_function="sigmoid",
        use_bias=False,
        use_qk_norm=True,
        use_qkv_bias=False,
        use_sliding_window=False,
    )
    shapes = _outside(tokens, "model.word_embeddings")
    for number in range(LAYERS):
        layer = f"model.layers.{number}"
        shapes |= {
            f"{layer}.input_layernorm.weight": (WIDTH,),
            f"{layer}.post_attention_layernorm.weight": (WIDTH,),
            f"{layer}.attention.query_key_value.weight": (WIDTH + 2 * HEAD, WIDTH),
            f"{layer}.attention.query_layernorm.weight": (HEAD,),
            f"{layer}.attention.key_layernorm.weight": (HEAD,),
            f"{layer}.attention.dense.weight": (WIDTH, WIDTH),
        }
        if number:
            shapes |= _mixture(f"{layer}.mlp") | _mlp(f"{layer}.mlp.shared_experts", EXPERT)
            shapes[f"{layer}.mlp.gate.expert_bias"] = (EXPERTS,)
        else:
            shapes |= _mlp(f"{layer}.mlp", INNER)
    return config, shapes


def _block_causal(tokens: Any) -> Layout:
    config, shapes = _dense("sdar", "SDARForCausalLM", norms=True)(tokens)
    more = {"block_size": BLOCK, "mask_token_id": tokens.mask_token_id, "fuse_cross_entropy": True}
    return config | more, shapes


LAYOUTS: dict[str, Callable[[Any], Layout]] = {
    "a2d-llama": _dense("a2d-llama", "A2DLlamaLMHeadModel"),
    "a2d-qwen2": _dense("a2d-qwen2", "A2DQwen2LMHeadModel", bias=True),
    "a2d-qwen3": _dense("a2d-qwen3", "A2DQwen3LMHeadModel", norms=True),
    "llada_moe": _llada_moe,
    "sdar": _block_causal,
    "sdar_moe": _sdar_moe,
    "fast_dllm_v2": _dense("Fast_dLLM_Qwen", "Fast_dLLM_QwenForCausalLM", bias=True, bd_size=BLOCK),
    "llada2": _llada2,
}
FAMILY = {kind: kind.partition("-")[0].removesuffix("_moe") for kind in LAYOUTS} | {
    "llada_moe": "llada_moe"
}
BLOCK_CAUSAL = ("sdar", "sdar_moe", "fast_dllm_v2", "llada2")
FULL = tuple(kind for kind in LAYOUTS if kind not in BLOCK_CAUSAL)
A2D = tuple(kind for kind in FULL if FAMILY[kind] == "a2d")
