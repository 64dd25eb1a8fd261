"""What must hold in every released row, seen from the row alone.

In: a row, the manifest, and the recipe where it could be read. Out: problems, as short sentences.
"""

from collections.abc import Iterator

from curation.canvases.summaries import ends_in
from schemas import canvas
from schemas.manifest import Manifest
from schemas.recipe import Recipe
from schemas.records import Grade, Released


def row_problems(row: Released, manifest: Manifest, recipe: Recipe | None) -> Iterator[str]:
    """The problems of a row."""
    yield from _texts(row, recipe)
    yield from _paths(row, manifest)
    if row.summary_tokens > manifest.summary_tokens:
        yield f"summary of {row.summary_tokens} tokens in a slot of {manifest.summary_tokens}"
    if row.source not in {source.label for source in manifest.sources}:
        yield f"source {row.source!r} is not in the manifest"
    scorer = (row.scorer, row.scorer_revision)
    stated = manifest.scorer and (manifest.scorer.name, manifest.scorer.revision)
    if scorer != (stated or (None, None)):
        yield f"scored by {scorer}, the manifest has {stated}"


def _texts(row: Released, recipe: Recipe | None) -> Iterator[str]:
    """One text in several columns must be one text."""
    paths = tuple(path.text for path in row.paths)
    try:
        parsed = canvas.parse(row.response)
    except ValueError as error:
        yield str(error)
    else:
        if parsed != (paths, row.summary):
            yield "response is not the canvas of paths and summary"
    if row.long_cot != "\n\n".join((*paths, row.summary)):
        yield "long_cot is not paths and summary"
    turns = [(message.role, message.content) for message in row.messages]
    if turns != [("user", row.prompt), ("assistant", row.response)]:
        yield "messages are not prompt and response"
    if not _closes(row, recipe):
        yield "the summary does not end in the gold answer"


def _paths(row: Released, manifest: Manifest) -> Iterator[str]:
    if len(row.paths) != manifest.paths:
        yield f"{len(row.paths)} paths, the manifest has {manifest.paths}"
    correct = sum(path.grade is Grade.CORRECT for path in row.paths)
    if correct != row.correct_paths:
        yield f"correct_paths is {row.correct_paths}, but {correct} paths are correct"
    if len({path.trace.index for path in row.paths}) < len(row.paths):
        yield "a trace stands on the canvas twice"
    for number, path in enumerate(row.paths, 1):
        if path.tokens > manifest.slot_tokens:
            yield f"path {number} of {path.tokens} tokens in a slot of {manifest.slot_tokens}"
        if path.trace.prompt_id != row.id:
            yield f"path {number} belongs to prompt {path.trace.prompt_id}"
        if path.text not in path.trace.text:
            yield f"path {number} is no part of its trace"
    if row.seqdep_path_gains is not None and len(row.seqdep_path_gains) != len(row.paths) - 1:
        yield f"{len(row.seqdep_path_gains)} path gains for {len(row.paths)} paths"


def _closes(row: Released, recipe: Recipe | None) -> bool:
    """Whether the summary ends in the gold answer."""
    if row.summary_by == "template" and recipe is not None:
        return row.summary == recipe.summary.text(row.gold)
    closing = recipe.summary.text(row.gold) if recipe is not None else ""
    return ends_in(row.summary, row.gold, closing)
