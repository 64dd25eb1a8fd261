"""The forms in which people and models write answers; what must never pass for another value."""

# ruff: noqa: RUF001 (punctuation of other scripts)

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.records import Grade
from scorers.answers.extract.final_answer import extract
from scorers.answers.grade import Attempt, GradePool


@pytest.fixture(scope="module")
def pool() -> Iterator[GradePool]:
    with GradePool(workers=1, timeout_seconds=30) as shared:
        yield shared


def test_every_case_from_the_field_has_its_verdict(pool: GradePool, shared_cases: Path) -> None:
    lines = (shared_cases / "grading" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    cases = [json.loads(line) for line in lines]
    answers = pool.grade([(case["text"], case["gold"]) for case in cases])
    assert len(cases) >= 33
    assert not [
        (case["text"], case["gold"], str(answer.grade), answer.answer)
        for case, answer in zip(cases, answers, strict=True)
        if (answer.grade is Grade.CORRECT) != (case["right"] == "correct")
    ]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        # The tag of R1-Zero: its last content is the answer, whatever stands before it.
        ("<think>9 or 8</think>\n<answer>7</answer>", "7"),
        ("<answer>1</answer> no. <answer>\n\\frac{1}{2}\n</answer>\n", r"\frac{1}{2}"),
        (r"\boxed{3} and the answer is 4. <answer> 5 </answer>", "5"),
        (r"<answer>So the answer is \boxed{5}.</answer>", "5"),
        ("<answer>The final answer is 12.</answer>", "12"),
        ("Put it into <answer> </answer> tags. <answer>12</answer> <answer></answer>", "12"),
        ("<ANSWER>12</ANSWER>", "12"),
        ("<answer>1 2 3\n4 5 6</answer>", "1 2 3 4 5 6"),
        ("<think>so 12</think><answer>12", "12"),
        # GSM8K's mark, anywhere in a line.
        ("9*60=540 meters. #### 540", "540"),
        ("9*60=540 meters.#### 540 meters", "540 meters"),
        ("It is option D. #### D", "D"),
        ("#### D", "D"),
        ("He is right. #### Yes", "Yes"),
        ("It costs #### $1,200.50", "1,200.50"),
        ("So Ara scored #### 3360 points in four years.", "3360 points in four years"),
        ("Answer: He had 9 and gave 2 away.\nSo 9 - 2 = 7 are left.\nans = 7", "7"),
        ('The final answer is:\n\n>> FINAL ANSWER:\n"""\n-5453\n"""', "-5453"),
        ("The answer is barnyard bohemia dearth sumeria", "barnyard bohemia dearth sumeria"),
        ('FINAL ANSWER:\n"""\nnovelty rectitude splashy\n"""', "novelty rectitude splashy"),
        ("The answer is Mr. Watson.", "Mr. Watson"),
        ("So the answer is } )", "} )"),
        ("Final Answer: Ann did 25 more than 20. The answer is 25.", "25"),
        ("The date of that day is 06/09/1943.", None),
        ("#### 3. Conclusion of it all\nHe has 5 apples.", None),
        ("#### Conclusion", None),
        # Choices.
        (r"So $\boxed{\textbf{(B)}\ 12}$.", r"\textbf{(B)}\ 12"),
        ("The correct option is B", "B"),
        ("The correct choice is (D) 12.", "(D) 12"),
        ("Therefore (D) is correct.", "D"),
        ("Hence option C is the right answer.", "C"),
        ("So I think it's B.", "B"),
        ("I would choose option (A).", "A"),
        ("We add.\n\n**(C)**", "(C)"),
        ("We add.\n\nB) 12", "B) 12"),
        ("I think it's A, but it may be B", None),
        ("If (D) is correct then 5 is odd.", None),
        ("Option B is not correct.", None),
        # Other languages.
        ("Respuesta: 9", "9"),
        ("La respuesta final es 9.", "9"),
        ("Réponse : 12", "12"),
        ("Die Antwort ist 12.", "12"),
        ("答案：7", "7"),
        ("所以答案是 7。因为如此", "7"),
        ("最终答案为$7$。", "7"),
        ("Ответ: 7", "7"),
        ("【答案】: C <eoa>", "C"),
        ("答えは 7", "7"),
        ("정답: 7", "7"),
    ],
)
def test_the_answer_is_found_in_the_usual_forms(text: str, answer: str | None) -> None:
    assert extract(text).answer == answer


