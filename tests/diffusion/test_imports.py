"""What GPU machines have that can install nothing: torch and transformers are enough to import."""

import json
import subprocess
import sys

import pytest

from support.paths import ROOT

IMPORTS = """
import importlib, importlib.abc, json, pkgutil, sys
BLOCKED = {
    "pydantic", "prefect", "typer", "polars", "datasets", "orjson", "rapidfuzz", "math_verify",
    "latex2sympy2_extended", "xxhash", "fastapi", "matplotlib", "lm_eval",
}
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(name)
        return None
sys.meta_path.insert(0, Block())
import numpy, pyarrow.parquet, torch, transformers, tqdm, safetensors.torch, huggingface_hub
import transformers.integrations.sdpa_attention, transformers.masking_utils
from transformers import AutoModelForMaskedLM, LlamaForCausalLM, Qwen2ForCausalLM, Qwen2Tokenizer
from torch.distributed.tensor import DTensor
before = {name.partition(".")[0] for name in sys.modules}
import diffusion
ROOMS = ("data", "models", "training", "decoding", "evaluation", "paper")
ROOMS = tuple(f"diffusion.{room}." for room in ROOMS)
for module in pkgutil.walk_packages(diffusion.__path__, "diffusion."):
    if module.name.startswith(ROOMS) or module.name.count(".") == 1:
        importlib.import_module(module.name)
after = {name.partition(".")[0] for name in sys.modules}
found = [name for name in sys.modules if name.startswith("diffusion.")]
print(json.dumps([sorted(after - before - set(sys.stdlib_module_names)), len(found)]))
"""


@pytest.mark.slow
def test_imports_are_torch_and_transformers_alone() -> None:
    run = subprocess.run(
        [sys.executable, "-c", IMPORTS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    packages, modules = json.loads(run.stdout)
    assert set(packages) <= {"diffusion", "scorers", "schemas", "support"}
    assert modules > 20
