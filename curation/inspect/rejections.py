"""The rejections of a run for one reason, with the texts of the prompts and traces.

In: a `ReleaseReader` of a run and a `Query` with a reason. Out: `RejectedItem` records. Rejections
are read shard by shard, and texts only for the rejections that are shown.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import reduce
from itertools import groupby
from operator import and_, itemgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from curation.inspect.query import Query, first
from curation.release.reader import ReleaseReader, begins, holds, selected
from curation.run_store.shards import shard_path
from schemas import arrow
from schemas.facts import Kind
from schemas.manifest import Manifest
from schemas.records import Grade, Rejection, Stage
from support.display.text import one_line
from support.errors import UserError
from support.plugins import hint

END = 300  # characters of a trace's end
COLUMNS = arrow.schema_of(Rejection).names
_InShard = tuple[int, Rejection]
_PLURAL: dict[Kind, str] = {"prompt": "prompts", "trace": "traces", "summary": "summaries"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenAnswer:
    """What a trace answered: its number, grade, answer (None if none was read), and its end."""

    index: int
    grade: Grade
    answer: str | None
    end: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedItem:
    """A rejection with the texts of its prompt and trace.

    `prompt` and `gold` are None where the prompt never became one, `text` where a whole prompt was
    dropped or the trace was not kept. `answers` are those of all traces of a prompt that was
    dropped for its traces.
    """

    rejection: Rejection
    prompt: str | None
    gold: str | None
    text: str | None
    answers: tuple[GivenAnswer, ...] = ()

    def fields(self) -> dict[str, object]:
        """All fields in one dictionary."""
        texts = {"prompt": self.prompt, "gold": self.gold, "text": self.text}
        answers = [asdict(answer) for answer in self.answers]
        return asdict(self.rejection) | texts | {"answers": answers}


def find_rejections(corpus: ReleaseReader, query: Query) -> tuple[Iterator[RejectedItem], int]:
    """At most `limit` rejections with the query's reason, and how many match in all.

    UserError with a hint where the run has none of them.
    """
    assert query.reason is not None
    if corpus.manifest is None:
        raise UserError(
            f"--reason: {corpus.where} is a dataset alone; what was rejected lies in its run"
        )
    counts = reasons(corpus.manifest)
    if query.reason not in counts:
        known = hint(query.reason, tuple(counts)).partition("choices:")[0]
        listed = ", ".join(f"{one_line(name)} ({count})" for name, count in counts.items())
        raise UserError(
            f"--reason: nothing was rejected as {query.reason!r}; "
            f"{one_line(known)}{' ' if known else ''}reasons of this run: {listed or 'none'}"
        )
    chosen, total = first(_rejections(corpus, corpus.manifest, query), query.limit)
    if not total:
        options = [("--id", query.id), ("--grep", query.grep)]
        conditions = " ".join(f"{name} {value!r}" for name, value in options if value is not None)
        raise UserError(
            f"of what was rejected as {query.reason!r} ({counts[query.reason]}), "
            f"nothing matches {conditions}; a prompt rejected on reading has no text to search"
        )
    return _with_texts(corpus.where, chosen), total


def reasons(manifest: Manifest) -> dict[str, str]:
    """Every reason of a run, most frequent first, with its counts in words."""
    counts: dict[str, Counter[Kind]] = {}
    for one in manifest.rejected:
        counts.setdefault(one.reason, Counter())[one.kind] += one.count
    ordered = sorted(counts.items(), key=lambda item: (-item[1].total(), item[0]))
    return {
        reason: ", ".join(f"{n:,} {kind if n == 1 else _PLURAL[kind]}" for kind, n in kinds.items())
        for reason, kinds in ordered
    }


def _rejections(corpus: ReleaseReader, manifest: Manifest, query: Query) -> Iterator[_InShard]:
    conditions = [pc.field("reason") == query.reason]
    if query.id is not None:
        conditions.append(begins("prompt_id", query.id))
    for file in manifest.rejections():
        path = corpus.where / file.path
        shard = int(path.stem.rpartition("-")[2])
        keep = reduce(and_, conditions)
        if query.grep is not None:
            prompts = shard_path(corpus.where, Stage.PROMPTS, shard)
            tables = selected(prompts, ("id", "text"), holds("text", query.grep))
            ids = [one for _, data in tables for one in data.column("id").to_pylist()]
            keep &= pc.field("prompt_id").isin(pa.array(ids, pa.string()))
        for _, data in selected(path, COLUMNS, keep):
            yield from ((shard, one) for one in arrow.records(Rejection, data))


def _with_texts(run: Path, chosen: Iterable[_InShard]) -> Iterator[RejectedItem]:
    """The rejections with their texts, which are read once for consecutive ones of a shard."""
    for shard, group in groupby(chosen, key=itemgetter(0)):
        rejections = [rejection for _, rejection in group]
        ids = pa.array({one.prompt_id for one in rejections}, pa.string())
        path = shard_path(run, Stage.PROMPTS, shard)
        tables = selected(path, ("id", "text", "gold"), pc.field("id").isin(ids))
        prompts = {row["id"]: row for _, data in tables for row in data.to_pylist()}
        traces = _traces(run, shard, ids) if any(r.index is not None for r in rejections) else {}
        groups = [r.prompt_id for r in rejections if r.stage is Stage.CANVASES and r.index is None]
        answers = _answers(run, shard, pa.array(groups, pa.string())) if groups else {}
        for one in rejections:
            prompt = prompts.get(one.prompt_id, {})
            yield RejectedItem(
                rejection=one,
                prompt=prompt.get("text"),
                gold=prompt.get("gold"),
                # A trace rejected on reading was not kept, and another may have its number. A
                # summary is no trace of the corpus; its beginning is in the detail.
                text=traces.get((one.prompt_id, one.index))
                if one.stage not in (Stage.PROMPTS, Stage.SUMMARIES)
                else None,
                answers=tuple(answers.get(one.prompt_id, ())) if one.index is None else (),
            )


def _traces(run: Path, shard: int, ids: pa.Array) -> dict[tuple[str, int | None], str]:
    """The texts of the traces of these prompts, by prompt and index."""
    path = shard_path(run, Stage.TRACES, shard)
    tables = selected(path, ("prompt_id", "index", "text"), pc.field("prompt_id").isin(ids))
    return {
        (row["prompt_id"], row["index"]): row["text"]
        for _, data in tables
        for row in data.to_pylist()
    }


def _answers(run: Path, shard: int, ids: pa.Array) -> dict[str, list[GivenAnswer]]:
    """What the traces of these prompts answered, by prompt, in the traces' order."""
    found: dict[str, list[GivenAnswer]] = {}
    keep = pc.field("trace", "prompt_id").isin(ids)
    for _, data in selected(
        shard_path(run, Stage.GRADED, shard), ("trace", "grade", "answer"), keep
    ):
        for row in data.to_pylist():
            trace = row["trace"]
            answer = GivenAnswer(
                index=trace["index"],
                grade=Grade(row["grade"]),
                answer=row["answer"],
                end=trace["text"][-END:],
            )
            found.setdefault(trace["prompt_id"], []).append(answer)
    return found
