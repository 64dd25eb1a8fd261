"""Write everything of a release that is not its rows: card, Croissant, statistics, pictures."""

from collections.abc import Sequence
from pathlib import Path

from curation.release import card, figures, writer
from curation.release.documents.costs import count_costs
from curation.release.documents.croissant import CROISSANT_FILE, render_croissant
from curation.release.rows import read_rows
from curation.release.statistics import STATS_FILE, Stats
from schemas.facts import FileFacts
from schemas.manifest import RELEASE_FOLDER, Manifest
from schemas.recipe import Recipe
from support.files import replace_text

CARD_FILE = "README.md"


def write_documents(
    run: Path, folder: Path, manifest: Manifest, recipe: Recipe, measured: Stats
) -> Sequence[FileFacts]:
    """Write the documents of a run's release in `folder`; the files, with paths in `release/`."""
    files = manifest.release
    example = next(iter(read_rows(writer.data_path(folder, files[0]))), None) if files else None
    pictures = figures.draw(folder, files, manifest, measured)
    costs = count_costs(run, manifest)
    texts = {
        CARD_FILE: card.render_card(manifest, recipe, example, measured, pictures, costs),
        CROISSANT_FILE: render_croissant(manifest, recipe, measured, costs),
        STATS_FILE: measured.text(),
    }
    for name, text in texts.items():
        replace_text(folder / name, text)
    drawn = [one.path for one in pictures if one.path]
    return [writer.describe(folder / name, f"{RELEASE_FOLDER}/{name}") for name in (*texts, *drawn)]
