"""LoRA under FSDP2 on two gloo processes: the losses of one, and the same bits after a stop."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from diffusion import models
from diffusion.settings import Lora, ModelReference, Precision, Settings
from diffusion.training.train import fine_tune
from support.paths import ROOT
from tests.diffusion.checkpoints import make, weights_of, write_corpus

# accelerate shards on accelerators alone; its own code of FSDP2 runs on a CPU if it is told to.
SCRIPT = """
import json, shutil, sys
from pathlib import Path
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from diffusion.data.layout import Form
from diffusion.settings import Lora, ModelReference, Precision, Settings
from diffusion.training import train

def sharded(settings, out):
    AcceleratorState._reset_state()
    PartialState._reset_state()
    accelerator = Accelerator(cpu=True)
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", reshard_after_forward=True
    )
    kind = {"distributed_type": DistributedType.FSDP}
    AcceleratorState._shared_state.update(kind)
    PartialState._shared_state.update(kind)
    accelerator.end_training = lambda: None  # both trainings are of one group of processes
    return accelerator

train._accelerator = sharded
facts = json.loads(sys.argv[1])
facts["model"], facts["lora"] = ModelReference(**facts["model"]), Lora(**facts["lora"])
facts["form"] = Form(facts["form"])
facts["precision"], facts["betas"] = Precision(facts["precision"]), tuple(facts["betas"])
settings, out, stopped = Settings(**facts), Path(sys.argv[2]), Path(sys.argv[3])
train.fine_tune(settings, out)
if dist.get_rank() == 0:  # as if it had been killed behind the third of four steps
    shutil.copytree(out, stopped)
    for name in ("model", "adapter", "checkpoints/step-00000004"):
        shutil.rmtree(stopped / name)
    (stopped / "summary.json").unlink()
dist.barrier()
train.fine_tune(settings, stopped)
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llada", "masked_lm"])
def test_adapters_on_shards_are_those_of_one_process(family: str, tmp_path: Path) -> None:
    settings = Settings(
        name="small",
        model=ModelReference(path=str(make(family, tmp_path / "base"))),
        corpus=str(write_corpus(tmp_path / "corpus")),
        slot_tokens=30,
        summary_tokens=12,
        epochs=1,
        batch=6,
        learning_rate=1e-2,
        precision=Precision.FLOAT32,
        micro_tokens=600,
        checkpoint_every=3,
        lora=Lora(rank=3, modules=("Wqkv",) if family == "masked_lm" else ("q_proj", "v_proj")),
    )
    fine_tune(settings, tmp_path / "one")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    two, stopped = tmp_path / "two", tmp_path / "stopped"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", str(script), json.dumps(asdict(settings))),
            *(str(two), str(stopped)),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    logs = (
        [json.loads(line) for line in (tmp_path / out / "training.jsonl").open()]
        for out in ("one", "two")
    )
    for a, b in zip(*logs, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
        assert a["gradient_norm"] == pytest.approx(b["gradient_norm"], rel=1e-3)
        assert a["answer_tokens"] == b["answer_tokens"]
    assert len(list((two / "checkpoints" / "step-00000004").glob("*.safetensors"))) == 2
    for folder in ("model", "adapter"):
        found = [
            load_file(next((out / folder).glob("*.safetensors")))
            for out in (tmp_path / "one", two, stopped)
        ]
        assert found[0].keys() == found[1].keys()
        for name, tensor in found[0].items():
            torch.testing.assert_close(found[1][name], tensor, atol=2e-3, rtol=1e-2)
            assert torch.equal(found[1][name], found[2][name]), name
    for name in ("training.jsonl", "summary.json"):
        assert (two / name).read_bytes() == (stopped / name).read_bytes()
    before = weights_of(Path(settings.model.path))
    after = weights_of(two / "model")
    changed = {name for name in before if not torch.equal(after[name], before[name])}
    assert len(changed) == 2 * len(settings.lora.modules if settings.lora else ())
    assert models.load_model(str(two / "adapter")).family == family
