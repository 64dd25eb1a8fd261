"""Grades, and their agreement with the labels and graders of the real data."""

# ruff: noqa: RUF001 (signs that look like others)

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from schemas.records import Grade
from scorers.answers.grade import GradePool

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
    """The ten disagreements are explained in docs/grading.md; each is the label's fault."""
    samples = recorded_traces
    answers = pool.grade([(text, gold) for text, gold, _ in samples])
    assert Counter(
        (str(answer.grade), label) for answer, (_, _, label) in zip(answers, samples, strict=True)
    ) == {
        ("correct", True): 1316,
        ("correct", False): 10,
        ("wrong", False): 798,
        ("unparsed", False): 26,
    }
    cut = [a.end for a, (text, _, _) in zip(answers, samples, strict=True) if a.end < len(text)]
    assert len(cut) == 10


@pytest.mark.slow
def test_agreement_with_other_graders(pool: GradePool, grader_pairs: Samples) -> None:
    """Policies differ between graders: docs/grading.md lists the 34 disagreements by cause."""
    answers = pool.grade([(text, gold) for text, gold, _ in grader_pairs])
    assert Counter(
        (expected, str(answer.grade))
        for answer, (_, _, expected) in zip(answers, grader_pairs, strict=True)
    ) == {
        (True, "correct"): 263,
        (True, "wrong"): 15,
        (True, "unparsed"): 14,
        (False, "wrong"): 47,
        (False, "unparsed"): 6,
        (False, "correct"): 5,
        (None, "wrong"): 2,
        (None, "correct"): 1,  # 42 for "forty two"
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
        ("He has 1320 km left.", "1320", Grade.CORRECT),
        ("He has 1320 km left", "1320", Grade.UNPARSED),
        ("He has none", "1320", Grade.UNPARSED),
        ("x = 7 at first.\n\nThen it breaks", "7", Grade.UNPARSED),
        ("", "5", Grade.UNPARSED),
        ("The answer is 5.", "", Grade.UNPARSED),
        ("\0 The answer is 12.0\0", "12", Grade.CORRECT),
        ("\ud800 \\boxed{\\sqrt{144}}", "12", Grade.CORRECT),
        ("\\boxed{\ud800}", "12", Grade.UNPARSED),
    ],
)
def test_grades(pool: GradePool, text: str, gold: str, grade: Grade) -> None:
    assert pool.grade([(text, gold)])[0].grade is grade


