"""One of two processes that hold a model in shards: what each of them finds."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from diffusion import models
from diffusion.data import corpus
from diffusion.data.layout import Form, layout_of
from diffusion.training import checkpoint
from diffusion.training.collate import collate, mask_step, pieces
from support.errors import UserError

PROCESSES = 2


def check(rank: int, store: Path, folder: Path, release: Path, out: Path) -> None:
    """Meet the other process through the file `store`; AssertionError where anything differs."""
    where = f"file://{store}"
    dist.init_process_group("gloo", init_method=where, rank=rank, world_size=PROCESSES)
    torch.manual_seed(0)
    whole = models.load_model(str(folder))
    layout, masked = _data(whole, release)
    _backward(whole, [masked], layout, 1)
    expected = {name: p.grad for name, p in whole.denoiser.named_parameters()}

    dlm = models.load_model(str(folder))
    net: Any = dlm.denoiser
    _shard(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    mine = pieces(masked, layout, 10_000, PROCESSES)[rank::PROCESSES]
    _backward(dlm, mine, layout, PROCESSES)
    for name, parameter in net.named_parameters():
        assert isinstance(parameter.grad, DTensor)
        found = parameter.grad.full_tensor()
        torch.testing.assert_close(found, expected[name], rtol=1e-4, atol=1e-6)
    optimizer.step()

    place = checkpoint.TrainingPosition(step=1, digest="d", processes=PROCESSES, is_sharded=True)
    common: dict[str, Any] = {"process": rank, "any_of": _any_of}
    checkpoint.save_checkpoint(out, place, net, optimizer, keep=2, **common)
    saved = {name: p.to_local().clone() for name, p in net.named_parameters()}
    moments = {n: _moment(optimizer, p).clone() for n, p in net.named_parameters()}
    _backward(dlm, mine, layout, PROCESSES)
    optimizer.step()
    latest = checkpoint.latest(out)
    assert latest is not None
    checkpoint.load_checkpoint(latest, net, optimizer, place, process=rank)
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter.to_local(), saved[name]), name
        assert torch.equal(_moment(optimizer, parameter), moments[name]), name
    try:
        checkpoint.load_checkpoint(
            latest, net, optimizer, replace(place, processes=3), process=rank
        )
    except UserError as error:
        assert "was written by 2 processes" in str(error)
    else:
        raise AssertionError("another number of processes was accepted")

    # A second checkpoint of which the second process's file is damaged: all take the one before it.
    checkpoint.save_checkpoint(out, replace(place, step=2), net, optimizer, keep=2, **common)
    if rank == 1:
        shard = out / "step-00000002" / "state-00001-of-00002.safetensors"
        content = bytearray(shard.read_bytes())
        content[-1] ^= 1
        shard.write_bytes(content)
    said: list[str] = []
    step = checkpoint.resume(out, net, optimizer, place, say=said.append, **common)
    assert step == 1, (rank, step)
    assert "the checkpoint before it, step-00000001, is taken" in said[0]
    dist.destroy_process_group()


def _any_of(flag: bool) -> bool:
    found = torch.tensor([float(flag)])
    dist.all_reduce(found)
    return float(found) > 0


def _data(dlm: Any, release: Path) -> tuple[Any, Any]:
    """The layout, and six masked rows."""
    shape: dict[str, Any] = {"form": Form.CANVAS, "paths": 3}
    layout = layout_of(dlm.tokenizer, dlm.fill_id, slot_tokens=30, summary_tokens=12, **shape)
    rows = corpus.rows(release, "train")
    found = corpus.encode_rows(
        rows, layout, dlm.tokenizer, context=None, mask_id=dlm.mask_id, **shape
    )
    return layout, mask_step(found.instances[:6], layout, 0, 0)


def _backward(dlm: Any, cut: Sequence[Any], layout: Any, factor: int) -> None:
    for piece in cut:
        b = collate(piece, layout, dlm.mask_id)
        total = dlm.denoiser(
            b.ids_BT, b.positions_R, b.targets_R, b.weights_R, b.attention_mask_BT
        ).total
        (total * factor).backward()


def _shard(net: Any) -> None:
    mesh = init_device_mesh("cpu", (PROCESSES,))
    assert net._no_split_modules
    for module in net.modules():
        if type(module).__name__ in net._no_split_modules:
            fully_shard(module, mesh=mesh)
    fully_shard(net, mesh=mesh)


def _moment(optimizer: torch.optim.Optimizer, parameter: Any) -> Any:
    return optimizer.state[parameter]["exp_avg"].to_local()
