from collections.abc import Callable
from dataclasses import replace
from itertools import chain, pairwise
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.canvas import CLOSE, render
from schemas.records import Level
from scorers.seqdep.loader import Scorer, load_scorer
from scorers.seqdep.measurement import (
    Measured,
    ScoredInstance,
    SeqDepSettings,
    measure,
)
from scorers.seqdep.packing import Document, Segment, score_documents
from support.errors import UserError
from tests.scorers import small_models
from tests.scorers.reference import measure_separately

A = "3 * 12 = 36\n36 + 24 = 60\nThe answer is 60."
B = "He has 3.5 boxes.  So 60 apples.\n\nThe answer is 60."
C = "é漢字🙂 naïve <|end|> café!\n x² + y² = 1."
ITEMS = (
    ScoredInstance(
        prompt="How many?", paths=(A, B, C), summary="It is 60", text=f"{A}\n\n{B}\n\n{C}"
    ),
    ScoredInstance(
        prompt="", paths=("1", "", "2"), summary="3", text="1"
    ),  # one token, empty, N = 1
    ScoredInstance(prompt="漢字 <|bot|>?", paths=(C,), summary="", text=""),  # P = 1, N = 0
    ScoredInstance(prompt="x" * 40, paths=(B, B), summary=A, text=C * 3),
    ScoredInstance(prompt="no canvas", paths=(), summary="", text="A.\nB.\n\n C"),
)
MODELS: dict[str, dict[str, Any]] = {
    "LlamaConfig": {},
    "Qwen2Config": {"num_key_value_heads": 1},
    "GPT2Config": {"n_positions": 512, "n_embd": 32, "n_layer": 2, "n_head": 2},  # absolute
    "MistralConfig": {"sliding_window": 40},  # packed up to the window, then separate
    "BloomConfig": {"n_layer": 2, "n_head": 2},  # ALiBi: separate
    "MambaConfig": {"state_size": 4},  # state space: separate
}
ROUNDS_INSIDE = ("BloomConfig", "MambaConfig")


def plan(batch_tokens: int = 4096, *, steps: int = 64) -> SeqDepSettings:
    """Everything that can be measured; windows differ from steps."""
    return SeqDepSettings(
        batch_tokens=batch_tokens,
        step_tokens=steps,
        window_tokens=steps + 3,
        canvas_steps=True,
        siblings=True,
    )


SaveModel = Callable[..., Path]


@pytest.fixture(scope="module")
def save_model(tmp_path_factory: pytest.TempPathFactory) -> SaveModel:
    """`small_models.save` into a new folder each time."""
    return lambda config, **options: small_models.save(
        tmp_path_factory.mktemp(config.lower()), config, **options
    )


@pytest.fixture(scope="module")
def llama(save_model: SaveModel) -> Path:
    return save_model("LlamaConfig")


@pytest.fixture(scope="module")
def scorer(llama: Path) -> Scorer:
    return load_scorer(str(llama), dtype=torch.float64)


LEVELS = ("path", "step", "window", "canvas_step", "canvas_window")


def gaps(one: Measured, other: Measured) -> list[float]:
    """Differences of two measurements, in nats a scored token."""
    out = []
    pairs = [(getattr(one, name), getattr(other, name)) for name in LEVELS]
    for a, b in pairs:
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert (a.level, a.tokens, len(a.gains)) == (b.level, b.tokens, len(b.gains))
            each = zip(a.gains, b.gains, a.tokens[1:], strict=True)
            out += [abs(x - y) / max(1, n) for x, y, n in each]
    assert (one.siblings is None) == (other.siblings is None)
    if one.siblings is not None and other.siblings is not None:
        cells = [s.gains_per_token for s in (one.siblings, other.siblings)]
        for x, y in zip(*(chain.from_iterable(rows) for rows in cells), strict=True):
            assert (x is None) == (y is None)
            out.append(abs((x or 0) - (y or 0)))
        assert one.siblings.near_copies == other.siblings.near_copies
    assert (one.summary_gain is None) == (other.summary_gain is None)
    return [*out, abs((one.summary_gain or 0) - (other.summary_gain or 0))]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("config", MODELS)
def test_equal_to_separate_passes(config: str, dtype: torch.dtype, save_model: SaveModel) -> None:
    scorer = load_scorer(str(save_model(config, **MODELS[config])), dtype=dtype)
    if dtype == torch.float64 and config in ROUNDS_INSIDE:
        pytest.skip("computes in float32 inside, whatever its weights are")
    expected = [measure_separately(scorer, item, plan(steps=7)) for item in ITEMS]
    for batch_tokens in (1, 900):
        found = measure(scorer, ITEMS, plan(batch_tokens, steps=7))
        worst = max(gap for pair in zip(found, expected, strict=True) for gap in gaps(*pair))
        assert worst <= (1e-9 if dtype == torch.float64 else 1e-5)


