"""The last five lines of `make demo`: the results in plain words.

They are printed only for experiments with the bundled tiny models on a corpus of the bundled tiny
teacher, because what they say about the lead of the base model holds for these alone.
docs/short_miniature.md has the details.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from diffusion.decoding import Order
from diffusion.evaluation.settings import Evaluation, Training
from diffusion.paper.cells import EvaluationCell, EvaluationCells
from diffusion.paper.claims import LEVEL, verdict
from diffusion.paper.trainings import discordant, gain
from diffusion.paper.wording import SMOKE
from diffusion.settings import Settings
from diffusion.training.training_log import SUMMARY
from flows.experiment import folder_of
from schemas.manifest import Manifest
from scorers.revision import directory_revision
from support.paths import ROOT, locate
from support.stats import sign_test

BASE, TEACHER = "tiny/dlm", "tiny/teacher"


class Tuned(NamedTuple):
    """One training: the weights that it started from, and its number of steps."""

    start: str
    steps: int


class Comparison(NamedTuple):
    """What is compared: the base by AO, Long-CoT by AO, NAP parallel-forced."""

    base: EvaluationCell
    long_cot: EvaluationCell
    nap: EvaluationCell


def tuned(settings: Settings, folder: Path) -> Tuned:
    """A training that has ended, in the experiment's folder."""
    summary = (folder / folder_of(settings) / SUMMARY).read_text(encoding="utf-8")
    return Tuned(settings.model.path, json.loads(summary)["steps"])


def applies(manifest: Manifest, evaluation: Evaluation) -> bool:
    """Whether corpus and base are the bundled tiny ones."""
    bases = [one.model.path for one in evaluation.systems if one.training is Training.BASE]
    return (
        bool(bases)
        and all(Path(locate(path)).resolve() == ROOT / BASE for path in bases)
        and manifest.teacher.revision == directory_revision(ROOT / TEACHER)
    )


def comparison(cells: EvaluationCells) -> Comparison | None:
    """The cells to compare, at the fewest steps; None if there is not one of each."""
    for subject in cells.subjects():
        if steps := cells.steps(subject):
            base = cells.find(subject, Training.BASE, Order.AO, steps[0])
            long_cot = cells.find(subject, Training.LONG_COT, Order.AO, steps[0])
            nap = cells.find(subject, Training.NAP, Order.FORCED, steps[0])
            groups = base, long_cot, nap
            return Comparison(*(one[0] for one in groups)) if {*map(len, groups)} == {1} else None
    return None


def closing_lines(
    manifest: Manifest,
    trainings: Sequence[Tuned],
    compared: Comparison,
    pages: Sequence[str],
    longer: str,
) -> str:
    """Five lines: the corpus, the trainings, the results, the reason for them, and where to look.

    `pages` are files to open; `longer` is the command of the full experiment, or empty.
    """
    wrong = manifest.grades.total - manifest.grades.correct
    look = f"Open {' and '.join(pages)} in a browser."
    lines = {
        "made": f"{manifest.canvases} canvases from {manifest.prompts.in_} word problems. A canvas "
        f"holds a problem, {manifest.paths} different solutions side by side, and a summary with "
        f"the known answer. {wrong / manifest.grades.total:.0%} of the solutions are wrong, on "
        "purpose.",
        "tuned": _tuned(trainings),
        "result": _result(compared),
        "why": _why(compared),
        "look": f"{look} The full experiment: {longer}" if longer else look,
    }
    return "\n".join(f"{name:<8} {line}" for name, line in lines.items())


def _tuned(trainings: Sequence[Tuned]) -> str:
    steps = " or ".join(str(n) for n in sorted({one.steps for one in trainings}))
    text = (
        f"Copies of the tiny model, {steps} steps each: on the canvases (NAP), and on the same "
        "solutions one after the other (Long-CoT)."
    )
    if all(Path(locate(one.start)).resolve() == ROOT / BASE for one in trainings):
        return text
    return (
        f"{text} They began from weights that were already tuned on 20,000 such canvases "
        "(tiny/tuned); most of their result is due to that."
    )


def _result(compared: Comparison) -> str:
    base, long_cot, nap = compared
    one, more = nap.result, gain((nap,), (long_cot,))
    assert one.steps is not None and more is not None, "both decoded the same problems"
    trial = "A trial with " if one.count < SMOKE else ""
    conclusion = {
        "holds": "NAP solves more, as in the paper.",
        "contradicted": "NAP solves fewer, unlike in the paper.",
    }.get(_verdict(nap, long_cot), "too few problems to tell the two apart.")
    return (
        f"{trial}{one.count:,} problems, {one.masks / one.steps:.0f} tokens a step. Solved: "
        f"the base {_percent(base)}, Long-CoT {_percent(long_cot)}, NAP {_percent(nap)}. "
        f"NAP - Long-CoT: {100 * more.value:+.0f} [{100 * more.low:+.0f}, {100 * more.high:+.0f}] "
        f"points: {conclusion}"
    )


def _why(compared: Comparison) -> str:
    base = compared.base
    tuned = {"Long-CoT": compared.long_cot, "NAP": compared.nap}
    ahead = {k: one for k, one in tuned.items() if base.result.accuracy > one.result.accuracy}
    if len(ahead) < len(tuned):
        others = " and ".join(name for name in tuned if name not in ahead)
        return (
            f"The base is not ahead of {others} in this trial. Over 1,000 problems it is ahead of "
            "both models that were tuned on 20,000 canvases; docs/short_miniature.md says why."
        )
    unsure = [name for name, one in ahead.items() if _verdict(base, one) != "holds"]
    doubt = f" (of {' and '.join(unsure)} by less than so few problems can prove)" if unsure else ""
    return (
        f"The base is ahead of both{doubt}: it was trained on right solutions of these very kinds "
        "of problems, so that solutions of a weaker teacher, some of them wrong, teach it nothing "
        "new. docs/short_miniature.md has the same over 1,000 problems."
    )


def _verdict(first: EvaluationCell, second: EvaluationCell) -> str:
    more = gain((first,), (second,))
    assert more is not None, "both decoded the same problems"
    is_sure = sign_test(*discordant(first, second)) < LEVEL
    return verdict(more, rises=True, count=first.result.count, is_sure=is_sure)


def _percent(one: EvaluationCell) -> str:
    cell = one.result
    return f"{cell.accuracy:.0%} [{100 * cell.low:.0f}, {100 * cell.high:.0f}]"
