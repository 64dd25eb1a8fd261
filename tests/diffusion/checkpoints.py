"""Small random checkpoints of every family, in the family's own layout, and small corpora."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import linear
from transformers import ModernBertConfig, ModernBertForMaskedLM, PreTrainedTokenizerFast

from diffusion.models.network.denoiser import Denoiser, Dlm
from diffusion.settings import ModelReference, Precision, Settings
from schemas.arrow import RELEASE
from schemas.canvas import long_cot, render
from tests.diffusion import layouts
from tools.tiny.train_dlm import tokenizer_with_mask

FAMILIES = ("llada", "dream", "masked_lm")
WIDTH, LAYERS, HEADS, INNER = 32, 2, 2, 48


def tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tiny tokenizer with a mask, saved in `folder`."""
    made = tokenizer_with_mask()
    made.save_pretrained(folder)
    return made


def make(
    family: str, folder: Path, dtype: torch.dtype = torch.float32, seed: int | None = 0
) -> Path:
    """A random checkpoint of a family; without `seed`, the weights of the stored logits."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = tokenizer(folder)
    torch.manual_seed(seed or 0)
    if family == "masked_lm":
        config = ModernBertConfig(
            vocab_size=len(tokens),
            hidden_size=WIDTH,
            intermediate_size=INNER,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            max_position_embeddings=512,
            global_attn_every_n_layers=1,  # type: ignore[call-arg]
            pad_token_id=tokens.pad_token_id,
            bos_token_id=None,
            cls_token_id=None,
            eos_token_id=tokens.eos_token_id,
            sep_token_id=tokens.eos_token_id,
        )
        net: Any = ModernBertForMaskedLM(config)
        net.to(dtype).save_pretrained(folder)
        return folder
    config_json, shapes = _LAYOUTS[family](tokens)
    (folder / "config.json").write_text(json.dumps(config_json))
    if seed is None:
        weights = layouts.drawn(shapes)
    else:
        weights = {name: torch.randn(shape) * 0.2 for name, shape in shapes.items()}
        weights = {
            name: 1 + w if "norm" in name or "ln_f" in name else w for name, w in weights.items()
        }
    weights = {name: w.to(dtype) for name, w in weights.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _llada(tokens: Any) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    rows = len(tokens) + 7  # embedding_size is more than vocab_size in LLaDA, too
    config = {
        "model_type": "llada",
        "architectures": ["LLaDAModelLM"],
        "auto_map": {"AutoModelForCausalLM": "modeling_llada.LLaDAModelLM"},
        "activation_type": "silu",
        "alibi": False,
        "attention_layer_norm": False,
        "block_type": "llama",
        "d_model": WIDTH,
        "embedding_size": rows,
        "eos_token_id": tokens.eos_token_id,
        "include_bias": False,
        "include_qkv_bias": False,
        "input_emb_norm": False,
        "layer_norm_type": "rms",
        "mask_token_id": tokens.mask_token_id,
        "max_sequence_length": 512,
        "mlp_hidden_size": INNER,
        "n_heads": HEADS,
        "n_kv_heads": HEADS,
        "n_layers": LAYERS,
        "rms_norm_eps": 1e-5,
        "rope": True,
        "rope_theta": 500000.0,
        "scale_logits": False,
        "vocab_size": len(tokens),
        "weight_tying": False,
    }
    shapes: dict[str, tuple[int, ...]] = {
        "model.transformer.wte.weight": (rows, WIDTH),
        "model.transformer.ln_f.weight": (WIDTH,),
        "model.transformer.ff_out.weight": (rows, WIDTH),
    }
    for layer in range(LAYERS):
        block = f"model.transformer.blocks.{layer}"
        shapes |= {f"{block}.{n}.weight": (WIDTH,) for n in ("attn_norm", "ff_norm")}
        shapes |= {
            f"{block}.{n}.weight": (WIDTH, WIDTH)
            for n in ("q_proj", "k_proj", "v_proj", "attn_out")
        }
        shapes |= {f"{block}.{n}.weight": (INNER, WIDTH) for n in ("ff_proj", "up_proj")}
        shapes[f"{block}.ff_out.weight"] = (WIDTH, INNER)
    return config, shapes


def _dream(tokens: Any) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    rows = len(tokens)
    config = {
        "model_type": "Dream",
        "architectures": ["DreamModel"],
        "auto_map": {"AutoModel": "modeling_dream.DreamModel"},
        "hidden_act": "silu",
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "mask_token_id": tokens.mask_token_id,
        "max_position_embeddings": 512,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": 1,
        "pad_token_id": tokens.pad_token_id,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "vocab_size": rows,
    }
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (rows, WIDTH),
        "model.norm.weight": (WIDTH,),
        "lm_head.weight": (rows, WIDTH),
    }
    narrow = WIDTH // HEADS
    for layer in range(LAYERS):
        block = f"model.layers.{layer}"
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{block}.{name}.weight"] = (WIDTH,)
        for name, size in (("q_proj", WIDTH), ("k_proj", narrow), ("v_proj", narrow)):
            shapes[f"{block}.self_attn.{name}.weight"] = (size, WIDTH)
            shapes[f"{block}.self_attn.{name}.bias"] = (size,)
        shapes[f"{block}.self_attn.o_proj.weight"] = (WIDTH, WIDTH)
        for name in ("gate_proj", "up_proj"):
            shapes[f"{block}.mlp.{name}.weight"] = (INNER, WIDTH)
        shapes[f"{block}.mlp.down_proj.weight"] = (WIDTH, INNER)
    return config, shapes


_LAYOUTS = {"llada": _llada, "dream": _dream, **layouts.LAYOUTS}


def weights_of(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a checkpoint."""
    from diffusion.models.conversion.weights import tensors

    return dict(tensors(folder))


