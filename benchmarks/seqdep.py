"""SeqDep: the packed forward against one call a term, on the same canvases with the same model.

`python -m benchmarks.seqdep`: 16 canvases of three short paths and their long-CoT twins, with the
bundled scorer in float32 on the CPU, both ways in turn.
"""

from itertools import islice

from benchmarks.lines import Line, interleaved, ratio, report
from schemas.recipe import ROOT
from scorers import ar, seqdep
from tiny.problems import distinct

CANVASES, RUNS = 16, 3


def main() -> None:
    """Measure and print."""
    scorer = ar.load(str(ROOT / "tiny" / "teacher"))
    items = [
        seqdep.Texts(
            prompt=problem.question,
            paths=problem.solutions[:3],
            summary=f"The final answer is {problem.answer}",
            long_cot="\n\n".join((*problem.solutions[:3], f"The final answer is {problem.answer}")),
        )
        for problem in islice(distinct(3, "test", CANVASES), CANVASES)
    ]
    seconds = interleaved(
        {
            "packed": lambda: seqdep.score(scorer, items, batch_tokens=2048, step_tokens=64),
            "naive": lambda: [
                seqdep.measure_separately(scorer, item, step_tokens=64) for item in items
            ],
        },
        RUNS,
    )
    value, spread = ratio(seconds["naive"], seconds["packed"])
    tokens = sum(len(scorer.encode(item.long_cot).ids_T) for item in items) * 2
    report(
        "seqdep",
        Line(
            name="seqdep_packed_vs_naive_demo",
            value=value,
            unit="ratio of seconds",
            better="higher",
            target=2.0,
            baseline="one forward call a term",
            n=RUNS,
            spread=spread,
        ),
        Line(
            name="seqdep_packed_tokens_per_s",
            value=round(tokens / min(seconds["packed"])),
            unit="response tokens/s",
            better="higher",
            n=RUNS,
        ),
    )


if __name__ == "__main__":
    main()
