"""Load any causal language model as a scorer, and find out by a trial what it supports.

In: a local model directory or a Hub id. Out: a `Scorer` that knows whether the model takes our
attention and whether the output head can be applied to single rows. Both are tested on one small
random example when the model is loaded.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import AttentionInterface, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from scorers.revision import directory_revision, fetched
from scorers.seqdep.attention import NAME, Branch, forward
from scorers.seqdep.causal_lm import Batch, Scorer, Tokens, plain_tokenizer
from scorers.weights import weight_files
from support.capacity import keep_few_kernels, raise_if_out_of_memory
from support.errors import UserError, first_line

__all__ = ["Batch", "Scorer", "Tokens", "load_scorer"]

# The mean difference (nats a token) up to which two ways of scoring count as the same. Many models
# round to float32 inside (norms, softmax), so float64 has the bound of float32.
_TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.1}
AttentionInterface.register(NAME, forward)
_TRIAL_TOKENS = 18
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_WINDOWS = ("sliding_window", "attention_chunk_size", "window_size", "attention_window")


def load_scorer(
    path: str,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    chat: bool = True,
    trust_remote_code: bool = False,
) -> Scorer:
    """The scorer in a local model directory, or under a hub id (fetched once, weights only).

    The default is float32 on a CPU and bfloat16 on a GPU, whatever the checkpoint's own type.
    `chat`: apply the chat template to prompts, if there is one. Raises UserError if a Hub id cannot
    be fetched, or the directory does not exist, holds no complete causal language model, or holds a
    tokenizer without character offsets.
    """
    directory = Path(os.path.abspath(os.path.expanduser(path)))
    if not directory.exists() and _HUB_ID.fullmatch(path):
        directory = fetched(path, f"scorer {path}", code=trust_remote_code)
    if not (directory / "config.json").is_file():
        what = "holds no config.json" if directory.is_dir() else "is no directory"
        raise UserError(f"scorer {path}: {what}; give the local directory of a causal LM")
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
    model, tokenizer = _read(directory, path, dtype, trust_remote_code)
    if not tokenizer.is_fast:
        raise UserError(f"scorer {path}: its tokenizer gives no offsets; add a tokenizer.json")
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if isinstance(context, int) and 0 < context < _TRIAL_TOKENS:
        raise UserError(f"scorer {path}: sees {context} tokens only; take one with more context")
    scorer = Scorer(
        name=_name(directory),
        revision=directory_revision(directory),
        context=context if isinstance(context, int) and context > 0 else None,
        packed_tokens=0,
        direct_head=False,
        model=model.to(device).eval().requires_grad_(False),
        tokenizer=tokenizer,
        plain=plain_tokenizer(tokenizer.backend_tokenizer),
        chat=chat,
    )
    return _tried(scorer, path)


def _read(directory: Path, path: str, dtype: torch.dtype, trust: bool) -> tuple[Any, Any]:
    """Model and tokenizer; UserError for whatever a broken directory or remote code raises."""
    cast(Any, logging).disable_progress_bar()
    keep_few_kernels()
    auto: Any = AutoModelForCausalLM
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trust}
    weight_files(directory)
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, **options)
        options |= {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}
        model, info = auto.from_pretrained(directory, **options)
    except Exception as error:  # tokenizers raises bare Exception, remote code raises anything
        raise_if_out_of_memory(error)
        raise UserError(
            f"scorer {path}: cannot be loaded as a causal LM: {first_line(error)}"
        ) from error
    if missing := sorted(info["missing_keys"]):  # transformers would fill them with random numbers
        raise UserError(
            f"scorer {path}: {len(missing)} weights are missing, such as {missing[0]}; "
            "it is no whole causal LM"
        )
    return model, tokenizer


def _name(directory: Path) -> str:
    """The directory's name, or the Hub id of a snapshot in the Hub's cache."""
    cache = directory.parent.parent.name
    if directory.parent.name == "snapshots" and cache.startswith("models--"):
        return cache.removeprefix("models--").replace("--", "/")
    return directory.name


def _tried(scorer: Scorer, path: str) -> Scorer:
    """The scorer, with `direct_head` and `packed_tokens` as a trial shows them.

    The trial has a prompt of 6 tokens and a response of 12, whose tokens 6 to 12 are scored jointly
    and, as a copy behind the prompt, alone. UserError if later tokens change earlier predictions.
    """
    vocabulary = scorer.model.get_input_embeddings().weight.shape[0]
    ids_T = torch.randint(vocabulary, (_TRIAL_TOKENS,), generator=torch.Generator().manual_seed(0))
    segment = ids_T[11:]
    joint = Batch(ids_BT=ids_T[None], rows_R=torch.arange(10, 17), targets_R=segment)
    alone_T = torch.cat([ids_T[:6], segment])
    alone = Batch(ids_BT=alone_T[None], rows_R=torch.arange(5, 12), targets_R=segment)
    joint_R, alone_R = scorer.log_probs(joint), scorer.log_probs(alone)
    if not joint_R.isfinite().all():
        raise UserError(f"scorer {path}: gives no finite log-probabilities; are its weights whole?")
    # If context changes little, a wrong mask would change little too: the bound must be tighter.
    allowed = min(_TOLERANCE[scorer.model.dtype], float((joint_R - alone_R).abs().mean()) / 10)

    cut = replace(joint, ids_BT=ids_T[None, :14], rows_R=joint.rows_R[:3], targets_R=segment[:3])
    if not _agrees(scorer, cut, joint_R[:3], allowed):
        raise UserError(
            f"scorer {path}: later tokens change earlier predictions; it is no causal LM"
        )
    direct = replace(scorer, direct_head=True)
    scorer = direct if _agrees(direct, joint, joint_R, allowed) else scorer
    packed = Batch(
        ids_BT=torch.cat([ids_T, segment])[None],
        positions_BT=torch.cat([torch.arange(18), torch.arange(6, 13)])[None],
        branches=(Branch(0, 6, 6, 18), Branch(0, 6, 18, 25)),
        rows_R=torch.cat([joint.rows_R, torch.tensor([5]), torch.arange(18, 24)]),
        targets_R=segment.repeat(2),
    )
    if not _agrees(scorer, packed, torch.cat([joint_R, alone_R]), allowed):
        return scorer
    return replace(scorer, packed_tokens=_exact_tokens(scorer.model.config.get_text_config()))


def _agrees(scorer: Scorer, batch: Batch, expected_R: Tensor, allowed: float) -> bool:
    try:
        return float((scorer.log_probs(batch) - expected_R).abs().mean()) <= allowed
    except Exception as error:  # of a model that cannot take the mask, or has another structure
        raise_if_out_of_memory(error)
        return False


def _exact_tokens(config: Any) -> int | None:
    """The longest sequence for which local attention and rotary scales change nothing, if any."""
    limits = [getattr(config, name, None) for name in _WINDOWS]
    rope = getattr(config, "rope_parameters", None) or {}
    for scale in (rope, *(value for value in rope.values() if isinstance(value, Mapping))):
        if scale.get("rope_type") in ("longrope", "dynamic"):
            limits.append(scale.get("original_max_position_embeddings"))
    return min((n for n in limits if isinstance(n, int) and n > 0), default=None)
