"""Counts and distributions of a release, measured on its files: `release/stats.json`.

In: release files. Out: `Stats`, the same bytes for the same rows. Quantiles are exact (nearest
rank, see `support.stats`) over values rounded to 4 digits and counted in histograms, so memory
depends on the spread of the values, not on the size of the corpus.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
from pydantic import ValidationError

from curation.release.rows import PATH_TOKENS
from curation.release.writer import ROW_GROUP, data_path
from schemas import arrow, former
from schemas.facts import Count, Fact, Grades, ReleaseFile
from schemas.records import StopReason
from support.display.invalid_values import describe
from support.errors import DamagedError
from support.stats import Histogram

STATS_FILE = "stats.json"
DIGITS = 4
SHARES = {"min": 0.0, "p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}
_STOP = "stop_reason"
_LICENSE = ("license", "licence")  # the latter in a release of version 0.1


class Distribution(Fact):
    """A column's spread over `count` values; `missing` rows have none. None where `count` is 0."""

    count: Count
    missing: Count
    mean: float | None = None
    min: float | None = None
    p05: float | None = None
    p25: float | None = None
    p50: float | None = None
    p75: float | None = None
    p95: float | None = None
    max: float | None = None


class Bin(Fact):
    """`rows` rows have this `value`."""

    value: int
    rows: Count


class StopBin(Fact):
    """Why sampling stopped for `rows` rows."""

    reason: StopReason
    rows: Count


class Origin(Fact):
    """Rows from one source under one license."""

    source: str
    license: str
    rows: Count


class TeacherPaths(Fact):
    """The paths that one revision of a model wrote."""

    name: str
    revision: str
    paths: Count


class Stats(Fact):
    """What is in the release; nats as in Eq. 4, lengths in tokens of the widest tokenizer.

    `teachers` are those of the rows, the one with the most paths first; `cut_paths` end before
    their traces do (at the answer); `written_summaries` are a teacher's, the others the template's.
    The last three are empty for a release of an earlier version.
    """

    rows: Count
    train: Count
    validation: Count
    origins: tuple[Origin, ...]
    teachers: tuple[TeacherPaths, ...]
    cut_paths: Count
    written_summaries: Count
    grades: Grades
    correct_paths: tuple[Bin, ...]
    path_tokens: Distribution
    summary_tokens: Distribution
    similarity: Distribution
    seqdep_path_nats: Distribution
    seqdep_path_nats_per_token: Distribution
    seqdep_step_nats: Distribution
    seqdep_step_nats_per_token: Distribution
    seqdep_window_nats: Distribution
    seqdep_window_nats_per_token: Distribution
    summary_gain_nats: Distribution
    samples_drawn: Distribution = Distribution(count=0, missing=0)
    pass_rate: Distribution = Distribution(count=0, missing=0)
    stop_reasons: tuple[StopBin, ...] = ()

    def of(self, column: str) -> Distribution:
        """The spread of a column of numbers, named as Parquet does."""
        spread: Distribution = getattr(self, "path_tokens" if column == PATH_TOKENS else column)
        return spread

    def text(self) -> str:
        """The content of `stats.json`."""
        return self.model_dump_json(indent=1) + "\n"


COLUMNS = tuple(
    name
    for name, field in Stats.model_fields.items()
    if field.annotation is Distribution and name in arrow.RELEASE.names
)


def read_stats(path: Path) -> Stats:
    """Read `stats.json`; DamagedError where it cannot be read."""
    try:
        facts = former.renamed(json.loads(path.read_bytes()))
        return Stats.model_validate_json(json.dumps(facts))
    except (OSError, ValueError, RecursionError) as error:
        cause = _cause(error) if isinstance(error, ValidationError) else str(error)
        raise DamagedError(f"{path}: cannot be read ({cause}); build again") from None


def _cause(error: ValidationError) -> str:
    first = error.errors()[0]
    return describe(first, ".".join(map(str, first["loc"])))


def measure(
    folder: Path, files: Sequence[ReleaseFile], *, as_in_former_versions: bool = False
) -> Stats:
    """The statistics of the release in `folder`.

    `as_in_former_versions`: with medians that are always one of the values.
    """

    def distribution(values: Histogram) -> Distribution:
        if not values.count:
            return Distribution(count=0, missing=values.missing)
        found = values.quantiles(list(SHARES.values()), occurring=as_in_former_versions)
        spread = dict(zip(SHARES, found, strict=True))
        return Distribution(
            count=values.count, missing=values.missing, mean=values.mean(), **spread
        )

    splits, origins = Counter[str](), Counter[tuple[str, str]]()
    correct, grades = Counter[int](), Counter[str]()
    teachers, cut_paths, written = Counter[tuple[str, str]](), 0, 0
    stops = Counter[str]()
    path_tokens = Histogram(DIGITS)
    columns = {name: Histogram(DIGITS) for name in COLUMNS}
    wanted = [*COLUMNS, "correct_paths", "source", *_LICENSE, "summary_by", _STOP]
    wanted += [f"paths.list.element.{name}" for name in ("grade", "tokens", "text")]
    wanted += [f"paths.list.element.trace.{name}" for name in ("teacher", "revision", "text")]
    for file in files:
        splits[file.split] += file.rows
        with pq.ParquetFile(data_path(folder, file)) as parquet:
            for read in parquet.iter_batches(ROW_GROUP, columns=wanted):
                batch = arrow.under_todays_names(read)
                for name in columns.keys() & set(batch.schema.names):
                    columns[name].add(batch.column(name).to_pylist())
                if _STOP in batch.schema.names:
                    stops.update(filter(None, batch.column(_STOP).to_pylist()))
                paths = batch.column("paths").flatten()
                path_tokens.add(paths.field("tokens").to_pylist())
                grades.update(paths.field("grade").to_pylist())
                trace = paths.field("trace")
                models = (trace.field(name).to_pylist() for name in ("teacher", "revision"))
                teachers.update(zip(*models, strict=True))
                texts = (paths.field("text").to_pylist(), trace.field("text").to_pylist())
                cut_paths += sum(t != whole.strip() for t, whole in zip(*texts, strict=True))
                written += sum(by != "template" for by in batch.column("summary_by").to_pylist())
                correct.update(batch.column("correct_paths").to_pylist())
                pair = (batch.column("source").to_pylist(), batch.column("license").to_pylist())
                origins.update(zip(*pair, strict=True))
    busiest = sorted(teachers.items(), key=lambda item: (-item[1], item[0]))
    return Stats(
        rows=splits.total(),
        train=splits["train"],
        validation=splits["validation"],
        origins=tuple(
            Origin(source=source, license=license, rows=n)
            for (source, license), n in sorted(origins.items())
        ),
        teachers=tuple(
            TeacherPaths(name=name, revision=revision, paths=n) for (name, revision), n in busiest
        ),
        cut_paths=cut_paths,
        written_summaries=written,
        grades=Grades(**grades),
        correct_paths=tuple(Bin(value=value, rows=n) for value, n in sorted(correct.items())),
        stop_reasons=tuple(
            StopBin(reason=StopReason(reason), rows=n) for reason, n in sorted(stops.items())
        ),
        path_tokens=distribution(path_tokens),
        **{name: distribution(histogram) for name, histogram in columns.items()},
    )
