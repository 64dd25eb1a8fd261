"""Families against other projects' own code: `parity/README.md` says how the outputs were made."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffusion import models
from diffusion.data.layout import CanvasLayout
from diffusion.decoding import Rule
from diffusion.decoding.decode import Request, decode
from diffusion.decoding.kv_cache import CachedPositions, CacheSettings
from diffusion.decoding.rules.ar_order import ArOrder
from diffusion.decoding.rules.blockwise import Blockwise
from diffusion.decoding.rules.fast_dllm import FastDllm
from diffusion.models.network.denoiser import Dlm
from tests.diffusion.checkpoints import copy_with, logits_of, make
from tests.diffusion.layouts import BLOCK

PARITY = Path(__file__).parent / "parity"
LOGITS = np.load(PARITY / "logits.npz", allow_pickle=False)
DECODES = json.loads((PARITY / "decodes.json").read_text())
KINDS = [name for name in LOGITS.files if name != "ids"]
FINISHED = CacheSettings(kind=CachedPositions.FINISHED)


def load(kind: str, folder: Path, **changes: Any) -> Dlm:
    source = make(kind, folder / "made", seed=None)
    if changes:
        source = copy_with(source, folder / "changed", **changes)
    dlm = models.load_model(str(source))
    dlm.denoiser.eval()
    return dlm


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_the_models_own_code(kind: str, tmp_path: Path) -> None:
    dlm = load(kind, tmp_path)
    ids_BT = torch.from_numpy(LOGITS["ids"].astype(np.int64))
    with torch.no_grad():
        found = logits_of(dlm.denoiser, ids_BT, torch.arange(ids_BT.numel()))
    expected = torch.from_numpy(LOGITS[kind])
    if dlm.denoiser.shift:
        expected = torch.cat([expected[:, :1], expected[:, :-1]], 1)
    found = found.reshape(*ids_BT.shape, -1)[..., ::8]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def rule_of(run: dict[str, Any]) -> tuple[Rule, int]:
    """The rule that does what the other sampler did, and its number of steps."""
    tokens = len(run["tokens"])
    if run["strategy"] in ("low_confidence_dynamic", "threshold"):
        return FastDllm(threshold=run["threshold"], block=BLOCK), 0
    if run["strategy"] in ("sequential", "small blocks of one token"):
        return ArOrder(), tokens
    return Blockwise(block=BLOCK), tokens * run["steps_per_block"] // BLOCK


@pytest.mark.parametrize("caching", [None, FINISHED])
@pytest.mark.parametrize("family", sorted({run["family"] for run in DECODES}))
def test_tokens_are_those_of_the_models_own_sampler(
    family: str, caching: CacheSettings | None, tmp_path: Path
) -> None:
    changes = {"block_size": BLOCK} if family.startswith("a2d") else {}
    dlm = load(family, tmp_path, **changes)
    runs = [run for run in DECODES if run["family"] == family]
    for run in runs:
        layout = CanvasLayout(headers=((),), slots=(len(run["tokens"]),), fill_id=dlm.fill_id)
        rule, steps = rule_of(run)
        request = Request("row", np.array(run["prompt"], dtype=np.int32))
        row = decode(dlm, layout, [request], rule, steps=steps, caching=caching)[0]
        assert row.ids_C.tolist() == run["tokens"], run
        if run["steps"] is not None:
            found = {commit.position: commit.step for commit in row.commits}
            assert [found[n] for n in range(len(found))] == run["steps"], run
    assert len({len(run["prompt"]) % BLOCK for run in runs}) > 1 or family.startswith("a2d")
