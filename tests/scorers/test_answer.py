"""Grades, and their agreement with the labels and graders of the real data."""

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from schemas.records import Grade
from scorers.answer import GradePool

Samples = Sequence[tuple[str, str, bool | None]]


@pytest.fixture(scope="module")
def pool() -> Iterator[GradePool]:
    with GradePool(workers=2, timeout_seconds=30) as shared:
        yield shared


def test_agreement_with_gsm8k_labels(pool: GradePool, gsm8k_samples: Samples) -> None:
    samples = gsm8k_samples
    answers = pool.grade([(text, gold) for text, gold, _ in samples])
    assert Counter(
        (answer.grade is Grade.CORRECT, label)
        for answer, (_, _, label) in zip(answers, samples, strict=True)
    ) == {(True, True): 2001, (False, False): 3275}


def test_agreement_with_recorded_labels(pool: GradePool, recorded_traces: Samples) -> None:
    """The eleven disagreements are explained in docs/grading.md; each is the label's fault."""
    samples = recorded_traces
    answers = pool.grade([(text, gold) for text, gold, _ in samples])
    assert Counter(
        (str(answer.grade), label) for answer, (_, _, label) in zip(answers, samples, strict=True)
    ) == {
        ("correct", True): 1316,
        ("correct", False): 11,
        ("wrong", False): 818,
        ("unparsed", False): 5,
    }
    cut = [a.end for a, (text, _, _) in zip(answers, samples, strict=True) if a.end < len(text)]
    assert len(cut) == 8


def test_agreement_with_other_graders(pool: GradePool, grader_pairs: Samples) -> None:
    """Policies differ between graders: docs/grading.md lists the 30 disagreements by cause."""
    answers = pool.grade([(text, gold) for text, gold, _ in grader_pairs])
    assert Counter(
        (expected, str(answer.grade))
        for answer, (_, _, expected) in zip(answers, grader_pairs, strict=True)
    ) == {
        (True, "correct"): 267,
        (True, "wrong"): 19,
        (True, "unparsed"): 6,
        (False, "wrong"): 51,
        (False, "unparsed"): 2,
        (False, "correct"): 5,
        (None, "wrong"): 3,
    }


@pytest.mark.parametrize(
    ("text", "gold", "grade"),
    [
        (r"\boxed{x \in [-2,7]}", r"x \in [-2,7]", Grade.CORRECT),
        (r"\boxed{(3, \pi/2)}", r"(3, \frac{\pi}{2})", Grade.CORRECT),
        (r"\boxed{\frac{8}{6}}", r"$\frac{4}{3}$", Grade.CORRECT),
        (r"\boxed{1.3333}", r"\boxed{\frac{4}{3}}", Grade.WRONG),
        (r"\boxed{x = 5}", "5", Grade.CORRECT),
        (r"\boxed{1 + \frac{1}{\mathrm{e}}}", r"1 - \frac{1}{\mathrm{e}}", Grade.WRONG),
        (r"The answer is \text{Evelyn}.", "Evelyn", Grade.CORRECT),
        ("The answer is silent.", "listen", Grade.WRONG),
        (r"\boxed{\text{(B)}}", "B", Grade.CORRECT),
        ("He has 1320 km left", "1320", Grade.CORRECT),
        ("He has none", "1320", Grade.UNPARSED),
        ("x = 7 at first.\n\nThen it breaks", "7", Grade.UNPARSED),
        ("", "5", Grade.UNPARSED),
        ("The answer is 5.", "", Grade.UNPARSED),
        ("\0 The answer is 12.0\0", "12", Grade.CORRECT),
        ("\ud800 \\boxed{\\sqrt{144}}", "12", Grade.CORRECT),
        ("\\boxed{\ud800}", "12", Grade.WRONG),
    ],
)
def test_grades(pool: GradePool, text: str, gold: str, grade: Grade) -> None:
    assert pool.grade([(text, gold)])[0].grade is grade
