"""What each grader reads as the answer, and what it does not: a false "correct" is the worst."""

from typing import Any

import pytest

from curation.graders import Grader, Submission
from schemas.records import Grade, Prompt
from scorers.answers.grade import Answer
from support import plugins
from support.errors import UserError
from tests.curation.samples import bare_trace


def make(kind: str, **options: object) -> Grader:
    made: Grader = plugins.build("curation.graders", kind, options, "grader")
    return made


def submission(text: str, gold: str, prompt: str = "Which?", **more: Any) -> Submission:
    problem = Prompt(id="p", text=prompt, gold=gold, source="s", row=1, license="mit", **more)
    trace = bare_trace(text)
    return Submission(problem, trace)


def graded(grader: Grader, text: str, gold: str, **more: Any) -> Answer:
    (answer,) = grader.grade([submission(text, gold, **more)])
    return answer


COLOURS = ("red", "dark red", "blue", "12 cm")
LISTED = "Which?\n(A) red\n(B) dark red\n(C) blue\n(D) 12 cm"

CHOICES = {
    "correct": (
        "The answer is B.",
        "The answer is dark red.",
        "Answer: (B) dark red",
        "The correct option is B",
        "The correct option is B) dark red.",
        "B is correct",
        r"\boxed{B}",
        r"\boxed{\text{(B) dark red}}",
        "b",
        "Option B",
        "(A) is too light.\n(B) is correct.",
        "dark red.",
        "The colour is **dark red**.",
        "The answer is B, because it is not light.",
        "My first guess is (A). The final answer is (B).",
        "**B**",
        "Answer: **B. dark red**",
        "Answer: B - dark red",
        "The answer is B: dark red.",
        "The answer is (B) dark red, because it is not as light as it looks in the sun.",
        "<answer>B</answer>",
        "Is it A?</think>\nThe answer is B.",
        "So (A) is false.\nThe answer is (B).",
        "The answer is B. (A) is too light, and C or D are wrong.",
        "Answer: B\n\nExplanation: red is lighter. Actually, only one of them is dark.",
        "The answer is B. Let me double-check: it has more black.",
    ),
    "wrong": (
        "The answer is red.",
        "(A) red",
        "D",
        "12",
        "So it is 12 cm long.",
        "The answer is 12 cm, because 3 * 4 = 12.",
        "Option B is incorrect, so the answer is C.",
        "The answer is B</think>\nThe answer is A.",
    ),
    "unparsed": (
        "(A) dark red",
        "The answer is (B) red.",
        "It is not B",
        "The answer is not B.",
        "The answer is A or B",
        "(A) and (B)",
        "The answer is either red or dark red",
        "The answer is blue or dark red",
        "D. 12 cm is wrong",
        "B. dark red is wrong",
        "The answer is E",
        "The answer is 2",
        "The answer is option 2.",
        "The answer is B. Wait, C.",
        "The answer is B. Actually, blue.",
        "The answer is B. Hmm, no, red.",
        "The answer is B. Or A.",
        "The answer is B. But it may be C.",
        "The answer is B. However, (A) is right.",
        "The answer is B. Perhaps red.",
        "The answer is anything but B.",
        "The answer is dark red wine",
        "The answer is a strip of 12 cm",
        "The options are:\n(A) red\n(B) dark red",
        "The answer is B</think>\nI am not sure.",
        "The answer is B, which is wrong.",
        "The answer is B?",
        "The answer is B/C",
        r"\boxed{B} or \boxed{C}",
        "My guess, dark red, is wrong.",
        "",
    ),
}