PIECE = st.text(
    st.sampled_from("3 *=\n.aé漢🙂Tom<|end|>") | st.characters(exclude_categories=["Cs"]),
    max_size=20,
)


@pytest.mark.slow
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(PIECE, max_size=4), PIECE, PIECE, PIECE, st.integers(1, 9))
def test_equal_to_separate_passes_for_any_text(
    scorer: Scorer, paths: list[str], prompt: str, summary: str, text: str, cap: int
) -> None:
    item = ScoredInstance(prompt=prompt, paths=tuple(paths), summary=summary, text=text)
    (found,) = measure(scorer, [item], plan(4096, steps=cap))
    assert max(gaps(found, measure_separately(scorer, item, plan(steps=cap)))) <= 1e-9


def log_prob(scorer: Scorer, before: list[int], wanted: list[int]) -> float:
    """Nats of `wanted` behind `before`, token by token, from the model alone."""
    total = 0.0
    for at, token in enumerate(wanted):
        ids = torch.tensor([before + wanted[:at]])
        total += float(scorer.model(ids).logits[0, -1].log_softmax(-1)[token])
    return total


def test_path_level_by_hand(scorer: Scorer) -> None:
    item = ScoredInstance(prompt="Q", paths=("3 * 12.", "36é."), summary="60", text="")
    tokenizer = scorer.tokenizer
    x = list(scorer.prompt_ids("Q"))
    text = render(item.paths, item.summary).removesuffix(CLOSE)
    ids, starts = (list(part) for part in scorer.encode(text))
    assert tokenizer.decode(ids) == text

    def slices(head: str, body: str) -> tuple[int, int, int]:
        begin = text.index(head)
        edges = (begin, begin + len(head), begin + len(head) + len(body))
        return tuple(sum(start < edge for start in starts) for edge in edges)  # type: ignore[return-value]

    (measured,) = measure(scorer, [item], plan(999, steps=64))
    expected = []
    for head, body in (("\n</think 1>\n<think 2>\n", "36é."), ("\n</think 2>\n<summary>\n", "60")):
        begin, first, end = slices(head, body)
        joint = log_prob(scorer, x + ids[:first], ids[first:end])
        alone = log_prob(scorer, x + ids[begin:first], ids[first:end])
        expected.append(joint - alone)
    assert measured.path is not None
    assert measured.path.level is Level.PATH
    assert measured.path.gains == pytest.approx([expected[0]], abs=1e-9)
    assert measured.path.nats == pytest.approx(expected[0], abs=1e-9)
    assert measured.path.nats_per_token == pytest.approx(expected[0] / measured.path.tokens[1])
    assert measured.summary_gain == pytest.approx(expected[1], abs=1e-9)


def test_step_level_by_hand(scorer: Scorer) -> None:
    text = "3 * 12 = 36\nSo 36. The end"
    ids, starts = (list(part) for part in scorer.encode(text))
    x = list(scorer.prompt_ids("Q"))
    edges = [sum(start < at for start in starts) for at in (0, 12, 18, len(text))]
    expected = [
        log_prob(scorer, x + ids[:a], ids[a:b]) - log_prob(scorer, x, ids[a:b])
        for a, b in pairwise(edges[1:])
    ]
    item = ScoredInstance(prompt="Q", paths=(), summary="", text=text)
    (measured,) = measure(scorer, [item], plan(999, steps=64))
    assert measured.path is None
    assert measured.step is not None
    assert measured.step.tokens == tuple(b - a for a, b in pairwise(edges))
    assert measured.step.gains == pytest.approx(expected, abs=1e-9)
    assert measured.step.nats == pytest.approx(sum(expected) / 2, abs=1e-9)
    assert measured.step.nats_per_token == pytest.approx(
        sum(expected) / sum(measured.step.tokens[1:]), abs=1e-9
    )


def test_undefined_is_none_and_empty_paths_count(scorer: Scorer) -> None:
    found = measure(scorer, ITEMS, plan(4096, steps=64))
    lone = found[1].step
    assert lone is not None
    assert (lone.nats, lone.nats_per_token, lone.gains, lone.tokens) == (None, None, (), (1,))
    empty = found[1].path
    assert empty is not None
    assert empty.tokens == (1, 0, 1)
    assert empty.gains[0] == 0.0
    assert empty.nats == pytest.approx(sum(empty.gains) / 2)
    assert empty.nats_per_token == pytest.approx(sum(empty.gains))
    single = found[2]
    assert single.path is not None
    assert (single.path.nats, single.path.nats_per_token, single.path.gains) == (None, None, ())
    assert single.summary_gain is None
    assert single.step is None
    assert (found[4].path, found[4].summary_gain) == (None, None)