@pytest.mark.parametrize(
    "text",
    [
        "I don't think B is correct.",
        "Neither A nor B is correct.",
        "The wrong option is B.",
        "Don't select B.",
        "Many students choose B, which is a trap.",
        "The answer is A. It is tempting to choose B.",
        "Therefore B, C and A",
        "A is correct and B is correct.",
        "\\boxed{A}\n\nNote: if the order mattered the answer would be B.",
        "\\boxed{A}\n\nA common wrong answer is B.",
        "\\boxed{B} is incorrect.",
        "The answer is not \\boxed{B}.",
        "If the answer is B, then we get a contradiction.",
        "The student's answer is B. This is a mistake.",
        "\\boxed{B. London}",
    ],
)
def test_a_choice_that_is_denied_supposed_or_another_s_is_no_answer(
    pool: GradePool, text: str
) -> None:
    prompt = "Which is it?\nA. London\nB. Paris\nC. Rome"
    assert pool.grade([Attempt(text, "B", prompt)])[0].grade is not Grade.CORRECT


@pytest.mark.parametrize(
    ("gold", "answers"),
    [
        # Powers as Python writes them.
        ("2**11", ["2**10", "2", "1024", "2^{10}"]),
        ("7*x**3", ["7*x**2", "7", "7*x"]),
        ("3*X**8/5 + 3*X**6", ["3", "3*X**8/5", "3*X**8/5 + 3*X**5"]),
        ("x**(n+1)", ["x**(n+2)", "x"]),
        # Numerals of other bases.
        ("0x90100", ["0x45500", "0", "90101"]),
        ("0b110", ["0b101", "6"]),
        ("0xFF", ["0xFE", "255", "0b11111111"]),
        # Digits that repeat, and lists that go on.
        (r"0.\overline{4}", [r"0.\overline{3}", "0", "0.4", r"\frac{4}{10}"]),
        ("15", [r"15.\overline{3}", r"15.\dot{3}", "15.(3)"]),
        (r"0.1\overline{6}", [r"0.\overline{16}", "0.1", r"0.1\overline{7}"]),
        (r"1, 2, \ldots, 9", [r"1, 2, \ldots, 8", "1, 2, 9", "1, 2"]),
        # Unequal, however small.
        (r"\frac{1}{2^{99}}", [r"\frac{1}{2^{98}}", "0", r"2^{-98}"]),
        (r"\frac{1}{2004!}", [r"\frac{1}{2006!}", "0", r"\frac{1}{2004}"]),
        (r"\{\frac{1}{2^{99}}, 1\}", [r"\{\frac{1}{2^{98}}, 1\}"]),
        (r"10^{30}", [r"10^{30}+1"]),
        # What math-verify passes over.
        ("4", [r"4\sqrt(2)", "4 sqrt(2)", r"4\foo", r"4\star 3", "4''", "4 @ 3", "4 # 7"]),
        ("f(x)", ["f'(x)", "f''(x)"]),
        ("x", ["x'", r"x^{\prime}", r"\dot{x}"]),
        ("5", [r"5\pmod{7}", r"x \equiv 5 \pmod 7", r"5\oplus 2"]),
        (r"2\pi", [r"2\pi\hbar"]),
        ("12", [r"12 \text{ square roots}", r"12\text{ squared}"]),
        # Ratios.
        ("2:3", ["3:2", "2", "2:5", "3/2", "0.7"]),
        ("9", ["9:1"]),
        ("1:2:3", ["2:4:7", "1:2"]),
        ("12:30", ["24:60", "2:5"]),
        # Equations between numbers: another one with the same result is another answer.
        ("4 + 21 - 9 = 16", ["4 * 21 / 9 = 16", "20 - 4 = 16"]),
        ("7 - 27 + 2 = -18", ["7 - 27 × 2 = -18"]),
        ("2", ["2 hours and 30 minutes", "2 hours, 30 minutes in all of it"]),
        (r"12\text{ cm}^2", [r"12\text{ cm}^3", r"12\text{ cm}"]),
        ("2", ["2 and a half hours", "2 to 3 hours a day", "2 or perhaps 3 days"]),
        ("5", ["2x = 5", "x^2 = 5", "x + 1 = 5"]),
        ("1, 1, 2", ["1, 2", "1, 2, 2, 3"]),
        (r"\$50", ["€50", "£50"]),
        (r"5\text{ GeV}", [r"5\text{ MeV}"]),
        (r"\frac{3}{4}\text{ m}", [r"\frac{3}{4}\text{ km}"]),
        ("5 厘米", ["5 米"]),
        ("5", ["5成", "10多"]),
        ("3", [r"\pi \approx 3"]),
        # Rows of numbers, and words, in another order.
        ("0 0 4 7 9", ["0 4 0 7 9", "0 0 4 7", "0"]),
        ("idiom", ["id iom"]),
        ("06/09/1943", ["09/1943", "06/08/1943"]),
        ("3", ["3 万", "3 тысячи", "3千"]),
        # Words and choices.
        ("Purple", [r"\text{purple and red}", r"\text{not purple}", "purpl"]),
        ("B", ["(A)", "(B) or (C)", "not B", "A and B"]),
        # Percentages and powers of ten.
        ("50", [r"5.0\%", r"50.5\%"]),
        ("1e-5", ["1e-6", "1", "1e5", "10^{-4}"]),
        ("3.89e-10", [r"3.89 \times 10^{-11}", "3.89", r"3.98 \times 10^{-10}"]),
        ("3 + 2i", ["3 - 2i", "3"]),
    ],
)
def test_another_value_is_never_correct(pool: GradePool, gold: str, answers: list[str]) -> None:
    replies = pool.grade([(rf"\boxed{{{one}}}", gold) for one in (*answers, gold)])
    assert replies[-1].grade is Grade.CORRECT
    wrong = zip(answers, replies[:-1], strict=True)
    assert not [answer for answer, reply in wrong if reply.grade is Grade.CORRECT]


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("The answer is 5, which is wrong.", Grade.UNPARSED),
        ("Most people say that the answer is 5.\nThe answer is 6.", Grade.WRONG),
        ("We can say the answer is 5.", Grade.CORRECT),
        ("Réponse finale\u00a0: 5\nMerci, 7 fois.", Grade.CORRECT),
        ("Réponse\u202f:\u202f5\nMerci, 7 fois.", Grade.CORRECT),
        ("Re\u0301ponse finale : 5\nMerci, 7 fois.", Grade.CORRECT),
    ],
)
def test_whose_answer_it_is_and_where_it_stands(pool: GradePool, text: str, grade: Grade) -> None:
    (answer,) = pool.grade([(text, "5")])
    assert answer.grade is grade, answer.answer


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("2**10", "1024"),
        ("2**10", "2^{10}"),
        ("(x-1)*(x+1)", "x**2 - 1"),
        ("3*X**8/5 + 3*X**6", r"\frac{3X^8}{5} + 3X^6"),
        ("sqrt(2)/2", r"\frac{\sqrt{2}}{2}"),
        ("2*pi", r"2\pi"),
        (r"\sqrt{2}", r"\sqrt(2)"),
        ("0xff", "0xFF"),
        ("0b0110", "0b110"),
        (r"\frac{1}{3}", r"0.\overline{3}"),
        (r"0.\overline{3}", r"0.\dot{3}"),
        (r"\frac{1}{7}", r"0.\overline{142857}"),
        (r"\frac{1}{6}", r"0.1\overline{6}"),
        ("50", r"50.0\%"),
        (r"50\%", r"50.0\%"),
        ("5.3", r"5.3\%"),
        ("0.5", r"50\%"),
        ("12", r"12\text{ square units}"),
        (r"12\text{ square units}", "12"),
        ("12", "12 square feet"),
        ("12", r"12\text{ cm}^{2}"),
        ("12", "12 cm^2"),
        (r"\frac{7}{2}", r"\frac{7}{2}\text{ units}^2"),
        ("25", r"25^\circ\text{C}"),
        ("25", "25 degrees Celsius"),
        ("25", "25°"),
        ("Purple", r"\text{purple}"),
        ("YES", "Yes"),
        ("no", r"\text{No}"),
        ("2:3", r"\frac{2}{3}"),
        ("2:3", "4:6"),
        ("2:3", "2/3"),
        (r"\frac{2}{3}", "2:3"),
        ("1:2:3", "2 : 4 : 6"),
        ("1e-5", "0.00001"),
        ("1e-5", "10^{-5}"),
        ("3.89e-10", r"3.89 \times 10^{-10}"),
        (r"3.89 \times 10^{-10}", r"3.890\cdot10^{-10}"),
        ("6.02e23", r"6.02 \times 10^{23}"),
        ("7.0", "7"),
        ("7", "7.0"),
        ("B", r"\textbf{(B)}\ 12"),
        ("B", r"\text{Option B}"),
        ("(B)", "(b)"),
        ("B", "B. 12"),
        ("E_{1},E_{2}", "E_1, E_2"),
        ("E", "(e) 36%"),
        ("C", 'C, "desire to win'),
        ("A", "A (Yes)"),
        ("no", "(B) no"),
        ("15400", r"\$15,\,400"),
        ("-8-8\\sqrt{3}i", r"-8 - 8i \sqrt{3}"),
        ("3360", "3360 points in four years of the league"),
        ("7500", "7500 cents in a week"),
        ("300", "300 美元"),
        ("13", "13 миль"),
        ("0.7", "0.7 light-years"),
        ("0 0 4 7", "0 0 4 7.0"),
        (r"\frac{1}{2^{99}}", r"2^{-99}"),
        (r"1, 2, \ldots, 9", r"1,2,\ldots,9"),
        ("f'(x)", "f'(x)"),
        ("x=5", "5"),
        ("5", "x = +5"),
        (r"\frac{\sqrt{3}}{2}", r"\frac{1}{2}\sqrt{3}"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"),
        (r"(-\infty, 5]\cup[7,8)", r"(-\infty,5] \cup [7, 8)"),
        (r"\binom{5}{2}", "10"),
        (r"2\cdot 3^2", "18"),
        (r"\log_2 8", "3"),
    ],
)
def test_the_same_value_in_another_form_is_correct(pool: GradePool, gold: str, answer: str) -> None:
    assert pool.grade([(rf"\boxed{{{answer}}}", gold)])[0].grade is Grade.CORRECT


