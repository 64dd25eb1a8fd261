"""The plain rules, and their agreement with math-verify on real and on made-up numbers."""

import random
import re
from collections.abc import Sequence
from itertools import starmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records import Grade
from scorers.answers.compare import choices, plain_rules
from scorers.answers.compare.mismatches import differ
from scorers.answers.compare.plain_rules import quick_grade, wrap
from scorers.answers.compare.variables import rename_clashing_letters
from scorers.answers.extract.final_answer import extract
from scorers.answers.grade import _brought_together, tidy_gold
from scorers.answers.verify.math_verify_pool import MathVerifyPool, Question

Samples = Sequence[tuple[str, str, bool | None]]


@pytest.mark.parametrize(
    ("answer", "gold", "grade"),
    [
        ("10,000", "10{,}000", Grade.CORRECT),
        ("5.0", "5", Grade.CORRECT),
        ("5 apples per day", "5", Grade.CORRECT),
        (r"5 \text{ apples}", "6", Grade.WRONG),
        ("5 million", "5", Grade.UNPARSED),
        ("3 and 4", "3", None),
        ("2/4", r"\frac{1}{2}", Grade.CORRECT),
        ("1/0", "1", None),
        ("28%", "28", Grade.CORRECT),
        ("2.5%", "2.5", Grade.CORRECT),
        ("2.5%", "0.025", Grade.CORRECT),
        ("2.5%", "25", Grade.WRONG),
        (r"90^\circ", "90", Grade.CORRECT),
        ("8.3333333", "25/3", None),
        ("188635222427.1", "188635222427.100000", None),
        ("1,22", "1.22", Grade.CORRECT),
        ("1,220", "1.22", Grade.WRONG),
        ("id iom", "idiom", Grade.WRONG),
        ("0 1 2", "0 2 1", Grade.WRONG),
        ("0 1 2", "0 1 2.0", Grade.CORRECT),
        ("5 x", "5", None),
        ("5!", "5", None),
        ("\u0665", "5", Grade.UNPARSED),
        ("12:30", "12:30", Grade.CORRECT),
        (r"\left(1,\tfrac12\right)", r"(1, \dfrac12)", Grade.CORRECT),
        ("1 2", "12", Grade.WRONG),
        ("(B) 12", "B", Grade.CORRECT),
        (r"\text{(C)}", "B", Grade.WRONG),
        ("(B)(C)", "B", None),
    ],
)
def test_plain_rules(answer: str, gold: str, grade: Grade | None) -> None:
    assert quick_grade(answer, gold) == grade


_FIGURES = st.from_regex(plain_rules._NUMBER, fullmatch=True)


@given(_FIGURES, _FIGURES | st.sampled_from(["{}", "{}0", "{}.0", "0{}", "{}.000001", "-{}"]))
def test_the_short_way_for_numbers_says_what_all_rules_say(answer: str, gold: str) -> None:
    gold = gold.format(answer)
    assert plain_rules.is_number(answer)
    short = quick_grade(answer, gold)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_rules, "is_number", lambda text: False)
        assert _brought_together(answer, gold) == (answer, gold)
        assert quick_grade(answer, gold) is short


_MARKS = ["A", "B", "a", "b", "(", ")", "[", "]", ".", ":", "\uff1a", " ", "-", "\u2013", "\n", "x"]


@given(st.lists(st.sampled_from(_MARKS), max_size=14).map("".join))
def test_a_prompt_without_a_first_option_lists_none(prompt: str) -> None:
    marks = (choices._MARK, choices._SMALL_MARK, choices._SQUARE_MARK, choices._DASHED_MARK)
    listed = next(filter(None, (choices._listed(prompt, mark) for mark in marks)), {})
    assert choices.options(prompt) == listed


@given(st.text() | st.text(alphabet="\\{}text 19/,.:_AB²½√∞%$~;()[]", max_size=40))
def test_any_text_is_compared_without_fault_and_equals_itself(text: str) -> None:
    assert quick_grade(text, text) is Grade.CORRECT
    assert not differ(text, text)
    assert quick_grade(text, "7") in (None, *Grade)
    assert wrap(text).startswith("$")


