"""Where a corpus comes from, as the Hub and Croissant ask for it; nothing that is not known.

In: manifest, recipe, statistics. Out: the Hub's terms for who wrote texts and annotations, the
datasets of the prompts, the license of the teacher. Values:
github.com/huggingface/hub-docs/blob/main/datasetcard.md.
"""

from pathlib import Path

from curation import components
from curation.release.statistics import Stats
from curation.sources import gsm8k, openr1_math
from schemas.manifest import Manifest
from schemas.recipe import Part, Recipe
from schemas.release.statements import Statements
from support.capacity import raise_if_out_of_memory
from support.display.text import one_line
from support.paths import locate

FOUND, BY_MACHINE = "found", "machine-generated"
SYNTHETIC = "synthetic"  # the Hub's tag for texts that a model wrote
UNNAMED = "recorded"  # name and revision of a model that a source does not name
_REPOS = {"gsm8k": gsm8k.REPO, "openr1_math": openr1_math.REPO}  # read where no file is named


def statements(recipe: Recipe) -> Statements:
    """What the makers state; nothing where the recipe has no section `card`."""
    return recipe.card or Statements()


def is_synthetic(manifest: Manifest, stats: Stats) -> bool:
    """Whether models wrote paths: the teacher, or models that a source names."""
    named = any(not one.name == one.revision == UNNAMED for one in stats.teachers)
    return manifest.traces.sampled > 0 or named


def annotations_creators(recipe: Recipe) -> list[str]:
    """Who made grades and scores: sources, whose labels are taken over, or programs and models."""
    kinds = components.grader_kinds(recipe.grader)
    by_machine = recipe.scorer is not None or any(kind != "label" for kind in kinds)
    return [*([FOUND] if "label" in kinds else []), *([BY_MACHINE] if by_machine else [])]


def language_creators(manifest: Manifest, stats: Stats) -> list[str]:
    """Who wrote the texts: prompts and recorded traces were found in the sources."""
    return [FOUND, *([BY_MACHINE] if is_synthetic(manifest, stats) else [])]


def source_datasets(recipe: Recipe) -> list[str]:
    """Hub ids of the datasets of the prompts: those that were read, and those that are stated."""
    read = [name for part in recipe.source if (name := _dataset(part)) is not None]
    return list(dict.fromkeys([*read, *statements(recipe).source_datasets]))


def _dataset(part: Part) -> str | None:
    """The Hub dataset that a source reads; None for files, which may be of anything."""
    name = _REPOS.get(part.kind) if part.options.get("path") is None else None
    if part.kind == "hub" and isinstance(repo := part.options.get("repo"), str):
        name = None if Path(locate(repo)).exists() else repo
    return name


def teacher_license(recipe: Recipe) -> tuple[str, str] | None:
    """The teacher's license and who says so: the makers, or else the card of a local model."""
    if (stated := statements(recipe).teacher_license) is not None:
        return one_line(stated), "the makers of this dataset state"
    path = components.writer(recipe).options.get("path")
    if not isinstance(path, str):
        return None
    card = Path(locate(path)) / "README.md"
    license = license_of_card(card)
    return None if license is None else (license, "the card in the model's folder states")


def license_of_card(card: Path) -> str | None:
    """The license that a model's card states; None where there is none."""
    from huggingface_hub import metadata_load

    if not card.is_file():
        return None
    try:
        facts = metadata_load(card) or {}
    except Exception as error:  # another's file, with anything in it: the license is not known
        raise_if_out_of_memory(error)
        return None
    license = facts.get("license")
    return one_line(license)[:200] if isinstance(license, str) else None
