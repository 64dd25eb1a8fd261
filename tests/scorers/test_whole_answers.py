r"""An answer is the whole of what is said: what stands around a value belongs to it.

Each line of the lists was once graded "correct" by mistake, or refused by mistake.
"""

# ruff: noqa: RUF001 (signs that look like others)

import random
from collections.abc import Iterator
from fractions import Fraction

import pytest

from schemas.records import Grade
from scorers.answers.compare.arithmetic import is_rounded, value_of
from scorers.answers.compare.variables import rename_clashing_letters
from scorers.answers.grade import Attempt, GradePool, _first_answer
from scorers.answers.notation.number_words import spelled_number

SAID = ("The answer is 18.", r"\boxed{18}.", "#### 18\n")
CORRECTIONS = (
    "Wait, I forgot the muffins: 9 * 2 = 18. Let me verify: 18/2 = 9. Yes, so she makes $18.",
    "Wait, that's wrong, she also eats 3 eggs, so it is 9 * 2 = 18. Yes, that is right.",
    "Hmm, but is this consistent? No: 9 * 2 = 18. So she makes 18 dollars.",
    "I misread the problem. It's 18.",
    "My apologies, it's 18.",
    "Scratch that. 18.",
    "I need to correct that: it's 18.",
    "But that ignores muffins. With them, it is 18.",
    "Let me redo this. 9*2 = 18.",
)
REMARKS = (
    "Let me double-check that: 18 / 2 = 9 eggs, 9 + 4 + 3 = 16 eggs. ✓",
    "Actually, this is the same as 2(16 - 7) = 2(9).",
    "Actually, there's a faster way: subtract 7 from 16, since each egg costs $2.",
    "However, note that she keeps 7 eggs, so the income is from 9 eggs only.",
    "However, if she had sold all eggs, she would have made $32, so the difference is $14.",
    "Sorry for the long explanation! Let me know if you need help with the other 3 problems.",
    "I made an assumption that a week has 7 days.",
    "Rather than selling all 16 eggs, she sells 9.",
)
OPTIONS = "Which is it? (A) 1 (B) 2 (C) 3 (D) 4"
ROMAN = "Which is it?\nA. I only\nB. II only\nC. I and II\nD. neither"
CITIES = "Which is true?\nA. Paris\nB. London\nC. Rome"


@pytest.fixture(scope="module")
def pool() -> Iterator[GradePool]:
    with GradePool(workers=1, timeout_seconds=30) as shared:
        yield shared


def boxed(*answers: str) -> list[str]:
    return [rf"\boxed{{{answer}}}" for answer in answers]


