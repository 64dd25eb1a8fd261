"""What rules do beyond the common promises: tokens taken back, early ends, bounds, settings."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import polytrace
from diffusion.decoding import Measure, Order, Rule, View, highest
from diffusion.decoding.decode import Decoded, decode
from diffusion.decoding.kv_cache import CachedPositions, CacheSettings
from diffusion.decoding.rules.ar_order import ArOrder
from diffusion.decoding.rules.blockwise import Blockwise
from diffusion.decoding.rules.confidence import Confidence
from diffusion.decoding.rules.entropy_threshold import EntropyThreshold
from diffusion.decoding.rules.p2 import PathPlanning
from diffusion.decoding.rules.parallel_forced import ParallelForced
from diffusion.decoding.rules.prophet import Prophet
from diffusion.decoding.rules.random_order import RandomOrder
from diffusion.decoding.rules.remdm import Remdm
from diffusion.decoding.sampling import Fill, Sampling, take
from diffusion.models.network.denoiser import Dlm
from support.errors import UserError
from tests.diffusion import decodes
from tests.diffusion.checkpoints import logits_of
from tests.diffusion.decodes import decoder, order, requests

MASKS = 3 * 9 + 4
canvas = partial(decodes.canvas, paths=3, summary_tokens=4)


@pytest.fixture(scope="module", params=("llada", "dream"))
def dlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dlm:
    return decoder(request.param, tmp_path_factory.mktemp(request.param))


def rows(dlm: Dlm, rule: Rule, steps: int = 10, **settings: Any) -> list[Decoded]:
    return decode(dlm, canvas(dlm), requests(dlm), rule, steps=steps, sampling=Sampling(**settings))


def test_nothing_is_taken_back_at_eta_0_nor_without_a_loop(dlm: Dlm) -> None:
    for rule in (PathPlanning(eta=0), Remdm(loop=0, block=5)):
        assert all(one.taken_back is None for row in rows(dlm, rule) for one in row.commits)
    wanted = [order(row) for row in rows(dlm, Confidence())]
    assert [order(row) for row in rows(dlm, PathPlanning(eta=0))] == wanted


def test_more_is_taken_back_the_higher_eta_is(dlm: Dlm) -> None:
    churn = [
        sum(len(row.commits) - MASKS for row in rows(dlm, PathPlanning(eta=eta), 15))
        for eta in (0.0, 1.0, 2.0)
    ]
    assert churn[0] == 0 and churn == sorted(set(churn))


@pytest.mark.parametrize(("rule", "steps"), [(PathPlanning(eta=2), 12), (Remdm(block=6), 62)])
def test_a_log_tells_the_whole_story(dlm: Dlm, rule: Rule, steps: int) -> None:
    """A position is committed only while it is masked, and taken back only while it is not."""
    for row in rows(dlm, rule, steps):
        there: dict[int, int] = {}
        for step in range(steps):
            for one in row.commits:
                if one.step == step:
                    assert one.position not in there
                    there[one.position] = one.token
            for one in row.commits:
                if one.taken_back == step:
                    del there[one.position]
        assert len(there) == MASKS < len(row.commits)
        assert all(row.ids_C[place] == token for place, token in there.items())
        assert row.nfe <= steps


def test_arness_is_of_the_commits_that_stayed(dlm: Dlm) -> None:
    (row, *_) = rows(dlm, PathPlanning(eta=2), 12)
    found = polytrace.arness(row.commits)
    stayed = [one for one in row.commits if one.taken_back is None]
    assert found is not None and found.commits == MASKS
    assert found == polytrace.arness(stayed)


def test_a_loop_masks_what_was_least_certain(dlm: Dlm) -> None:
    (row, *_) = rows(dlm, Remdm(block=MASKS, count=2), 2 * MASKS)
    for step in sorted({one.taken_back for one in row.commits if one.taken_back is not None}):
        there = [
            one
            for one in row.commits
            if one.step <= step and (one.taken_back is None or one.taken_back >= step)
        ]
        back = [one.confidence for one in there if one.taken_back == step]
        assert sorted(one.confidence for one in there)[:2] == sorted(back)


def test_prophet_ends_where_the_answer_is_certain_and_else_is_blockwise(dlm: Dlm) -> None:
    never = Prophet(block=7, early=1e9, middle=1e9, late=1e9)
    wanted = [order(row) for row in rows(dlm, Blockwise(block=7))]
    assert [order(row) for row in rows(dlm, never)] == wanted
    for at_once in rows(dlm, replace(never, early=0.0)):
        assert (at_once.nfe, {one.step for one in at_once.commits}) == (1, {0})
    halfway = rows(dlm, replace(never, middle=0.0))
    assert [row.nfe for row in halfway] == [4] * 4, "a third of ten steps is over after three"
    assert [order(row)[:9] for row in halfway] == [one[:9] for one in wanted]


def test_prophet_reads_the_last_slot_or_what_it_is_told(dlm: Dlm) -> None:
    slots = torch.tensor([-1, 0, 0, 0, -1, 1, 1])
    is_mask = slots >= 0
    view = View(
        step=0,
        steps=5,
        masked_BC=is_mask[None],
        slot_C=slots,
        mask_index_C=torch.where(is_mask, is_mask.cumsum(0) - 1, -1),
        mask_count=5,
        noise=lambda: torch.zeros(1, 7),
        at_commit_BC=torch.full((1, 7), torch.inf),
        gap_BC=torch.tensor([[-torch.inf, 1.0, 1.0, 9.0, -torch.inf, 4.0, 6.0]]),
    )
    confidence = torch.tensor([[0.0, 0.9, 0.1, 0.1, 0.0, 0.1, 0.1]])

    def committed(**options: Any) -> int:
        return int(Prophet(middle=0, late=0, **options).choose(view, confidence).sum())

    assert (committed(early=5.0), committed(early=5.1)) == (5, 1), "the mean of 4 and 6"
    assert (committed(early=9.0, answer_start=2, answer_tokens=1), committed(early=9.0)) == (5, 1)
    with pytest.raises(UserError, match=r"answer_start: 5 is behind the answer's 5 masks"):
        committed(early=6.0, answer_start=5)


def test_entropies_up_to_the_threshold_are_committed(dlm: Dlm) -> None:
    """All at once where the threshold is high, and one by one where it is 0."""
    assert [row.nfe for row in rows(dlm, EntropyThreshold(threshold=99, block=MASKS))] == [1] * 4
    assert [row.nfe for row in rows(dlm, EntropyThreshold(threshold=0, block=8))] == [MASKS] * 4
    by_entropy = rows(dlm, Blockwise(block=8, confidence=Measure.ENTROPY), MASKS)
    one_by_one = rows(dlm, EntropyThreshold(threshold=0, block=8))
    assert [order(row) for row in one_by_one] == [order(row) for row in by_entropy]


def test_a_measure_changes_the_order_and_not_the_confidence_of_a_commit(dlm: Dlm) -> None:
    found: dict[Measure, list[Any]] = {}
    for measure in Measure:
        for row in rows(dlm, ParallelForced(confidence=measure)):
            found.setdefault(measure, []).append(order(row))
            assert all(0 < one.confidence <= 1 for one in row.commits)
    assert len({str(one) for one in found.values()}) == 3
    assert Confidence().order is Order.AO and ParallelForced().order is Order.FORCED
    assert RandomOrder().order is Order.RANDOM
    assert Blockwise(confidence=Measure.MARGIN).order is Order.OTHER


@pytest.mark.parametrize("rule", [Confidence(), ParallelForced(), PathPlanning(), Prophet(block=9)])
@pytest.mark.parametrize("measure", Measure)
def test_fill_comes_last_by_every_measure(dlm: Dlm, rule: Any, measure: Measure) -> None:
    """The token that is predicted most often stands for fill."""
    rule = replace(rule, confidence=measure)
    free = rows(dlm, rule, 8)
    tokens = np.concatenate([row.ids_C for row in free])
    often = int(np.bincount(tokens[tokens != dlm.fill_id]).argmax())

    def mean_step(found: list[Decoded]) -> float:
        steps = [one.step for row in found for one in row.commits if one.token == often]
        return sum(steps) / len(steps) if steps else 99.0

    other = replace(dlm, fill_id=often, turn_end_ids=frozenset())
    assert mean_step(rows(other, rule, 8, fill=Fill.LAST)) >= mean_step(free)


@torch.no_grad()
def test_guidance_hides_the_prompt_and_not_the_headers(dlm: Dlm) -> None:
    (request,) = requests(dlm, 1)
    layout = canvas(dlm)
    (row,) = decode(dlm, layout, [request], Confidence(), steps=1, sampling=Sampling(guidance=2.0))
    blank = layout.lay(request.prompt, [np.zeros(0, np.int32)] * 4)
    ids = torch.from_numpy(np.where(blank.answer_T, dlm.mask_id, blank.ids_T).astype(np.int64))
    hidden = ids.clone()
    hidden[: len(request.prompt)] = dlm.mask_id
    everywhere = torch.arange(len(ids))
    given, plain = (logits_of(dlm.denoiser, one[None], everywhere) for one in (ids, hidden))
    logits = plain + 3.0 * (given - plain)
    logits[:, dlm.mask_id] = -torch.inf
    best = logits[len(request.prompt) :].softmax(-1).max(-1)
    for one in row.commits:
        assert one.token == int(best.indices[one.position])
        assert one.confidence == pytest.approx(float(best.values[one.position]), abs=1e-5)
    assert row.nfe == 2


def test_tokens_are_named_by_id_or_text(dlm: Dlm) -> None:
    text = "<|im_start|>"
    by_id = Sampling(suppress=(dlm.tokenizer.convert_tokens_to_ids(text), "4"))
    ids, _ = by_id.suppressed_and_deferred(dlm.tokenizer, 900)
    again, _ = Sampling(suppress=(text, "4")).suppressed_and_deferred(dlm.tokenizer, 900)
    assert ids == again and len(ids) == 2
    with pytest.raises(ValueError, match=r"defer: 'is none' is \d+ tokens; give ids or"):
        Sampling(defer=("is none",)).suppressed_and_deferred(dlm.tokenizer, 900)


@pytest.mark.parametrize("kind", sorted(set(CachedPositions) - {CachedPositions.FINISHED}))
@pytest.mark.parametrize(
    "rule",
    [
        EntropyThreshold(block=6, threshold=3),
        Prophet(block=6, early=2.0, middle=1.0, late=0.5),
        Remdm(block=6, count=2, start=0.5),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_rows_decode_with_a_cache_as_they_do_alone(
    dlm: Dlm, rule: Rule, kind: CachedPositions
) -> None:
    caching, layout = CacheSettings(kind=kind), canvas(dlm)
    together = decode(dlm, layout, requests(dlm), rule, steps=12, caching=caching)
    for one, row in zip(requests(dlm), together, strict=True):
        (alone,) = decode(dlm, layout, [one], rule, steps=12, caching=caching)
        assert order(alone) == order(row) and alone.nfe == row.nfe


@pytest.mark.parametrize("refresh", [0, 2])
def test_a_row_of_which_nothing_is_asked_keeps_its_cache(dlm: Dlm, refresh: int) -> None:
    """Each row draws the steps at which it commits something."""
    caching = CacheSettings(kind=CachedPositions.PROMPT, refresh=refresh)
    rule, layout = RandomOrder(is_independent=True), canvas(dlm)
    together = decode(dlm, layout, requests(dlm), rule, steps=60, caching=caching)
    assert len({row.nfe for row in together}) > 1
    for one, row in zip(requests(dlm), together, strict=True):
        (alone,) = decode(dlm, layout, [one], rule, steps=60, caching=caching)
        assert order(alone) == order(row)


@pytest.mark.parametrize("measure", Measure)
def test_a_deferred_token_comes_last_also_where_no_other_is_kept(measure: Measure) -> None:
    """With `top_k` of 1 the likeliest token alone is kept: of the first row it is deferred."""
    logits = torch.tensor([[3.0, 1.0, 0.0], [1.0, 3.0, 0.0]])
    taken = take(logits, Sampling(tempered=True, top_k=1), measure, deferred=[0])
    assert taken.token_r.tolist() == [0, 1] and taken.probability_r.tolist() == [0.0, 1.0]
    assert taken.key_r[0] == measure.least < taken.key_r[1]


@pytest.mark.parametrize("rule", [Confidence(), ArOrder(), Blockwise(block=5)])
def test_what_is_no_number_is_refused(dlm: Dlm, rule: Rule) -> None:
    net = dlm.denoiser.net
    weight = net.get_output_embeddings().weight
    kept = weight.data[7, 3].item()
    weight.data[7, 3] = torch.nan
    try:
        with pytest.raises(UserError, match=r"the model computes no numbers \(NaN\)"):
            rows(dlm, rule)
    finally:
        weight.data[7, 3] = kept


@dataclass(frozen=True)
class Undecided:
    """Commits one mask, and takes everything back."""

    has_steps: ClassVar[bool] = True
    commits: Callable[[View], int] = lambda view: 1
    order: ClassVar[Order] = Order.OTHER

    def scope(self, view: View) -> Tensor:
        return view.masked_BC

    def choose(self, view: View, confidence_BC: Tensor) -> Tensor:
        return highest(confidence_BC, view.masked_BC, self.commits(view))

    def take_back(self, view: View, confidence_BC: Tensor, chosen_BC: Tensor) -> Tensor:
        return chosen_BC


@dataclass(frozen=True)
class Endless(Undecided):
    """The same without a number of steps."""

    has_steps: ClassVar[bool] = False


def test_a_rule_that_cannot_decide_comes_to_an_end(dlm: Dlm) -> None:
    def all_at_last(view: View) -> int:
        return MASKS if view.step == view.steps - 1 else 1

    for row in rows(dlm, Undecided(commits=all_at_last), 5):
        assert (row.nfe, len(row.commits)) == (5, MASKS + 4)
        assert [one.taken_back for one in row.commits][:4] == [0, 1, 2, 3]
    with pytest.raises(AssertionError, match="masks are left after 5 steps"):
        rows(dlm, Undecided(), 5)
    with pytest.raises(ValueError, match="takes tokens back has a number of steps"):
        rows(dlm, Endless())


@pytest.mark.parametrize(
    ("make_rule", "says"),
    [
        (lambda: PathPlanning(eta=-1), "eta: -1 is not a number of at least 0"),
        (lambda: Remdm(count=0), "count: 0 is under 1"),
        (lambda: Blockwise(block=1 << 31), "block: 2147483648 is over 2147483647"),
        (lambda: Sampling(temperature=float("inf")), "temperature: inf is not a number of at"),
        (lambda: Sampling(temperature=1e-39), "temperature: 1e-39 is under 1e-06, where logits"),
        (lambda: Remdm(start=0), "start: 0 is not above 0 and at most 1"),
        (lambda: Remdm(loop=1), "loop: 1 is not at least 0 and below 1"),
        (lambda: EntropyThreshold(threshold=-1), "threshold: -1 is under 0"),
        (lambda: Prophet(block=0), "block: 0 is under 1"),
        (lambda: Prophet(answer_tokens=0), "answer_tokens: 0 is under 1"),
        (lambda: Prophet(middle=float("nan")), "middle: nan is no number"),
    ],
)
def test_options_are_checked(make_rule: Callable[[], Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make_rule()


def test_the_door_takes_the_settings(tmp_path: Path) -> None:
    model = polytrace.load_model("tiny/dlm")

    def decoded(**settings: Any) -> Any:
        sizes: dict[str, Any] = {"steps": 6, "slot_tokens": 8, "summary_tokens": 6}
        [answer] = polytrace.decode(model, ["What is 2 + 3?"], **sizes, **settings)
        return answer.decoded

    for rule in ("confidence", {"kind": "p2", "confidence": "entropy"}):
        plain = decoded(rule=rule)
        token = plain.commits[0].token
        assert token not in decoded(rule=rule, suppress=[token]).ids_C
        assert decoded(rule=rule, guidance=1.0).nfe == 2 * plain.nfe
    with pytest.raises(polytrace.UserError, match="decode: suppress: 'a b c' is"):
        decoded(suppress=["a b c"])
    with pytest.raises(polytrace.UserError, match=r"rule\.confidence"):
        decoded(rule={"kind": "confidence", "confidence": "certainty"})