def test_too_long_for_the_context_is_none(scorer: Scorer) -> None:
    item = replace(ITEMS[0], prompt="")
    tokens = 1 + len(scorer.encode(item.text).ids_T)
    (fits,) = measure(replace(scorer, context=tokens), [item], plan(4096, steps=8))
    assert fits.step is not None
    assert (fits.path, fits.summary_gain) == (None, None)  # the canvas has headers on top
    none = measure(replace(scorer, context=tokens - 1), ITEMS[:2], plan(4096, steps=8))
    assert none[0] == Measured(
        path=None,
        step=None,
        window=None,
        summary_gain=None,
        siblings=none[0].siblings,
    )
    assert none[1].step is not None


def test_a_packed_row_may_be_longer_than_the_context(scorer: Scorer) -> None:
    text = "Tom ab " * 60
    item = ScoredInstance(prompt="", paths=(), summary="", text=text)
    assert scorer.context is not None
    assert 2 * len(scorer.encode(text).ids_T) > scorer.context
    (found,) = measure(scorer, [item], plan(64, steps=99))
    assert max(gaps(found, measure_separately(scorer, item, plan(steps=99)))) <= 1e-9


def test_same_list_same_bits_and_the_order_is_kept(scorer: Scorer) -> None:
    items = ITEMS * 3
    first = measure(scorer, items, plan(900, steps=8))
    assert measure(scorer, items, plan(900, steps=8)) == first
    for item, measured in zip(items, first, strict=True):
        (alone,) = measure(scorer, [item], plan(900, steps=8))
        assert max(gaps(measured, alone)) <= 1e-9


def test_thread_count_hardly_matters(llama: Path) -> None:
    single = load_scorer(str(llama))  # float32
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(measure(single, ITEMS, plan(900, steps=8)))
    finally:
        torch.set_num_threads(before)
    assert max(gap for pair in zip(*found, strict=True) for gap in gaps(*pair)) <= 1e-5


def test_batches_keep_to_the_budget_and_progress_counts_items(
    scorer: Scorer, monkeypatch: Any
) -> None:
    batches: list[Any] = []
    told: list[int] = []
    run = Scorer.log_probs

    def watched(self: Scorer, batch: Any) -> torch.Tensor:
        batches.append(batch)
        return run(self, batch)

    monkeypatch.setattr(Scorer, "log_probs", watched)
    for packed in (True, False):
        exact = scorer if packed else replace(scorer, packed_tokens=0)
        batches.clear()
        told.clear()
        measure(exact, ITEMS * 4, plan(1000, steps=8), progress=told.append)
        documents = [
            len({b.x_start for b in batch.branches}) if packed else len(batch.ids_BT)
            for batch in batches
        ]
        assert all(
            n == 1 or batch.ids_BT.numel() <= 1000
            for n, batch in zip(documents, batches, strict=True)
        )
        assert max(documents) > 1
        assert all(bool(batch.branches) == packed for batch in batches)
    assert sum(told) == 20
    assert all(told)
    told.clear()
    assert measure(scorer, [], plan(1000, steps=8), progress=told.append) == []
    assert told == []


def test_every_token_is_scored_at_most_once(scorer: Scorer, monkeypatch: Any) -> None:
    batches: list[Any] = []
    run = Scorer.log_probs

    def watched(self: Scorer, batch: Any) -> torch.Tensor:
        batches.append(batch)
        return run(self, batch)

    monkeypatch.setattr(Scorer, "log_probs", watched)
    item = ITEMS[0]
    settings = SeqDepSettings(batch_tokens=1, step_tokens=8, window_tokens=8)
    (measured,) = measure(scorer, [item], settings)
    assert len(batches) == 2
    for batch in batches:
        rows = batch.rows_R.tolist()
        x = len(scorer.prompt_ids(item.prompt))
        firsts = sum(row == x - 1 for row in rows)  # x's last row predicts the first of each branch
        assert len(rows) == len(set(rows)) + max(0, firsts - 1)
        assert all(row >= x - 1 for row in rows)
        tokens = x + sum(b.end - b.start for b in batch.branches)
        assert tokens == batch.ids_BT.numel(), "no padding, and nothing twice"
    assert measured.path is not None
    assert measured.step is not None
    assert sum(measured.step.tokens) == len(scorer.encode(item.text).ids_T)
    summary = scorer.encode(item.summary).ids_T
    scored = sum(len(batch.targets_R) for batch in batches)
    assert measured.window is not None
    canvas = sum(measured.path.tokens[1:]) + len(summary)
    step, window = sum(measured.step.tokens[1:]), sum(measured.window.tokens[1:])
    assert scored == 2 * canvas + step + window + max(step, window)  # one joint pass for both