@pytest.mark.parametrize(
    ("gold", "texts"),
    [
        # Words and signs behind a formula.
        ("5", [f"The answer is $5$ {rest}." for rest in ("thousand", "million dollars")]),
        ("5", [f"The answer is $5${rest}." for rest in ("/7", ":7", "–$7$", " to $7$", " - $7$")]),
        ("5", [f"The answer is $5$ {rest}." for rest in ("times $7$", "and a half", "or so")]),
        ("5", ["The answer is $5$ hours $30$ minutes.", "The answer is $5$ feet, $3$ inches."]),
        ("5", ["The answer is $5$ more than $x$."]),
        # Around a box.
        ("5", [r"\boxed{5} thousand", r"\boxed{5} million dollars", r"\boxed{5} dozen"]),
        ("5", [r"-\boxed{5}", r"$x = -\boxed{5}$", r"2\boxed{5}", r"$7 + \boxed{5}$"]),
        ("5", [r"\sqrt{\boxed{5}}", r"$\frac{\boxed{5}}{2}$", r"$2^{\boxed{5}}$"]),
        ("5", [r"\boxed{5}^2", r"$\boxed{5}!$"]),
        ("5", [r"\boxed{5}x", r"$\boxed{5}\pi$", r"$\boxed{5}/2$"]),
        # Left-hand sides that are no name.
        ("5", boxed("|x|=5", "-x=5", "1/x=5", r"\sqrt{x}=5", r"\frac{x}{2}=5", "2^x=5", "xy=5")),
        ("5", boxed(r"\log x=5", r"\sin x=5", r"\lfloor x\rfloor=5", r"x\equiv 5", "a/b = 5")),
        ("5", boxed("6=5", "4+2=5", "0=5", "x=6=5", "2 * 3 = 5")),
        ("2x+1", boxed("-y=2x+1", "|y|=2x+1", "f(x)^2=2x+1")),
        ("f(2)=5", boxed("f(3)=5")),
        ("(3,2)", boxed("y=3,x=2")),
        # Letters of both cases, and letters that math-verify takes for units.
        ("R-r", boxed("r-R", "0", "R-R", "r")),
        (r"\frac{R}{r}", boxed("1", r"\frac{r}{R}")),
        ("mM", boxed("m^2", "M^2")),
        ("V_T", boxed("v_T", "V_t")),
        ("A+a", boxed("2a", "2A")),
        ("5", boxed("5t", "5m", "5s", "5d", "5c", "5h")),
        ("2x+3", boxed("2x+3t")),
        ("x^2", boxed("x^2 t", "x^2 s")),
        # Numbers in words, and operations in words.
        ("5", ["The answer is 5 apples and three pears.", "He gets 5 apples and three pears."]),
        ("5", ["The answer is half of the 5 apples.", "The answer is the square root of 5 here."]),
        ("5", ["The answer is five times 5 apples here.", "The result is five times 5."]),
        ("5", ["The answer is 5 per 100 people in the town.", "The answer is 5⅓ apples a day."]),
        ("5", ["The answer is a loss of 5 dollars for him."]),
        ("5", ["The answer is - 5 apples that he owes"]),
        ("12", ["The answer is 12 years and four months old.", "It is 12 at night minus one."]),
        ("3", [r"\boxed{3 point five hours total}"]),
        # A part of an expression at the end of a text.
        ("5", ["Then 3 + 5.", "So the ratio is 2 : 5.", "So the interval is (2, 5)."]),
        ("5", ["Therefore x^2 = 5.", "Thus we get $y=7$ and $x=5$."]),
        # Rows, ratios, lists, dates, approximations.
        ("1 2 3", boxed("6", "123")),
        ("2:3", boxed("0:0")),
        ("1:0", boxed("0:0")),
        ("3:45", boxed("3/45")),
        ("1,234", boxed("1, 234")),
        ("12, 345", boxed("12,345")),
        ("2017", boxed("2020-01-02")),
        ("07/03/1997", boxed("7/4/1997", "07/03/1998")),
        ("5", boxed(r"5 \approx 7", r"7 \approx 5")),
        ("1.41", boxed(r"\sqrt{3} \approx 1.41", r"2 \approx 1.41")),
        (r"\frac{1}{3}", boxed(r"\frac{1}{3} \approx 0.5")),
        ("0.333...", boxed("0.333")),
        ("0.5", boxed(r"0.5 \permil")),
        # Signs that nothing follows.
        ("5", boxed("5-", "5+", "5/", "5^", r"5\sqrt{}", "5 or", "5 and", r"5\frac{}{}")),
        ("7", boxed(r"7\sin", r"7\ln", r"7\sqrt")),
        (r"2\pi", boxed(r"2\pi\infty")),
        ("A", boxed("A^T")),
        (r"\frac{dy}{dx}", boxed(r"\frac{dx}{dy}")),
        # Units.
        (r"5 \text{ m/s}", boxed(r"5 \text{ km/h}", "5 mph", r"5 \text{ m}")),
        ("5 m", boxed("5 micrometers", "5 nanometers", "5 km")),
        ("300 dollars", boxed("300 美分", "€300", "300 cents")),
        ("5 美元", boxed("5 cents", "5¢", "€5")),
        (r"\$5", boxed("5 pence", "5 dimes", "5 pesos")),
        (r"3^\circ", boxed("3 radians", r"3\text{ rad}")),
        (r"20^\circ C", boxed("20 Fahrenheit", r"20\text{ degrees Fahrenheit}")),
        ("3 miles east", boxed("3 miles west")),
        ("5", boxed("5 max", r"5\text{ minimum}", "5 theta", "5 infinity", "5 inverse")),
        (r"5\text{ MW}", boxed(r"5\text{ mW}")),
        (r"5\text{ cubic feet}", boxed(r"5\text{ square feet}")),
        (r"5\text{ per day}", boxed(r"5\text{ per hour}")),
        # Taken back, limited, denied.
        ("5", ["The final answer is 5. Wait, it is 6."]),
        ("5", ["<answer>The answer is 5. Actually 6</answer>"]),
        ("No", ["The answer is no, wait, yes.", "The answer is no, yes.", "The answer is No. 5"]),
        ("Yes", ["The answer is yes, but only if n is even.", "The answer is Yes, unless n=3."]),
        ("7", ["The answer is 7 if n is even and 8 otherwise."]),
        ("3", ["The answer is that no such function exists for 3 variables."]),
        ("12", ["Some say the answer is 12, but I am not sure."]),
        ("2", boxed(r"\text{There is no solution for n = 2}")),
        ("A", ["So A.\nBut B is better.", "So A.\n\nHowever, B."]),
        ("A", ["So A. No wait", "So A. is false"]),
        ("A", ["A is correct when x>0.", "A is the best known distractor."]),
        # Corrected behind the answer.
        ("18", [f"{said} Sorry, that's wrong. It should be \\(16\\)." for said in SAID]),
        ("18", [f"{said} Wait, no, 16." for said in SAID]),
        ("18", [f"{said}\n\nBut wait, 2 were lost. So 18 - 2 = 16." for said in SAID]),
        ("18", [f"{said} I apologize for the error; the total is 16." for said in SAID]),
        ("18", [f"{said}\n\nOops, I made a mistake. It's 16." for said in SAID]),
        ("18", [f"{said}\n\nOn reflection this is incorrect. It is 16." for said in SAID]),
        ("18", [f"{said}\n\nHmm, let me double-check. So the total is 16." for said in SAID]),
        ("18", [f"{said} However, she gives 2 away, so the real total is 16." for said in SAID]),
        ("18", ["The answer is 18... or rather 16.", "The answer is 18, no wait, 16."]),
        ("D", ["The answer is D.\n\nHmm, rechecking, the sum is 16, so it is C."]),
        ("16", [f"The answer is 16. {rest}" for rest in CORRECTIONS]),
        ("16", [f"\\boxed{{16}}.\n\n{rest}" for rest in CORRECTIONS]),
        ("18", ["So it is \\(\\boxed{20}\\).\n\nOops, I made an error. 10 + 4 + 4 = 18."]),
        ("x+1", [r"The answer is \boxed{x+1}. Actually, it should be $x-1$."]),
        (r"2\sqrt3", [r"The answer is $2\sqrt{3}$. Wait, no, $3\sqrt{2}$."]),
        ("Tuesday", ["The answer is Tuesday. Wait, no, it's Wednesday."]),
        ("18", ["One might think the answer is 18, but it is 20."]),
        ("18", ["If she sold all, the answer would be 18. She does not, and makes 20."]),
        ("16", ["<think>\nSo the answer is 16. Hm, 9*2 = 18.\n</think>\n\nShe makes **$18**."]),
        # A part of a larger phrase, or a figure that stands there by chance.
        ("18", ["Half of the answer is 18.", "Twice the answer is 18."]),
        ("18", ["3 times the answer is 18."]),
        ("18", ["The sum of the answers is 18.", "The opposite of the answer is 18."]),
        ("17", ["Since 17 is prime, there is one such number.", "So he has 3 left of the 17."]),
        ("17", ["He paid 3 dollars each for 17.", "Thus twice that number is 17."]),
        ("1,2", boxed("1.2")),
        ("1,1,2", boxed("1,2,2")),
        ("12 R 5", boxed("5 R 12")),
        ("18", boxed(r"18\mod 25")),
        ("24", boxed("24π")),
        (r"\frac{n(n-1)}{2}", boxed(r"\sum_{k=1}^{n} k")),
        ("a", boxed("a_{i=1}")),
        # What is said only of the place or the number of things.
        ("2", ["Thus, the maximum value is $4$ when $x=2$.", "So the maximum is 4 at $x = 2$."]),
        ("3", ["She spent a total of $45 on 3 shirts."]),
        ("0.75", ["The answer is 45 minutes (0.75 hours)."]),
        ("24", ["The volume is 24π cm³.", "**Answer: 24π cm³**"]),
        ("C", ["Answer: B) 12, not C) 15"]),
        ("-4", [r"The solutions are $x = \boxed{1}$ and $x = \boxed{-4}$."]),
        ("9", ["Hence $x$ equals 7 and $y$ equals 9.", "So x = 7 and y = 9."]),
        ("8", ["There are 20 balls in total, 12 red and 8 blue."]),
        ("3", ["The answer would be 3 if it rained; it did not.", "He has 3 of the 17 balls."]),
        ("20", ["So the final price is $80 after the 20% discount."]),
        ("1", ["The probability is 1 in 4."]),
        ("11", ["x=5\n\nCheck: 2*5+1 = 11 ✓"]),
        (r"(-\infty, 5]", boxed("x < 5", r"x \ge 5")),
        # Of several values of the last sentence the last is not the answer.
        ("15", ["The numbers are 12 and 15.", "The two numbers are **12** and **15**."]),
        ("-3", ["The roots are $2$ and $-3$.", "Thus the values of $x$ are $2$ and $-3$."]),
        ("4", ["The possible values are 1, 2, 3, and 4.", "The mean is 5 and the median is 4."]),
        ("4", ["The center is $(3,5)$ and the radius is $4$."]),
        ("-3", ["The solutions are:\n1. $x = 2$\n2. $x = -3$"]),
        ("(2,1)", ["All pairs are $(1, 2)$ and $(2, 1)$."]),
        ("15", ["So the interval is from 12 to 15.", "Thus Alice is 12 and Bob is 15."]),
        ("15", ["Final Answer: **12** and **15**", "Answer: **12**, **15**", "#### 12 and 15"]),
        ("18", ["They have 6 and 18 marbles, respectively.", "Entonces Juan tiene 20 y Ana 18."]),
        ("6", ["He is 5 feet 6 inches tall.", "So $6$ divides $18$."]),
        ("18", ["So there are 6 ways to arrange the 18 books.", "So 6 divides 18."]),
        ("18", ["So she is 6 years older than Tom, who is 18.", "So x = 6. (See problem 18.)"]),
        ("18", ["So he must work 6 hours to earn $18.", "So x = 6, by Lemma 18."]),
        ("3", ["The number of solutions is 2 (x=1 and x=3).", "The ratio is 3:2."]),
        ("18", ["So the price fell by 25%, from 24 to 18.", "So the ratio is 3 to 18."]),
        ("5", ["The temperature is −5 degrees.", "So the slope is –5."]),
        ("1/3", ["So she needs 2 1/3 cups of flour."]),
        ("2", ["So the length is 5√2 cm."]),
        ("5", ["So there are 5! ways.", "So n ≡ 3 (mod 5).", "So the area is 5 pi."]),
        ("3", ["So there are 10 choose 3 ways."]),
        ("250", ["So the total is 1 250 euros."]),
        ("75", ["Therefore she has 120 - 45 = 75. Then she spends half."]),
        ("18", ["So 36 - 18 = 18. We need twice that.", "So 9*2 = 18. Now subtract the cost."]),
        # Of an announced sentence that goes on to another value.
        ("18", ["Answer: $18 per egg, so $162 in total.", "Answer: 18 each, so 36 together."]),
        (r"\frac56", [r"The answer is $\frac{5}{6}$ of the original, i.e. 50."]),
        ("18", ["The answer is 18 or more.", "He has 18+ apples.", "答案：18千克以上"]),
        ("18", ["答案是18分之一", "La respuesta es 18 docenas.", "Antwort: 18 Millionen"]),
        ("18", ["La réponse n'est pas 18.", "Die Antwort lautet nicht 18.", "答案不是18。"]),
        # What others say, what comes before the end, what is taken back.
        ("18", ["The expected answer is 18, but my calculation gives 16."]),
        ("18", ["Alice says the answer is 18. She's wrong: it's 36."]),
        ("18", ["The intermediate answer is 18. Doubling it gives 36."]),
        ("18", ["The answer to the first part is 18. Then 18 * 2 = 36."]),
        ("18", ["The answer is 18. Subtracting 2 gives 16."]),
        ("18", [f"{said}\n\nHold on, she eats one. So 16." for said in SAID]),
        ("18", [f"{said}\n\nLet me recheck. So it is 16, not 18." for said in SAID]),
        ("18", [r"$\boxed{18}$ is not the answer, since it fails for n=2. Then 16 works."]),
        ("4", [r"$\boxed{4}$ at $x=2$, but $x \geq 3$, so the minimum is $\frac{13}{3}$."]),
        ("18", ["答案是18。不对，应该是16。", "La respuesta es 18. Espera, me equivoqué: son 16."]),
        ("18", ["Die Antwort ist 18. Moment, das stimmt nicht: Es sind 16."]),
        # The measure of a last sentence belongs to it.
        ("60 km/h", ["The answer is 60 m/s.", "The answer is 60 km."]),
        ("36 m^2", ["The answer is 36 square feet.", "The answer is 36 cubic meters."]),
        ("5 km", boxed("5m")),
        ("50 hours", ["It takes 50 minutes.", "Therefore it takes 50 minutes."]),
        ("50 km/h", ["So the train's speed is 50 m/s."]),
        ("$50", ["Answer: 50 cents", "The answer is 50 euros.", "So she paid 50 cents."]),
        (r"12\%", boxed(r"12\frac{1}{2}\%")),
    ],
)  # fmt: skip
def test_what_says_something_else_is_not_correct(
    pool: GradePool, gold: str, texts: list[str]
) -> None:
    replies = pool.grade([(text, gold) for text in texts])
    assert not [
        (text, reply.answer)
        for text, reply in zip(texts, replies, strict=True)
        if reply.grade is Grade.CORRECT
    ]


