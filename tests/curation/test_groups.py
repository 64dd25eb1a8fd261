"""Groups: every reason, conservation, limits honoured, one reading a canvas, no position bias."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curation.canvases.assembly import (
    MOST_COMPARED,
    Assembled,
    assemble,
    long_cot_text,
    response,
)
from curation.canvases.rules import Rules
from curation.canvases.token_counter import TokenCounter
from schemas.canvas import long_cot, parse
from schemas.recipe import Recipe
from schemas.records import FinishReason, Grade, GradedTrace, Prompt, Stage, Trace
from scorers.similarity import similarity

PROMPT = Prompt(id="p1", text="How many?", gold="7", source="test", row=5, license="mit")
DISTINCT = (
    "Ann has 3 and buys 4. 3 + 4 = 7",
    "Start from ten and take three away: 7",
    "Seven is half of fourteen, so 14 / 2 = 7",
    "Count up: five, six, seven. The answer is 7.",
)


@pytest.fixture(scope="module")
def counter(coarse: Path, fine: Path) -> TokenCounter:
    return TokenCounter([str(coarse), str(fine)])  # fine: one token a byte


def rules(
    paths: int = 3,
    min_correct: int = 1,
    max_wrong: int | None = None,
    similarity: float = 0.9,
    slot_tokens: int = 60,
    summary_tokens: int = 32,
    seed: int = 0,
) -> Rules:
    return Rules(
        paths=paths,
        min_correct=min_correct,
        max_wrong=max_wrong,
        similarity=similarity,
        slot_tokens=slot_tokens,
        summary_tokens=summary_tokens,
        summary_template="The final answer is {answer}",
        seed=seed,
    )


def graded(
    index: int,
    text: str,
    grade: Grade = Grade.CORRECT,
    finish: FinishReason = FinishReason.STOP,
    written: str | None = None,
    prompt_id: str = "p1",
) -> GradedTrace:
    trace = Trace(
        prompt_id=prompt_id,
        index=index,
        key=f"key{index}",
        text=text if written is None else written,
        teacher="t",
        revision="r",
        temperature=1.0,
        top_p=1.0,
        max_tokens=64,
        seed=index,
        hint=None,
        finish_reason=finish,
        prompt_tokens=None,
        completion_tokens=None,
    )
    return GradedTrace(trace=trace, text=text, grade=grade, answer=None)


def good(wrong: Sequence[int] = ()) -> list[GradedTrace]:
    """Four distinct traces, indices 0 to 3; those in `wrong` are wrong."""
    return [
        graded(i, text, Grade.WRONG if i in wrong else Grade.CORRECT)
        for i, text in enumerate(DISTINCT)
    ]


def reasons(result: Assembled) -> dict[int | None, str]:
    return {r.index: r.reason for r in result.rejections}


def placed(result: Assembled) -> set[int]:
    return {path.trace.index for path in result.canvas.paths} if result.canvas else set()


def test_no_more_than_so_many_traces_are_compared(counter: TokenCounter) -> None:
    """Thousands of one prompt are a row like any other: each is placed or has its reason."""
    alphabet = "abcdefghij"
    texts = ["".join(alphabet[int(d)] * 2 for d in f"{n:04}") for n in range(3000)]
    traces = [
        graded(n, text, Grade.CORRECT if n % 6 == 5 else Grade.WRONG)
        for n, text in enumerate(texts)
    ]
    result = assemble(PROMPT, traces, rules(), counter)
    found = reasons(result)
    assert len(placed(result)) == 3 and len(placed(result)) + len(found) == 3000
    left = {n for n, reason in found.items() if reason == "not_compared"}
    assert len(left) == 3000 - MOST_COMPARED
    assert left == {n for n in range(3000) if n % 6 != 5}, "the right ones go first"


def test_rules_come_from_the_recipe() -> None:
    recipe = Recipe.model_validate(
        {
            "name": "r",
            "seed": 4,
            "paths": 2,
            "source": {"kind": "jsonl"},
            "teacher": {"kind": "recorded"},
            "groups": {"min_correct": 2, "max_wrong": 0, "similarity": 0.8},
            "canvas": {"slot_tokens": 5, "summary_tokens": 6},
            "summary": {"template": "So {answer}."},
        }
    )
    assert Rules.of(recipe) == Rules(
        paths=2,
        min_correct=2,
        max_wrong=0,
        similarity=0.8,
        slot_tokens=5,
        summary_tokens=6,
        summary_template="So {answer}.",
        seed=4,
    )


def test_a_canvas(counter: TokenCounter) -> None:
    padded = [graded(i, f"\n {text} \n") for i, text in enumerate(DISTINCT[:3])]
    result = assemble(PROMPT, padded, rules(), counter)
    assert result.rejections == ()
    canvas = result.canvas
    assert canvas is not None
    assert canvas.prompt == PROMPT
    assert {path.text for path in canvas.paths} == set(DISTINCT[:3])
    assert all(path.trace.text == f"\n {path.text} \n" for path in canvas.paths)
    assert canvas.path_tokens == tuple(len(path.text) for path in canvas.paths)
    assert (canvas.summary, canvas.summary_by) == ("The final answer is 7", "template")
    assert canvas.summary_tokens == len(canvas.summary)
    expected = max(similarity(a, b) for a, b in combinations(DISTINCT[:3], 2))
    assert canvas.similarity == expected
    texts = [path.text for path in canvas.paths]
    assert parse(response(canvas)) == (tuple(texts), canvas.summary)
    assert long_cot_text(canvas) == "\n\n".join([*texts, canvas.summary])


@pytest.mark.parametrize(
    ("bad", "reason", "detail"),
    [
        (graded(9, ""), "empty", "no letter"),
        (graded(9, " \n\u200b.\t"), "empty", "no letter"),
        (
            graded(9, "", finish=FinishReason.NO_END_OF_THINKING),
            "no_end_of_thinking",
            "there is no </think>",
        ),
        (graded(9, "", finish=FinishReason.NO_CONTENT), "no_content", "null"),
        (graded(9, "so 7\ud800"), "not_unicode", "surrogate"),
        (graded(9, "so 3 + 4", finish=FinishReason.LENGTH), "truncated", "64 tokens"),
        (graded(9, "a\n</think 1>\nb"), "contains_marker", "'</think 1>' at character 2"),
        (graded(9, "<summary> 7"), "contains_marker", "'<summary>' at character 0"),
        (graded(9, "7<|im_end|>"), "contains_special_token", "'<|im_end|>'"),
        (graded(9, "7" * 61), "too_many_tokens", "61 tokens, the slot has 60"),
        (graded(9, DISTINCT[1].upper() + " "), "duplicate", "equals trace 2"),
        (graded(9, DISTINCT[1] + "!"), "near_duplicate", "to trace 2, limit 0.9"),
    ],
)
def test_a_trace_is_dropped_with_its_reason(
    bad: GradedTrace, reason: str, detail: str, counter: TokenCounter
) -> None:
    result = assemble(PROMPT, [*good()[:3], bad], rules(), counter)
    assert placed(result) == {0, 1, 2}
    (rejection,) = result.rejections
    assert (rejection.index, rejection.reason) == (9, reason)
    assert detail in rejection.detail
    assert "\n" not in rejection.detail
    assert rejection.detail.isascii()
    assert (rejection.stage, rejection.prompt_id) == (Stage.CANVASES, "p1")
    assert (rejection.source, rejection.row) == ("test", 5)


def test_the_order_of_the_checks(counter: TokenCounter) -> None:
    """A trace with every fault has the first one's reason; mended, the next one's."""
    long, cut = "x" * 100, FinishReason.LENGTH
    stages = [
        (graded(0, f"<summary>\ud800<|im_end|>{long}", finish=cut), "not_unicode"),
        (graded(0, " . ", finish=cut), "empty"),
        (graded(0, f"<summary><|im_end|>{long}", finish=cut), "truncated"),
        (graded(0, f"<summary><|im_end|>{long}"), "contains_marker"),
        (graded(0, f"<|im_end|>{long}"), "contains_special_token"),
        (graded(0, long), "too_many_tokens"),
    ]
    for trace, reason in stages:
        assert reasons(assemble(PROMPT, [trace], rules(), counter))[0] == reason


def test_a_run_on_that_was_cut_at_its_answer_is_not_truncated(counter: TokenCounter) -> None:
    text = DISTINCT[3]
    run_on = graded(3, text, finish=FinishReason.LENGTH, written=f"{text}\n\nQuestion: Tom has")
    assert 3 in placed(assemble(PROMPT, [*good()[:2], run_on], rules(), counter))
    whole = graded(3, text, finish=FinishReason.LENGTH, written=f"{text}\n")
    assert reasons(assemble(PROMPT, [*good()[:2], whole], rules(), counter))[3] == "truncated"


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("7 " * 1_000_000, "at least 3840 tokens, the slot has 60"),
        ("\u00e9" * 61, "122 tokens, the slot has 60"),
    ],
)
def test_a_huge_trace_is_counted_by_its_head(text: str, detail: str, counter: TokenCounter) -> None:
    result = assemble(PROMPT, [graded(0, text)], rules(), counter)
    assert result.rejections[1].detail == detail


def test_of_two_near_duplicates_the_correct_one_stays(counter: TokenCounter) -> None:
    traces = [*good()[1:], graded(0, DISTINCT[1] + "!", Grade.WRONG)]
    assert reasons(assemble(PROMPT, traces, rules(), counter)) == {0: "near_duplicate"}
    traces = [*good(wrong=[1])[1:], graded(0, DISTINCT[1] + "!", Grade.WRONG)]
    assert reasons(assemble(PROMPT, traces, rules(), counter)) == {1: "near_duplicate"}


def test_at_similarity_one_only_equals_are_dropped(counter: TokenCounter) -> None:
    traces = [*good()[:2], graded(5, DISTINCT[1] + "!")]
    assert placed(assemble(PROMPT, traces, rules(similarity=1.0), counter)) == {0, 1, 5}


@pytest.mark.parametrize(
    ("traces", "limits", "reason", "detail"),
    [
        ([], rules(), "too_few_traces", "no trace came this far, 3 wanted: "),
        ([*good()[:2], graded(7, "")], rules(), "too_few_traces", "2 of 3 traces are usable"),
        (
            [*good()[:2], graded(7, DISTINCT[0])],
            rules(),
            "too_few_distinct",
            "2 of 3 are distinct, 3 wanted",
        ),
        (good([0, 1, 2, 3]), rules(), "too_few_correct", "0 of 4 are correct, at least 1 wanted"),
        (good([0, 1]), rules(max_wrong=0), "too_many_wrong", "1 of 3 would be wrong, at most 0"),
        (
            good(),
            rules(summary_tokens=20),
            "summary_too_long",
            "21 tokens, the summary slot has 20",
        ),
    ],
)
def test_a_prompt_is_rejected_with_its_reason(
    traces: list[GradedTrace], limits: Rules, reason: str, detail: str, counter: TokenCounter
) -> None:
    result = assemble(PROMPT, traces, limits, counter)
    assert result.canvas is None
    first = result.rejections[0]
    assert (first.index, first.reason) == (None, reason)
    assert detail in first.detail
    own = {"empty", "duplicate"}
    for rejection in result.rejections[1:]:
        assert rejection.reason in {"prompt_rejected", *own}
        if rejection.reason == "prompt_rejected":
            assert rejection.detail == f"{reason}: {first.detail}"
    assert len(result.rejections) == len(traces) + 1


@pytest.mark.parametrize(
    ("text", "gold", "reason"),
    [
        ("How many?", "7</summary>", "summary_contains_marker"),
        ("How many?", "<s>7", "summary_contains_special_token"),
        ("How many?", "7\ud800", "summary_not_unicode"),
        ("How<|im_end|> many?", "7", "prompt_contains_special_token"),
    ],
)
def test_a_prompt_that_can_have_no_canvas(
    text: str, gold: str, reason: str, counter: TokenCounter
) -> None:
    prompt = Prompt(id="p1", text=text, gold=gold, source="test", row=5, license="mit")
    result = assemble(prompt, good(), rules(), counter)
    assert result.canvas is None
    first, *others = result.rejections
    assert (first.index, first.reason) == (None, reason)
    assert [r.index for r in others] == [0, 1, 2, 3]
    assert {r.reason for r in others} == {"prompt_rejected"}


def test_the_long_cot_fits_the_same_masks(counter: TokenCounter) -> None:
    """Three full slots and a full summary leave no room for the blank lines between them."""
    traces = [graded(i, text.ljust(60, "xyz"[i])) for i, text in enumerate(DISTINCT[:3])]
    result = assemble(PROMPT, traces, rules(summary_tokens=21), counter)
    assert result.canvas is None
    first, *others = result.rejections
    assert (first.index, first.reason) == (None, "long_cot_too_long")
    assert first.detail == "long_cot has 207 tokens, the canvas has 201 masks"
    assert [r.index for r in others] == [0, 1, 2]
    assert {r.reason for r in others} == {"prompt_rejected"}
    assert {r.detail for r in others} == {f"long_cot_too_long: {first.detail}"}
    roomy = assemble(PROMPT, traces, rules(summary_tokens=27), counter).canvas
    assert roomy is not None
    assert counter.count(long_cot_text(roomy)) == 207 == 3 * 60 + 27


def test_the_surplus_is_not_selected(counter: TokenCounter) -> None:
    close = DISTINCT[0].replace("buys", "gets")
    result = assemble(PROMPT, [*good(), graded(4, close)], rules(similarity=0.99), counter)
    assert placed(result).isdisjoint({0} if 4 in placed(result) else {4})
    assert len(placed(result)) == 3
    assert set(reasons(result).values()) == {"not_selected"}
    names = ", ".join(str(index + 1) for index in sorted(placed(result)))
    said = f"traces {names} are the most diverse 3"
    assert {r.detail for r in result.rejections} == {f"{said} with at least 1 correct"}
    traces = [*good(), graded(4, close)]
    free = assemble(PROMPT, traces, rules(similarity=0.99, min_correct=0), counter)
    assert {r.detail.partition(" 3")[2] for r in free.rejections} == {""}


def test_limits_bind_the_selection(counter: TokenCounter) -> None:
    result = assemble(PROMPT, good(wrong=[2, 3]), rules(max_wrong=1), counter)
    assert placed(result) >= {0, 1}
    for grade in (Grade.UNPARSED, Grade.TIMEOUT):
        traces = [*good()[:2], graded(2, DISTINCT[2], grade)]
        result = assemble(PROMPT, traces, rules(max_wrong=0), counter)
        assert reasons(result)[None] == "too_many_wrong"


def test_repeated_indices_and_foreign_traces_are_a_programmers_mistake(
    counter: TokenCounter,
) -> None:
    with pytest.raises(AssertionError, match="indices repeat"):
        assemble(PROMPT, [graded(0, "a"), graded(0, "b")], rules(), counter)
    with pytest.raises(AssertionError, match="p1"):
        assemble(PROMPT, [graded(0, "a", prompt_id="p2")], rules(), counter)


SCRAPS = (
    *DISTINCT,
    *(text + "!" for text in DISTINCT),
    *(text.ljust(60, pad) for text, pad in zip(DISTINCT, "wxyz", strict=True)),
    DISTINCT[0].upper(),
    "",
    "\u200b",
    "<think 2>\n7",
    "7\n</think 1>\n<think 2>\n8",
    "\n</summary>",
    "7<|endoftext|>",
    "so\ud800",
    "7 " * 40,
    "<think",
    "1>",
)
scraps = st.builds(
    graded,
    index=st.integers(0, 99),
    text=st.sampled_from(SCRAPS) | st.text(max_size=12),
    grade=st.sampled_from(Grade),
    finish=st.sampled_from(FinishReason),
)
groups = st.lists(scraps, max_size=9, unique_by=lambda g: g.trace.index)
limits = st.builds(
    rules,
    paths=st.integers(1, 4),
    min_correct=st.integers(0, 1),
    max_wrong=st.none() | st.integers(0, 4),
    similarity=st.sampled_from([0.5, 0.9, 1.0]),
    summary_tokens=st.sampled_from([1, 21, 21, 32]),
    seed=st.integers(0, 3),
)


@given(groups, limits, st.randoms(use_true_random=False))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None
)
def test_nothing_is_lost_and_every_limit_holds(
    counter: TokenCounter, traces: list[GradedTrace], limits: Rules, rng: object
) -> None:
    result = assemble(PROMPT, traces, limits, counter)
    rejected = [r.index for r in result.rejections if r.index is not None]
    on_canvas = placed(result)
    assert sorted([*rejected, *on_canvas]) == sorted(g.trace.index for g in traces)
    assert (None in reasons(result)) == (result.canvas is None)
    assert assemble(PROMPT, traces[::-1], limits, counter) == result
    most_wrong = limits.paths if limits.max_wrong is None else limits.max_wrong
    if result.canvas is None:
        if reasons(result)[None] in {"too_few_correct", "too_many_wrong"}:
            left = {r.index for r in result.rejections if r.reason == "prompt_rejected"}
            grades = [g.grade for g in traces if g.trace.index in left]
            correct = min(limits.paths, grades.count(Grade.CORRECT))
            assert correct < limits.min_correct or limits.paths - correct > most_wrong
        return
    paths = result.canvas.paths
    assert len(paths) == len(on_canvas) == limits.paths
    grades = [path.grade for path in paths]
    assert grades.count(Grade.CORRECT) >= limits.min_correct
    assert limits.paths - grades.count(Grade.CORRECT) <= most_wrong
    assert max(result.canvas.path_tokens) <= limits.slot_tokens
    masks = limits.paths * limits.slot_tokens + limits.summary_tokens
    assert counter.count(long_cot_text(result.canvas)) <= masks
    pairs = [similarity(a.text, b.text) for a, b in combinations(paths, 2)]
    assert result.canvas.similarity == max(pairs, default=0.0) < limits.similarity or not pairs
    assert parse(response(result.canvas)).paths == tuple(path.text for path in paths)
    originals = {g.trace.index: g for g in traces}
    for path in paths:
        original = originals[path.trace.index]
        assert path.trace == original.trace
        assert path.text == original.text.strip()


def test_no_index_is_tied_to_a_position(counter: TokenCounter) -> None:
    seen: Counter[tuple[int, int]] = Counter()
    orders = []
    for n in range(400):
        prompt = Prompt(id=f"q{n}", text="?", gold="7", source="s", row=n, license="mit")
        traces = [graded(i, text, prompt_id=f"q{n}") for i, text in enumerate(DISTINCT[:3])]
        canvas = assemble(prompt, traces, rules(), counter).canvas
        assert canvas is not None
        order = [path.trace.index for path in canvas.paths]
        seen.update(enumerate(order))
        orders.append(order)
        other = assemble(prompt, traces, rules(seed=1), counter).canvas
        assert other is not None
        orders.append([path.trace.index for path in other.paths])
    assert len(seen) == 9
    assert all(95 <= count <= 175 for count in seen.values())  # 133 expected, sd 9.4
    assert orders[0::2] != orders[1::2]


def test_real_model_samples_are_conserved(shared_data: Path, counter: TokenCounter) -> None:
    tally: Counter[str] = Counter()
    file = shared_data / "gsm8k" / "example_model_solutions.jsonl"
    for row, line in enumerate(file.read_text(encoding="utf-8").splitlines()[:200], 1):
        data = json.loads(line)
        samples = [value for value in data.values() if isinstance(value, dict)]
        gold = data["ground_truth"].rpartition("A:")[2].strip()
        prompt = Prompt(
            id=f"g{row}", text=data["question"], gold=gold, source="gsm8k", row=row, license="mit"
        )
        traces = [
            graded(
                i,
                sample["solution"],
                Grade.CORRECT if sample["is_correct"] else Grade.WRONG,
                prompt_id=prompt.id,
            )
            for i, sample in enumerate(samples)
        ]
        result = assemble(prompt, traces, rules(slot_tokens=600), counter)
        tally.update(reason for reason in reasons(result).values() if reason)
        tally["on canvas"] += len(placed(result))
        tally["traces"] += len(traces)
        tally["trace rejections"] += sum(r.index is not None for r in result.rejections)
    assert tally["traces"] == 800 == tally["on canvas"] + tally["trace rejections"]
    assert tally["on canvas"] > 300
    assert tally["near_duplicate"] > 0
    assert tally["too_few_correct"] > 0


@given(st.lists(st.text(min_size=1, max_size=30), min_size=2, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_joining_texts_does_not_double_their_tokens(
    coarse: Path, fine: Path, texts: list[str]
) -> None:
    """Why a long-CoT form that fits twice over is not counted."""
    for model in (str(coarse), str(fine), "tiny/teacher"):
        counter = TokenCounter([model])
        parts = sum(counter.counts(texts)) + 2 * (len(texts) - 1)
        assert counter.count(long_cot(texts[:-1], texts[-1])) <= 2 * parts
