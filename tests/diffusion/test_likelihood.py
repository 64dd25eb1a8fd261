"""Likelihoods: exact by hand, unbiased, with a true standard error, and as LLaDA computes them."""

import json
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffusion.data.layout import CanvasLayout
from diffusion.decoding.decode import Request, Sampling, decode
from diffusion.decoding.rules.confidence import Confidence
from diffusion.evaluation.likelihood import (
    GROUP,
    Likelihood,
    drawn_masks,
    every_mask,
    log_likelihood,
)
from diffusion.lm_eval_model.estimates import Estimates
from diffusion.models.network.denoiser import Dlm
from diffusion.settings import Precision
from tests.diffusion.checkpoints import logits_of
from tests.diffusion.test_peers import seeded

PEERS = Path(__file__).parent / "peers"
PROMPT = np.array([20, 31, 42], dtype=np.int32)
SETTINGS: dict[str, Any] = {"seed": 0, "batch": 16, "precision": Precision.FLOAT32}


@pytest.fixture(scope="module", params=["llada", "dream"])
def dlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dlm:
    return seeded(request.param, tmp_path_factory.mktemp("likelihood") / request.param)


def nats(dlm: Dlm, prompt: Any, answer: Any, masked: tuple[int, ...]) -> float:
    """-log p of the masked tokens of the answer, by a pass of this row alone."""
    whole = torch.as_tensor(np.concatenate([prompt, answer]).astype(np.int64))
    ids = whole.clone()
    at = torch.tensor([len(prompt) + one for one in masked])
    ids[at] = dlm.mask_id
    with torch.no_grad():
        logits = logits_of(dlm.denoiser, ids[None], at)
    return -float(logits.log_softmax(-1).gather(1, whole[at][:, None]).sum())


def test_of_three_tokens_the_bound_is_exact(dlm: Dlm) -> None:
    """l masked of 3, each l with 1/3: 3 times one token, 3/2 times two of them, 1 times all."""
    answer = np.array([50, 61, 72], dtype=np.int32)
    ones = sum(nats(dlm, PROMPT, answer, (one,)) for one in (0, 1, 2)) / 3
    twos = sum(nats(dlm, PROMPT, answer, some) for some in ((0, 1), (0, 2), (1, 2))) / 3
    whole = nats(dlm, PROMPT, answer, (0, 1, 2))
    found = log_likelihood(dlm, PROMPT, answer, samples=32, **SETTINGS)
    assert found.value == pytest.approx(-(3 * ones + 1.5 * twos + whole) / 3, rel=1e-5)
    assert found.error == 0


def test_of_one_token_it_is_its_log_probability(dlm: Dlm) -> None:
    answer = np.array([50], dtype=np.int32)
    found = log_likelihood(dlm, PROMPT, answer, samples=128, **SETTINGS)
    assert found.value == pytest.approx(-nats(dlm, PROMPT, answer, (0,)), rel=1e-6)


def test_the_weights_of_all_masks_are_those_of_the_bound() -> None:
    """Each token is masked with a total weight of 1, whatever the length."""
    for length in (1, 2, 5, 7):
        masks, weights = every_mask(length)
        assert len(masks) == 2**length - 1
        assert weights @ masks == pytest.approx(np.ones(length))


def test_drawn_numbers_of_masks_are_uniform_and_spread_within_a_group() -> None:
    rng = np.random.default_rng(0)
    for length in (8, 16, 40):
        groups = np.array([drawn_masks(length, rng).sum(1) for _ in range(2000)])
        shares = np.bincount(groups.ravel(), minlength=length + 1)[1:] / groups.size
        assert shares == pytest.approx(np.full(length, 1 / length), rel=0.2)
        assert groups.mean(1).std() < 0.2 * groups.std() / sqrt(GROUP) * 4
    assert all(sorted(row) == list(range(1, 17)) for row in (drawn_masks(16, rng).sum(1),))


def test_estimates_are_unbiased_and_their_errors_true(dlm: Dlm) -> None:
    """Nine tokens: 511 ways to mask them, all of which 512 samples take."""
    answer = np.arange(30, 39, dtype=np.int32)
    exact = log_likelihood(dlm, PROMPT, answer, samples=512, **SETTINGS)
    assert exact.error == 0
    made = [
        log_likelihood(dlm, PROMPT, answer, samples=64, **SETTINGS | {"seed": seed})
        for seed in range(60)
    ]
    values = np.array([one.value for one in made])
    assert abs(values.mean() - exact.value) < 4 * values.std(ddof=1) / sqrt(len(made))
    reported = sqrt(np.mean([one.error**2 for one in made]))
    assert reported == pytest.approx(values.std(ddof=1), rel=0.4)


def test_an_estimate_depends_on_its_seed_and_ids_alone(dlm: Dlm) -> None:
    answer = np.arange(30, 42, dtype=np.int32)
    first = log_likelihood(dlm, PROMPT, answer, samples=32, **SETTINGS)
    alone = log_likelihood(dlm, PROMPT, answer, samples=32, **SETTINGS | {"batch": 1})
    assert alone.value == pytest.approx(first.value, rel=1e-5)
    assert log_likelihood(dlm, PROMPT, answer, samples=32, **SETTINGS) == first
    other = log_likelihood(dlm, PROMPT, answer, samples=32, **SETTINGS | {"seed": 1})
    assert other.value != first.value