@pytest.mark.parametrize(
    ("prompt", "gold", "texts"),
    [
        (OPTIONS, "C", boxed("(D) 3", "D. 3", r"3\%", "2", "D")),
        (ROMAN, "C", boxed("I or II", "I", "I only")),
        (
            "Speed?\nA) 50 km/h\nB) 60 km/h",
            "B",
            ["The speed is 60 m/s.", "It is 60 miles per hour."],
        ),
        (CITIES, "C", ["The answer is C. But B is better."]),
        (CITIES, "A", ["The answer is A. London", *boxed("London", "A (incorrect)")]),
        ("Which?\nA) 3 cm\nB) 3 m", "A", boxed("3")),
        ("Which?\nA) 50\nB) 50%", "B", boxed("50")),
        ("Which?\nA) 5 only\nB) 5 and 6", "A", boxed("5")),
        ("A. Smith has 12 apples.\nB. Jones has 7.\nHow many have they?", "A", boxed("12")),
    ],
)
def test_an_answer_that_contradicts_its_option_is_not_correct(
    pool: GradePool, prompt: str, gold: str, texts: list[str]
) -> None:
    replies = pool.grade([Attempt(text, gold, prompt) for text in texts])
    assert not [reply.answer for reply in replies if reply.grade is Grade.CORRECT]


