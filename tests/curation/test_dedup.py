"""De-duplication: what counts as the same problem, and a table that holds hashes only."""

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.dedup import CONFLICTING, EXACT, NORMALISED, Duplicate, Seen, normalise, prompt_id

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
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_the_same_problem(one: str, two: str) -> None:
    assert normalise(one) == normalise(two)


@pytest.mark.parametrize(("one", "two"), APART)
def test_two_problems(one: str, two: str) -> None:
    assert normalise(one) != normalise(two)


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
    seen = Seen()
    assert seen.add("What is 1 + 1?", "2", 0, 7) is None
    assert seen.add("What is 1 + 1?", "2", 1, 1) == Duplicate(reason=EXACT, source=0, row=7)
    assert seen.add("what is 1+1", "2.0", 1, 2) == Duplicate(reason=NORMALISED, source=0, row=7)
    assert seen.add("What is 1 + 1?", "3", 1, 3) == Duplicate(reason=CONFLICTING, source=0, row=7)
    assert seen.add("what is 1+1", "3", 1, 4) == Duplicate(reason=CONFLICTING, source=0, row=7)
    assert seen.add("What is 1 - 1?", "0", 3, 2**40) is None
    assert seen.add("What is 1 - 1?", "$0$", 4, 1) == Duplicate(reason=EXACT, source=3, row=2**40)
    assert len(seen) == 2


@given(st.lists(st.integers(0, 3000), max_size=4000))
def test_the_table_agrees_with_a_dictionary(numbers: list[int]) -> None:
    seen, first = Seen(), dict[int, int]()
    for row, number in enumerate(numbers, 1):
        found = seen.add(f"problem {number}", "", 0, row)
        assert (found.row if found else row) == first.setdefault(number, row)
    assert len(seen) == len(first)


def test_about_32_bytes_a_prompt() -> None:
    seen, count = Seen(), 30_000
    words = random.Random(0).sample(range(10**9), count)
    for row, word in enumerate(words, 1):
        assert seen.add(f"problem {word}", "1", 0, row) is None
    assert seen.nbytes() / count <= 35
    assert seen.add(f"PROBLEM  {words[0]}.", "1", 0, 1) is not None
