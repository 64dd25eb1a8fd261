"""The announced answer of a trace, and where its run-on is cut."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorers.answers.extract import announcements, run_on
from scorers.answers.extract.final_answer import extract


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{\frac{1}{2}} it is", r"\frac{1}{2}"),
        (r"\boxed{1} then \boxed{{2}+{3}}", "{2}+{3}"),
        (r"\boxed{1} and \(\boxed{-2}\)", "1, -2"),
        (r"\boxed{4}, \boxed{4}", "4"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{7} Put it into \boxed{}. Or \boxed{[answer]}, \boxed{8", "7"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\\boxed{004}", "004"),
        (r"\boxed{200} and later $5$. The final answer is $10,455$.", "10,455"),
        ("#### 18", "18"),
        ("#### 2. Simplify it\n#### Step 3\nA: 7", "7"),
        ("A: 75", "75"),
        ("A: 5\nB: 6\nC: 7\nThe answer is (B).", "(B)"),
        ("The answer is 18.", "18"),
        ("The answer is $18.50 per day.", "18.50 per day"),
        ("The answer is $18 and $20", "18 and 20"),
        ("The answer is 5, because 2 + 3 = 5.", "5"),
        ("The answer is not 5 but I say answer: **7**", "7"),
        ("The answers are $12$ and $13$.", "12, 13"),
        ("The answer is $28$ percent.", r"28\%"),
        (r"The answer is: \[ \frac{3}{4} \]", r"\frac{3}{4}"),
        ("**Final Answer**\n$18", "18"),
        ("The answer is 4. Hence the answer is correct.", "4"),
        ("The answer is yes.", "yes"),
        ("The answer is I. II and III", "I. II and III"),
        ("The answer is A. Hence B is wrong.", "A"),
        ("The answer is $3$ for part (a), and $4$ for part (b).", "3, 4"),
        (r"So \boxed{18} eggs, sold for 2. The answer is 36.", "36"),
        (r"So \boxed{18}. In other bases the answer might be taken as 220, or as 22.", "18"),
        ("The answer is 18? No.", None),
        ("Final Answer: the volume of $ABCD$ is 120. I hope it is correct.", "120"),
        ("Final Answer: Jane planted it 3 hours ago.", "3"),
        ("x^2 + 2*x + 1", "x^2 + 2*x + 1"),
        ("So he has 5 apples left", None),
        ("", None),
    ],
)
def test_the_announced_answer_is_found(text: str, answer: str | None) -> None:
    assert extract(text).answer == answer


@pytest.mark.parametrize(
    ("kept", "run_on"),
    [
        ("He has 5.\nThe answer is 5.", "\n\nQuestion: Tom has 7.\nThe answer is 7."),
        ("A: 5", "\n\nQ: Tom has 7 apples. How many?\nA: 7"),
        (r"\boxed{5}", "\n\n\n## Problem 2\nFind x. \\boxed{7}"),
        (r"\boxed{5}", "\n\nYour turn:\nCompute \\boxed{7}"),
        (r"\boxed{5}", "\n\nNow solve the question.\n\nQuestion:\n\\boxed{7}"),
        (r"\boxed{5}", "\n\nGiven this, can you now solve the following on your own: 1+1"),
        ("He has 5 apples.", "\n\nQuestion: Tom has 7 apples and"),
        ("The answer is 5.", "\n\nHere's your question:\nFind x."),
        (r"\boxed{5}", "\n\n**Here's your question:** The function $f$ is"),
        (r"\boxed{5}", "\n\nNext question\nFind x."),
        (r"\boxed{5}", "\n\nNow, solve the following: 1+1"),
        ("He has 5 apples.", "\nUser: and Tom?\nThe answer is 7"),
        ("The answer is 5.", " <|im_end|>\n<|im_start|>user\nThe answer is 7."),
        ("The answer is yes.", "\n\nQuestion: x\nThe answer is 5"),
        # Nothing to cut: the trace's own blocks, restated problems, words that only look alike.
        ("Question 1: a? Answer: 5\n\nQuestion 2: b? Answer: 8\nThe final answer is 8.", ""),
        ("Problem: find 2 + 3.\n\nSolution: 5. The answer is 5.", ""),
        ("We know 3 things:\n\nQuestion: how many in all?\nThe answer is 5.", ""),
        ("We have 48.\n\nQuestion: How many in all?\n\n48 + 24 = 72. The answer is 72.", ""),
        ("She sold 48.\n\nProblem: find both.\n\nSolution: 72. The answer is 72.", ""),
        ("First 2 + 3.\n\nNow, solve the next part. The answer is 5.", ""),
        ("Let S have 2 elements.\n\nQ: a set\n\nThe answer is 5.", ""),
        ("The question is how 2 and 3 add up. The answer is 5.\nCheck: 5 - 3 = 2.\n", ""),
    ],
)
def test_a_run_on_is_cut_and_nothing_else(kept: str, run_on: str) -> None:
    assert extract(kept + run_on).end == len(kept)


@given(
    st.integers(-(10**6), 10**6),
    st.sampled_from(["The answer is {}.", "A: {}", "\\boxed{{{}}}", "#### {}", "Answer: {}"]),
    st.sampled_from(["Question", "Problem 3", "Human", "### Question 2", "Q", "**Problem**"]),
    st.text(max_size=60),
)
def test_what_follows_never_changes_the_answer(n: int, form: str, head: str, noise: str) -> None:
    solution = f"First we add.\n{form.format(n)}"
    found = extract(f"{solution}\n\n{head}: {noise}\nThe answer is 99. \\boxed{{98}}")
    assert (found.answer, found.end) == (str(n), len(solution))


@given(st.text() | st.text(alphabet="\\{}$boxed answer:is#AQ\n0123. \0\ud800"))
def test_any_text_is_read_without_fault(text: str) -> None:
    found = extract(text)
    assert 0 <= found.end <= len(text)


def test_the_time_is_linear_in_the_text() -> None:
    """A fifth of a megabyte of anything: fractions of a second each, hours if it were quadratic."""
    started = time.thread_time()
    for piece in ("\\boxed{", "{", "\n", "#### ", "answer ", "A: 5\n", "Question: \n\n", "\\", "$"):
        extract(piece * (200_000 // len(piece)))
    assert time.thread_time() - started < 20


ANNOUNCED = st.from_regex(announcements._LINE) | st.from_regex(announcements._PHRASE)
BESIDE = st.text(alphabet="\n Aans:weRT*\u017f\u0130", max_size=12)


@given(BESIDE, ANNOUNCED, BESIDE)
def test_what_is_looked_for_first_stands_in_every_announcement(
    before: str, announced: str, behind: str
) -> None:
    """The quick look before each slow pattern must miss nothing that the pattern finds."""
    text = before + announced + behind
    for pattern, marks in (
        (announcements._LINE, announcements._LINE_MARKS),
        (announcements._PHRASE, ["answer"]),
    ):
        start = announcements._first_line(text, text.lower(), marks)
        found = [match.span() for match in pattern.finditer(text)]
        assert found == [match.span() for match in pattern.finditer(text, start)]


@given(BESIDE, st.from_regex(announcements._NOT_MINE), st.sampled_from(["", "\n", " ", "x"]))
def test_a_quick_look_tells_whose_answer_it_is(before: str, words: str, end: str) -> None:
    for text in (f"{before}{words}{end}", f"{before}{words}{end}".swapcase()):
        slow = announcements._NOT_MINE.search(text, max(0, len(text) - 40)) is not None
        whole = f"{text}answer"
        assert announcements._is_anothers(whole, whole.lower(), len(text)) is slow


@given(st.from_regex(run_on._NEXT))
def test_what_is_looked_for_first_stands_in_every_block(text: str) -> None:
    assert run_on.may_run_on(text)
