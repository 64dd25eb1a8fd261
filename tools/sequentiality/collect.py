"""Join the scores of a SeqDep report into one small file of rows, which is committed.

`python -m tools.sequentiality.collect --report runs/sequentiality/report --siblings
runs/sequentiality/siblings.parquet --out docs/sequentiality/rows.parquet` writes one row for each
document and level: the series, the row of its source, whether the scorer's context cut it, and
tokens and gains (nats) of its segments, from which everything else follows.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curation.seqdep_report.kept_scores import TextScores, read_scores
from schemas.records import Level, SeqDep
from scorers.seqdep.measurement import seqdep_record
from support.files import atomic_write

SIBLINGS = "siblings"
SCHEMA = pa.schema(
    [
        ("series", pa.dictionary(pa.int8(), pa.string())),
        ("level", pa.dictionary(pa.int8(), pa.string())),
        ("row", pa.int32()),
        ("is_cut", pa.bool_()),
        ("tokens", pa.list_(pa.int16())),
        ("gains", pa.list_(pa.float32())),
        ("near_copies", pa.int8()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One level of one document.

    `tokens` [N] and `gains` [N - 1], nats, are those of its segments. In the series of siblings,
    `gains` are nats a token of every ordered pair of paths, and `near_copies` counts pairs.
    """

    series: str
    level: str
    row: int
    is_cut: bool
    tokens: tuple[int, ...]
    gains: tuple[float, ...]
    near_copies: int | None = None

    @property
    def record(self) -> SeqDep:
        """The same as a measurement."""
        return seqdep_record(Level(self.level), self.gains, self.tokens, is_cut=self.is_cut)


def rows_of(series: str, scores: TextScores) -> Iterator[Row]:
    """The rows of a document's scores."""
    for one in (scores.path, scores.step, scores.window):
        if one is not None:
            yield Row(
                series=series,
                level=str(one.level),
                row=scores.row,
                is_cut=one.is_cut,
                tokens=one.tokens,
                gains=one.gains,
            )
    if scores.siblings is not None:
        pairs = scores.siblings.gains_per_token
        yield Row(
            series=SIBLINGS,
            level=str(Level.PATH),
            row=scores.row,
            is_cut=False,
            tokens=(),
            gains=tuple(gain for given in pairs for gain in given if gain is not None),
            near_copies=len(scores.siblings.near_copies),
        )


def write(rows: list[Row], out: Path) -> None:
    """The file of rows; gains in single precision."""
    columns = [pa.array([getattr(row, f.name) for row in rows], f.type) for f in SCHEMA]
    with atomic_write(out) as part:
        table = pa.Table.from_arrays(columns, schema=SCHEMA)
        pq.write_table(table, part, compression="zstd", compression_level=19)


def read(path: Path) -> list[Row]:
    """All rows of the file."""
    return [
        Row(**{**row, "tokens": tuple(row["tokens"]), "gains": tuple(row["gains"])})
        for row in pq.read_table(path).to_pylist()
    ]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--report", type=Path, required=True, help="a folder of seqdep-report")
    parser.add_argument("--siblings", type=Path, help="scores of the canvases, with --siblings")
    parser.add_argument("--out", type=Path, required=True, help="the file of rows")
    given = parser.parse_args()
    files = {path.stem: path for path in sorted((given.report / "scores").glob("*.parquet"))}
    rows = [
        row
        for name, path in files.items()
        for one in read_scores(path)
        for row in rows_of(name, one)
    ]
    if given.siblings:
        found = (row for one in read_scores(given.siblings) for row in rows_of("", one))
        rows += [row for row in found if row.series == SIBLINGS]
    write(rows, given.out)
    print(f"{len(rows):,} rows in {given.out} ({given.out.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