@pytest.mark.parametrize(
    ("gold", "answers"),
    [
        # Unicode mathematics, which math-verify drops.
        ("5√2", ["5√3", "5"]),
        ("10⁵", ["10⁶", "10"]),
        ("x² + 1", ["x³ + 1"]),
        ("5½", ["5¾", "5"]),
        ("5", ["5²", "5√2", "5½", "5♠2"]),
        ("9", ["9₂", "9·2", "9⁄2", "9 ¾", "9∞", "9：1", "9∶1", "9，1", "9、1", "9:1", "9 或 1"]),
        # Words in `\text{…}`, which it deletes.
        ("3", [r"3\text{ billion}", r"3 \text{ hundred}", "3 fifths", "3 fourths", "3 tenths"]),
        ("18", [r"18 \text{ thousand}", r"18 \text{ million}", r"18\text{ dozen}", "18 mil"]),
        ("18", ["18 grand", "18 twentieths", "18 degrees below zero", "18 apples per ten people"]),
        ("9", [r"9\text{ squared}", r"9\text{ factorial}", r"9\text{ or more}"]),
        ("9", [r"9\text{ thirds}", r"\text{at least }9", r"9\ \text{or}\ 10"]),
        (r"2\text{ hours }30\text{ minutes}", [r"2\text{ hours }45\text{ minutes}"]),
        (r"5\text{ ft }6\text{ in}", [r"5\text{ ft }7\text{ in}", r"5\text{ ft}"]),
        ("5", [r"5\text{x}", "5x"]),
        (r"\$5", [r"5\text{ cents}"]),
        (r"5\text{ m}", [r"5\text{ km}"]),
        # Choices, spaces, letters, brackets, bases, tiny values.
        ("A: 5, B: 6", ["A: 7, B: 9"]),
        ("C", ["(C) or (D)", "C) or D)"]),
        ("31/2", [r"3\,1/2", r"3\ 1/2"]),
        ("23", [r"2\;3", r"2\, 3"]),
        ("BAC", ["CAB"]),
        ("ABC", ["CBA"]),
        ("no", ["on"]),
        ("cat", ["act"]),
        (r"\angle ABC", [r"\angle CAB"]),
        ("(1,2)", [r"\{1,2\}"]),
        (r"\{1,2\}", ["(1,2)"]),
        ("12_8", ["12_9"]),
        ("0.0000001", ["0.0000002", "0"]),
        ("-2", ["18-20"]),
    ],
)
def test_what_math_verify_passes_over_is_not_correct(
    pool: GradePool, gold: str, answers: list[str]
) -> None:
    forms = [form for answer in answers for form in (rf"\boxed{{{answer}}}", f"#### {answer}")]
    replies = pool.grade([(form, gold) for form in (*forms, rf"\boxed{{{gold}}}")])
    assert replies[-1].grade is Grade.CORRECT
    assert not [
        (form, reply.answer)
        for form, reply in zip(forms, replies, strict=False)
        if reply.grade is Grade.CORRECT
    ]


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("-5", "−5"),
        ("5√2", r"5\sqrt{2}"),
        ("x^2+1", "x² + 1"),
        (r"\frac{11}{2}", "5½"),
        ("7/2", "3 1/2"),
        (r"3\frac{1}{2}", "7/2"),
        ("1000", "1 000"),
        ("10000", r"10\,000"),
        ("18", "USD 18"),
        ("18", "18 dollars per day"),
        ("6", "6 months"),
        ("18", r"18\text{ cm}^2"),
        ("1, 2", r"1 \text{ and } 2"),
        ("5", r"\text{Area} = 5"),
        (r"(-\infty, 5]", "(−∞, 5]"),
        ("5", r"x = 5 \text{ cm}"),
    ],
)
def test_another_way_to_write_it_is_correct(pool: GradePool, gold: str, answer: str) -> None:
    assert pool.grade([(rf"\boxed{{{answer}}}", gold)])[0].grade is Grade.CORRECT


@pytest.mark.parametrize(
    "text",
    [
        "The answer is not 18.",
        "The answer cannot be 18.",
        "Is the answer 18? No.",
        "The answer is 18? No, it is 20.",
        "The answer is 18. Wait, that is wrong. She makes twenty.",
        "The answer is 18. Wait, that is wrong. So she makes 20 dollars.",
        "The answer to part 1 is 18.\nThen 18 * 2 = 36 dollars in total.",
        "I first thought 18 but it should be twenty.",
        "She has 18 apples and then",
        "17. She has 16 eggs. They cost 2 each.\n18.",
        "She has 16 eggs left.\n\nShe then buys 18",
        "So she has 18 thousand.",
        "The answer is that she has 18 thousand dollars.",
        "The answer is that she has less than 18 dollars.",
        "The answer is that it was 18 below zero there.",
        "So there are \\boxed{18} eggs. They sell for two each. The answer is 36.",
        "We have 18 clips.\n\nQuestion: How many clips in total?\n\nShe sold more of them.",
        "We have 18 clips.\n\nQuestion: How many in total?\n\n18 + 54 = 72. The answer is 72.",
        "The answer is $18$ for part (a), and $4$ for part (b).",
    ],
)
def test_a_value_that_is_denied_or_stands_there_by_chance_is_no_answer(
    pool: GradePool, text: str
) -> None:
    assert pool.grade([(text, "18")])[0].grade is not Grade.CORRECT
