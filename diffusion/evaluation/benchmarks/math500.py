"""MATH-500 (Hendrycks et al. 2021; the 500 of Lightman et al. 2023): competition problems."""

from diffusion.evaluation.benchmarks import Problem, field, rows_of


def build(path: str | None = None) -> list[Problem]:
    """All 500 problems, or those of a file."""
    rows = rows_of(path, repo="HuggingFaceH4/MATH-500", config="default", split="test")
    return [
        Problem(field(row, "unique_id", n), field(row, "problem", n), field(row, "answer", n))
        for n, row in enumerate(rows, 1)
    ]