@pytest.mark.parametrize(
    ("gold", "texts"),
    [
        ("5", ["The final answer is 5 (five).", "The answer is five (5).", *boxed("five")]),
        ("5", boxed(r"\text{5 apples}", "5cm", "5 m", r"\color{red}{5}", r"\text{Answer: }5")),
        ("-5", [r"$x = -\boxed{5}$", r"-\boxed{5}"]),
        ("5000", [r"\boxed{5} thousand", *boxed("5 thousand", r"5\text{ thousand}")]),
        ("3000000", boxed("3 million", r"3\text{ million}")),
        ("5", [r"- \boxed{5}", r"Thus it is \boxed{5}!", r"\boxed{5} is right.", r"\boxed{5} cm"]),
        ("5", [r"\boxed 5", r"\boxed5", "The answer is $5$, since $2+3=5$."]),
        ("5", ["The answer is $5$ cm."]),
        ("5", boxed("x = 5", r"\text{Area} = 5", "AB = 5", "f(2) = 5", r"P(A \cap B) = 5")),
        ("5", boxed("2 + 3 = 5", "x = 2 + 3 = 5", r"\angle ABC = 5", "Total cost = 5")),
        ("18", ["The answer is 6 × 3 = 18.", "Ana earned 9 * 2 = 18 dollars in total."]),
        ("1,2", boxed(r"x = 1 \text{ or } x = 2", r"a=1,\ b=2")),
        ("6", boxed("6th", r"6\text{th}", r"6^{\text{th}}")),
        ("2:30 PM", boxed("2:30 p.m.", "2:30pm")),
        ("07/03/1997", boxed("7/3/1997")),
        (r"\sin^2 t", boxed(r"\sin^2t", r"(\sin t)^2")),
        ("2x+3t", boxed("3t+2x")),
        ("R-r", boxed("-r+R")),
        ("14", boxed("(14.0 + 0.0i)")),
        ("[1,2]", boxed(r"x \in [1,2]")),
        ("3", boxed(r"\log_2 8")),
        ("3.5", boxed("3 1/2 cups")),
        ("B", ["故选B", "答案选择：B", '{"answer": "B"}']),
        ("Yes", ["The answer is yes, because n is even."]),
        ("18", [f"The answer is 18.{token}" for token in ("<|im_end|>", "</s>", "<|endoftext|>")]),
        ("18", ["#### 18</s>", "#### 18<|eot_id|>", "The answer is “18”."]),
        ("18", ["The answer is 18 (since 9·2 = 18).", "The answer is US$18."]),
        ("18", ["Result: 18", "We add.\nFinal result: 18", "Total = 18", r"\boxed{\bf 18}"]),
        ("18", ["Janet makes $18.\n\nLet me know if you have any other questions!"]),
        ("18", ["The answer is 18. Wait, let me check: 3*6 = 18. Yes."]),
        ("18", ["\\boxed{18}\n\nLet me double-check: 9 * 2 = 18. That is correct."]),
        ("18", [f"The answer is 18.\n\n{remark}" for remark in REMARKS]),
        ("18", [f"\\boxed{{18}}\n\n{remark}" for remark in REMARKS]),
        ("18", ["<think>\nThe answer is 16. No: 9 * 2 = 18.\n</think>\n\nShe makes **$18**."]),
        ("18", ["<think>\nI think \\boxed{16}.\n</think>\n\nShe sells 9 eggs.\n\n**$18**"]),
        ("45", ["### Answer\n\nJohn spent **$45**.", "Answer: John has $45."]),
        ("45", ["The final answer is 45 (3*15).", "Final answer: $45 (3 × $15)"]),
        ("45", ["Final Answer: John spent a total of **$45** on 3 shirts."]),
        ("15", ["Thus, Maria needs **15** more dollars to buy the $40 jacket."]),
        ("B", ["The answer is B because 24/2 = 12.", "The answer is B since 24/2 = 12."]),
        ("B", ["The answer is (B).\n\nHowever, if it was 1.6 hours, the answer would be C."]),
        ("D", ["### Final Answer:\nD. I, II, and III"]),
        ("10", [r"The answer is $\binom{5}{2} = 10$.", *boxed(r"\binom{5}{2} = 10")]),
        ("120", ["The answer is 5! = 120.", *boxed("5! = 120")]),
        ("6", boxed(r"\gcd(12,18) = 6", "[ABC] = 6", r"\sum_{k=1}^{3} k = 6")),
        ("0.3", boxed("P(X>2) = 0.3", r"P(X > 2) = 1 - P(X \le 2) = 1 - 0.7 = 0.3")),
        ("3.5", boxed(r"\mathbb{E}[X] = 3.5", r"E[X] = \frac{7}{2}")),
        ("11", ["So $f(5) = 2(5)+1 = 11$."]),
        ("500", ["The answer is Rs. 500.", *boxed(r"\text{Rs. } 500")]),
        (r"24\pi", ["The answer is 24π.", "<answer>24π</answer>", *boxed("24π")]),
        (r"\frac{-1 \pm \sqrt{5}}{2}", boxed(r"\frac{-1+\sqrt5}{2},\frac{-1-\sqrt5}{2}")),
        (r"\frac{-1 \pm \sqrt{5}}{2}", boxed(r"-\frac12\pm\frac{\sqrt5}{2}")),
        ("x^2+y^2=1", boxed("y^2+x^2=1")),
        ("5.50", ["The answer is 5 dollars and 50 cents."]),
        (r"10 \text{ m/s}", boxed(r"10 \, \text{meters per second}")),
        ("6x^2 - 4x", boxed(r"\frac{dy}{dx}=6x^2-4x")),
        (r"\frac{dy}{dx} = 2 x", boxed(r"\frac{dy}{dx}=2x")),
        ("6:00 PM", boxed("6 PM")),
        (r"3:30 \text{ PM}", boxed(r"3:30\text{ p.m.}")),
        ("No solution", boxed(r"\text{There is no solution}")),
        ("7 R 3", boxed(r"7\text{ remainder }3")),
        ("2,1,2", boxed("1,2,2")),
        (r"\sum_{k=1}^n k", boxed(r"\sum_{k=1}^{n} k")),
        ("4", ["The maximum value is $4$, attained when $x=2$ and $y=1$."]),
        ("4", ["The minimum is $4$, which occurs at $x = 2$.", "Thus it is $4$ when $x=2$."]),
        ("45", ["She spent a total of $45 on 3 shirts.", "The answer is 45 minutes (0.75 hours)."]),
        ("12.5", boxed(r"12\frac{1}{2}\%")),
        ("24", boxed(r"\text{Area}(ABC)=24")),
        (r"24\pi", ["The volume is 24π cm³.", "**Answer: 24π cm³**"]),
        (r"\frac{\pi}{4}", boxed(r"\tfrac\pi4", r"\frac\pi4", r"\dfrac{\pi}4", r"\frac\pi{4}")),
        (r"(-\infty, 5]", boxed(r"x \le 5", r"x\in(-\infty,5]")),
        ("(2, 5]", boxed(r"2 < x \le 5")),
        (r"k\pi, k \in \mathbb{Z}", boxed(r"x=k\pi, k\in\mathbb{Z}", r"k\pi")),
        ("B", ["Answer: B) 12, not C) 15"]),
        ("1,-4", [r"The solutions are $x = \boxed{1}$ and $x = \boxed{-4}$."]),
        ("(7,9)", ["Hence $x$ equals 7 and $y$ equals 9.", "So x = 7 and y = 9."]),
        ("80", ["So the final price is $80 after the 20% discount."]),
        ("4", ["It will take 4 hours for the 3 workers to finish."]),
        ("18", ["So she makes $18.\n\nVerification: 9 * 2 = 18, 18 / 2 = 9."]),
        ("3:2", boxed(r"3 \text{ to } 2")),
        ("B", ["La respuesta correcta es la B.", "La réponse est la B.", "Respuesta: la opción B"]),
        ("12, 15", ["The numbers are 12 and 15.", "The two numbers are **12** and **15**."]),
        ("12, 15", ["The roots are $12$ and $15$.", "Final Answer: **12** and **15**"]),
        ("1,2,3,4", ["The possible values are 1, 2, 3, and 4."]),
        ("(1,2),(2,1)", ["All pairs are $(1, 2)$ and $(2, 1)$."]),
        ("(1,2),(2,1)", ["The solutions are $(a,b) = (1,2)$ and $(2,1)$."]),
        ("18", ["So the total is 18. Let me know if you have any questions!"]),
        ("18", ["So Tom spent $18 in total. 💰", "So he has 18 apples! 🎉"]),
        ("18", ["So Tom has **18** apples. ✅"]),
        ("18", ["So each of the 4 people should pay $18."]),
        ("18", ["So he should choose the jewelry, making a profit of **\\$18**."]),
        ("18", ["The answer is 18 (not 17, since one is counted twice)."]),
        ("18", ["The answer is only 18."]),
        ("18", ["The final answer is 18 (in dollars)."]),
        ("6", ["Hence the minimum is $6$, with equality if and only if $a=b=c=1$."]),
        ("1/6", ["The probability is 1/6, or about 16.7%."]),
        ("1/6", [r"The probability is $\frac{1}{6}$ (approximately $0.167$)."]),
        ("-5", ["The answer is minus five.", "The answer is negative 5.", "It is −5 degrees."]),
        ("3:2", ["The ratio is 3:2.", "So the ratio of boys to girls is 3 to 2."]),
        ("3:2", boxed("AP:PB = 3:2")),
        ("7/3", ["So she needs 2 1/3 cups of flour."]),
        ("3.5", ["Réponse : 3,5 km", "Antwort: 3,5 km", "So he ran 3½ miles."]),
        (r"5\sqrt{2}", ["So the length is 5√2.", "So the length is 5√2 cm."]),
        ("2 hours 30 minutes", boxed(r"2 \text{ hours and } 30 \text{ minutes}")),
        ("second player", boxed(r"\text{the second player}")),
        ("Friday", ["The day of the week is **Friday**."]),
        ("Yes", ["Yes, 97 is a prime number.", "**Yes**, because it has no other divisors."]),
        ("False", ["The statement is false."]),
        (r"(-\infty,-1]\cup[3,\infty)", boxed(r"x \le -1 \text{ or } x \ge 3")),
        ("3/4", [r"La réponse est donc $\frac{3}{4}$.", r"Die Antwort ist also $\frac34$."]),
        ("36", ["The LCM of 12 and 18 is 36."]),
        ("08/30/1909", ["That is Aug 30, 1909, which can be written as 08/30/1909."]),
        ("60 km/h", ["#### 60km/h", *boxed("60km/h"), "60 kph"]),
        ("60 miles per hour", ["The answer is 60 mph."]),
        ("5 m", ["#### 5m"]),
        ("36 m^2", ["The answer is 36 square meters"]),
        ("36 square meters", ["The answer is 36 m²", *boxed(r"36\text{ m}^2")]),
        ("7 days 3 hours", ["The answer is 7 days, 3 hours."]),
        ("7", ["The answer is seven days."]),
        ("$5", ["The answer is $5.", "The answer is 5."]),
        ("(3,2)", boxed(r"\begin{cases} x=3 \\ y=2\end{cases}")),
        ("5", boxed(r"\begin{aligned} x &= 3 + 2 \\ &= 5\end{aligned}")),
    ],
)  # fmt: skip
def test_the_same_in_other_words_is_correct(pool: GradePool, gold: str, texts: list[str]) -> None:
    replies = pool.grade([(text, gold) for text in texts])
    assert not [
        (text, reply.grade, reply.answer)
        for text, reply in zip(texts, replies, strict=True)
        if reply.grade is not Grade.CORRECT
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2*3 - 4", 2),
        (r"\frac{1}{2} + 2^{-1}", 1),
        (r"3 \times (4 - 1)", 9),
        ("3,000 + 5", 3005),
        ("0.1 + 0.2", Fraction(3, 10)),
        (r"\sqrt{9}", 3.0),
        ("1/0", None),
        ("9**9**9", None),
        ("x + 1", None),
        ("__import__", None),
        ("2 3", None),
        ("", None),
        ("(" * 150, None),
    ],
)
def test_values_of_plain_arithmetic(text: str, value: float | Fraction | None) -> None:
    assert value_of(text) == value


