"""How many tokens the teacher has read and written for a corpus, as its server counted them.

In: a finished run. Out: `TokenUsage`: sums over the traces that the corpus was made from, whenever
they were sampled, and over the requested summaries. Requests that were cut off, and samples under
other settings, are not counted. For a judge, all of its replies are counted.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from curation.release.rows import readable
from curation.release.writer import ROW_GROUP
from curation.sampling import journal
from curation.sampling.spending import REPLIES, sum_of, tokens_of
from schemas.manifest import Manifest
from schemas.records import Stage, Trace


class JudgeUsage(NamedTuple):
    """Tokens of a judge, over the `replies` whose tokens its server has counted."""

    replies: int = 0
    read: int = 0
    written: int = 0


class TraceUsage(NamedTuple):
    """Tokens of the teacher's `traces`, of which `uncounted` have no count."""

    traces: int = 0
    uncounted: int = 0
    read: int = 0
    written: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """Tokens of the teacher; `uncounted` of the `traces` have no count, as recorded ones do not.

    `read` sums the prompts, once for each trace; `released` of the `written` are on canvases.
    `judge` is what a judge has read and written, if one grades.
    """

    traces: int
    uncounted: int
    read: int
    written: int
    released: int
    summaries: int
    judge: "JudgeUsage"

    @property
    def all_written(self) -> int:
        """Everything that the teacher wrote."""
        return self.written + self.summaries


def count_token_usage(run: Path, manifest: Manifest) -> TokenUsage:
    """Count the tokens of a run; DamagedError where a file cannot be read."""
    released = 0
    files = [run / file.path for file in manifest.release]
    for batch in _batches(files, ["paths.list.element.trace.completion_tokens"]):
        released += _sum(batch.column("paths").flatten().field("trace").field(0))
    return TokenUsage(
        **count_traces(run, manifest)._asdict(),
        released=released,
        summaries=sum(trace.completion_tokens or 0 for trace in requested_summaries(run)),
        judge=count_judge_usage(run),
    )


def count_traces(run: Path, manifest: Manifest) -> TraceUsage:
    """Count the tokens of all traces that the corpus was made from."""
    used = TraceUsage()
    shards = [
        run / shard.path
        for shard in manifest.shards
        if shard.stage is Stage.TRACES and not shard.is_rejections
    ]
    for batch in _batches(shards, ["prompt_tokens", "completion_tokens"]):
        used = TraceUsage(
            used.traces + batch.num_rows,
            used.uncounted + batch.column("completion_tokens").null_count,
            used.read + _sum(batch.column("prompt_tokens")),
            used.written + _sum(batch.column("completion_tokens")),
        )
    return used


def requested_summaries(run: Path) -> Iterator[Trace]:
    """Every summary that was requested, whatever became of it."""
    for path in sorted((run / Stage.SUMMARIES).glob("[0-9]*.jsonl*")):
        yield from journal.read(path).traces


def count_judge_usage(run: Path) -> JudgeUsage:
    """Count the tokens of all replies that a run has kept, whatever was asked."""
    replies = counted_replies(run)
    tokens = sum_of(map(tokens_of, replies))
    return JudgeUsage(len(replies), tokens.prompt, tokens.completion)


def counted_replies(run: Path) -> list[Trace]:
    """The replies of judges that a run has kept, as far as the server has counted their tokens."""
    return [
        reply
        for path in sorted((run / Stage.GRADED / REPLIES).glob("*.jsonl"))
        for reply in journal.read(path).traces
        if reply.completion_tokens is not None
    ]


def _batches(files: Iterable[Path], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for file in files:
        with readable(file) as parquet:
            yield from parquet.iter_batches(ROW_GROUP, columns=columns)


def _sum(values: pa.Array) -> int:
    return pc.sum(values).as_py() or 0
