"""What a corpus is for, and its known limits, for the card and for Croissant."""

from pathlib import Path

from curation import components
from curation.release import markdown
from curation.release.documents.provenance import statements
from schemas.manifest import Manifest
from schemas.recipe import Recipe
from support.display.text import one_line
from support.paths import locate

BUNDLED = "tiny/teacher"


def intended_uses(recipe: Recipe) -> list[str]:
    """What the corpus is for; the makers' own sentence first."""
    own = statements(recipe).intended_use
    return [
        *([one_line(own)] if own is not None else []),
        "Fine-tuning masked-diffusion language models to write several reasoning paths in parallel "
        "(columns `prompt` and `response`, or `messages`).",
        "The same traces in left-to-right form (`long_cot`), as the control of such a training or "
        "for autoregressive models.",
        "Research on how much the parts of a text depend on one another.",
    ]


UNINTENDED = (
    "As true solutions: wrong paths are kept on purpose, and nobody checked the right ones beyond "
    "their final answer.",
    "As an evaluation set: models may know its prompts, and its answers are printed.",
)


def known_limits(manifest: Manifest, recipe: Recipe) -> list[str]:
    """One limit each, in Markdown without foreign text."""
    kind, limits = recipe.grader.kind, []
    graders = components.deciding_graders(recipe.grader)
    limits.append("A right answer does not prove a right path: grades compare final answers.")
    if kind == "label":
        limits.append("Grades are the labels of the sources; nothing checked them here.")
    else:
        judge = "verifier" if kind == "math" else "grader"
        limits.append(
            f"A `wrong` or `unparsed` grade may be the {judge}'s mistake on unusual notation."
        )
    if any(one.options.get("allow_weak_sandbox") for one in graders):
        limits.append(
            "Programs were allowed to run without a full sandbox (`allow_weak_sandbox`), so that "
            "one may have read its tests."
        )
    if any(one.kind == "choice" for one in graders):
        limits.append("A right choice may be a guess: one of few options is right by chance.")
    limits += [
        "The summary is given the known answer; it is no evidence that the paths lead there.",
    ]
    if manifest.scorer:
        limits.append("SeqDep is measured under one scorer; figures of another do not compare.")
    if manifest.scorer and recipe.scorer is not None and is_bundled(recipe.scorer.path):
        limits.append(
            "SeqDep means little where the scorer does not know the kind of text. This one, the "
            "small model that comes with Polytrace, learnt 16 families of word problems and knows "
            "no other text."
        )
    none = "" if manifest.decontamination else "; here none was run"
    limits.append(
        "Decontamination finds copies, copies inside longer texts, and prompts that share a third "
        f"of either's 8-grams; no paraphrases, no typing mistakes, no translations{none}."
    )
    checkable = (
        "with one final answer that can be checked"
        if kind == "math"
        else f"whose answers the grader {markdown.code(kind)} can check"
    )
    limits.append(f"English, and problems {checkable}.")
    return limits


def selection(manifest: Manifest, recipe: Recipe) -> str:
    """How the selection of prompts biases a corpus."""
    return (
        f"Which prompts are here depends on the traces: one needs {manifest.paths} distinct traces "
        f"that fit their slots, at least {recipe.groups.min_correct} of them graded correct. "
        f"{manifest.prompts.rejected:,} of {manifest.prompts.in_:,} prompts were rejected, so that "
        "the shares of easy and hard problems are not those of the sources."
    )


def personal_information(recipe: Recipe) -> str:
    """What is known of personal information in the texts."""
    stated = statements(recipe).personal_information
    if stated is not None:
        return f"The makers of this dataset state: {one_line(stated)}"
    return (
        "Not examined: nothing searched the prompts or the traces for personal or sensitive "
        "information, and what the sources hold of it is here too."
    )


def is_bundled(path: str) -> bool:
    """Whether a model is the bundled one."""
    return Path(locate(path)).resolve() == Path(locate(BUNDLED)).resolve()
