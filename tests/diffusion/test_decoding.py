"""Decoding: rules choose what they say, and the loop equals a plain one written here."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from diffusion import models
from diffusion.data.layout import CanvasLayout, Form, encode_prompt, layout_of
from diffusion.decoding import Rule, View
from diffusion.decoding.decode import Decoded, Fill, Request, Sampling, decode
from diffusion.decoding.rules.ar_order import ArOrder
from diffusion.decoding.rules.blockwise import Blockwise
from diffusion.decoding.rules.confidence import Confidence
from diffusion.decoding.rules.fast_dllm import FastDllm
from diffusion.decoding.rules.parallel_forced import ParallelForced, Summary, quotas, schedule
from diffusion.decoding.rules.random_order import RandomOrder
from diffusion.evaluation.arness import global_arness
from diffusion.evaluation.settings import RULES as FAMILY
from diffusion.models.network.denoiser import Dlm
from support import plugins
from support.errors import UserError
from tests.diffusion.checkpoints import FAMILIES, logits_of, make

RULES: tuple[Rule, ...] = (
    ArOrder(),
    Confidence(),
    RandomOrder(),
    Blockwise(block=7),
    Blockwise(block=7, is_random=True),
    FastDllm(threshold=0.2, block=7),
    ParallelForced(),
    ParallelForced(summary=Summary.JOINT),
)


@pytest.fixture(scope="module", params=(*FAMILIES, "a2d-qwen3", "llada_moe"))
def dlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dlm:
    folder = make(request.param, tmp_path_factory.mktemp(request.param))
    loaded = models.load_model(str(folder))
    loaded.denoiser.eval()
    if request.param == "masked_lm":  # its own random weights are so small that all tokens tie
        with torch.no_grad():
            for weight in loaded.denoiser.parameters():
                weight.mul_(8 if weight.ndim > 1 else 1)
    return loaded


def canvas(dlm: Dlm, slot: int = 9, summary: int = 4) -> CanvasLayout:
    return layout_of(
        dlm.tokenizer,
        dlm.fill_id,
        form=Form.CANVAS,
        paths=3,
        slot_tokens=slot,
        summary_tokens=summary,
    )


def requests(dlm: Dlm, count: int = 4) -> list[Request]:
    asked = ("What is 2 + 3?", "Leo has 7 apples and eats 3. How many are left?", "12 * 4", "Why?")
    return [Request(text, encode_prompt(dlm.tokenizer, text)) for text in asked[:count]]


def view(masked: Tensor, slots: Sequence[int], step: int, steps: int, seed: int = 0) -> View:
    slot_C = torch.tensor(slots)
    is_mask_C = slot_C >= 0
    return View(
        step=step,
        steps=steps,
        masked_BC=masked,
        slot_C=slot_C,
        mask_index_C=torch.where(is_mask_C, is_mask_C.cumsum(0) - 1, -1),
        mask_count=int(is_mask_C.sum()),
        noise=lambda: torch.rand(
            masked.shape, generator=torch.Generator().manual_seed(seed + 1000 * step)
        ),
    )


@torch.no_grad()
def plain(
    dlm: Dlm, layout: CanvasLayout, request: Request, steps: int, joint: bool | None
) -> list[Any]:
    """One row with full-vocabulary logits; AO, or parallel-forced where `joint` says which."""
    row = layout.lay(request.prompt, [np.zeros(0, np.int32)] * len(layout.slots))
    ids = torch.from_numpy(np.where(row.answer_T, dlm.mask_id, row.ids_T).astype(np.int64))
    begin, commits = len(ids) - layout.tokens, []
    slots = [
        n for n, h in enumerate(layout.headers) for n in (*[-1] * len(h), *[n] * layout.slots[n])
    ]
    for step in range(steps):
        everywhere = torch.arange(len(ids))
        logits = logits_of(dlm.denoiser, ids[None], everywhere).float()
        logits[:, dlm.mask_id] = -torch.inf
        best = logits.softmax(-1).max(-1)
        masked = torch.tensor([int(i) == dlm.mask_id for i in ids[begin:]])
        if joint is None:
            m = layout.masks
            shares = [((step + 1) * m // steps - step * m // steps, list(range(layout.tokens)))]
        else:
            now = quotas(
                view(masked[None], slots, step, steps), Summary.JOINT if joint else Summary.AFTER
            )
            shares = [
                (quota, [c for c in range(layout.tokens) if slots[c] == slot])
                for slot, quota in enumerate(now)
            ]
        for share, columns in shares:
            open_columns = [c for c in columns if masked[c]]
            open_columns.sort(key=lambda c: (-float(best.values[begin + c]), c))
            for column in open_columns[:share]:
                commits.append((step, column, int(best.indices[begin + column])))
        for at, column, token in commits:
            if at == step:
                ids[begin + column] = token
    return sorted(commits)


def short(row: Decoded) -> list[Any]:
    return [(c.step, c.position, c.token) for c in row.commits]


@pytest.mark.parametrize("steps", [1, 5, 13, 31, 1000])
@pytest.mark.parametrize("joint", [None, False, True])
def test_the_loop_equals_a_plain_one(dlm: Dlm, steps: int, joint: bool | None) -> None:
    layout = canvas(dlm)
    rule = (
        Confidence()
        if joint is None
        else ParallelForced(summary=Summary.JOINT if joint else Summary.AFTER)
    )
    (row,) = decode(dlm, layout, requests(dlm, 1), rule, steps=steps)
    assert short(row) == plain(dlm, layout, requests(dlm, 1)[0], min(steps, layout.masks), joint)


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_rows_of_an_uneven_batch_decode_as_they_do_alone(
    dlm: Dlm, rule: Rule, temperature: float
) -> None:
    layout, sampling = canvas(dlm), Sampling(temperature=temperature, seed=3)
    asked = requests(dlm)
    assert len({len(one.prompt) for one in asked}) > 1
    together = decode(dlm, layout, asked, rule, steps=11, sampling=sampling)
    for one, row in zip(asked, together, strict=True):
        (alone,) = decode(dlm, layout, [one], rule, steps=11, sampling=sampling)
        assert short(alone) == short(row)
        assert alone.nfe == row.nfe
        assert [c.confidence for c in alone.commits] == pytest.approx(
            [c.confidence for c in row.commits], abs=1e-5
        )


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_every_mask_is_committed_once_in_as_many_steps_as_asked(dlm: Dlm, rule: Rule) -> None:
    layout = canvas(dlm)
    for steps in (1, 2, 3, 10, 30, 31, 99):
        for row in decode(dlm, layout, requests(dlm, 2), rule, steps=steps):
            positions = [c.position for c in row.commits]
            assert len(set(positions)) == len(positions) == layout.masks
            used = {c.step for c in row.commits}
            assert row.nfe == len(used)
            if rule.has_steps:
                assert used == set(range(min(steps, layout.masks)))
            assert dlm.mask_id not in row.ids_C
            assert all(0 <= c.confidence <= 1 for c in row.commits)
            empty = layout.lay(requests(dlm, 1)[0].prompt, [np.zeros(0, np.int32)] * 4)
            heads = ~empty.answer_T[-layout.tokens :]
            assert (row.ids_C[heads] == empty.ids_T[-layout.tokens :][heads]).all()
            assert all(row.ids_C[c.position] == c.token for c in row.commits)


def test_ar_order_goes_from_left_to_right_and_random_does_not(dlm: Dlm) -> None:
    layout = canvas(dlm)
    for steps in (8, 31):
        for row in decode(dlm, layout, requests(dlm), ArOrder(), steps=steps):
            order = [c.position for c in row.commits]
            assert order == sorted(order)
            assert global_arness([c.step for c in row.commits], order) == 1.0
        orders = [
            [c.position for c in row.commits]
            for row in decode(dlm, layout, requests(dlm), RandomOrder(), steps=steps)
        ]
        assert all(order != sorted(order) for order in orders)
        assert orders[0] != orders[1], "each row has an order of its own"


def test_seeds_and_only_seeds_change_what_is_sampled(dlm: Dlm) -> None:
    layout, rule = canvas(dlm), Confidence()

    def sampled(seed: int) -> list[Any]:
        rows = decode(
            dlm, layout, requests(dlm), rule, steps=9, sampling=Sampling(temperature=1.0, seed=seed)
        )
        return [short(row) for row in rows]

    assert sampled(1) == sampled(1)
    assert sampled(1) != sampled(2)


def test_low_temperatures_approach_the_greedy_tokens(dlm: Dlm) -> None:
    layout, asked = canvas(dlm), requests(dlm)
    cold = decode(dlm, layout, asked, Confidence(), steps=6, sampling=Sampling(temperature=1e-4))
    greedy = decode(dlm, layout, asked, Confidence(), steps=6)
    assert [short(row) for row in cold] == [short(row) for row in greedy]


def test_fill_last_commits_what_is_predicted_to_be_content_first(dlm: Dlm) -> None:
    """Tokens that the model predicts often stand for fill; they come when nothing else is left."""
    layout, asked = canvas(dlm), requests(dlm)
    free = decode(dlm, layout, asked, Confidence(), steps=31)
    often = Counter(c.token for row in free for c in row.commits).most_common(5)
    looked = sum(
        _content_was_left(replace(dlm, fill_id=token), layout, asked) for token, _ in often
    )
    assert looked, "no row was filled"
    ends = (replace(dlm, turn_end_ids=frozenset([token])) for token, _ in often)
    assert sum(_content_was_left(one, layout, asked) for one in ends), "no turn was ended"


def _content_was_left(dlm: Dlm, layout: CanvasLayout, asked: list[Request]) -> int:
    """How many rows were filled; none may be while another token is predicted anywhere."""
    looked = 0
    sampling = Sampling(fill=Fill.LAST)
    rows = decode(dlm, layout, asked, Confidence(), steps=31, sampling=sampling)
    for one, row in zip(asked, rows, strict=True):
        first = next((c for c in row.commits if c.token in dlm.end_ids), None)
        if first is None:
            continue
        blank = layout.lay(one.prompt, [np.zeros(0, np.int32)] * len(layout.slots))
        ids = torch.from_numpy(np.where(blank.answer_T, dlm.mask_id, blank.ids_T).astype(np.int64))
        for commit in row.commits[: first.step]:
            ids[len(one.prompt) + commit.position] = commit.token
        masked = (ids == dlm.mask_id).nonzero().squeeze(1)
        with torch.no_grad():
            logits = logits_of(dlm.denoiser, ids[None], masked)
        logits[:, dlm.mask_id] = -torch.inf
        assert set(logits.argmax(-1).tolist()) <= dlm.end_ids, "content was left"
        looked += 1
    return looked


def test_blocks_end_before_the_next_begins() -> None:
    masked = torch.ones(2, 20, dtype=torch.bool)
    rule, generator = Blockwise(block=6), torch.Generator().manual_seed(1)
    order: list[set[int]] = []
    for step in range(7):
        now = view(masked, [0] * 20, step, 7)
        scope = rule.scope(now)
        confidence = torch.rand(2, 20, generator=generator).masked_fill(~scope, -torch.inf)
        chosen = rule.choose(now, confidence)
        assert not (chosen & ~scope).any()
        masked = masked & ~chosen
        order.append(set(chosen[0].nonzero().squeeze(1).tolist()))
    flat = [c for step in order for c in sorted(step)]
    blocks = [c // 6 for c in flat]
    assert blocks == sorted(blocks)
    assert [len(step) for step in order] == [2, 3, 3, 3, 3, 3, 3]


def test_fast_dllm_commits_the_sure_ones_of_its_block_and_at_least_one() -> None:
    masked = torch.tensor([[False, True, True, True, True, True], [True] * 6])
    confidence = torch.tensor([[0.0, 0.95, 0.5, 0.99, 0.99, 0.99], [0.1, 0.3, 0.2, 0.99, 0.9, 0.9]])
    rule = FastDllm(threshold=0.9, block=3)
    now = view(masked, [0] * 6, 0, 0)
    assert rule.scope(now).tolist() == [
        [False, True, True, False, False, False],
        [True, True, True, False, False, False],
    ]
    chosen = rule.choose(now, confidence.masked_fill(~rule.scope(now), -torch.inf))
    assert chosen.nonzero().tolist() == [[0, 1], [1, 1]]


def test_equally_sure_positions_are_taken_from_the_left() -> None:
    masked = torch.tensor([[True, True, False, True, True]])
    now = view(masked, [0] * 5, 0, 5)
    chosen = Confidence().choose(now, torch.full((1, 5), 0.5))
    assert chosen.nonzero().tolist() == [[0, 0]]


@pytest.mark.parametrize("joint", [False, True])
def test_quotas_sum_to_the_slots_and_steps_are_even(joint: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        paths, slot, summary = (int(rng.integers(1, n)) for n in (6, 60, 30))
        slots = [j for j in range(paths) for _ in range(slot)] + [paths] * summary
        steps = int(rng.integers(1, len(slots) + 1))
        masked = torch.ones(1, len(slots), dtype=torch.bool)
        kind = Summary.JOINT if joint else Summary.AFTER
        given = [quotas(view(masked, slots, i, steps), kind) for i in range(steps)]
        assert [sum(column) for column in zip(*given, strict=True)] == [*[slot] * paths, summary]
        assert all(quota >= 0 for row in given for quota in row)
        if joint or steps == 1:
            totals = [sum(row) for row in given]
            assert max(totals) - min(totals) <= 1
        else:
            reasoning = [sum(row[:-1]) for row in given if sum(row[:-1])]
            assert max(reasoning) - min(reasoning) <= 1
            apart = [max(row[:-1]) - min(row[:-1]) for row in given]
            assert max(apart) <= 1, "no path falls behind"
            first = next(i for i, row in enumerate(given) if row[-1])
            assert all(row[-1] for row in given[first:]), "the summary is last, and never idle"
            assert not any(sum(row[:-1]) for row in given[first:])


@pytest.mark.parametrize("tokens", [1, 2, 3, 4])
def test_paths_go_on_together_where_a_step_has_a_token_for_each_and_else_in_turn(
    tokens: int,
) -> None:
    """METHOD section 6: three slots of 330 masks and a summary of 32."""
    lengths, masks = (330, 330, 330, 32), 1022
    given = schedule(lengths, masks // tokens, Summary.AFTER)
    reasoning = [row[:-1] for row in given if not row[-1]]
    together = sum(all(row) for row in reasoning) / len(reasoning)
    assert together == {1: 0.0, 2: 0.0}.get(tokens, 1.0)
    for start in range(len(reasoning) - 2):
        some = [sum(column) for column in zip(*reasoning[start : start + 3], strict=True)]
        assert min(some) >= tokens, "in three steps each path goes on as often as any"
        assert max(some) - min(some) <= 1


def test_a_step_of_three_tokens_goes_on_in_every_path(dlm: Dlm) -> None:
    layout = canvas(dlm, slot=12, summary=3)
    (row,) = decode(dlm, layout, requests(dlm, 1), ParallelForced(), steps=13)
    of_slot = {column: slot for slot, columns in enumerate(_columns(layout)) for column in columns}
    for step in range(12):
        assert {of_slot[c.position] for c in row.commits if c.step == step} == {0, 1, 2}
    assert {of_slot[c.position] for c in row.commits if c.step == 12} == {3}


def _columns(layout: CanvasLayout) -> list[range]:
    at, found = 0, []
    for head, length in zip(layout.headers, layout.slots, strict=True):
        found.append(range(at + len(head), at + len(head) + length))
        at += len(head) + length
    return found


def test_what_a_slot_says_ends_before_its_first_fill(dlm: Dlm) -> None:
    layout = canvas(dlm, slot=5, summary=3)
    text = np.array([50, 51], dtype=np.int32)
    row = layout.lay(requests(dlm, 1)[0].prompt, [text, text[:0], text[:1], np.array([60, 61, 62])])
    found = layout.contents(row.ids_T[-layout.tokens :])
    assert [one.tolist() for one in found] == [[50, 51], [], [50], [60, 61, 62]]


def test_impossible_requests_are_refused(dlm: Dlm) -> None:
    with pytest.raises(ValueError, match="steps: 0"):
        decode(dlm, canvas(dlm), requests(dlm, 1), Confidence())
    with pytest.raises(ValueError, match="temperature"):
        Sampling(temperature=-0.1)
    with pytest.raises(ValueError, match="threshold"):
        FastDllm(threshold=1.5)
    assert decode(dlm, canvas(dlm), [], Confidence(), steps=3) == []


def test_a_rule_is_found_by_its_files_name_and_its_options_are_checked() -> None:
    assert set(plugins.kinds(FAMILY)) == {
        *("ar_order", "confidence", "random_order", "blockwise", "fast_dllm", "parallel_forced"),
    }
    assert plugins.build(FAMILY, "blockwise", {"block": 4}, "rule") == Blockwise(block=4)
    with pytest.raises(UserError, match=r"rule\.blok: unknown option of 'blockwise'"):
        plugins.build(FAMILY, "blockwise", {"blok": 4}, "rule")
    with pytest.raises(UserError, match=r"rule\.block: 0 is under 1"):
        plugins.build(FAMILY, "blockwise", {"block": 0}, "rule")
    with pytest.raises(UserError, match="confidence"):
        plugins.build(FAMILY, "confident", {}, "rule")
