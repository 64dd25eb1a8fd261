"""The tiny generator's test split: problems no wording of which the tiny models have seen."""

from diffusion.evaluation.benchmarks import Problem, field, rows_of

BUNDLED = "tiny/prompts/test.jsonl"


def build(path: str | None = None) -> list[Problem]:
    """The bundled problems, or those of a file that `python -m tools.tiny.problems` wrote."""
    rows = rows_of(path or BUNDLED, repo=BUNDLED, config="", split="")
    return [
        Problem(str(n), field(row, "question", n), field(row, "answer", n))
        for n, row in enumerate(rows, 1)
    ]
