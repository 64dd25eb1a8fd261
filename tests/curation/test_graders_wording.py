"""Everyday wording that graders read, and wording that names an answer without giving it."""

import pytest

from tests.curation.test_graders import graded, make

ORGANELLES = ("mitochondria", "ribosome", "nucleus", "Golgi apparatus")
CHOSEN = (
    "I choose option B because A is wrong.",
    "I choose B since it makes proteins.",
    "My choice is B.",
    "I would say B.",
    "(B) is the answer.",
    "The correct one is B.",
)
NOT_CHOSEN = (
    "I choose B because of A or C.",
    "I choose option B because A is wrong. Wait, C is better.",
    "B is the answer to another question.",
    "You might choose B because A is wrong.",
    "I don't think the answer is B.",
    "I do not believe that the answer is B.",
    "The least likely answer is B.",
    "The worst answer is B.",
    "B?",
)


@pytest.mark.parametrize("text", CHOSEN)
def test_a_choice_in_everyday_words_is_read(text: str) -> None:
    assert graded(make("choice"), text, "B", choices=ORGANELLES).grade == "correct"
    assert graded(make("choice"), text, "C", choices=ORGANELLES).grade == "wrong"


@pytest.mark.parametrize("text", NOT_CHOSEN)
def test_a_choice_that_is_only_named_is_not_read(text: str) -> None:
    assert graded(make("choice"), text, "B", choices=ORGANELLES).grade == "unparsed"


@pytest.mark.parametrize("kind", ["math", "number"])
@pytest.mark.parametrize(
    "text",
    [
        "Some say the answer is 5.",
        "Others believe that the answer is 5.",
        "My friend told me it is 5.",
        "He claims that x is 5.",
        "It is said that the answer is 5.",
        "According to Bob, the answer is 5.",
        "Suppose the answer is 5.",
        "Half the answer is 5.",
    ],
)
def test_a_value_that_another_names_is_no_answer(kind: str, text: str) -> None:
    grader = make(kind)
    assert graded(grader, text, "5").grade == "unparsed"
    grader.close()


@pytest.mark.parametrize("kind", ["math", "choice"])
@pytest.mark.parametrize(
    "text",
    [
        "(A) mitochondria\n(B) ribosome\n(C) nucleus\n(D) Golgi apparatus",
        "A) mitochondria\nB) ribosome\nC) nucleus\nD) Golgi apparatus",
        "(A)\n(B)\n(C)\n(D)",
        "A\nB\nC\nD",
    ],
)
def test_the_last_line_of_a_list_of_options_is_no_answer(kind: str, text: str) -> None:
    grader = make(kind)
    assert graded(grader, text, "D", choices=ORGANELLES).grade == "unparsed"
    assert graded(grader, f"{text}\n\n(D)", "D", choices=ORGANELLES).grade == "correct"
    grader.close()


def test_a_question_is_no_answer_and_a_token_of_a_template_is_no_word() -> None:
    assert graded(make("exact", answer="last_line"), "Well.\nParis?", "Paris").grade == "unparsed"
    assert graded(make("exact"), "Answer: Paris</s>", "Paris").grade == "correct"