@pytest.mark.parametrize(
    ("verdict", "text"), [(verdict, text) for verdict in CHOICES for text in CHOICES[verdict]]
)
@pytest.mark.parametrize("options", ["column", "prompt"])
def test_choice(verdict: str, text: str, options: str) -> None:
    more = {"choices": COLOURS} if options == "column" else {"prompt": LISTED}
    assert graded(make("choice"), text, "B", **more).grade == verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("The answer is 2.", Grade.CORRECT),  # the text of C, not the second option
        ("The answer is C.", Grade.CORRECT),
        ("The answer is B.", Grade.WRONG),
        ("The answer is 4.", Grade.WRONG),
        ("The answer is (C) 2", Grade.CORRECT),
        ("The answer is (B) 2", Grade.UNPARSED),
        ("The answer is 2.0", Grade.CORRECT),
        ("The answer is 20", Grade.WRONG),
        ("The answer is 2%", Grade.UNPARSED),
    ],
)
def test_numbers_as_options_are_texts_and_no_positions(text: str, verdict: Grade) -> None:
    assert graded(make("choice"), text, "C", choices=("4", "20", "2", "1")).grade is verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("The answer is 5 May.", Grade.UNPARSED),
        ("The answer is 5 April.", Grade.CORRECT),
        ("The answer is May 5.", Grade.UNPARSED),
        ("The answer is 15 April.", Grade.WRONG),
        ("It is a Friday.\n(A) 5 April", Grade.CORRECT),
        ("It is a Friday.\n(B) 5 April", Grade.UNPARSED),
        ("It is a Friday.\n(C) It cannot be known", Grade.WRONG),
    ],
)
def test_words_beside_a_number_are_compared(text: str, verdict: Grade) -> None:
    choices = ("5 April", "15 April", "It cannot be known")
    assert graded(make("choice"), text, "A", choices=choices).grade is verdict


@pytest.mark.parametrize("text", ["The answer is A.", "The answer is B.", "a"])
def test_a_letter_that_is_the_text_of_another_option_is_unread(text: str) -> None:
    assert graded(make("choice"), text, "(A)", choices=("B", "A", "C")).grade is Grade.UNPARSED


@pytest.mark.parametrize(
    ("choices", "text", "verdict"),
    [
        (("x < 3", "x = 5"), "The answer is x > 3.", Grade.UNPARSED),
        (("x < 3", "x = 5"), "The answer is $x < 3$.", Grade.CORRECT),
        (("x < 3", "x > 3"), "The answer is x > 3.", Grade.WRONG),
        (("a < b", "a > b"), "The answer is a > b.", Grade.WRONG),
        (("a < b", "a = b"), "The answer is a > b.", Grade.UNPARSED),
        (("f'", "g"), "The answer is f.", Grade.UNPARSED),
        (("+", "-"), "The answer is (A) +", Grade.CORRECT),
        (("+", "-"), "The answer is (A) -", Grade.UNPARSED),
        (("Red", "red!"), "The answer is Red.", Grade.CORRECT),
        (("Red", "red!"), "The answer is red!", Grade.WRONG),
        (("Red", "red!"), "The answer is RED", Grade.UNPARSED),
        (("a b", "b"), "The answer is b.", Grade.WRONG),
        (("[a, b]", "(a, b)"), "The answer is (a, b)", Grade.WRONG),
        (("n!", "2n"), "The answer is n.", Grade.UNPARSED),
        (("well-known", "new"), "The answer is well known.", Grade.CORRECT),
        (("5", "-5"), "The answer is -5.", Grade.WRONG),
        (("5", "7"), "The answer is -5.", Grade.UNPARSED),
        (("1.5", "2"), "The answer is 15.", Grade.UNPARSED),
        (("10\u00b2", "2"), "The answer is 102.", Grade.UNPARSED),
    ],
)
def test_signs_of_an_option_are_no_punctuation(
    choices: tuple[str, ...], text: str, verdict: Grade
) -> None:
    assert graded(make("choice"), text, "A", choices=choices).grade is verdict


def test_options_may_begin_with_any_word() -> None:
    choices = ("the sun", "to see", "in the sun", "it is not known")
    for letter, text in zip("ABCD", choices, strict=True):
        for form in (f"The answer is {text}.", f"The answer is ({letter}) {text}", text):
            assert graded(make("choice"), form, letter, choices=choices).grade is Grade.CORRECT
            other = "A" if letter == "B" else "B"
            assert graded(make("choice"), form, other, choices=choices).grade is Grade.WRONG


def test_true_and_false_are_told_apart() -> None:
    for text, verdict in (
        ("The answer is (A) false.", Grade.UNPARSED),
        ("The answer is (A) true.", Grade.CORRECT),
        ("The statement is false, so the answer is false.", Grade.WRONG),
    ):
        assert graded(make("choice"), text, "A", choices=("True", "False")).grade is verdict


