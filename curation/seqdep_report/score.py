"""Score any corpus for sequential dependence (SeqDep).

In: documents, a scorer, settings. Out: a Parquet or JSON Lines file with a row for every document,
which holds its scores or the reason why it has none. Until all are scored, parts of PART_DOCUMENTS
documents are kept, so that the same command continues where it stopped; memory does not grow with
the corpus.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from curation.seqdep_report.documents import Document
from schemas import arrow
from schemas.records import Level, SeqDep, Siblings
from support.errors import UserError
from support.files import atomic_write, replace_text

if TYPE_CHECKING:  # torch is loaded only by the process that scores
    from scorers.seqdep.causal_lm import Scorer
    from scorers.seqdep.measurement import SeqDepSettings

PART_DOCUMENTS = 256
VERSION = 1  # raised by hand when scores change their meaning
TOO_LONG = "context_length"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextScores:
    """The scores of one document; `row` counts from 1 in its source, `part` from 1 in its row.

    `tokens` are those scored or seen at `window` or `step` level, or of all paths. Where `reason`
    is not empty, nothing was scored. Units as in `SeqDep`.
    """

    row: int
    part: int
    tokens: int = 0
    path: SeqDep | None = None
    step: SeqDep | None = None
    window: SeqDep | None = None
    summary_gain: float | None = None
    siblings: Siblings | None = None
    reason: str = ""
    detail: str = ""


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
    progress: Callable[[int], None],
) -> None:
    """Write the scores of all documents to `out`, unless they are there already.

    UserError where `out` holds other scores.
    """
    fingerprint = _fingerprint(corpus, scorer, settings, limit)
    state, parts = _beside(out, ".state"), _beside(out, ".parts")
    if out.exists():
        check_out(out)
        if state.read_text().strip() != fingerprint:
            raise UserError(f"{out}: holds other scores; remove it, or choose another --out")
        shutil.rmtree(parts, ignore_errors=True)
        progress(sum(1 for _ in read_scores(out)))
        return
    folder = parts / fingerprint
    make_folder(folder)
    documents = islice(corpus.documents(), limit)
    number = 0
    while batch := list(islice(documents, PART_DOCUMENTS)):
        path = folder / f"{number:06}.parquet"
        if path.is_file():
            progress(len(batch))
        else:
            scores = score_documents(batch, scorer, settings, progress)
            with atomic_write(path) as file:
                pq.write_table(arrow.table(TextScores, scores), file)
        number += 1
    replace_text(
        state, fingerprint + "\n"
    )  # first, so that scores never stand beside the state of others
    _join([folder / f"{n:06}.parquet" for n in range(number)], out)
    shutil.rmtree(parts)


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


def read_scores(path: Path) -> Iterator[TextScores]:
    """The rows of a file of scores, streamed."""
    if path.suffix == ".jsonl":
        with path.open("rb") as lines:
            for line in lines:
                row = pa.Table.from_pylist([orjson.loads(line)], arrow.schema_of(TextScores))
                yield from arrow.records(TextScores, row)
        return
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=PART_DOCUMENTS):
            yield from arrow.records(TextScores, pa.Table.from_batches([batch]))


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
        row = partial(TextScores, row=document.row, part=document.part)
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


def _fingerprint(
    corpus: Documents, scorer: "Scorer", settings: "SeqDepSettings", limit: int | None
) -> str:
    facts = [
        VERSION,
        corpus.fingerprint(),
        scorer.revision,
        str(scorer.model.dtype),
        scorer.chat,
        dataclasses.asdict(settings),
        limit,
        PART_DOCUMENTS,
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _beside(out: Path, suffix: str) -> Path:
    return out.with_name(out.name + suffix)


def _join(parts: Iterable[Path], out: Path) -> None:
    """Write all parts as one file, reading one part at a time."""
    with atomic_write(out) as whole:
        if out.suffix == ".jsonl":
            with whole.open("wb") as file:
                for part in parts:
                    for row in pq.read_table(part).to_pylist():
                        file.write(orjson.dumps(row) + b"\n")
        else:
            with pq.ParquetWriter(whole, arrow.schema_of(TextScores)) as writer:
                for part in parts:
                    writer.write_table(pq.read_table(part))