LAYOUTS = {
    "bold": "**A.** {}\n**B.** {}\n**C.** {}\n**D.** {}",
    "list": "- A. {}\n- B. {}\n- C. {}\n- D. {}",
    "square": "[A] {}\n[B] {}\n[C] {}\n[D] {}",
    "dashes": "A - {}\nB - {}\nC - {}\nD - {}",
    "wide stops": "A\uff0e{}\nB\uff0e{}\nC\uff0e{}\nD\uff0e{}",
    "commas": "A\u3001{}\nB\u3001{}\nC\u3001{}\nD\u3001{}",
    "wide brackets": "\uff08A\uff09{}\n\uff08B\uff09{}\n\uff08C\uff09{}\n\uff08D\uff09{}",
    "before the question": "Options:\nA. {}\nB. {}\nC. {}\nD. {}\n\nQuestion: which is it?",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_options_are_read_in_the_layouts_of_prompts(layout: str) -> None:
    asked = LAYOUTS[layout].format(*ORGANELLES)
    prompt = asked if "?" in asked else f"Which organelle makes proteins?\n{asked}"
    for text, verdict in (
        ("The answer is B.", "correct"),
        ("The answer is ribosome.", "correct"),
        ("(B) ribosome", "correct"),
        ("The answer is nucleus.", "wrong"),
        ("The answer is Golgi apparatus.", "wrong"),
        ("The answer is (A) ribosome.", "unparsed"),
    ):
        assert graded(make("choice"), text, "B", prompt=prompt).grade == verdict, text


def test_names_with_initials_before_a_question_are_no_options() -> None:
    prompt = "A. Smith has 12 apples.\nB. Jones has 7.\nWho has more?"
    assert graded(make("choice"), "The answer is A.", "A", prompt=prompt).grade == "unparsed"


@pytest.mark.parametrize(
    "text",
    [
        "The answer is B, not A.",
        "The answer is B rather than A or C.",
        "The answer is not A but B.",
        "not A but B",
        "B (not the nucleus)",
        "The answer is B because A is wrong.",
        "The answer is B because A, C and D make no proteins.",
        "The answer is B: it makes proteins.",
        "The answer is letter B.",
        "[B]",
        "It's B.",
        "It is the ribosome.",
        "Answer: ribosome (B)",
        "The answer is the ribosome, option B.",
        "Answer: B (ribosome)",
        "Answer: B/ribosome",
        "The answer is \uff22.",
        "\u7b54\u6848\uff1a\uff08B\uff09",
        "The answer is B \u2705",
    ],
)
def test_contrasts_reasons_and_forms_of_an_option_are_read(text: str) -> None:
    assert graded(make("choice"), text, "B", choices=ORGANELLES).grade == "correct"
    assert graded(make("choice"), text, "D", choices=ORGANELLES).grade == "wrong"


@pytest.mark.parametrize(
    "text",
    [
        "The answer is B, not B.",
        "The answer is B rather than C, or D.",
        "not A but B or C",
        "Not only A but also B",
        "The answer is B because C is correct.",
        "B because B is wrong.",
        "I choose B because, well, C.",
        "I choose B because nucleus is right.",
        "The answer is B: wrong.",
        "B: nucleus",
        "nucleus (B)",
        "The answer is B, which is the nucleus.",
        "The answer is B. Wait, no.",
        "If A is wrong, the answer is B.",
        "A or B is correct.",
        "B is the answer I like least.",
        r"\boxed{A} \boxed{B}",
        "~~B~~",
        "B \u274c",
    ],
)
def test_an_option_beside_another_or_taken_back_is_not_read(text: str) -> None:
    assert graded(make("choice"), text, "B", choices=ORGANELLES).grade == "unparsed"


@pytest.mark.parametrize("text", ["H2O", "H\u2082O", "$H_2O$", r"\text{H}_2\text{O}", "$H_{2}O$"])
def test_lowered_numbers_of_an_option_are_read(text: str) -> None:
    choices = ("CO2", "H2O", "HO", "H2O2")
    assert graded(make("choice"), f"The answer is {text}.", "B", choices=choices).grade == "correct"
    assert graded(make("choice"), f"The answer is {text}.", "C", choices=choices).grade == "wrong"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("forty-two", "correct"),
        ("So she has forty-two apples.", "correct"),
        ("She buys some.\n\nSo there are forty-two.", "correct"),
        ("forty-one", "wrong"),
        ("There are not forty-two.", "unparsed"),
        ("There may be forty-two.", "unparsed"),
        ("There are at least forty-two.", "unparsed"),
        ("forty-two or forty-three", "unparsed"),
        ("There are forty-two hundred.", "unparsed"),
    ],
)
def test_a_last_number_in_words_is_read(text: str, verdict: str) -> None:
    assert graded(make("number"), text, "42").grade == verdict


def test_degrees_per_cent_and_dollars_are_units() -> None:
    for text in ("50 \u00b0C", "50\u00b0C", "50 degrees Celsius", "50"):
        assert (
            graded(make("number", unit="\u00b0C"), f"The answer is {text}.", "50").grade
            == "correct"
        )
    assert (
        graded(make("number", unit="\u00b0C"), "The answer is 50 \u00b0F.", "50").grade == "wrong"
    )
    assert graded(make("number"), "The answer is 28 per cent.", "28%").grade == "correct"
    assert graded(make("number", unit="\u20ac"), "The answer is $5.", "5").grade == "unparsed"
    assert graded(make("number", unit="kg"), "The answer is $5$ kg.", "5").grade == "correct"


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        ("O'Brien", "O\u2019Brien"),
        ("Rock 'n' Roll", "Rock \u2019n\u2019 Roll"),
        ("well-known", "well\u2011known"),
    ],
)
def test_typeset_apostrophes_and_hyphens_are_those_that_are_typed(gold: str, text: str) -> None:
    assert graded(make("exact"), f"The answer is {text}.", gold).grade == "correct"
    assert graded(make("exact"), f"The answer is {gold}.", text).grade == "correct"
