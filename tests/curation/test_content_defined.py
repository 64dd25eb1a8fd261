"""A corpus that has changed little sends little: what a storage of equal pieces has to store anew.

The storage is imitated: it cuts a file where a rolling hash of its bytes says so, into pieces of
8 to 128 KiB, and stores each distinct piece once, as the Hub's Xet storage does.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from curation.release import writer
from curation.release.rows import read_rows
from schemas import arrow
from schemas.records import Canvas, Scores
from tests.curation import samples

Row = tuple[Canvas, Scores]
LEAST, MOST, USUAL_BITS = 8 * 1024, 128 * 1024, 16
GEAR = np.random.default_rng(0).integers(0, 2**64, 256, dtype=np.uint64)
WORDS = [f"{a}{b}" for a in "bcdfghjklmnpqrstvwxyz" for b in ("an", "el", "ir", "ot", "us")]


def pieces(data: bytes) -> Iterator[bytes]:
    gears = GEAR[np.frombuffer(data, np.uint8)]
    rolling = np.zeros(len(data), np.uint64)
    for age in range(64):
        rolling[age:] += gears[: len(data) - age] << np.uint64(age)
    cuts = np.flatnonzero(rolling >> np.uint64(64 - USUAL_BITS) == 0) + 1
    begin = 0
    while begin < len(data):
        after = int(np.searchsorted(cuts, begin + LEAST))
        end = min(int(cuts[after]) if after < len(cuts) else len(data), begin + MOST)
        yield data[begin:end]
        begin = end


def share_of_new_bytes(before: bytes, after: bytes) -> float:
    """The share of a file that a storage has not got from the former one."""
    known = {hashlib.sha256(piece).digest() for piece in pieces(before)}
    new = (piece for piece in pieces(after) if hashlib.sha256(piece).digest() not in known)
    return sum(map(len, new)) / len(after)


@cache
def corpus(count: int) -> tuple[Row, ...]:
    """Rows whose texts are long and differ, as those of models do."""
    draw = random.Random(0)

    def row(i: int) -> Row:
        base = samples.canvas(i)
        texts = [" ".join(draw.choices(WORDS, k=120)) for _ in base.paths]
        paths = tuple(
            replace(path, text=text, trace=replace(path.trace, text=text))
            for path, text in zip(base.paths, texts, strict=True)
        )
        return replace(base, paths=paths), samples.scores(i)

    return tuple(map(row, range(count)))


def written(folder: Path, rows: Sequence[Row]) -> bytes:
    (file,) = writer.write_release(
        folder, samples.BUILD, rows, validation=0, rows_per_file=len(rows)
    )
    return writer.data_path(folder, file).read_bytes()


def written_plainly(folder: Path, rows: Sequence[Row]) -> bytes:
    """As a Parquet file is written without any of this."""
    source, target = folder / "source", folder / "plain.parquet"
    written(source, rows)
    table = pq.read_table(next((source / "data").iterdir()))
    pq.write_table(table, target, compression="zstd", row_group_size=writer.ROW_GROUP)
    return target.read_bytes()


def with_rows_added(rows: Sequence[Row], more: Sequence[Row]) -> list[Row]:
    """`more` near the beginning, so that all other rows move."""
    return [*rows[:5], *more, *rows[5:]]


@pytest.mark.slow
def test_a_corpus_that_has_changed_little_shares_most_of_its_bytes(tmp_path: Path) -> None:
    rows, more = corpus(3010)[:3000], corpus(3010)[3000:]
    changed = {
        "added": with_rows_added(rows, more),
        "removed": [row for i, row in enumerate(rows) if i not in (40, 41, 45)],
    }
    before = written(tmp_path / "before", rows)
    before_plain = written_plainly(tmp_path / "plain", rows)
    assert len(before) < 1.1 * len(before_plain)
    for name, now in changed.items():
        ours = share_of_new_bytes(before, written(tmp_path / name, now))
        plain = share_of_new_bytes(before_plain, written_plainly(tmp_path / f"{name}-plain", now))
        print(f"{name}: {ours:.2f} of the bytes are new; {plain:.2f} if written plainly")
        assert ours < 0.3 < 0.95 < plain


def column_chunks(path: Path) -> dict[bytes, int]:
    """The bytes of every column chunk, by their digest."""
    data, facts = path.read_bytes(), pq.read_metadata(path)
    found: dict[bytes, int] = {}
    for group in range(facts.num_row_groups):
        for number in range(facts.num_columns):
            chunk = facts.row_group(group).column(number)
            begin = chunk.data_page_offset
            if chunk.has_dictionary_page:
                begin = min(begin, chunk.dictionary_page_offset)
            size = chunk.total_compressed_size
            found[hashlib.sha256(data[begin : begin + size]).digest()] = size
    return found


def test_most_column_chunks_are_those_of_before(tmp_path: Path) -> None:
    rows, more = corpus(3010)[:3000], corpus(3010)[3000:]
    written(tmp_path / "a", rows)
    changed = with_rows_added(rows, more)
    written(tmp_path / "b", changed)
    (first,), (second,) = (list((tmp_path / n / "data").iterdir()) for n in "ab")
    before, after = column_chunks(first), column_chunks(second)
    kept = sum(size for digest, size in after.items() if digest in before)
    assert kept > 0.6 * sum(after.values())
    rest = [row.id for row in read_rows(second)]
    assert rest == [c.prompt.id for c, _ in changed]


def test_row_groups_end_where_the_rows_say_so(tmp_path: Path) -> None:
    rows = corpus(3010)
    written(tmp_path, rows)
    facts = pq.read_metadata(next((tmp_path / "data").iterdir()))
    sizes = [facts.row_group(i).num_rows for i in range(facts.num_row_groups)]
    assert sum(sizes) == len(rows)
    end = 0
    for size in sizes[:-1]:
        end += size
        assert writer.LEAST_GROUP <= size <= writer.ROW_GROUP
        assert size == writer.ROW_GROUP or writer.ends_group(rows[end - 1][0].prompt.id)
        inside = rows[end - size + writer.LEAST_GROUP - 1 : end - 1]
        assert not any(writer.ends_group(canvas.prompt.id) for canvas, _ in inside)


def test_files_have_an_index_of_pages_and_dictionaries_where_values_repeat(tmp_path: Path) -> None:
    written(tmp_path, corpus(3010)[:300])
    facts = pq.read_metadata(next((tmp_path / "data").iterdir())).row_group(0)
    columns = [facts.column(i) for i in range(facts.num_columns)]
    names = {column.path_in_schema for column in columns}
    assert set(writer.DICTIONARIES) < names
    for column in columns:
        assert column.has_offset_index, column.path_in_schema
        has = column.has_dictionary_page
        assert has == (column.path_in_schema in writer.DICTIONARIES), column.path_in_schema
    texts = next(c for c in columns if c.path_in_schema == "response")
    assert texts.has_column_index
    assert pq.read_schema(next((tmp_path / "data").iterdir())).equals(arrow.RELEASE)
