"""GSM8K's test split (Cobbe et al. 2021): grade-school word problems; the gold follows `####`."""

from diffusion.evaluation.benchmarks import Problem, field, rows_of
from support.errors import UserError


def build(path: str | None = None) -> list[Problem]:
    """All 1,319 problems, or those of a file."""
    problems = []
    rows = rows_of(path, repo="openai/gsm8k", config="main", split="test")
    for number, row in enumerate(rows, 1):
        _, mark, gold = field(row, "answer", number).rpartition("####")
        if not mark:
            raise UserError(f"row {number}: answer: has no ####; is this another benchmark's file?")
        gold = gold.strip().replace(",", "")
        problems.append(Problem(str(number), field(row, "question", number), gold))
    return problems
