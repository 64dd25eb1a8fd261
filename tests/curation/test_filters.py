"""Filters: what each keeps and drops, with both numbers, and what a user can get wrong."""

import math
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curation.filters import Filter
from schemas.records import (
    Canvas,
    FinishReason,
    Grade,
    GradedTrace,
    Level,
    Prompt,
    Scores,
    SeqDep,
    Trace,
)
from support import plugins
from support.errors import UserError


def canvas(
    grades: Sequence[Grade] = (Grade.CORRECT, Grade.WRONG, Grade.CORRECT),
    path_tokens: Sequence[int] = (20, 30, 40),
    similarity: float = 0.5,
) -> Canvas:
    paths = [
        GradedTrace(
            trace=Trace(
                prompt_id="p",
                index=i,
                key="k",
                text="a",
                teacher="t",
                revision="r",
                temperature=1.0,
                top_p=None,
                max_tokens=None,
                seed=None,
                hint=None,
                finish_reason=FinishReason.STOP,
                prompt_tokens=None,
                completion_tokens=None,
            ),
            text="a",
            grade=grade,
            answer=None,
        )
        for i, grade in enumerate(grades)
    ]
    return Canvas(
        prompt=Prompt(id="p", text="?", gold="7", source="s", row=1, license="mit"),
        paths=tuple(paths),
        answer="1",
        summary="The final answer is 7",
        summary_by="template",
        path_tokens=tuple(path_tokens),
        summary_tokens=5,
        similarity=similarity,
    )


def seqdep(level: Level, nats: float | None, nats_per_token: float | None) -> SeqDep:
    return SeqDep(level=level, nats=nats, nats_per_token=nats_per_token, gains=(), tokens=(1,))


def scores(path: float | None = 0.2, step: float | None = 0.4) -> Scores:
    """Nats per token as given; nats are ten times that."""
    return Scores(
        prompt_id="p",
        path=seqdep(Level.PATH, None if path is None else path * 10, path),
        step=seqdep(Level.STEP, None if step is None else step * 10, step),
        window=None,
        summary_gain=None,
        scorer="s",
        scorer_revision="r",
    )


UNSCORED = Scores(
    prompt_id="p",
    path=None,
    step=None,
    window=None,
    summary_gain=None,
    scorer="",
    scorer_revision="",
)


def build(kind: str, **options: object) -> Filter:
    made: Filter = plugins.build("curation.filters", kind, options, "filters.0")
    return made


@pytest.mark.parametrize(
    ("kind", "options", "reason", "detail"),
    [
        ("correctness", {}, "", ""),
        ("correctness", {"min_correct": 2, "max_correct": 2}, "", ""),
        (
            "correctness",
            {"min_correct": 3},
            "correct_below",
            "2 of 3 paths are correct, at least 3",
        ),
        ("correctness", {"max_correct": 1}, "correct_above", "2 of 3 paths are correct, at most 1"),
        ("length", {"min_total": 90, "max_total": 90, "min_path": 20}, "", ""),
        ("length", {"min_total": 91}, "length_below", "90 tokens in all paths, at least 91"),
        ("length", {"max_total": 89}, "length_above", "90 tokens in all paths, at most 89"),
        (
            "length",
            {"min_path": 21},
            "path_length_below",
            "20 tokens in the shortest path, at least",
        ),
        ("diversity", {"max_similarity": 0.5}, "", ""),
        ("diversity", {"max_similarity": 0.4}, "similarity_above", "similarity 0.5, at most 0.4"),
        ("seqdep", {"max": 0.2}, "", ""),
        ("seqdep", {"min": 0.2}, "", ""),
        ("seqdep", {"max": 0.1}, "seqdep_above", "0.2 nats per token at path level, at most 0.1"),
        (
            "seqdep",
            {"max": 0.04392016040227436},
            "seqdep_above",
            "0.2 nats per token at path level, at most 0.04392 allowed",
        ),
        ("seqdep", {"min": 0.3}, "seqdep_below", "0.2 nats per token at path level, at least 0.3"),
        (
            "seqdep",
            {"max": 0.3, "level": "step"},
            "seqdep_above",
            "0.4 nats per token at step level",
        ),
        (
            "seqdep",
            {"max": 1, "unit": "nats"},
            "seqdep_above",
            "2 nats at path level, at most 1",
        ),
        ("seqdep", {"min": 3, "max": 4, "unit": "nats", "level": "step"}, "", ""),
    ],
)
def test_a_rule(kind: str, options: dict[str, object], reason: str, detail: str) -> None:
    verdict = build(kind, **options).judge(canvas(), scores())
    assert verdict.keep == (reason == "")
    assert verdict.reason == reason
    assert verdict.detail.startswith(detail) or detail in verdict.detail


