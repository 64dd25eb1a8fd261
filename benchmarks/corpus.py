"""Everything that is not a model: recorded traces to graded groups to canvases.

`python -m benchmarks.corpus`: the real samples of four models on GSM8K (../shared/data), groups a
second on this machine; grading beside math-verify alone on the same pairs, in the same run.
"""

import time

from math_verify import parse
from math_verify import verify as verify_answers

from benchmarks.lines import SHARED, Line, interleaved, ratio, report
from curation import groups, prompts
from curation.decontaminate import build_index
from curation.job import Job
from curation.teachers._part import take
from schemas.paths import ROOT
from schemas.recipe import load
from schemas.records import GradedTrace, Prompt, Trace
from scorers.answer import GradePool

GROUPS, RUNS = 600, 3


def main() -> None:
    """Measure and print."""
    path = SHARED / "gsm8k" / "example_model_solutions.jsonl"
    if not path.is_file():
        report(
            "corpus",
            Line(
                name="recorded_groups_per_s",
                value=None,
                unit="groups/s",
                better="higher",
                reason="the real data folder ../shared/data is not here",
            ),
        )
        return
    recipe = load(ROOT / "flows/recipes/gsm8k_recorded.yaml", [f"source.path={path}"])
    job = Job(recipe=recipe, run=ROOT / "runs" / "bench")
    rows = prompts.read_prompts(job.sources, build_index([]), traces=True, limit=GROUPS)
    pool = [row for row in rows if isinstance(row, Prompt)]
    traces = [(prompt, _traces(prompt)) for prompt in pool]
    pairs = [(trace.text, prompt.gold) for prompt, some in traces for trace in some]
    rates = []
    with GradePool() as graders:
        seconds = interleaved(
            {
                "ours": lambda: graders.grade(pairs),
                "math_verify": lambda: [
                    verify_answers(parse(f"${gold}$"), parse(text)) for text, gold in pairs
                ],
            },
            RUNS,
        )
        for _ in range(RUNS):
            began = time.perf_counter()
            answers = iter(graders.grade(pairs))
            for prompt, some in traces:
                graded = [
                    GradedTrace(trace=t, text=t.text[: a.end], grade=a.grade, answer=a.answer)
                    for t, a in ((t, next(answers)) for t in some)
                ]
                groups.assemble(prompt, graded, job.rules, job.counter)
            rates.append(len(traces) / (time.perf_counter() - began))
    value, spread = ratio(seconds["math_verify"], seconds["ours"])
    report(
        "corpus",
        Line(
            name="recorded_groups_per_s",
            value=round(max(rates)),
            unit="groups/s",
            better="higher",
            target=1500,
            n=RUNS,
            spread=(round(min(rates)), round(max(rates))),
        ),
        Line(
            name="grading_vs_math_verify",
            value=value,
            unit="ratio of seconds",
            better="higher",
            target=1.0,
            baseline="math-verify in process on the same pairs",
            n=RUNS,
            spread=spread,
        ),
    )


def _traces(prompt: Prompt) -> list[Trace]:
    return [
        Trace(
            prompt_id=prompt.id,
            index=index,
            key=f"{prompt.id} {index}",
            text=take(one.text, "full"),
            teacher=one.model or "recorded",
            revision="recorded",
            temperature=None,
            top_p=None,
            max_tokens=None,
            seed=None,
            hint=None,
            finish_reason=one.finish_reason,
            prompt_tokens=None,
            completion_tokens=None,
        )
        for index, one in enumerate(prompt.recorded)
    ]


if __name__ == "__main__":
    main()