class UnigramCache(torch.nn.Module):
    """A model whose next token is drawn from what it sees, smoothed: everything known by hand."""

    device, dtype = torch.device("cpu"), torch.float64

    def __init__(self, vocabulary: int, smoothing: float = 0.5) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, 1)
        self.smoothing = smoothing

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.embedding

    def forward(self, input_ids: Any, attention_mask: Any = None, **_: Any) -> Any:
        tokens = input_ids.shape[1]
        mask = attention_mask if attention_mask is not None else torch.zeros(tokens, tokens)
        seen = (mask[..., :tokens, :] == 0).double().tril().reshape(-1, tokens, tokens)
        counts = (
            seen @ torch.nn.functional.one_hot(input_ids, self.embedding.num_embeddings).double()
        )
        smooth = counts + self.smoothing
        self.logits = (
            smooth / smooth.sum(-1, keepdim=True)
        ).log() + 3.0  # any constant may be added
        return self


def test_the_sign_by_hand(scorer: Scorer) -> None:
    cache = replace(scorer, model=UnigramCache(16), direct_head=False, packed_tokens=0)
    x, one, other = (1, 2), (3, 4, 5), (6, 7, 8)

    def gain(*segments: tuple[int, ...]) -> tuple[float, ...]:
        edges = np.cumsum([0, *map(len, segments)]).tolist()
        document = Document(
            prompt_T=x,
            response_T=sum(segments, ()),
            segmentations=(tuple(Segment(a, a, b) for a, b in pairwise(edges)),),
        )
        ((found,),) = score_documents(cache, [document], batch_tokens=99, finished=lambda _: None)
        return found.gains

    # With n tokens seen, a token seen c times has probability (c + 1/2) / (n + 16/2).
    joint = sum(log(1.5 / (5 + k + 8)) for k in range(3))
    alone = sum(log(0.5 / (2 + k + 8)) for k in range(3))
    assert gain(one, one) == pytest.approx((joint - alone,))
    assert joint - alone > 2.5  # one path repeated: dependence
    unseen = sum(log(0.5 / (5 + k + 8)) for k in range(3))
    assert gain(one, other) == pytest.approx((unseen - alone,))
    assert unseen - alone < 0  # an unrelated one


def test_log_probabilities_that_are_not_finite_are_an_error(
    scorer: Scorer, monkeypatch: Any
) -> None:
    nan = torch.full((9999,), float("nan"))
    monkeypatch.setattr(Scorer, "log_probs", lambda _, batch: nan[: len(batch.rows_R)])
    with pytest.raises(UserError, match="not finite"):
        measure(scorer, ITEMS, plan(999, steps=8))


@pytest.mark.slow
def test_the_part_that_fits_is_scored_and_marked(scorer: Scorer) -> None:
    item = replace(ITEMS[0], prompt="")
    ids = scorer.encode(item.text).ids_T
    for context in range(2, len(ids) + 8):  # the cut falls into headers, segments and between them
        small = replace(scorer, context=context)
        asked = replace(plan(steps=8), keep_part=True, siblings=False)
        (found,) = measure(small, [item], asked)
        assert found.step is not None and found.path is not None
        assert found.step.is_cut == (context < 1 + len(ids))
        assert found.path.is_cut and found.summary_gain is None
        assert sum(found.step.tokens) == min(len(ids), context - 1)
        assert max(gaps(found, measure_separately(small, item, asked))) <= 1e-9
        # The cut may fall into the summary: what is left of that is no path.
        assert len(found.path.tokens) <= len(item.paths)
    (whole,) = measure(scorer, [item], asked)
    assert whole.path is not None
    canvas = scorer.encode(render(item.paths, item.summary).removesuffix(CLOSE)).ids_T
    (found,) = measure(replace(scorer, context=len(canvas)), [item], asked)  # x is one token
    assert found.path is not None and found.path.is_cut and not whole.path.is_cut
    assert found.path.gains == pytest.approx(whole.path.gains, abs=1e-9)
    assert found.path.tokens == whole.path.tokens
    (none,) = measure(replace(scorer, context=1), [item], replace(plan(), keep_part=True))
    assert (none.path, none.step) == (None, None)  # x alone fills it


