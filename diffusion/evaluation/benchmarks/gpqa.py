"""GPQA diamond (Rein et al. 2023): four choices, shuffled by a fixed seed; the gold is a letter.

Gated on the hub: its terms must be accepted there.
"""

from random import Random

from diffusion.evaluation.benchmarks import Problem, field, rows_of

SEED = 0
_WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
_ASK = "Choose one of the following, and end with its letter in \\boxed{}."


def build(path: str | None = None) -> list[Problem]:
    """All 198 problems, or those of a file."""
    problems = []
    rows = rows_of(path, repo="Idavidrein/gpqa", config="gpqa_diamond", split="train")
    for number, row in enumerate(rows, 1):
        right = field(row, "Correct Answer", number).strip()
        choices = [right, *(field(row, name, number).strip() for name in _WRONG)]
        order = Random(f"{SEED} {number}").sample(range(4), 4)
        lines = [f"{letter}. {choices[i]}" for letter, i in zip("ABCD", order, strict=True)]
        question = field(row, "Question", number).strip()
        text = "\n".join((question, "", _ASK, *lines))
        problems.append(Problem(str(number), text, "ABCD"[order.index(0)]))
    return problems