def test_an_approximation_holds_to_its_last_place() -> None:
    assert is_rounded(r"\frac{1}{3}", "0.33")
    assert is_rounded(r"\frac{2}{3}", "0.66")  # cut off instead of rounded
    assert not is_rounded(r"\frac{1}{3}", "0.35")
    assert not is_rounded("5", "7")
    assert is_rounded("x", "7")  # nothing is known of x


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("five", 5),
        ("Twenty-one", 21),
        ("one hundred and five", 105),
        ("two thousand three hundred", 2300),
        ("one million", 1_000_000),
        ("zero", 0),
        ("one two", None),
        ("twenty twelve", None),
        ("ten and five", None),
        ("five and", None),
        ("five apples", None),
        ("", None),
    ],
)
def test_numbers_in_words(text: str, number: int | None) -> None:
    assert spelled_number(text) == number


def test_letters_that_would_be_mistaken_get_other_names() -> None:
    assert rename_clashing_letters("$x+1$", "$2x$") == ("$x+1$", "$2x$")
    answer, gold = rename_clashing_letters("$R-r$", "$r-R$")
    assert answer[1] == gold[3] != "R"
    assert answer[3] == gold[1] == "r"
    assert rename_clashing_letters(r"$\text{cost}$", r"$\cos x$") == (r"$\text{cost}$", r"$\cos x$")
    assert rename_clashing_letters("$5 cm$", "$5$") == ("$5 cm$", "$5$")


