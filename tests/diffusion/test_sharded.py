"""FSDP2's sharding on two gloo processes: the same gradients, and checkpoints of shards."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT
from tests.diffusion.checkpoints import FAMILIES, make, write_corpus

SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from diffusion.training import checkpoint
from diffusion.data import corpus
from diffusion import models
from diffusion.training.collate import collate, mask_step, pieces
from diffusion.data.layout import Form, layout_of
from support.errors import UserError

folder, release, out = sys.argv[1:4]
dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)

def any_of(flag):
    found = torch.tensor([float(flag)])
    dist.all_reduce(found)
    return float(found) > 0

def data(dlm):
    layout = layout_of(dlm.tokenizer, dlm.fill_id, form=Form.CANVAS, paths=3, slot_tokens=30,
                     summary_tokens=12)
    rows = corpus.rows(Path(release), "train")
    found = corpus.encode_rows(rows, layout, dlm.tokenizer, form=Form.CANVAS, paths=3, context=None,
                               mask_id=dlm.mask_id)
    return layout, mask_step(found.instances[:6], layout, 0, 0)

def backward(dlm, cut, layout, factor):
    for piece in cut:
        b = collate(piece, layout, dlm.mask_id)
        total = dlm.denoiser(
            b.ids_BT, b.positions_R, b.targets_R, b.weights_R, b.attention_mask_BT
        ).total
        (total * factor).backward()

whole = models.load_model(folder)
layout, masked = data(whole)
backward(whole, [masked], layout, 1)
expected = {n: p.grad for n, p in whole.denoiser.named_parameters()}

dlm = models.load_model(folder)
mesh = init_device_mesh("cpu", (world,))
assert dlm.denoiser._no_split_modules
for module in dlm.denoiser.modules():
    if type(module).__name__ in dlm.denoiser._no_split_modules:
        fully_shard(module, mesh=mesh)
fully_shard(dlm.denoiser, mesh=mesh)
optimizer = torch.optim.AdamW(dlm.denoiser.parameters(), lr=1e-3, fused=True)
backward(dlm, pieces(masked, layout, 10_000, world)[rank::world], layout, world)
for name, parameter in dlm.denoiser.named_parameters():
    assert isinstance(parameter.grad, DTensor)
    torch.testing.assert_close(parameter.grad.full_tensor(), expected[name], rtol=1e-4, atol=1e-6)
optimizer.step()

place = checkpoint.TrainingPosition(step=1, digest="d", processes=world, is_sharded=True)
checkpoint.save_checkpoint(Path(out), place, dlm.denoiser, optimizer, process=rank, keep=2,
                any_of=any_of)
saved = {n: p.to_local().clone() for n, p in dlm.denoiser.named_parameters()}
moments = {n: optimizer.state[p]["exp_avg"].to_local().clone()
           for n, p in dlm.denoiser.named_parameters()}
backward(dlm, pieces(masked, layout, 10_000, world)[rank::world], layout, world)
optimizer.step()
found = checkpoint.latest(Path(out))
checkpoint.load_checkpoint(found, dlm.denoiser, optimizer, place, process=rank)
for name, parameter in dlm.denoiser.named_parameters():
    assert torch.equal(parameter.to_local(), saved[name]), name
    assert torch.equal(optimizer.state[parameter]["exp_avg"].to_local(), moments[name]), name
try:
    checkpoint.load_checkpoint(found, dlm.denoiser, optimizer,
                               replace(place, processes=3), process=rank)
except UserError as error:
    assert "was written by 2 processes" in str(error)
else:
    raise AssertionError("another number of processes was accepted")

# A second checkpoint of which the second process's file is damaged: all take the one before it.
checkpoint.save_checkpoint(Path(out), replace(place, step=2), dlm.denoiser, optimizer,
                           process=rank, keep=2, any_of=any_of)
if rank == 1:
    shard = Path(out) / "step-00000002" / "state-00001-of-00002.safetensors"
    bytes_ = bytearray(shard.read_bytes())
    bytes_[-1] ^= 1
    shard.write_bytes(bytes_)
said = []
step = checkpoint.resume(Path(out), dlm.denoiser, optimizer, place, process=rank, any_of=any_of,
                         say=said.append)
assert step == 1, (rank, step)
assert "the checkpoint before it, step-00000001, is taken" in said[0]
print("EQUAL")
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("family", [*FAMILIES, "a2d-qwen3", "llada_moe"])
def test_shards_give_the_gradients_of_the_whole(family: str, tmp_path: Path) -> None:
    model = make(family, tmp_path / "model")
    corpus = write_corpus(tmp_path / "corpus")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    run = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", str(script), str(model)),
            *(str(corpus), str(tmp_path / "out")),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.count("EQUAL") == 2
    files = sorted(p.name for p in (tmp_path / "out" / "step-00000001").iterdir())
    assert files == [
        "state-00000-of-00002.safetensors",
        "state-00001-of-00002.safetensors",
        "state.json",
    ]