def test_every_grade_but_correct_is_wrong() -> None:
    rule = build("correctness", min_correct=1)
    assert not rule.judge(canvas((Grade.WRONG, Grade.UNPARSED, Grade.TIMEOUT)), scores()).keep
    mixed = build("correctness", min_correct=1, max_correct=2)
    assert mixed.judge(canvas(), scores()).keep
    assert not mixed.judge(canvas((Grade.CORRECT,) * 3), scores()).keep


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("seqdep", {}, "give max, min, quantile or above_unrelated"),
        ("seqdep", {"level": "step"}, "give max, min, quantile or above_unrelated"),
        ("seqdep", {"max": 1, "quantile": 0.5}, "one of them only"),
        ("seqdep", {"min": 1, "quantile": 0.5}, "one of them only"),
        ("seqdep", {"quantile": 0.5, "above_unrelated": 0.1}, "one of them only"),
        ("seqdep", {"above_unrelated": 0.1, "level": "step"}, "at path level, where"),
        ("seqdep", {"above_unrelated": math.inf}, "above_unrelated is inf"),
        ("seqdep", {"quantile": 0}, "quantile is 0.0"),
        ("seqdep", {"quantile": 1.5}, "quantile is 1.5"),
        ("seqdep", {"quantile": math.nan}, "quantile is nan"),
        ("seqdep", {"max": math.nan}, "max is nan"),
        ("seqdep", {"min": -math.inf}, "min is -inf"),
        ("seqdep", {"max": 1, "min": 2}, "nothing could pass"),
        ("seqdep", {"max": 1, "level": "window"}, "filters.0.level"),
        ("seqdep", {"max": "high"}, "filters.0.max"),
        ("seqdep", {"max": 1, "undefined": "maybe"}, "filters.0.undefined"),
        ("seqdep", {"most": 1}, "filters.0.most"),
        ("correctness", {"min_correct": -1}, "min_correct is -1"),
        ("correctness", {"min_correct": 2, "max_correct": 1}, "nothing could pass"),
        ("correctness", {"max_correct": 0}, "nothing could pass"),
        ("length", {}, "give one of min_total, max_total, min_path"),
        ("length", {"min_path": -1}, "min_path is -1"),
        ("length", {"min_total": 9, "max_total": 8}, "nothing could pass"),
        ("length", {"min_path": 9, "max_total": 8}, "nothing could pass"),
        ("diversity", {}, "filters.0.max_similarity"),
        ("diversity", {"max_similarity": 1.1}, "max_similarity is 1.1"),
        ("diversity", {"max_similarity": math.nan}, "max_similarity is nan"),
    ],
)
def test_a_users_mistake_is_one_line(kind: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(UserError) as caught:
        build(kind, **options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("limit", [{"max": 9.0}, {"min": -9.0}, {"quantile": 1.0}])
@pytest.mark.parametrize(
    "unscored", [UNSCORED, scores(path=None), scores(math.nan), scores(math.inf), scores(-math.inf)]
)
def test_an_undefined_value_is_never_zero(limit: dict[str, float], unscored: Scores) -> None:
    corpus = [(canvas(), unscored), (canvas(), scores(0.1))]
    for undefined in ("drop", "keep"):
        rule = build("seqdep", undefined=undefined, **limit)
        rule.fit(corpus)
        verdict = rule.judge(canvas(), unscored)
        assert verdict.keep == (undefined == "keep")
        assert verdict.reason == ("seqdep_undefined" if undefined == "drop" else "")
        assert rule.judge(canvas(), scores(0.1)).keep
        assert rule.frozen() == ("0.1" if "quantile" in limit else "")


values = st.floats(-50, 50, allow_nan=False)


@given(st.lists(values, min_size=1, max_size=60), st.floats(0.01, 1.0))
@example([0.1 * k for k in range(100)], 0.55)
@example([0.1, 0.1, 0.1, 0.2], 0.5)
@example([1.0], 0.01)
def test_a_quantile_keeps_at_least_its_share(measured: list[float], share: float) -> None:
    rule = build("seqdep", quantile=share)
    corpus = [(canvas(), scores(value)) for value in measured]
    rule.fit(iter(corpus))
    threshold = float(rule.frozen())
    assert threshold in measured
    kept = [value for value in measured if rule.judge(canvas(), scores(value)).keep]
    assert kept == [value for value in measured if value <= threshold]
    assert len(kept) >= round(share * len(measured), 9)
    below = [value for value in measured if value < threshold]
    assert len(below) < round(share * len(measured), 9)
    absolute = build("seqdep", max=threshold)
    assert all(absolute.judge(*pair).keep == rule.judge(*pair).keep for pair in corpus), (
        "what is frozen says the same again"
    )


def test_a_quantile_of_nothing_drops_by_reason() -> None:
    rule = build("seqdep", quantile=0.5)
    rule.fit([])
    assert rule.frozen() == ""
    assert rule.judge(canvas(), UNSCORED).reason == "seqdep_undefined"


def test_a_quantile_is_not_judged_before_fit() -> None:
    with pytest.raises(AssertionError, match="after fit"):
        build("seqdep", quantile=0.5).judge(canvas(), scores())


def test_rules_without_a_quantile_read_nothing() -> None:
    def corpus() -> Iterator[tuple[Canvas, Scores]]:
        raise AssertionError("was read")
        yield

    options: dict[str, dict[str, Any]] = {
        "seqdep": {"max": 1.0},
        "correctness": {},
        "length": {"min_path": 1},
        "diversity": {"max_similarity": 0.5},
    }
    for kind, given_options in options.items():
        rule = build(kind, **given_options)
        rule.fit(corpus())
        assert rule.frozen() == ""


def test_fit_holds_one_float_a_canvas() -> None:
    one, count = (canvas(), scores(0.25)), 50_000
    rule = build("seqdep", quantile=0.9)
    tracemalloc.start()
    rule.fit(one for _ in range(count))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rule.frozen() == "0.25"
    assert peak < 8 * count * 2.5  # an array that grows is copied once


def test_count_keeps_an_even_share_that_no_order_changes() -> None:
    def at(n: int) -> tuple[Canvas, Scores]:
        one = canvas()
        return replace(one, prompt=replace(one.prompt, id=f"p{n}")), UNSCORED

    corpus = [at(n) for n in range(50)]
    rule, reverse = build("count", most=20), build("count", most=20)
    rule.fit(corpus)
    reverse.fit(corpus[::-1])
    kept = {pair[0].prompt.id for pair in corpus if rule.judge(*pair).keep}
    assert len(kept) == 20 and rule.frozen() == reverse.frozen() != ""
    grown = build("count", most=20)
    grown.fit([*corpus, *(at(n) for n in range(50, 55))])
    still = {pair[0].prompt.id for pair in corpus if grown.judge(*pair).keep}
    assert still <= kept and len(still) >= 15
    roomy = build("count", most=50)
    roomy.fit(corpus)
    assert roomy.frozen() == "" and all(roomy.judge(*pair).keep for pair in corpus)
    with pytest.raises(UserError, match="give 1 or more"):
        build("count", most=0)
