"""Every filter, found by its file: builds from its documented examples, judges purely, says why."""

import importlib
import re
from dataclasses import replace

import pytest
import yaml

from curation.filters import Filter, SeesControls
from schemas.facts import ControlFacts, MeanFacts
from schemas.records import (
    Canvas,
    Draws,
    FinishReason,
    Grade,
    GradedTrace,
    Level,
    Prompt,
    Scores,
    SeqDep,
    StopReason,
    Trace,
    Verdict,
)
from support import plugins

KINDS = plugins.kinds("curation.filters")


def examples(kind: str) -> list[dict[str, object]]:
    """The recipe fragments in the module's docstring: `{kind: …}`."""
    text = importlib.import_module(f"curation.filters.{kind}").__doc__ or ""
    return [yaml.safe_load(found) for found in re.findall(r"`(\{kind:[^`]*\})`", text)]


def make(kind: str, options: dict[str, object]) -> Filter:
    made: Filter = plugins.build(
        "curation.filters", kind, {k: v for k, v in options.items() if k != "kind"}, "filters.0"
    )
    return made


TEXTS = (
    "First 3 + 4 = 7.\n\nThe answer is 7.",
    "See https://example.org/proof for the proof.",
    "7",
    "Let $x = 7$. Then\n$$x^2 = 49.$$",
    "答案是 7。",
    "```python\nprint(3 + 4)\n```",
    "Wait, that is wrong. " * 20,
)
"""Texts of paths: sentences, a link, digits only, a formula, another script, code, a repetition."""


def instance(number: int) -> tuple[Canvas, Scores]:
    """Canvas `number` of a small corpus that varies in everything a filter may read."""
    said = [f"In {j} steps: 7" for j in range(3)]
    said[number % 3] = TEXTS[number % len(TEXTS)]
    trace = Trace(
        prompt_id=f"p{number}",
        index=0,
        key="k",
        text="",
        teacher="t",
        revision="r",
        temperature=None,
        top_p=None,
        max_tokens=None,
        seed=None,
        hint=None,
        finish_reason=FinishReason.LENGTH if number % 6 == 5 else FinishReason.STOP,
        prompt_tokens=None,
        completion_tokens=None,
    )
    grades = [Grade.CORRECT if j < number % 4 else Grade.WRONG for j in range(3)]
    canvas = Canvas(
        prompt=Prompt(
            id=f"p{number}",
            text="What is 3 + 4? " * (1 + number % 3),
            gold="7",
            source=f"s{number % 2}",
            row=number + 1,
            license="mit",
        ),
        paths=tuple(
            GradedTrace(
                trace=replace(trace, index=j, text=said[j]),
                text=said[j],
                grade=grade,
                answer="7" if grade is Grade.CORRECT else ("8", "9", None)[j],
            )
            for j, grade in enumerate(grades)
        ),
        answer="1",
        summary="The final answer is 7",
        summary_by="template",
        path_tokens=(5 + 30 * number, 20, 10 + 20 * number),
        summary_tokens=5,
        similarity=number / 20,
        draws=Draws(
            drawn=20,
            correct=number,
            first_round_drawn=4,
            first_round_correct=number // 5,
            stop_reason=StopReason.MOST_REACHED,
        ),
    )
    level = {
        at: SeqDep(level=at, nats=float(number), nats_per_token=number / 20, gains=(), tokens=(1,))
        for at in (Level.PATH, Level.STEP)
    }
    scores = Scores(
        prompt_id=f"p{number}",
        path=None if number == 19 else level[Level.PATH],
        step=None if number == 19 else level[Level.STEP],
        window=None,
        summary_gain=None,
        scorer="s",
        scorer_revision="r",
    )
    return canvas, scores


CORPUS = [instance(number) for number in range(20)]
CONTROLS = ControlFacts(
    documents=20,
    canvases=MeanFacts(mean=0.4, low=0.3, high=0.5),
    others=MeanFacts(mean=0.3, low=0.2, high=0.4),
    repeated=MeanFacts(mean=1.0, low=0.9, high=1.1),
    tells=True,
)


def verdicts(rule: Filter) -> list[Verdict]:
    return [rule.judge(*pair) for pair in CORPUS]


def fitted(kind: str, options: dict[str, object]) -> Filter:
    """A filter that has seen the controls and the corpus."""
    rule = make(kind, options)
    if isinstance(rule, SeesControls):
        rule.see(CONTROLS)
    rule.fit(iter(CORPUS))
    return rule


def test_there_are_filters() -> None:
    assert {"seqdep", "correctness", "length", "diversity"} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_filter_honours_the_contract(kind: str) -> None:
    documented = examples(kind)
    assert documented, f"the docstring of {kind} shows no `{{kind: {kind}, …}}`"
    for options in documented:
        assert options["kind"] == kind
        rule = fitted(kind, options)
        found = verdicts(rule)
        assert found == verdicts(rule), "judge changes with what it has judged"
        assert found == [rule.judge(*pair) for pair in CORPUS[::-1]][::-1]
        again = fitted(kind, options)
        assert (verdicts(again), again.frozen()) == (found, rule.frozen())
        assert "\n" not in rule.frozen()
        assert {verdict.keep for verdict in found} == {True, False}, "the example tells nothing"
        for verdict in found:
            assert isinstance(verdict, Verdict)
            if verdict.keep:
                assert (verdict.reason, verdict.detail) == ("", "")
            else:
                assert re.fullmatch(r"[a-z][a-z0-9_]*", verdict.reason)
                assert verdict.detail.isprintable()
                assert verdict.detail