def copy_with(folder: Path, to: Path, **changes: Any) -> Path:
    """A checkpoint with changed keys of its config; None removes one."""
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    for key, value in changes.items():
        if value is None:
            config.pop(key)
        else:
            config[key] = value
    (to / "config.json").write_text(json.dumps(config))
    return to


def write_corpus(
    folder: Path,
    rows: int = 24,
    validation: int = 6,
    paths: int = 3,
    schema: pa.Schema = RELEASE,
    first_prompt: str | None = None,
) -> Path:
    """A small release of `rows` train and `validation` validation rows, of many lengths."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)

    def row(i: int) -> dict[str, Any]:
        texts = [
            "\n".join(f"{i + j} + {k} = {i + j + k}" for k in range(1 + (i + j) % 3))
            for j in range(paths)
        ]
        summary = f"The final answer is {i}"
        prompt = f"What is {i} plus nothing{' at all' * (i % 4)}?"
        if i == 0 and first_prompt is not None:
            prompt = first_prompt
        return {
            "id": f"row{i}",
            "prompt": prompt,
            "response": render(texts, summary),
            "long_cot": long_cot(texts, summary),
            "gold": str(i),
            "paths": [{"text": text} for text in texts],
            "summary": summary,
        }

    for split, start, count in (("train", 0, rows), ("validation", rows, validation)):
        table = pa.Table.from_pylist([row(i) for i in range(start, start + count)], schema=schema)
        pq.write_table(table, data / f"{split}-0000-00000.parquet")
    return folder


def logits_of(
    denoiser: Denoiser,
    ids_BT: Tensor,
    positions_R: Tensor,
    attention_mask_BT: Tensor | None = None,
) -> Tensor:
    """Logits [R, V] for `positions_R`, in the model's type."""
    head = denoiser.net.get_output_embeddings()
    features_RH = denoiser.features(ids_BT, positions_R, attention_mask_BT)
    return linear(features_RH, head.weight, getattr(head, "bias", None))


def ids(rows: int = 2, tokens: int = 14) -> Tensor:
    """Random tokens [B, T], the same ones at every call."""
    return torch.randint(5, 900, (rows, tokens), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def everywhere(dlm: Dlm, ids_BT: Tensor, attention_mask_BT: Tensor | None = None) -> Tensor:
    """Logits [B, T, V] of all positions."""
    positions_R = torch.arange(ids_BT.numel())
    logits = logits_of(dlm.denoiser, ids_BT, positions_R, attention_mask_BT)
    return logits.reshape(*ids_BT.shape, -1)


def small_training(folder: Path) -> Settings:
    """Four steps of a small LLaDA on eight canvases, in float32."""
    return Settings(
        name="small",
        model=ModelReference(path=str(make("llada", folder / "model"))),
        corpus=str(write_corpus(folder / "corpus", rows=8, validation=2)),
        slot_tokens=30,
        summary_tokens=12,
        epochs=2,
        batch=4,
        precision=Precision.FLOAT32,
    )
