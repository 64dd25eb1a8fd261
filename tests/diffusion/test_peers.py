"""Rules decode as the samplers of their authors do: stored states of these, token by token.

`peers/README.md` says how the files were made. Each holds, for some prompts, the answer before
every forward pass and at the end, with -1 for a mask.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from diffusion import models
from diffusion.data.layout import CanvasLayout, encode_prompt
from diffusion.decoding import Measure, Order, Rule, View, highest
from diffusion.decoding.decode import Decoded, Request, Sampling, decode
from diffusion.decoding.rules.blockwise import Blockwise
from diffusion.decoding.rules.confidence import Confidence
from diffusion.decoding.rules.entropy_threshold import EntropyThreshold
from diffusion.decoding.rules.p2 import PathPlanning
from diffusion.decoding.rules.prophet import Prophet
from diffusion.decoding.rules.random_order import RandomOrder
from diffusion.decoding.rules.remdm import Remdm
from diffusion.decoding.sampling import take
from diffusion.models.network.denoiser import Dlm
from tests.diffusion.checkpoints import make

FOLDER = Path(__file__).parent / "peers"
PROMPTS = ("What is 2 + 3?", "Leo has 7 apples and eats 3. How many are left?")
MASKS, BLOCK = 24, 8
MEASURES = {"maskgit_plus": "probability", "topk_margin": "margin", "entropy": "entropy"}


def seeded(family: str, folder: Path) -> Dlm:
    """A tiny model whose weights are NumPy's random numbers, in the order of their names."""
    dlm = models.load_model(str(make(family, folder)))
    dlm.denoiser.eval()
    rng = np.random.default_rng(21)
    with torch.no_grad():
        for name, weight in sorted(dlm.denoiser.net.named_parameters()):
            drawn = 0.4 * torch.from_numpy(rng.standard_normal(tuple(weight.shape))).float()
            weight.copy_(1 + drawn / 4 if "norm" in name else drawn)
    return dlm


def layout(dlm: Dlm) -> CanvasLayout:
    """One slot without a header, as the peers decode."""
    return CanvasLayout(headers=((),), slots=(MASKS,), fill_id=dlm.fill_id)


def asked(dlm: Dlm) -> list[Request]:
    return [Request(text, encode_prompt(dlm.tokenizer, text)) for text in PROMPTS]


@pytest.fixture(scope="module")
def llada(tmp_path_factory: pytest.TempPathFactory) -> Dlm:
    return seeded("llada", tmp_path_factory.mktemp("peers") / "llada")


@pytest.fixture(scope="module")
def dream(tmp_path_factory: pytest.TempPathFactory) -> Dlm:
    return seeded("dream", tmp_path_factory.mktemp("peers") / "dream")


def stored(name: str) -> list[list[list[int]]]:
    """For each prompt the states of its answer."""
    states: list[list[list[int]]] = json.loads((FOLDER / f"{name}.json").read_text())
    return states


def states_of(row: Decoded, passes: Sequence[int]) -> list[list[int]]:
    """The answer before each of the given steps, and at the end."""
    now, states = [-1] * MASKS, []
    for step in range(max(passes) + 1):
        if step in passes:
            states.append(list(now))
        for one in row.commits:
            if one.step == step:
                now[one.position] = one.token
        for one in row.commits:
            if one.taken_back == step:
                now[one.position] = -1
    return [*states, now]


def check(
    dlm: Dlm, name: str, rule: Rule, steps: int, sampling: Sampling | None = None
) -> list[Decoded]:
    """Together and alone, every prompt goes through the stored states."""
    theirs, all_ = stored(name), asked(dlm)
    rows = decode(dlm, layout(dlm), all_, rule, steps=steps, sampling=sampling)
    for one, row, states in zip(all_, rows, theirs, strict=True):
        passes = len(states) - 1
        assert states_of(row, range(passes)) == states
        assert row.nfe == passes * (sampling or Sampling()).passes
        (alone,) = decode(dlm, layout(dlm), [one], rule, steps=steps, sampling=sampling)
        assert states_of(alone, range(passes)) == states
    return rows


@pytest.mark.parametrize(
    ("name", "rule"), [("llada_blocks", Blockwise(block=BLOCK)), ("llada_whole", Confidence())]
)
def test_llada(llada: Dlm, name: str, rule: Rule) -> None:
    check(llada, name, rule, MASKS)


@pytest.mark.parametrize(
    ("name", "rule", "guidance"),
    [
        ("llada_guided", Confidence(), 1.5),
        ("llada_guided_blocks", Blockwise(block=BLOCK), 0.5),
    ],
)
def test_guidance_is_lladas(llada: Dlm, name: str, rule: Rule, guidance: float) -> None:
    check(llada, name, rule, MASKS, Sampling(guidance=guidance))
    with pytest.raises(AssertionError):
        check(llada, name, rule, MASKS)


def test_suppressed_tokens_are_lladas(llada: Dlm) -> None:
    eos = 813  # what this model predicts most often
    assert any(eos in row.ids_C for row in check(llada, "llada_whole", Confidence(), MASKS))
    rows = check(llada, "llada_suppressed", Confidence(), MASKS, Sampling(suppress=(eos,)))
    assert not any(eos in row.ids_C for row in rows)


