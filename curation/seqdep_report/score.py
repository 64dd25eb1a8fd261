"""Score any corpus for sequential dependence (SeqDep).

In: documents, a scorer, settings. Out: a Parquet or JSON Lines file with a row for every document,
which holds its scores or the reason why it has none. What is scored is kept about every minute, so
that the same command continues where it stopped, and a higher limit adds to what stands. Memory
does not grow with the corpus.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from curation.seqdep_report.documents import Document
from curation.seqdep_report.kept_scores import (
    Former,
    Parts,
    ScoreProgress,
    TextScores,
    digest,
    read_scores,
)
from schemas.records import Level
from support.errors import UserError
from support.files import replace_text

if TYPE_CHECKING:  # torch is loaded only by the process that scores
    from scorers.seqdep.causal_lm import Scorer
    from scorers.seqdep.measurement import SeqDepSettings

CHARACTERS = 4  # of a token, for the size of a group
PASSES = 2  # of a group, which is scored at once
VERSION = 2  # raised by hand when scores change their meaning
TOO_LONG = "context_length"


class Documents(Protocol):
    """A corpus that can be scored; it can be read repeatedly."""

    def fingerprint(self) -> str:
        """A text that changes whenever the documents do."""

    def documents(self) -> Iterator[Document]:
        """Every document in order."""


def score_corpus(
    corpus: Documents,
    scorer: "Scorer",
    settings: "SeqDepSettings",
    out: Path,
    *,
    limit: int | None,
    progress: ScoreProgress,
    is_ours: bool = False,
) -> None:
    """Write the scores of all documents to `out`; those that stand there are not computed again.

    UserError where `out` holds other scores: by another scorer or other settings, or, unless
    `is_ours`, of documents that are not asked for now.
    """
    how = _how(scorer, settings)
    wanted = f"{how} {_digest([corpus.fingerprint(), limit])}"
    state, parts = _beside(out, ".state"), _beside(out, ".parts")
    if out.exists():
        check_out(out)
        found = state.read_text().strip()
        if found.split(" ")[0] != how:
            raise _other(out)
        if found == wanted:
            shutil.rmtree(parts, ignore_errors=True)
            progress(0, kept=sum(1 for _ in read_scores(out)))
            return
    folder = parts / how
    make_folder(folder)
    kept, former = Parts(folder), Former(out)

    def stands(document: Document) -> TextScores | None:
        row = former.take(document)
        if former.lost and not is_ours:
            raise _other(out)
        return row

    documents = kept.resume(islice(corpus.documents(), limit), stands, progress)
    try:
        for group in _groups(documents, settings):
            rows = [stands(document) for document in group]
            missing = [one for one, row in zip(group, rows, strict=True) if row is None]
            progress(0, kept=len(group) - len(missing))
            scored = score_documents(missing, scorer, settings, progress)
            kept.add([row if row is not None else next(scored) for row in rows])
    finally:
        kept.close()
    if former.rest() and not is_ours:
        raise _other(out)
    # All rows are in parts now. Scores never stand beside the state of others.
    out.unlink(missing_ok=True)
    replace_text(state, wanted + "\n")
    kept.join(out)
    shutil.rmtree(parts)


def _groups(documents: Iterator[Document], settings: "SeqDepSettings") -> Iterator[list[Document]]:
    """Stretches of documents that fill some passes, by an estimate from their characters."""
    group: list[Document] = []
    tokens = 0
    for document in documents:
        group.append(document)
        size = len(document.prompt) + len(document.text) + sum(map(len, document.paths))
        tokens += size // CHARACTERS * (1 + len(settings.levels))
        if tokens >= PASSES * settings.batch_tokens:
            yield group
            group, tokens = [], 0
    if group:
        yield group


def _other(out: Path) -> UserError:
    return UserError(f"{out}: holds other scores; remove it, or choose another --out")


def check_out(out: Path) -> None:
    """UserError where scores cannot be written to `out`, or it is another program's file."""
    if out.suffix not in (".parquet", ".jsonl"):
        raise UserError(f"{out}: the scores go into a .parquet or a .jsonl file; name one")
    if out.exists() and not (out.is_file() and _beside(out, ".state").is_file()):
        raise UserError(f"{out}: exists, and holds no scores of this command; choose another --out")
    make_folder(out.absolute().parent)


def make_folder(folder: Path) -> None:
    """The folder and those above it; UserError where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be made ({error.strerror}); choose another --out"
        ) from None


def score_documents(
    batch: Sequence[Document],
    scorer: "Scorer",
    settings: "SeqDepSettings",
    progress: Callable[[int], None] | None = None,
) -> Iterator[TextScores]:
    """The scores of documents, in order; one that cannot be scored has a row with its reason."""
    from scorers.seqdep.measurement import ScoredInstance, measure

    items = [
        ScoredInstance(prompt=doc.prompt, text=doc.text, paths=doc.paths, summary=doc.summary)
        for doc in batch
        if not doc.reason
    ]
    if progress is not None:
        progress(len(batch) - len(items))
    measurements = iter(measure(scorer, items, settings, progress=progress))
    for document in batch:
        row = partial(TextScores, row=document.row, part=document.part, digest=digest(document))
        if document.reason:
            yield row(reason=document.reason, detail=document.detail)
            continue
        measured = next(measurements)
        step = measured.canvas_step if document.paths else measured.step
        window = measured.canvas_window if document.paths else measured.window
        lengths = [sum(level.tokens) for level in (window, step, measured.path) if level]
        if settings.levels == (Level.PATH,) and not document.paths:
            yield row(reason="no_canvas", detail="has no <think 1> … <summary> frame")
        elif not lengths:
            detail = f"more than the {scorer.context} tokens that the scorer can see"
            yield row(reason=TOO_LONG, detail=detail)
        else:
            yield row(
                tokens=max(lengths),
                path=measured.path,
                step=step,
                window=window,
                summary_gain=measured.summary_gain,
                siblings=measured.siblings,
            )


def _how(scorer: "Scorer", settings: "SeqDepSettings") -> str:
    """A hash of all that shapes the scores of a document."""
    facts = [VERSION, scorer.revision, str(scorer.model.dtype), scorer.chat]
    return _digest([*facts, dataclasses.asdict(settings)])


def _digest(facts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _beside(out: Path, suffix: str) -> Path:
    return out.with_name(out.name + suffix)
