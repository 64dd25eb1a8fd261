"""The demo's last lines say what was measured, and nothing that was not."""

import dataclasses

import pytest

from diffusion.evaluation.settings import Evaluation, Training
from diffusion.paper.cells import EvaluationCell, EvaluationCells
from flows import closing
from flows.closing import Comparison, Tuned, closing_lines
from flows.recipe_files import EVALUATIONS
from schemas.facts import Grades, ModelFacts, PromptCounts, TeacherFacts, TokenCounts, TraceCounts
from schemas.manifest import Manifest
from scorers.revision import directory_revision
from support.paths import ROOT
from support.stats import wilson
from support.yaml_file import load

MINIATURE = ROOT / "docs" / "short_miniature" / "evaluation"  # rows of 1,000 problems


def manifest(revision: str) -> Manifest:
    """A corpus of 40 canvases, a quarter of its paths wrong."""
    return Manifest(
        polytrace="0",
        name="demo",
        recipe_digest="0" * 16,
        build="0" * 12,
        sources=(),
        teacher=TeacherFacts(
            kind="transformers_local", name="teacher", revision=revision, temperature=1.0
        ),
        tokenizers=(ModelFacts(name="teacher", revision=revision),),
        paths=3,
        slot_tokens=48,
        summary_tokens=12,
        masks=156,
        header_tokens=29,
        prompts=PromptCounts(in_=50, released=40, rejected=10),
        traces=TraceCounts(in_=300, kept=120, rejected=180, sampled=300),
        canvases=40,
        grades=Grades(correct=90, wrong=30),
        tokens=TokenCounts(paths=0, summaries=0),
    )


def measured() -> Comparison:
    found = closing.comparison(EvaluationCells([MINIATURE]))
    assert found is not None
    return found


def of_first(one: EvaluationCell, count: int) -> EvaluationCell:
    """The same cell with its first problems alone."""
    right = dict(list(one.right.items())[:count])
    share = wilson(int(sum(right.values())), count)
    result = dataclasses.replace(
        one.result, count=count, accuracy=share.value, low=share.low, high=share.high
    )
    found = dataclasses.replace(one, result=result)
    found.__dict__["right"] = right
    return found


def lines(found: Comparison, *, start: str = "tiny/dlm", longer: str = "") -> dict[str, str]:
    tuned = [Tuned(start, 18), Tuned(start, 18)]
    text = closing_lines(manifest("0"), tuned, found, ["a/report.html", "b/report.html"], longer)
    split = [line.split(maxsplit=1) for line in text.splitlines()]
    assert [name for name, _ in split] == ["made", "tuned", "result", "why", "look"]
    return dict(split)


def test_five_lines_of_what_was_measured() -> None:
    said = lines(measured(), longer="polytrace finetune-eval tiny --corpus runs/demo")
    assert "40 canvases from 50 word problems" in said["made"]
    assert "25% of the solutions are wrong" in said["made"]
    assert "18 steps" in said["tuned"] and "tiny/tuned" not in said["tuned"]
    assert said["result"].startswith("1,000 problems, 4 tokens a step")
    assert "the base 46% [42, 49], Long-CoT 26% [24, 29], NAP 40% [37, 43]." in said["result"]
    assert "NAP - Long-CoT: +13 [+10, +16] points: NAP solves more" in said["result"]
    assert said["why"].startswith("The base is ahead of both: it was trained on right")
    assert "a/report.html and b/report.html" in said["look"]
    assert said["look"].endswith("experiment: polytrace finetune-eval tiny --corpus runs/demo")
    assert "full experiment" not in lines(measured())["look"]


def test_weights_that_were_tuned_before_are_named() -> None:
    assert "already tuned on 20,000" in lines(measured(), start="tiny/tuned/nap")["tuned"]


@pytest.mark.parametrize("ahead", ["nap", "long_cot"])
def test_a_base_that_is_not_ahead_is_not_said_to_be(ahead: str) -> None:
    base, long_cot, nap = measured()
    if ahead == "nap":
        said = lines(Comparison(nap, long_cot, base))
        assert "NAP solves more" in said["result"]
    else:
        said = lines(Comparison(long_cot, base, long_cot))
        assert "too few problems to tell" not in said["result"]
        assert "NAP solves fewer, unlike in the paper" in said["result"]
    assert said["why"].startswith("The base is not ahead of ")
    assert "teach it nothing" not in said["why"]


def test_few_problems_prove_little_and_it_is_said() -> None:
    said = lines(Comparison(*(of_first(one, 20) for one in measured())))
    assert "A trial with 20 problems" in said["result"]
    assert "too few problems to tell the two apart" in said["result"]
    assert "can prove" in said["why"] or "not ahead" in said["why"]


def test_only_bundled_models_are_spoken_of() -> None:
    teacher = directory_revision(ROOT / "tiny" / "teacher")
    tiny = load(EVALUATIONS / "tiny_demo.yaml", (), Evaluation)
    assert closing.applies(manifest(teacher), tiny)
    assert not closing.applies(manifest("0"), tiny)
    other = load(EVALUATIONS / "paper_dream.yaml", (), Evaluation)
    assert not closing.applies(manifest(teacher), other)
    tuned = [one for one in tiny.systems if one.training is not Training.BASE]
    assert not closing.applies(manifest(teacher), dataclasses.replace(tiny, systems=tuple(tuned)))