def test_greedy_is_what_the_decoder_writes_one_token_a_step(dlm: Dlm) -> None:
    layout = CanvasLayout(headers=((),), slots=(6,), fill_id=dlm.fill_id)
    [row] = decode(dlm, layout, [Request("", PROMPT)], Confidence(), steps=6, sampling=Sampling())
    written = np.asarray(row.ids_C, dtype=np.int32)
    assert log_likelihood(dlm, PROMPT, written, samples=32, **SETTINGS).is_greedy
    changed = written.copy()
    changed[row.commits[-1].position] += 1
    assert not log_likelihood(dlm, PROMPT, changed, samples=32, **SETTINGS).is_greedy


def test_a_mask_is_no_token_that_is_written(dlm: Dlm) -> None:
    """The model is made to predict the mask before all others, and the decoder leaves it out."""
    layout = CanvasLayout(headers=((),), slots=(3,), fill_id=dlm.fill_id)
    weight = dlm.denoiser.net.get_output_embeddings().weight.data
    kept = weight[dlm.mask_id].clone()

    def written() -> Any:
        [row] = decode(dlm, layout, [Request("", PROMPT)], Confidence(), steps=3)
        return np.asarray(row.ids_C, dtype=np.int32)

    weight[dlm.mask_id] = 2 * weight[int(written()[0])]
    try:
        assert log_likelihood(dlm, PROMPT, written(), samples=32, **SETTINGS).is_greedy
    finally:
        weight[dlm.mask_id] = kept


def test_any_seed_is_taken(dlm: Dlm) -> None:
    answer = np.arange(30, 42, dtype=np.int32)
    below = log_likelihood(dlm, PROMPT, answer, samples=32, **SETTINGS | {"seed": -1})
    assert below != log_likelihood(dlm, PROMPT, answer, samples=32, **SETTINGS)


def test_in_bfloat16_too(dlm: Dlm) -> None:
    answer = np.arange(30, 39, dtype=np.int32)
    half = log_likelihood(
        dlm, PROMPT, answer, samples=512, **SETTINGS | {"precision": Precision.BFLOAT16}
    )
    whole = log_likelihood(dlm, PROMPT, answer, samples=512, **SETTINGS)
    assert half.value == pytest.approx(whole.value, rel=0.05)


def test_nothing_is_certain_and_few_samples_are_refused(dlm: Dlm) -> None:
    empty = np.array([], dtype=np.int32)
    assert log_likelihood(dlm, PROMPT, empty, samples=32, **SETTINGS) == (0.0, 0.0, True)
    for samples in (0, 16, 40):
        with pytest.raises(ValueError, match="is not a multiple of 16, or under 32"):
            log_likelihood(dlm, PROMPT, PROMPT, samples=samples, **SETTINGS)


def test_as_lladas_own_function(tmp_path: Path) -> None:
    """Its mean over 150 runs of 128 samples each."""
    llada = seeded("llada", tmp_path / "llada")
    for case in json.loads((PEERS / "llada_likelihood.json").read_text()):
        prompt, answer = (np.array(case[name], dtype=np.int32) for name in ("prompt", "answer"))
        theirs = case["spread"] / sqrt(case["runs"])
        exact = len(answer) <= 9
        samples = 512 if exact else 2048
        ours = log_likelihood(llada, prompt, answer, samples=samples, **SETTINGS | {"batch": 128})
        assert (ours.error == 0) is exact
        slack = 4 * sqrt(theirs**2 + ours.error**2) + 1e-4 * abs(case["mean"])
        assert abs(ours.value - case["mean"]) < slack, len(answer)
        if len(answer) == 14:  # one estimate of ours is as sure as one of theirs
            error = np.sqrt(
                np.mean(
                    [
                        log_likelihood(
                            llada, prompt, answer, samples=128, **SETTINGS | {"seed": seed}
                        ).error
                        ** 2
                        for seed in range(12)
                    ]
                )
            )
            assert error == pytest.approx(case["spread"], rel=0.4)


def test_the_summary_counts_what_is_undecided() -> None:
    estimates = Estimates(128)
    assert estimates.summary() == {}
    for document, value, error in (("a", -5.0, 0.0), ("a", -6.0, 0.1), ("b", -5.0, 1.0)):
        estimates.add((document,), Likelihood(value, error, False))
    estimates.add(("b",), Likelihood(-6.0, 1.0, False))
    estimates.add(("c",), Likelihood(-6.0, 0.9, False))
    summary = estimates.summary()["likelihoods"]
    assert (summary["requests"], summary["exact"], summary["samples"]) == (5, 1, 128)
    assert (summary["choices"], summary["undecided"]) == (2, 1)
    assert summary["mean_standard_error"] == pytest.approx(0.6)
    few = Estimates(32)  # two groups: a standard error that says little
    for value in (-5.0, -9.0):
        few.add(("a",), Likelihood(value, 1.0, False))
    assert few.summary()["likelihoods"]["undecided"] == 1
    assert summary["largest_standard_error"] == 1.0
