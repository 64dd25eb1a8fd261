"""dLLM's and Fast-dLLM's own code, from folders outside this repository that variables name.

Nothing of theirs is stored here. Their mask's logit is set to -inf, as ours is. Fast-dLLM's
functions for LLaDA make room for one row; `torch.full` in them is given the batch's rows, and the
rest of them decodes all rows at once.
"""

import importlib
import os
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

DLLM, FAST_DLLM = "dllm", "fast"
_FOLDERS = {
    DLLM: ("POLYTRACE_DLLM", "github.com/ZHZisZZ/dllm"),
    FAST_DLLM: ("POLYTRACE_FAST_DLLM", "github.com/NVlabs/Fast-dLLM"),
}


def missing(way: str) -> str:
    """Why a peer's way is not measured."""
    variable, source = _FOLDERS[way.partition("_")[0]]
    return f"{variable} names no folder; clone {source} outside this repository, and name it there"


def _folder(name: str) -> str | None:
    return os.environ.get(_FOLDERS[name][0]) or None


def dllm() -> Callable[[Any, Tensor, int, int, int], list[list[int]]] | None:
    """The DreamSampler of dLLM: net, prompts, mask, new tokens, steps; None without its code."""
    if (folder := _folder(DLLM)) is None:
        return None
    for name in (
        "dllm",
        "dllm.core",
        "dllm.core.samplers",
        "dllm.pipelines",
        "dllm.pipelines.dream",
        "dllm.pipelines.dream.models",
    ):  # packages without their __init__, which import trainers
        package = ModuleType(name)
        package.__path__ = [os.path.join(folder, *name.split("."))]
        sys.modules.setdefault(name, package)
    sampler = importlib.import_module("dllm.pipelines.dream.sampler")
    schedulers = importlib.import_module("dllm.core.schedulers")

    def sample(net: Any, prompts_BT: Tensor, mask: int, new: int, steps: int) -> list[list[int]]:
        def without_mask(_step: int, _ids: Tensor, logits_BTV: Tensor) -> Tensor:
            logits_BTV[..., mask] = -torch.inf
            return logits_BTV

        tokenizer = SimpleNamespace(mask_token_id=mask, eos_token_id=0)
        made = sampler.DreamSampler(
            model=net, tokenizer=tokenizer, scheduler=schedulers.LinearAlphaScheduler()
        )
        found = made.sample(
            list(prompts_BT),
            generation_logits_hook_func=without_mask,
            max_new_tokens=new,
            steps=steps,
            alg="maskgit_plus",
            temperature=0.0,
            top_p=None,
            top_k=None,
            return_dict=False,
        )
        return list(found.tolist())

    return sample


def fast_dllm(
    net: Any, config: dict[str, Any], rename: Callable[[str], str | None], mask: int
) -> Callable[[str, Tensor, int, int, int, int], list[list[int]]] | None:
    """Fast-dLLM's LLaDA with the weights of `net`: kind, prompts, masks, block, steps, mask."""
    if (folder := _folder(FAST_DLLM)) is None:
        return None
    sys.path.insert(0, os.path.join(folder, "llada"))
    try:
        generate: Any = importlib.import_module("generate")
        modeling = importlib.import_module("model.modeling_llada")
        configuration = importlib.import_module("model.configuration_llada")
    finally:
        sys.path.pop(0)
    theirs = modeling.LLaDAModelLM(
        configuration.LLaDAConfig(
            **config,
            n_kv_heads=config["n_heads"],
            embedding_size=config["vocab_size"],
            mask_token_id=mask,
            eos_token_id=0,
            pad_token_id=0,
            block_type="llama",
            activation_type="silu",
            layer_norm_type="rms",
            rms_norm_eps=net.config.rms_norm_eps,
            rope=True,
            include_bias=False,
            include_qkv_bias=False,
            attention_dropout=0.0,
            residual_dropout=0.0,
            embedding_dropout=0.0,
            init_device="cpu",
        ),
        init_params=True,
    )
    ours = net.state_dict()
    theirs.load_state_dict({name: ours[rename(name)] for name in theirs.state_dict()})
    theirs = theirs.to(net.device, net.dtype).eval()
    theirs.register_forward_hook(_without(mask))
    theirs.register_forward_pre_hook(_one_row_of_places, with_kwargs=True)

    def run(
        kind: str, prompts_BT: Tensor, masks: int, block: int, steps: int, mask: int
    ) -> list[list[int]]:
        generate.torch = _ForRows(len(prompts_BT))
        function = getattr(generate, f"generate_with_{kind}_cache")
        ids_BT, _ = function(
            theirs, prompts_BT, steps=steps, gen_length=masks, block_length=block, mask_id=mask
        )
        return list(ids_BT.tolist())

    return run


def _without(mask: int) -> Callable[[Any, Any, Any], Any]:
    def hook(_module: Any, _inputs: Any, out: Any) -> Any:
        out.logits[..., mask] = -torch.inf
        return out

    return hook


def _one_row_of_places(_module: Any, inputs: Any, named: dict[str, Any]) -> Any:
    """The replaced positions of one row: its attention takes those of all rows for one's."""
    if named.get("replace_position") is not None:
        named["replace_position"] = named["replace_position"][:1]
    return inputs, named


class _ForRows:
    """PyTorch, whose `full` makes as many rows as a batch has where one is asked for."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def full(self, shape: tuple[int, ...], *values: Any, **more: Any) -> Tensor:
        """As `torch.full`."""
        return torch.full((self.rows, *shape[1:]), *values, **more)
