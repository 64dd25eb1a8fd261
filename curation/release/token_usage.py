"""What the teacher has read and written for a corpus, in its own tokens, as its server counted.

In: a finished run. Out: `TokenUsage`: sums over the traces that the corpus was made from, whenever
they were sampled, and over the summaries that were asked for. What was cut off in flight, or
sampled under other settings, is not in it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from curation.release.rows import readable
from curation.release.writer import ROW_GROUP
from curation.sampling import journal
from schemas.manifest import Manifest
from schemas.records import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """Tokens of the teacher; `uncounted` of the `traces` say nothing, as recorded ones do.

    `read` are prompts, once a trace; of `written`, `released` stand on canvases.
    """

    traces: int
    uncounted: int
    read: int
    written: int
    released: int
    summaries: int

    @property
    def all_written(self) -> int:
        """Everything that the teacher wrote."""
        return self.written + self.summaries


def count_token_usage(run: Path, manifest: Manifest) -> TokenUsage:
    """Count the tokens of a run; DamagedError where a file cannot be read."""
    shards = [
        run / shard.path
        for shard in manifest.shards
        if shard.stage is Stage.TRACES and not shard.is_rejections
    ]
    traces = uncounted = read = written = released = 0
    for batch in _batches(shards, ["prompt_tokens", "completion_tokens"]):
        traces += batch.num_rows
        uncounted += batch.column("completion_tokens").null_count
        read += _sum(batch.column("prompt_tokens"))
        written += _sum(batch.column("completion_tokens"))
    files = [run / file.path for file in manifest.release]
    for batch in _batches(files, ["paths.list.element.trace.completion_tokens"]):
        released += _sum(batch.column("paths").flatten().field("trace").field(0))
    journals = sorted((run / Stage.SUMMARIES).glob("[0-9]*.jsonl*"))
    return TokenUsage(
        traces=traces,
        uncounted=uncounted,
        read=read,
        written=written,
        released=released,
        summaries=sum(
            trace.completion_tokens or 0 for path in journals for trace in journal.read(path).traces
        ),
    )


def _batches(files: Iterable[Path], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for file in files:
        with readable(file) as parquet:
            yield from parquet.iter_batches(ROW_GROUP, columns=columns)


def _sum(values: pa.Array) -> int:
    return pc.sum(values).as_py() or 0