PIECES = (
    *("\\boxed{", "}", "{", "$", "\\(", "\\)", "=", "_{k=1}", "^{n}", "\\frac{", "}{", "\\sqrt"),
    *("x", "R", "r", "5", "18", ",", ", ", ".", " ", "\n", "-", "+", "\\pm", "\\le ", "\\in "),
    *("\\text{ cm}", "The answer is ", "#### ", "<answer>", "</answer>", "Wait, ", "no", "yes"),
    *("But ", "so ", "A", "(B)", "five", " thousand", " and ", "half of ", "\\%", "%", "π", "√"),
    *("½", "≈", "“", "”", "2:3", "a.m."),
)  # fmt: skip


def test_no_text_makes_the_grader_raise(pool: GradePool) -> None:
    """Pieces of real answers in any order, as texts and as golds (a fault lost its whole batch)."""
    chance = random.Random(20)
    attempts = [
        Attempt(*("".join(chance.choices(PIECES, k=chance.randint(1, 12))) for _ in range(3)))
        for _ in range(3000)
    ]
    assert all(_first_answer(attempt)[0].end <= len(attempt.text) for attempt in attempts)
    assert len(pool.grade(attempts[:60])) == 60


def test_small_letters_are_choices_where_options_are_listed(pool: GradePool) -> None:
    prompt = "What is 2+2?\na) 3\nb) 4\nc) 5"
    right = ["The answer is b) 4", "The answer is 4.", "The answer is (b).", "Answer: B"]
    wrong = ["Answer: c", "The answer is a) 3", "The answer is 3.", "The answer is b) 5"]
    replies = pool.grade([Attempt(text, "b", prompt) for text in (*right, *wrong)])
    grades = [reply.grade for reply in replies]
    assert grades[: len(right)] == [Grade.CORRECT] * len(right)
    assert Grade.CORRECT not in grades[len(right) :]