def test_deferred_tokens_are_lladas(llada: Dlm) -> None:
    eos, eot = 240, 146
    rows = check(llada, "llada_deferred", Confidence(), MASKS, Sampling(defer=(eos, eot)))
    last = [row.commits[-1] for row in rows]
    assert [(one.token, one.confidence) for one in last if one.token in (eos, eot)] != []
    assert all(one.confidence == 0 for one in last if one.token in (eos, eot))
    assert stored("llada_deferred") != stored("llada_whole")


def test_prophet(llada: Dlm) -> None:
    rule = Prophet(block=BLOCK, early=3.0, middle=1.6, late=0.8, answer_start=18, answer_tokens=5)
    rows = check(llada, "prophet", rule, MASKS)
    assert [row.nfe for row in rows] == [17, 21]


@pytest.mark.parametrize("eta", [0, 1, 2])
def test_p2(llada: Dlm, eta: int) -> None:
    rows = check(llada, f"p2_eta{eta}", PathPlanning(eta=eta), 12)
    assert any(one.taken_back is not None for row in rows for one in row.commits) is (eta > 0)


def test_remdm(llada: Dlm) -> None:
    rows = check(llada, "remdm", Remdm(block=BLOCK, count=2), 2 * MASKS)
    assert any(one.taken_back is not None for row in rows for one in row.commits)


def test_entropy_threshold(llada: Dlm) -> None:
    rows = check(llada, "d3llm_entropy", EntropyThreshold(threshold=4.2, block=BLOCK), 0)
    assert all(row.nfe < MASKS for row in rows)


@dataclass(frozen=True)
class Counted:
    """The most confident masks, as many as Dream's schedule commits at each step."""

    counts: tuple[int, ...]
    confidence: Measure
    has_steps: ClassVar[bool] = True
    order: ClassVar[Order] = Order.OTHER

    def scope(self, view: View) -> Tensor:
        return view.masked_BC

    def choose(self, view: View, confidence_BC: Tensor) -> Tensor:
        return highest(confidence_BC, view.masked_BC, self.counts[view.step])


def counts(states: list[list[int]]) -> tuple[int, ...]:
    masks = [state.count(-1) for state in states]
    return tuple(before - after for before, after in pairwise(masks))


@pytest.mark.parametrize(("algorithm", "measure"), MEASURES.items())
def test_dreams_confidences(dream: Dlm, algorithm: str, measure: str) -> None:
    """In an even share of the masks, and in its own schedule, in which steps differ."""
    kind = Measure(measure)
    check(dream, f"dream_{algorithm}_even", Confidence(confidence=kind), 12)
    (own,) = {counts(states) for states in stored(f"dream_{algorithm}")}
    assert len(set(own)) > 1
    check(dream, f"dream_{algorithm}", Counted(own, kind), 12)
    truncated = Sampling(tempered=True, top_p=0.95)
    check(dream, f"dream_{algorithm}_top_p", Confidence(confidence=kind), 12, truncated)
    if kind is Measure.ENTROPY:
        few = Sampling(tempered=True, top_k=5)
        check(dream, "dream_entropy_top_k", Confidence(confidence=kind), 12, few)


def test_dreams_random_order(dream: Dlm) -> None:
    """With the random numbers that its sampler was given, the same masks are committed."""
    rng = np.random.default_rng(3)
    noise_SC = np.stack([rng.random(MASKS).astype(np.float32) for _ in range(12)])
    rule = RandomOrder(is_independent=True)
    for one, states in zip(asked(dream), stored("dream_origin"), strict=True):
        replayed = Replayed(rule, torch.from_numpy(noise_SC))
        (row,) = decode(dream, layout(dream), [one], replayed, steps=12)
        assert states_of(row, range(len(states) - 1)) == states


@dataclass(frozen=True)
class Replayed:
    """A rule with given random numbers, [S, C]."""

    rule: RandomOrder
    noise_SC: Tensor
    has_steps: ClassVar[bool] = True
    order: ClassVar[Order] = Order.OTHER

    def scope(self, view: View) -> Tensor:
        given = dataclasses.replace(view, noise=lambda: self.noise_SC[view.step][None])
        return self.rule.scope(given)

    def choose(self, view: View, confidence_BC: Tensor) -> Tensor:
        return self.scope(view)


def cases() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / "dream_sample_tokens.json").read_text())[
        "cases"
    ]
    return found


@pytest.mark.parametrize("case", cases(), ids=lambda one: "-".join(map(str, [*one.values()][:4])))
def test_dreams_temperature_top_p_and_top_k(case: dict[str, Any]) -> None:
    logits = json.loads((FOLDER / "dream_sample_tokens.json").read_text())["logits"]
    settings = {name: case[name] for name in ("temperature", "top_p", "top_k")}
    measure = Measure(case["measure"])
    taken = take(torch.tensor(logits), Sampling(tempered=True, **settings), measure)
    wanted = torch.tensor(case["confidence"])
    if measure is not Measure.PROBABILITY:
        torch.testing.assert_close(taken.key_r, wanted)
        return
    is_same = taken.token_r == torch.tensor(case["token"])  # others were sampled there
    assert is_same.sum() >= 3 and (is_same.all() or case["temperature"])
    torch.testing.assert_close(taken.key_r[is_same], wanted[is_same])