OPTIONS = (
    "How much is it?\n(A) 12 cm (B) $\\frac{1}{2}$ (C) twenty (D) 13",
    r"How much? $\textbf{(A)}\ 12 \text{ cm} \qquad \textbf{(B)}\ \frac{1}{2} "
    r"\qquad\textbf{(C)}\ \text{twenty}\qquad\textbf{(D)}\ 13$",
    "How much?\nA. 12 cm\nB. 1/2\nC. Twenty\nD. 13",
    "How much?\nOptions: ['A)12 cm', 'B)1/2', 'C)twenty', 'D)13']",
)


@pytest.mark.parametrize("prompt", OPTIONS)
@pytest.mark.parametrize(
    ("text", "gold", "correct"),
    [
        (r"\boxed{12}", "A", True),
        (r"\boxed{13}", "A", False),
        (r"\boxed{0.5}", "B", True),
        (r"\boxed{\text{Twenty}}", "(C)", True),
        (r"\boxed{b}", "B", True),
        (r"\boxed{D}", "13", True),
        (r"\boxed{D}", "12", False),
        (r"\boxed{E}", "12", False),
        (r"\boxed{14}", "A", False),
        (r"\boxed{6 + 7}", "D", False),
    ],
)
def test_a_choice_is_its_letter_or_its_text(
    pool: GradePool, prompt: str, text: str, gold: str, correct: bool
) -> None:
    grade = pool.grade([Attempt(text, gold, prompt)])[0].grade
    assert (grade is Grade.CORRECT) == correct
