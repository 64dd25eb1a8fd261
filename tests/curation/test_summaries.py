"""Teacher-written summaries: what is accepted, and what is not mended but replaced."""

from dataclasses import replace
from pathlib import Path

import pytest

from curation.canvases.rules import Rules
from curation.canvases.summaries import RefusedSummary, best, ends_in, judge, message
from curation.canvases.token_counter import TokenCounter
from schemas.recipe import Summary
from schemas.records import Canvas, FinishReason, Trace
from tests.curation.samples import canvas as sample_canvas

SPEC = Summary(by="teacher")


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("Path 2 forgot the tax. The final answer is 18", "18"),
        ("The final answer is 18.", "18"),
        ("So \\boxed{18}", "18"),
        ("So $\\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}"),
        ("The answer is -3", "-3"),
        ("It is (B).", "(B)"),
        ("\\(x = 5\\)", "5"),
        ("The answer is **7**", "7"),
        ("x = 7.", "7"),
        ("Answer:\n7", "7"),
        ("7", "7"),
    ],
)
def test_texts_that_close_with_the_answer(text: str, gold: str) -> None:
    assert ends_in(text, gold)


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("The final answer is 17", "18"),
        ("The final answer is 118", "18"),
        ("The final answer is -18", "18"),
        ("The final answer is 2.18", "18"),
        ("The final answer is 1,018", "018"),
        ("The final answer is 1/2", "2"),
        ("The final answer is x^2", "2"),
        ("The final answer is 18%", "18"),
        ("The final answer is 18 apples", "18"),
        ("18 is the final answer, not 19", "18"),
        ("The final answer is 18!", "18"),
        ("", "18"),
        ("The final answer is 18", ""),
        ("It is \\boxed{-2}", "2"),
        ("It is **-2**", "2"),
        ("It is - 2", "2"),
        ("It is \u20132.", "2"),
        ("It is \\frac{1}{2}", "2"),
        ("It is 1 / 2", "2"),
        ("It is 10^{2}", "2"),
        ("It is \\pm 2", "2"),
        ("It is \\sqrt{3}", "3"),
        ("It is \u221a3", "3"),
        ("It is 1e-3", "3"),
        ("It is 2*3", "3"),
        ("x<3", "3"),
        ("x<=3", "3"),
        ("It is -(3)", "3"),
        ("It is -$3$", "3"),
        ("It is 1{,}500", "500"),
        ("It is 1 500", "500"),
        ("It is -\\frac{1}{2}", "\\frac{1}{2}"),
        ("It is 3\\frac{1}{2}", "\\frac{1}{2}"),
        ("It is 5\\sqrt{2}", "\\sqrt{2}"),
        ("It is 3.5", ".5"),
        ("It is 3-1", "-1"),
        ("It is 2 1/2", "1/2"),
        ("It is 2*x+1", "x+1"),
        ("It is a_{1}", "1"),
    ],
)
def test_texts_that_do_not(text: str, gold: str) -> None:
    assert not ends_in(text, gold)


def test_the_sentence_that_was_asked_for_is_believed() -> None:
    assert ends_in("Path 1 errs. Thus the value: 7!", "7!", "Thus the value: 7!")
    assert not ends_in("Nonsense7", "7", "7")
    assert not ends_in("The value is 8", "7", "The value is 7")


def written(canvas: Canvas, index: int, text: str, reason: str = "stop") -> Trace:
    trace = canvas.paths[0].trace
    return replace(trace, index=index, text=text, teacher="w", finish_reason=FinishReason(reason))


@pytest.fixture
def rules() -> Rules:
    return Rules(
        paths=3,
        min_correct=1,
        max_wrong=None,
        similarity=0.9,
        slot_tokens=60,
        summary_tokens=40,
        summary_template="The final answer is {answer}",
        seed=0,
    )


def test_the_first_that_is_sound_is_taken(fine: Path, rules: Rules) -> None:
    canvas, counter = sample_canvas(4), TokenCounter([str(fine)])
    gold = canvas.prompt.gold
    bad = [
        written(canvas, 0, f"It is {gold}1"),
        written(canvas, 1, f"It is {gold}", "length"),
        written(canvas, 2, f"</summary> {gold}"),
        written(canvas, 3, f"<s> {gold}"),
        written(canvas, 4, f"{'long ' * 20}it is {gold}"),
        written(canvas, 5, f"\ud800 {gold}"),
    ]
    assert best(canvas, bad, rules, counter) is None
    refused = [judge(canvas, one, rules, counter) for one in bad]
    assert [one.reason for one in refused if isinstance(one, RefusedSummary)] == [
        *("summary_without_answer", "summary_truncated"),
        *("summary_contains_marker", "summary_contains_marker"),
        *("summary_too_long", "summary_not_unicode"),
    ]
    good = written(canvas, 6, f"  Path 1 holds. It is {gold}.\n")
    made = best(canvas, [written(canvas, 7, f"Later: {gold}"), good, *bad], rules, counter)
    assert made is not None
    assert (made.summary, made.summary_by) == (f"Path 1 holds. It is {gold}.", "w")
    assert made.summary_tokens == len(made.summary) and made.paths == canvas.paths


def test_a_summary_that_makes_the_long_cot_too_long_is_not_taken(fine: Path, rules: Rules) -> None:
    canvas, counter = sample_canvas(4), TokenCounter([str(fine)])
    one = [written(canvas, 0, f"Surely it is {canvas.prompt.gold}")]
    assert best(canvas, one, rules, counter) is not None
    tight = replace(rules, slot_tokens=max(canvas.path_tokens), summary_tokens=20)
    assert best(canvas, one, tight, counter) is None


def test_the_message_holds_everything_once_and_braces_of_a_problem_stay(fine: Path) -> None:
    canvas = sample_canvas(4)
    canvas = replace(canvas, prompt=replace(canvas.prompt, text="What is {answer} of {x}?"))
    asked = message(canvas, SPEC)
    assert "What is {answer} of {x}?" in asked
    assert f"The correct answer is {canvas.prompt.gold}." in asked
    assert all(f"Attempt {j}:\n{p.text}" in asked for j, p in enumerate(canvas.paths, 1))
    assert asked.endswith(f"then end with: The final answer is {canvas.prompt.gold}")


def test_a_prompt_without_the_paths_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must hold \{paths\} and \{answer\}"):
        Summary(by="teacher", prompt="Say {answer}")
