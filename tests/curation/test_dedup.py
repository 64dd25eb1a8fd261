"""De-duplication: what counts as the same problem, and a table that holds hashes only."""

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.prompts.dedup import (
    CONFLICTING,
    EXACT,
    NORMALISED,
    Duplicate,
    SeenPrompts,
    normalise,
    prompt_id,
)

SAME = [
    ("What is 1 + 1?", "what  is\n1+1"),
    ("Janet\u2019s ducks", "Janet's ducks"),
    ("Compute $x + y$.", "Compute \\(x+y\\)"),
    ("Compute $$x$$", "Compute \\[ x \\]"),
    ("costs $1,200 a day", "costs $1200 a day"),
    ("\\left( a \\right)", "(a)"),
    ("\\dfrac{1}{2}", "\\frac{1}{2}"),
    ("a \\leq b", "a \\le b"),
    ("a ≤ b", "a \\leq b"),
    ("x\\,+\\;y\\quad z", "x+y z"),
    ("x^{2}", "x^2"),
    ("x²", "x^2"),
    ("½ cup", "1/2 cup"),
    ("3 \u2212 5", "3 - 5"),
    ("well-known fact", "well known fact"),
    ("Hello! Go", "hello go"),
    ("\uff15 apples", "5 apples"),
    ("10^{\\text{th}}", "10^th"),
    ("90°", "90 \\circ"),
    ("f'(2)", "f\u2019(2)"),
    ("f'(2)", "f\u2032(2)"),
    ("f''(2)", "f\u2033(2)"),
    ("f'(2)", "f^{\\prime}(2)"),
    ("f''(2)", "f^{\\prime\\prime}(2)"),
    ("x_1'", "x_{1}'"),
    ("the boys' 3 cats", "the boys\u2019 3 cats"),
    ("I'm Cyrus' 'friend'", "i\u2019m cyrus \u2018friend\u2019"),
    ("the letter 'a' stands", "the letter \u201ca\u201d stands"),
    ("costs $.50 each", "costs $0.50 each"),
    ("It is 5.Then", "It is 5. Then"),
    ("Hello!! \u201cGo home!\u201d (now!)", "hello, go home (now)"),
    ("\u7b54\u6848\u662f\u4ec0\u4e48!", "\u7b54\u6848\u662f\u4ec0\u4e48"),
    ("\\pi!", "\u03c0!"),
]

APART = [
    ("3 + 5", "3 - 5"),
    ("x^2", "x2"),
    ("x²", "x2"),
    ("2(3+4)", "2(3)+4"),
    ("n!", "n"),
    ("1.5 cups", "15 cups"),
    ("a < b", "a > b"),
    ("x^{10}", "x^1 0"),
    ("\\frac{1}{23}", "\\frac{12}{3}"),
    ("1.23", "12.3"),
    ("\\leftarrow x", "arrow x"),
    ("{1, 2}", "(1, 2)"),
    ("50%", "50"),
    ("find f(2)", "find f'(2)"),
    ("find f'(2)", "find f''(2)"),
    ("find f'g", "find f g"),
    ("$AB'$", "$AB$"),
    ("$AB'C'$", "$AB'C$"),
    ("$(fg)'$", "$(fg)$"),
    ("$\\alpha'$", "$\\alpha$"),
    ("$x_{1}'$", "$x_{1}$"),
    ("16' long", "16 long"),
    (".5 of 20", "5 of 20"),
    ("$-.5$", "$-5$"),
    ("Compute ab! where ab = 3", "Compute ab where ab = 3"),
    ("$abc! + 1$", "$abc + 1$"),
    ("$\\alpha!$", "$\\alpha$"),
    ("$(n)!$", "$(n)$"),
    ("what is 5!", "what is 5"),
]

INVISIBLE = (
    "\u00ad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u202a\u2060\u2066\u206f\ufe0f\ufeff\U000e0041"
)


@pytest.mark.parametrize(("one", "two"), SAME)
def test_the_same_problem(one: str, two: str) -> None:
    assert normalise(one) == normalise(two)


@pytest.mark.parametrize(("one", "two"), APART)
def test_two_problems(one: str, two: str) -> None:
    assert normalise(one) != normalise(two)


@pytest.mark.parametrize("mark", INVISIBLE, ids=ascii)
def test_what_no_reader_sees_does_not_matter(mark: str) -> None:
    for text in (*dict(SAME), *dict(APART)):
        assert normalise(mark.join(text)) == normalise(text)


@given(st.text(max_size=80))
def test_white_space_around_and_unicode_form_do_not_matter(text: str) -> None:
    assert normalise(f"  {text}\n") == normalise(text)
    assert prompt_id(unicodedata.normalize("NFD", text)) == prompt_id(
        unicodedata.normalize("NFC", text)
    )


def test_ids_are_pinned() -> None:
    assert prompt_id("What is 1 + 1?") == "c41076199368ded04fc3"
    assert prompt_id("cafe\u0301") == prompt_id("caf\u00e9")
    assert prompt_id("What is 1 + 1? ") != prompt_id("What is 1 + 1?")
    assert len(prompt_id("\ud800")) == 20


def test_reasons_and_places() -> None:
    seen = SeenPrompts()
    assert seen.add("What is 1 + 1?", "2", 0, 7) is None
    assert seen.add("What is 1 + 1?", "2", 1, 1) == Duplicate(reason=EXACT, source=0, row=7)
    assert seen.add("what is 1+1", "2.0", 1, 2) == Duplicate(reason=NORMALISED, source=0, row=7)
    assert seen.add("What is 1 + 1?", "3", 1, 3) == Duplicate(reason=CONFLICTING, source=0, row=7)
    assert seen.add("what is 1+1", "3", 1, 4) == Duplicate(reason=CONFLICTING, source=0, row=7)
    assert seen.add("What is 1 - 1?", "0", 3, 2**40) is None
    assert seen.add("What is 1 - 1?", "$0$", 4, 1) == Duplicate(reason=EXACT, source=3, row=2**40)
    assert len(seen) == 2
    assert seen.add("What is half of 1?", ".5", 5, 1) is None
    for row, gold in enumerate(("0.50", "5"), 1):
        found = seen.add("What is half of 1?", gold, 6, row)
        assert found is not None and found.reason == (EXACT if row == 1 else CONFLICTING)


@given(st.lists(st.integers(0, 3000), max_size=4000))
def test_the_table_agrees_with_a_dictionary(numbers: list[int]) -> None:
    seen, first = SeenPrompts(), dict[int, int]()
    for row, number in enumerate(numbers, 1):
        found = seen.add(f"problem {number}", "", 0, row)
        assert (found.row if found else row) == first.setdefault(number, row)
    assert len(seen) == len(first)


def test_about_32_bytes_a_prompt() -> None:
    seen, count = SeenPrompts(), 30_000
    words = random.Random(0).sample(range(10**9), count)
    for row, word in enumerate(words, 1):
        assert seen.add(f"problem {word}", "1", 0, row) is None
    assert seen.nbytes() / count <= 35
    assert seen.add(f"PROBLEM  {words[0]}.", "1", 0, 1) is not None
