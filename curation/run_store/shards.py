"""A run's shards: Parquet files that are written atomically, and the markers that complete them.

In: the table and the rejections of one stage over one shard. Out: `<stage>/NNNNN.parquet`,
`rejected/<stage>-NNNNN.parquet`, and last `<stage>/NNNNN.json`, the marker. A shard exists exactly
when its marker does; the marker holds the fingerprint of all inputs and the SHA-256 of all outputs.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Annotated, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from schemas import arrow, former
from schemas.facts import Fact, FileFacts, Kind, Rejected, Shard, has_more
from schemas.records import Rejection, Stage
from support.capacity import raise_if_out_of_memory
from support.errors import DamagedError, NewerError
from support.files import atomic_write, fsync, replace_text, sha256

ROW_GROUP = 256
F = TypeVar("F", bound=Fact)


class File(Fact):
    """One produced file; `path` is relative to the run, with forward slashes."""

    path: str
    rows: int
    bytes: int
    sha256: str


class ShardMarker(Fact):
    """The completion marker of a shard; `files` are the shard and, if any, its rejections."""

    stage: Annotated[Stage, Field(strict=False)]
    index: int
    fingerprint: str
    files: tuple[File, ...]
    rejected: tuple[Rejected, ...]

    @property
    def sha256(self) -> str:
        """The hash of the shard itself."""
        return self.files[0].sha256

    @property
    def rows(self) -> int:
        """The number of rows of the shard itself."""
        return self.files[0].rows


def shard_path(run: Path, stage: Stage, index: int) -> Path:
    """Where a shard lies."""
    return run / stage / f"{index:05d}.parquet"


def write(
    run: Path,
    stage: Stage,
    index: int,
    fingerprint: str,
    data: pa.Table,
    rejections: Sequence[Rejection],
    *,
    durable: bool = True,
) -> ShardMarker:
    """Write a shard, its rejections and, last, its marker; each is replaced atomically.

    A shard that is not `durable` may be damaged by a power cut before `make_durable`. Its marker
    tells, because it holds the hashes, and the next build makes the shard again.
    """
    marker_path = _marker_path(run, stage, index)
    marker_path.unlink(missing_ok=True)
    files = [write_table(run, shard_path(run, stage, index), data, durable=durable)]
    rejected = _rejected_path(run, stage, index)
    if rejections:
        table = arrow.table(Rejection, rejections)
        files.append(write_table(run, rejected, table, durable=durable))
    else:
        rejected.unlink(missing_ok=True)
    marker = ShardMarker(
        stage=stage,
        index=index,
        fingerprint=fingerprint,
        files=tuple(files),
        rejected=count_reasons(rejections),
    )
    replace_text(marker_path, with_checksum(marker), durable=durable)
    return marker


def make_durable(run: Path, files: Iterable[Shard]) -> None:
    """Force the named files, and their shards' markers, to the disk, whether they were or not."""
    paths = {path for f in files for path in (run / f.path, _marker_path(run, f.stage, f.index))}
    for path in sorted(paths):
        fsync(path)
    for folder in sorted({path.parent for path in paths}):
        fsync(folder)


def rejections(run: Path, stage: Stage, index: int) -> list[Rejection]:
    """What was rejected as a shard was made; DamagedError if it cannot be read."""
    path = _rejected_path(run, stage, index)
    try:
        if not path.exists():
            return []
        data = pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException, ValueError, LookupError) as error:
        raise_if_out_of_memory(error)
        raise DamagedError(f"{path}: cannot be read ({error}); delete it and build again") from None
    return list(arrow.records(Rejection, data))


def kind_of(rejection: Rejection) -> Kind:
    """What was dropped: a prompt, a trace, or a summary that the teacher wrote."""
    if rejection.index is None:
        return "prompt"
    return "summary" if rejection.stage is Stage.SUMMARIES else "trace"


def count_reasons(rejections: Iterable[Rejection]) -> tuple[Rejected, ...]:
    """Rejections counted by stage, kind and reason, sorted."""
    counts = Counter[tuple[Stage, Kind, str]]()
    for rejection in rejections:
        counts[rejection.stage, kind_of(rejection), rejection.reason] += 1
    return tuple(
        Rejected(stage=stage, kind=kind, reason=reason, count=n)
        for (stage, kind, reason), n in sorted(counts.items())
    )


def write_table(run: Path, path: Path, data: pa.Table, *, durable: bool = True) -> File:
    """Write one Parquet file (zstd, page checksums), atomically."""
    with atomic_write(path, durable=durable) as part:
        pq.write_table(
            data,
            part,
            compression="zstd",
            row_group_size=ROW_GROUP,
            write_page_checksum=True,
        )
    return File(
        path=path.relative_to(run).as_posix(),
        rows=data.num_rows,
        bytes=path.stat().st_size,
        sha256=sha256(path),
    )