@pytest.mark.parametrize(
    ("gold", "choices", "prompt", "fault"),
    [
        ("B", (), "Which?", "lists no options"),
        ("A", ("red",), "Which?", "only one"),
        ("E", COLOURS, "Which?", "does not name one of the 4"),
        ("(B) red", COLOURS, "Which?", "does not name"),
        ("purple", (), LISTED, "does not name"),
        ("dark red", (), LISTED, ""),
        ("b", (), LISTED, ""),
        ("(B) dark red", COLOURS, "Which?", ""),
    ],
)
def test_a_choice_without_options_or_a_right_one_is_refused(
    gold: str, choices: tuple[str, ...], prompt: str, fault: str
) -> None:
    problem = submission("", gold, prompt, choices=choices).prompt
    found = make("choice").fault(problem)
    assert fault in found and bool(found) is bool(fault)
    if not fault:
        assert make("choice").final_answer(problem, []) == "(B) dark red"


WORDS = {
    "correct": (
        "The answer is Paris.",
        "The answer is **Paris**.",
        "**Answer:** paris",
        "Answer: Paris, the capital of France.",
        "Paris",
        r"\boxed{\text{Paris}}",
        "<answer> paris. </answer>",
        "The answer is Paris, because it is the seat of the government.",
        "The answer is Paris, because Lyon is not the capital.",
        'The answer is "Paris".',
        "The answer is Paris. It is the capital of France, not a village.",
        "#### Paris",
        "The answer is Paris. London would be wrong, or so I read.",
        "La respuesta es Paris",
        "The answer is \uff30aris\u200b.",
        "The answer is City of Light.",
    ),
    "wrong": (
        "The answer is London.",
        "New",
        "The answer is Paris</think>\nLyon",
        r"\boxed{Pari}",
    ),
    "unparsed": (
        "The answer is Paris or London.",
        "The answer is not Paris.",
        "It is not Paris",
        "not Paris",
        "The answer is Paris. Wait, no, London.",
        "The answer is Paris. Actually, London.",
        "The answer is Paris. But that is wrong.",
        "The answer is Paris. Or London.",
        "The answer is Paris. Wrong!",
        "The answer is Paris. It could be London.",
        "I think the answer is Paris.\n\nActually, it is Lyon.",
        "The answer is Paris (not London).",
        "The answer is anything but Paris.",
        "The answer is Paris, or maybe London",
        "The answer is Paris, the city, or London.",
        "The answer is Paris-Orly.",
        "The answer is Paris, which is wrong.",
        "The answer is Paris, because I was there, or London.",
        r"\boxed{Paris} is wrong",
        "<think>The answer is Paris</think>\nNew York",
        "I do not know.",
        "The answer is ",
        "They say that it is a large city.\nMany live in Paris.",
        "",
    ),
}


@pytest.mark.parametrize(
    ("verdict", "text"), [(verdict, text) for verdict in WORDS for text in WORDS[verdict]]
)
def test_exact(verdict: str, text: str) -> None:
    found = graded(make("exact"), text, "Paris", more_golds=("City of Light",))
    assert found.grade == verdict


@pytest.mark.parametrize(
    ("options", "gold", "text", "verdict"),
    [
        ({}, "10", "The answer is 10\u00b2.", Grade.WRONG),
        ({}, "12", "The answer is 1\u2082.", Grade.WRONG),
        ({}, "15", "The answer is 1.5.", Grade.WRONG),
        ({}, "5", "The answer is -5.", Grade.UNPARSED),
        ({}, "C", "The answer is C++.", Grade.UNPARSED),
        ({}, "the cat", "The answer is cat.", Grade.WRONG),
        ({"normalise": "squad"}, "the cat", "The answer is a cat!", Grade.CORRECT),
        ({}, "the cat", "The answer is the cat.", Grade.CORRECT),
        ({"normalise": "squad"}, "cat", "The answer is the cat.", Grade.CORRECT),
        ({"normalise": "squad"}, "x < 3", "The answer is x > 3.", Grade.WRONG),
        (
            {"normalise": "squad"},
            "well-known, isn't it?",
            "Answer: well known isnt it",
            Grade.CORRECT,
        ),
        ({"normalise": "squad"}, "15", "The answer is 1.5.", Grade.WRONG),
        ({"normalise": "squad"}, "5", "The answer is -5.", Grade.UNPARSED),
        ({"normalise": "squad"}, "C", "The answer is C++.", Grade.UNPARSED),
        ({"normalise": "squad"}, "hepatitis", "The answer is hepatitis A.", Grade.UNPARSED),
        ({"case": True}, "Polish", "The answer is polish.", Grade.WRONG),
        ({"case": True}, "Polish", "The answer is Polish.", Grade.CORRECT),
        ({"answer": "last_line"}, "Paris", "It lies on the Seine.\n\n**Paris**\n", Grade.CORRECT),
        ({"answer": "last_line"}, "Paris", "Paris.\nOr not.", Grade.WRONG),
        ({"answer": "last_line"}, "Paris", "Well.\nAnswer: Paris", Grade.CORRECT),
        ({"answer": "last_line"}, "Paris", "Well.\nNot Paris", Grade.UNPARSED),
        ({"answer": "whole"}, "Paris", "Paris.", Grade.CORRECT),
        ({"answer": "whole"}, "Paris", "<think>Rome?</think> Paris", Grade.CORRECT),
        ({"answer": "whole"}, "Paris", "The answer is Paris.", Grade.UNPARSED),
    ],
)
def test_exact_by_its_options(
    options: dict[str, Any], gold: str, text: str, verdict: Grade
) -> None:
    assert graded(make("exact", **options), text, gold).grade is verdict


