"""Score any corpus for sequential dependence: documents in, one row of scores each out.

In: documents, a scorer, settings. Out: a Parquet or JSON Lines file with a row for every document,
scored or with the reason why not, and beside it the figures of all as JSON. Scores are kept in
parts of some hundred documents until all are there, so that the same command goes on where it
stopped; memory does not grow with the corpus.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
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
VERSION = 1  # bumped by hand when scores change their meaning
TOO_LONG = "context_length"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextScores:
    """The scores of one document; `row` and `part` are 1-based in its source.

    `tokens` are those scored or seen at `window` or `step` level, or of all paths. Where `reason`
    is not empty, nothing was scored. Units as in `SeqDep`.
    """

    row: int
    part: int
    tokens: int
    path: SeqDep | None
    step: SeqDep | None
    window: SeqDep | None
    summary_gain: float | None
    siblings: Siblings | None
    reason: str
    detail: str


class Documents(Protocol):
    """What can be scored: documents that can be read again, and a mark of their state."""

    def fingerprint(self) -> str:
        """Changes whenever the documents do."""

    def texts(self) -> Iterator[Document]:
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
    """Write the scores of all documents to `out`, or find them there.

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
    documents = islice(corpus.texts(), limit)
    number = 0
    while batch := list(islice(documents, PART_DOCUMENTS)):
        path = folder / f"{number:06}.parquet"
        if not path.is_file():
            _write(
                path, arrow.table(TextScores, score_documents(batch, scorer, settings, progress))
            )
        else:
            progress(len(batch))
        number += 1
    replace_text(state, fingerprint + "\n")  # first: scores never stand beside another's state
    _join([folder / f"{n:06}.parquet" for n in range(number)], out)
    shutil.rmtree(parts)


def check_out(out: Path) -> None:
    """UserError where scores cannot be written to `out`; what is there and no score is kept."""
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
                yield from arrow.records(TextScores, _table([orjson.loads(line)]))
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
    """Scores of documents in order, in memory; those that cannot be scored keep their place."""
    from scorers.seqdep.measurement import ScoredInstance, measure

    good = [one for one in batch if not one.reason]
    if progress is not None:
        progress(len(batch) - len(good))
    items = [
        ScoredInstance(prompt=one.prompt, text=one.text, paths=one.paths, summary=one.summary)
        for one in good
    ]
    measured = iter(measure(scorer, items, settings, progress=progress))
    for one in batch:
        if one.reason:
            yield _row(one, reason=one.reason, detail=one.detail)
            continue
        found = next(measured)
        step = found.canvas_step if one.paths else found.step
        window = found.canvas_window if one.paths else found.window
        lengths = [sum(level.tokens) for level in (window, step, found.path) if level]
        if settings.levels == (Level.PATH,) and not one.paths:
            yield _row(one, reason="no_canvas", detail="has no <think 1> … <summary> frame")
            continue
        if not lengths:
            detail = f"more than the {scorer.context} tokens that the scorer can see"
            yield _row(one, reason=TOO_LONG, detail=detail)
            continue
        yield dataclasses.replace(
            _row(one),
            tokens=max(lengths),
            path=found.path,
            step=step,
            window=window,
            summary_gain=found.summary_gain,
            siblings=found.siblings,
        )


def _row(text: Document, *, reason: str = "", detail: str = "") -> TextScores:
    return TextScores(
        row=text.row,
        part=text.part,
        tokens=0,
        path=None,
        step=None,
        window=None,
        summary_gain=None,
        siblings=None,
        reason=reason,
        detail=detail,
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


def _write(path: Path, data: pa.Table) -> None:
    with atomic_write(path) as part:
        pq.write_table(data, part)


def _table(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=arrow.schema_of(TextScores))


def _join(parts: Iterable[Path], out: Path) -> None:
    """All parts as one file, a part at a time."""
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