def test_a_huge_text_is_not_encoded_to_be_cut(scorer: Scorer, monkeypatch: Any) -> None:
    encoded: list[int] = []
    encode = Scorer.encode

    def watched(self: Scorer, text: str) -> Any:
        encoded.append(len(text))
        return encode(self, text)

    text = "Tom has 3 boxes. " * 3000
    small, asked = replace(scorer, context=64), SeqDepSettings(keep_part=True)
    (expected,) = measure(small, [ScoredInstance(prompt="", text=text[:2000])], asked)
    monkeypatch.setattr(Scorer, "encode", watched)
    (found,) = measure(small, [ScoredInstance(prompt="", text=text)], asked)
    assert found == expected and max(encoded) == 64 * 32
    blank = "x" + " " * 5000  # one token may stand for more characters than that
    assert measure(small, [ScoredInstance(prompt="", text=blank)], asked)[0].step is not None


@pytest.mark.slow
def test_copies_of_all_lengths_and_levels_in_one_pass(scorer: Scorer) -> None:
    long = "Tom has 3 boxes. " * 40  # a path of more than 256 tokens beside short ones
    items = [
        ScoredInstance(prompt="Q" * 90, paths=(A, long, B, long), summary="60", text=A + long),
        ScoredInstance(prompt="", text=long),
    ]
    roomy = replace(scorer, context=None)
    for chosen in (plan(steps=300), plan(steps=5), replace(plan(), levels=(Level.WINDOW,))):
        asked = replace(chosen, siblings=False)
        found = measure(roomy, items, asked)
        for item, one in zip(items, found, strict=True):
            separate = measure_separately(roomy, item, asked)
            assert max(gaps(one, separate)) <= 1e-9
    assert found[0].path is None and found[0].summary_gain is None  # was not asked for
    assert found[0].window is not None and found[0].step is None


@pytest.mark.slow
def test_memory_that_runs_out_halves_the_batch(scorer: Scorer, monkeypatch: Any) -> None:
    run, most, tried = Scorer.log_probs, 700, []

    def small(self: Scorer, batch: Any) -> torch.Tensor:
        tried.append(batch.ids_BT.numel())
        if tried[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(self, batch)

    expected = measure(scorer, ITEMS * 3, plan(steps=8))
    monkeypatch.setattr(Scorer, "log_probs", small)
    found = measure(scorer, ITEMS * 3, plan(steps=8))
    assert max(gap for pair in zip(found, expected, strict=True) for gap in gaps(*pair)) <= 1e-9
    assert max(tried) > most and sum(size > most for size in tried) < 6
    most = 20
    with pytest.raises(UserError, match="of one text do not fit into memory"):
        measure(scorer, ITEMS, plan(steps=8))
    monkeypatch.setattr(Scorer, "log_probs", lambda *_: (_ for _ in ()).throw(RuntimeError("bug")))
    with pytest.raises(RuntimeError, match="bug"):  # no other fault is taken for it
        measure(scorer, ITEMS, plan(steps=8))


def test_siblings_by_hand(scorer: Scorer) -> None:
    cache = replace(scorer, model=UnigramCache(len(scorer.tokenizer), 1e-4), direct_head=False)
    cache = replace(cache, packed_tokens=0)
    item = ScoredInstance(prompt="Q", paths=("qjzQJZ", "WUXwux", "qjzQJZ"), summary="s")
    (found,) = measure(cache, [item], plan())
    assert found.siblings is not None
    assert found.siblings.near_copies == ((0, 2), (2, 0))
    gains = found.siblings.gains_per_token
    assert [row[i] for i, row in enumerate(gains)] == [None] * 3
    assert gains[0][2] == gains[2][0]
    pair = ScoredInstance(prompt="Q", paths=("qjzQJZ", "WUXwux"))
    (alone,) = measure(cache, [pair], plan())
    assert alone.path is not None
    assert gains[0][1] == pytest.approx(alone.path.nats_per_token)  # a canvas of the two


def test_bfloat16_errs_by_hundredths_of_a_nat(tiny_teacher: Path) -> None:
    """The error of the bundled scorer on its own kind of text; docs state it."""
    item = ScoredInstance(
        prompt="Tom has 3 boxes of 12 apples. How many?", paths=(A, B), text=f"{A}\n{B}"
    )
    asked = SeqDepSettings(step_tokens=16)
    exact, rough = (
        measure(load_scorer(str(tiny_teacher), dtype=dtype), [item], asked)[0]
        for dtype in (torch.float64, torch.bfloat16)
    )
    assert 1e-4 < max(gaps(rough, exact)) < 0.15
