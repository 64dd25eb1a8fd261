"""Traces whose teacher does not say why it stopped: broken ones are rejected, no others."""

from pathlib import Path

import pytest

from curation.canvases.checks import Fault, screen
from curation.canvases.token_counter import TokenCounter
from schemas.records import FinishReason, Grade, GradedTrace
from tests.curation.samples import bare_trace


def faults_of(text: str, grade: Grade, finish: FinishReason, tokenizer: Path) -> list[Fault]:
    trace = bare_trace(text, finish_reason=finish)
    graded = GradedTrace(trace=trace, text=text, grade=grade, answer=None)
    faults: dict[int, Fault] = {}
    usable = screen([graded], 1000, TokenCounter([str(tokenizer)]), faults)
    assert len(usable) + len(faults) == 1
    return list(faults.values())


@pytest.mark.parametrize("grade", [Grade.UNPARSED, Grade.WRONG, Grade.TIMEOUT])
@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("So we have\n\\[ x = \\frac{", "announces no answer and ends inside \\["),
        ("Thus, the product of the lengths", "ends in the middle of a sentence: 'Thus, the"),
    ],
)
def test_a_recorded_trace_that_breaks_off_is_truncated(
    text: str, detail: str, grade: Grade, fine: Path
) -> None:
    (fault,) = faults_of(text, grade, FinishReason.UNKNOWN, fine)
    assert fault.reason == "truncated"
    assert detail in fault.detail


@pytest.mark.parametrize(
    ("text", "grade", "finish"),
    [
        ("The answer is \\boxed{5}. In this case there are no", Grade.CORRECT, "unknown"),
        ("The answer is \\boxed{5}. In this case there are no", Grade.WRONG, "unknown"),
        ("So there are 18 eggs.", Grade.UNPARSED, "unknown"),
        ("Thus, the product of the lengths", Grade.UNPARSED, "stop"),
    ],
)
def test_a_trace_that_answers_or_ends_stays(
    text: str, grade: Grade, finish: str, fine: Path
) -> None:
    assert faults_of(text, grade, FinishReason(finish), fine) == []