NUMBERS: list[tuple[dict[str, Any], str, dict[str, str]]] = [
    (
        {},
        "1234.5",
        {
            "correct": "1,234.5|1 234.5|1.2345e3|$1.2345 \\times 10^{3}$|2469/2|1234.50 km",
            "wrong": "1234.6|1234|1234.5 thousand|-1234.5|\u22121234.5",
            "unparsed": "1234-1235|at least 1234.5|1234.5%|1,234,5|5 or 7|1234.5, which is wrong",
        },
    ),
    ({}, "3e8", {"correct": "300,000,000|3 \u00d7 10\u2078|300 million", "wrong": "3e7"}),
    ({}, "1/3", {"correct": "2/6|\\frac{1}{3}", "wrong": "0.333"}),
    ({"atol": 0.005}, "1/3", {"correct": "0.333", "wrong": "0.34"}),
    ({"rtol": 0.01}, "9.81", {"correct": "9.8|\u2248 9.8|9.90", "wrong": "9.7"}),
    (
        {},
        "5 km",
        {
            "correct": "5 km|5km|5 kilometers|\\boxed{5\\text{ km}}",
            "wrong": "5 m|5000 m|5 miles|5 km/h|5 km^2",
            "unparsed": "5|5 apples",
        },
    ),
    ({"unit": "km"}, "5", {"correct": "5 km|5", "wrong": "5 m|50", "unparsed": "5 apples"}),
    ({"unit": "N"}, "5", {"correct": "5 N|5N|5|$5\\,\\text{N}$", "wrong": "5 kg"}),
    ({"unit": "%"}, "28", {"correct": "28%|28|28 percent", "wrong": "0.28"}),
    ({"percent": True}, "0.28", {"correct": "28%|0.28", "wrong": "28"}),
    (
        {},
        "5 N",
        {
            "correct": "5 N|5N|5 newtons|$5\\,\\text{N}$|\\boxed{5\\,\\mathrm{N}}|5.0 N",
            "wrong": "6 N|-5 N|5 kN|5 J|5 kg|5 m|5 N m|5 N^2|5 N\u00b2|1/5 N|5000 mN|5 N per metre",
            "unparsed": "5|5 kg m/s^2|5 n|5 NM|5 N or 6 N|5 N to 6 N|at least 5 N|5 apples",
        },
    ),
    (
        {},
        "2.5 kg/m^3",
        {
            "correct": "2.5 kg/m\u00b3|$2.5\\ \\mathrm{kg\\,m^{-3}}$|$2.5 \\text{ kg/m}^3$"
            "|2.5 kg m^-3|2.5 kg\u00b7m\u207b\u00b3|2.5 kilograms per cubic meter|2.5 kg/(m^3)",
            "wrong": "2.5 kg/m^2|2.5 g/m^3|2.5 kg m^3|2.5 kg|2.6 kg/m^3|2.5 kg/m",
            "unparsed": "2.5|2.5 kg/m^3/",
        },
    ),
    (
        {},
        "9.8 m/s^2",
        {
            "correct": "9.8 m s^-2|9.8 m/s/s|9.8 metres per second squared|9.8 m/s\u00b2",
            "wrong": "9.8 m/s|9.8 m|9.8 s^2|9.8 m^2/s",
            "unparsed": "9.8 N/kg|9.8",
        },
    ),
    (
        {},
        "8.314 J/(mol K)",
        {
            "correct": "8.314 J mol^{-1} K^{-1}|8.314 J\u00b7K\u207b\u00b9\u00b7mol\u207b\u00b9",
            "wrong": "8.314 J/mol|8.314 J mol K|8.314 kJ/(mol K)",
            "unparsed": "8.314 J/mol K|8.314 N m/(mol K)|8.314 cal/(mol K)",
        },
    ),
    (
        {},
        "300 K",
        {"correct": "300 K|300 kelvin", "wrong": "300 \u00b0C|300 mK", "unparsed": "300"},
    ),
    ({}, "5", {"correct": "5 kg|5", "unparsed": "5 K|5 N|5 J|5 M|5 N m"}),
    ({}, "5000", {"unparsed": "5 K|5 k"}),
    ({}, "3.2 eV", {"correct": "3.2 eV", "wrong": "3.2 keV|3.2 V|3.2 J"}),
    (
        {"unit": "kg/m^3"},
        "5",
        {"correct": "5 kg/m\u00b3|5 kg m^-3|5", "wrong": "5 g/m^3|5 N|6", "unparsed": "5 apples"},
    ),
    ({}, "28%", {"correct": "28%", "unparsed": "28|0.28"}),
    ({}, "$5", {"correct": "$5|5 dollars", "wrong": "\u20ac5|5 cents"}),
    ({}, "12 people", {"correct": "12", "wrong": "13 people", "unparsed": "12 students"}),
]