def read(run: Path, stage: Stage, index: int, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a shard; DamagedError if it cannot be read."""
    path = shard_path(run, stage, index)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            present = file.schema_arrow.names
            names = former.FORMER if not former.TODAY.keys().isdisjoint(present) else {}
            wanted = [names.get(name, name) for name in columns] if columns else None
            if wanted:  # version 0.1 did not write every column
                wanted = [name for name in wanted if name in present]
            return file.read(wanted, use_threads=False)  # a shard is too small for threads
    except (OSError, pa.ArrowException, ValueError, LookupError) as error:
        raise_if_out_of_memory(error)
        raise DamagedError(f"{path}: cannot be read ({error}); delete it and build again") from None


def matching_marker(run: Path, stage: Stage, index: int, fingerprint: str) -> ShardMarker | None:
    """The shard's marker, if it has this fingerprint and its files are whole."""
    marker = read_marker(run, stage, index)
    if marker is None or marker.fingerprint != fingerprint:
        return None
    return marker if are_whole(run, marker.files) else None


def are_whole(run: Path, files: Iterable[File | FileFacts]) -> bool:
    """Whether all these files are there, unchanged."""
    return all((run / f.path).is_file() and sha256(run / f.path) == f.sha256 for f in files)


def read_marker(run: Path, stage: Stage, index: int) -> ShardMarker | None:
    """The marker of a shard, or None where there is none that can be read."""
    return read_checksummed(ShardMarker, _marker_path(run, stage, index))


def refuse_newer(run: Path) -> None:
    """NewerError where the first shard of a stage was made by a newer version of Polytrace."""
    for stage in Stage:
        read_marker(run, stage, 0)


def spans(counts: Iterable[int]) -> list[range]:
    """Consecutive ranges of shard numbers from 0, of these lengths."""
    return [range(start, end) for start, end in pairwise(accumulate(counts, initial=0))]


def require_marker(run: Path, stage: Stage, index: int) -> ShardMarker:
    """The marker of a shard that must be there; DamagedError where it is not."""
    marker = read_marker(run, stage, index)
    if marker is None:
        raise DamagedError(f"{run}: {stage} shard {index} is missing; build again")
    return marker


def drop_after(run: Path, stage: Stage, count: int) -> None:
    """Remove the shards of `stage` from number `count` on, which a longer earlier build has left.

    Traces are never removed: their unused shards stay, without a marker.
    """
    markers = sorted((run / stage).glob("[0-9]*.json"))
    data = sorted((run / stage).glob("[0-9]*.parquet")) if stage is not Stage.TRACES else []
    rejected = sorted((run / "rejected").glob(f"{stage}-*.parquet"))
    for path in (*markers, *data, *rejected):
        number = path.stem.removeprefix(f"{stage}-")
        if number.isdecimal() and int(number) >= count:  # not "00001 (copy).json"
            path.unlink()


def with_checksum(facts: Fact) -> str:
    """Facts as JSON, with a checksum that detects any changed character."""
    body = facts.model_dump(mode="json")
    return json.dumps({**body, "checksum": _checksum(facts)}, indent=1) + "\n"


def read_checksummed(kind: type[F], path: Path) -> F | None:
    """The facts in a file of `with_checksum`; None where it is missing, damaged or changed.

    Raises NewerError where it is whole and holds facts that this version does not know.
    """
    try:
        text = path.read_text(encoding="utf-8")
        body = json.loads(text)
        stated = body.pop("checksum")
        facts = kind.model_validate_json(json.dumps(former.renamed(body)))
    except ValidationError as error:
        compact = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        if has_more(error) and stated == hashlib.sha256(compact.encode()).hexdigest():
            raise NewerError(path) from None
        return None
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return None
    return facts if text in (with_checksum(facts), _as_written_by_0_1(facts)) else None


def _as_written_by_0_1(facts: Fact) -> str:
    former_json = former.as_written(facts.model_dump_json())
    checksum = hashlib.sha256(former_json.encode()).hexdigest()
    return former.as_written(with_checksum(facts).replace(_checksum(facts), checksum))


def _checksum(facts: Fact) -> str:
    return hashlib.sha256(facts.model_dump_json().encode()).hexdigest()


def _rejected_path(run: Path, stage: Stage, index: int) -> Path:
    return run / "rejected" / f"{stage}-{index:05d}.parquet"


def _marker_path(run: Path, stage: Stage, index: int) -> Path:
    return run / stage / f"{index:05d}.json"