def random_number(rng: random.Random) -> str:
    whole = rng.choice([0, 1, 2, 5, 12, 100, 250, 1000, 12345, rng.randrange(10**7)])
    part = rng.choice(["0", "00", "5", "50", "25", "333333", "3333333", "6666667", "125"])
    sign = rng.choice(["", "", "-"])
    return rng.choice(
        [
            f"{sign}{whole}",
            f"{sign}{whole:,}",
            f"{sign}{whole}.{part}",
            f"{sign}{whole:,}.{part}",
            f"{sign}{whole}/{rng.choice([1, 2, 3, 4, 8, 10])}",
            rf"{sign}\frac{{{whole}}}{{{rng.choice([1, 2, 3, 4, 8, 10])}}}",
            f"{whole}%",
            rf"{whole}\%",
            rf"{sign}\${whole}",
            rf"{whole}\text{{ apples}}",
            f"{whole} dollars",
            rf"{whole}^\circ",
        ]
    )


KNOWN_DIFFERENCES = {
    Question("$f'$", "$f'$"),
    Question("$D$", "$(D) Alina$"),
    Question("$1.22$", "$1,22$"),
    Question("$1000,99$", "$1000.99$"),
    Question("$(x+y)^2=81$", "$81$"),
    Question("$250$", "$250$"),
    Question(r"$\text{yes}$", "$yek$"),  # short words, in which a letter was renamed
    Question("$okk$", r"$\text{odd}$"),
}


@pytest.mark.slow
def test_plain_answers_have_the_verdict_of_math_verify(
    gsm8k_samples: Samples, recorded_traces: Samples, grader_pairs: Samples
) -> None:
    """On every pair of real data that the plain rules decide, and on pairs made to be close."""
    pairs = [
        (found.answer, tidy_gold(gold))
        for text, gold, _ in (*gsm8k_samples, *recorded_traces, *grader_pairs)
        if (found := extract(text)).answer is not None
    ]
    gsm8k = pairs[: len(gsm8k_samples)]
    assert sum(quick_grade(*pair) is not None for pair in gsm8k) > 0.99 * len(gsm8k_samples)
    rng = random.Random(0)
    forms = [random_number(rng) for _ in range(60)]
    pairs += [(rng.choice(forms), rng.choice(forms)) for _ in range(500)]
    decided = {
        Question(*rename_clashing_letters(wrap(answer), wrap(gold))): grade
        for answer, gold in dict.fromkeys(starmap(_brought_together, pairs))
        if (grade := quick_grade(answer, gold)) is not None
    }
    workers = MathVerifyPool(2, 30)
    try:
        grades = workers.ask(list(decided))
    finally:
        workers.close()
    different = [
        question
        for (question, grade), other in zip(decided.items(), grades, strict=True)
        if (other is Grade.TIMEOUT or (other is Grade.CORRECT) != (grade is Grade.CORRECT))
        # Nothing divided by something is not read as a fraction, and then is refused.
        and not re.search(r"\b0/[0-9]|frac\{0\}", "".join(question))
    ]
    assert len(decided) > 3000
    # math-verify has no primes and no choices that repeat their text, takes the right side of any
    # equation, and is not told of the comma and of currencies.
    assert set(different) <= KNOWN_DIFFERENCES


WHOLE = st.integers(0, 10**41).map(str) | st.from_regex(r"[0-9]{1,41}", fullmatch=True)


@given(WHOLE, WHOLE, st.sampled_from(("", "0", "00")))
def test_whole_numbers_are_compared_as_any_other(one: str, other: str, zeros: str) -> None:
    """The short way for plain digits says what the long way says, which a plus sign takes."""
    for gold in (other, zeros + one):
        assert quick_grade(one, gold) is (
            Grade.CORRECT if one == gold else quick_grade(f"+{one}", gold)
        )


def test_a_command_that_is_cut_is_no_two_arguments_of_a_fraction() -> None:
    assert _brought_together(r"\frac\boxe", "5") == (r"\frac\boxe", "5")
    assert _brought_together(r"\frac\pi4", "5")[0] == r"\frac{\pi}{4}"
