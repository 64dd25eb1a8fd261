"""What must hold in every released row.

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
    yield from text_problems(row, recipe)
    yield from _paths(row, manifest)
    if row.summary_tokens > manifest.summary_tokens:
        yield f"summary of {row.summary_tokens} tokens in a slot of {manifest.summary_tokens}"
    yield from _draws(row)
    if row.source not in {source.label for source in manifest.sources}:
        yield f"source {row.source!r} is not in the manifest"
    scorer = (row.scorer, row.scorer_revision)
    stated = manifest.scorer and (manifest.scorer.name, manifest.scorer.revision)
    if scorer != (stated or (None, None)):
        yield f"scored by {scorer}, the manifest has {stated}"


def text_problems(row: Released, recipe: Recipe | None) -> Iterator[str]:
    """A text that several columns repeat must be the same in all of them."""
    paths = tuple(path.text for path in row.paths)
    try:
        parsed = canvas.parse(row.response)
    except ValueError as error:
        yield str(error)
    else:
        if parsed != (paths, row.summary):
            yield "response is not the canvas of paths and summary"
    if row.long_cot != canvas.long_cot(paths, row.summary):
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


def _draws(row: Released) -> Iterator[str]:
    """Every path was drawn, and so was every right one; the pass rate is that of the counts."""
    drawn, correct = row.samples_drawn, row.samples_correct
    if drawn is None or correct is None:
        return
    others = drawn - correct
    if len(row.paths) > drawn or row.correct_paths > correct:
        yield f"{correct} of {drawn} samples are right, fewer than stand on the canvas"
    if len(row.paths) - row.correct_paths > others:
        yield f"{others} of {drawn} samples are not right, fewer than stand on the canvas"
    if row.pass_rate != correct / drawn:
        yield f"pass_rate is {row.pass_rate}, but {correct} of {drawn} samples are right"
    first, right = row.first_round_drawn or 0, row.first_round_correct or 0
    if not (right <= first <= drawn and right <= correct):
        yield f"the first round has {right} of {first} right, all rounds {correct} of {drawn}"


def _closes(row: Released, recipe: Recipe | None) -> bool:
    """Whether the summary ends in the gold answer."""
    if recipe is None:
        return ends_in(row.summary, row.gold)
    template = recipe.summary.text(row.gold)
    if row.summary_by == "template":
        return row.summary == template
    return ends_in(row.summary, row.gold, template)