@pytest.mark.parametrize(("options", "gold", "texts"), NUMBERS)
def test_number(options: dict[str, Any], gold: str, texts: dict[str, str]) -> None:
    grader = make("number", **options)
    assert grader.fault(submission("", gold).prompt) == ""
    for verdict, listed in texts.items():
        for text in listed.split("|"):
            found = graded(grader, f"The answer is {text}.", gold)
            assert found.grade == verdict, (text, found)


def test_number_says_what_it_cannot_compare() -> None:
    assert "no number" in make("number").fault(submission("", "Paris").prompt)
    assert "grader.unit" in make("number").fault(submission("", "5 C").prompt)
    assert "grader.unit" in make("number").fault(submission("", "8.3 J/mol K").prompt)
    assert "another unit" in make("number", unit="km").fault(submission("", "5 m").prompt)
    assert make("number", unit="km").final_answer(submission("", "5").prompt, []) == "5 km"
    assert make("number", unit="km").final_answer(submission("", "5 km").prompt, []) == "5 km"
    assert make("number", unit="%").final_answer(submission("", "28").prompt, []) == "28%"
    with pytest.raises(UserError, match="rtol"):
        make("number", rtol=-1)


@pytest.mark.parametrize(
    ("options", "text", "verdict"),
    [
        ({}, "RESULT=11 RESULT=12", Grade.CORRECT),
        ({"first": True}, "RESULT=11 RESULT=12", Grade.WRONG),
        ({}, "RESULT=12.0", Grade.WRONG),
        ({"compare": "math"}, "RESULT=12.0", Grade.CORRECT),
        ({"compare": "math"}, r"RESULT=\frac{24}{2}", Grade.CORRECT),
        ({}, "RESULT=", Grade.UNPARSED),
        ({}, "RESULT=12</think>\nI do not know.", Grade.UNPARSED),
        ({"pattern": r"RESULT=\d+"}, "RESULT=12", Grade.WRONG),
        ({"pattern": r"\d+"}, "12", Grade.CORRECT),
        ({"pattern": r"RESULT=(\d+)?"}, "RESULT=", Grade.UNPARSED),
    ],
)
def test_regex(options: dict[str, Any], text: str, verdict: Grade) -> None:
    grader = make("regex", **{"pattern": r"RESULT=(\S*)", **options})
    assert graded(grader, text, "12").grade is verdict
    grader.close()


def test_a_pattern_that_takes_years_ends_in_a_timeout_and_harms_no_other_trace() -> None:
    grader = make("regex", pattern="(a+)+b", timeout_seconds=0.2)
    texts = ["a" * 60 + "c", "aab"]
    found = grader.grade([submission(text, "aa") for text in texts])
    assert [answer.grade for answer in found] == [Grade.TIMEOUT, Grade.CORRECT]
    grader.close()


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "no regular expression"), ("(a)(b)", "2 groups"), ("a{99999999999}", "no regular")],
)
def test_a_bad_pattern_is_one_sentence(pattern: str, message: str) -> None:
    with pytest.raises(UserError, match=f"grader.pattern: .*{message}"):
        make("regex", pattern=pattern)
