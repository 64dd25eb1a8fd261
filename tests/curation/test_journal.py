"""The journal: what was appended comes back, whatever happened to the file's end."""

import os
import resource
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.sampling import journal
from curation.sampling.journal import Journal, read
from curation.sampling.journal_index import JournalIndex
from schemas.records import FinishReason, Trace

TRACE = Trace(
    prompt_id="p",
    index=0,
    key="k0",
    text="2 + 2 = 4",
    teacher="t",
    revision="r",
    temperature=1.0,
    top_p=0.9,
    max_tokens=330,
    seed=7,
    hint=None,
    finish_reason=FinishReason.STOP,
    prompt_tokens=5,
    completion_tokens=6,
    recorded_correct=True,
)


def trace(n: int, text: str = "x") -> Trace:
    return replace(TRACE, index=n, key=f"k{n}", text=text)


ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))  # lone surrogates too


@settings(max_examples=60, deadline=None)
@given(st.lists(ANY_TEXT, max_size=6))
def test_any_text_survives(texts: list[str]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "00000.jsonl"
        traces = [trace(n, text) for n, text in enumerate(texts)]
        with closing(Journal(path)) as book:
            for one in traces:
                book.append(one)
        assert read(path).traces == traces


def test_hostile_text_survives(tmp_path: Path) -> None:
    text = "\ud800 \0 \r\n \u2028 \x85 \U0001f600 \udfff"
    with closing(Journal(tmp_path / "j")) as book:
        book.append(trace(0, text))
    reading = read(tmp_path / "j")
    assert reading.traces == [trace(0, text)]
    assert isinstance(reading.traces[0].finish_reason, FinishReason)


@settings(max_examples=40, deadline=None)
@given(st.integers(min_value=1, max_value=700))
def test_a_torn_tail_is_dropped_and_appending_goes_on(cut: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        with closing(Journal(path)) as book:
            for n in range(3):
                book.append(trace(n))
        data = path.read_bytes()
        path.write_bytes(data[:-cut])
        whole = data[:-cut].count(b"\n")
        book = Journal(path)
        assert book.load().traces == [trace(n) for n in range(whole)]
        assert path.read_bytes() == data[: data.rfind(b"\n", 0, len(data) - cut) + 1]
        book.append(trace(9))
        book.close()
        assert read(path) == ([*(trace(n) for n in range(whole)), trace(9)], 0, 0, [])


@pytest.mark.parametrize(
    "damage",
    [
        b"\0" * 40,
        b"not json",
        b"[1, 2]",
        b"null",
        b'{"key": "k"}',
        b'{"text": 1}',
        b"\xff\xfe\xfd",
        b"[" * 100_000,
    ],
)
def test_a_damaged_line_is_counted_and_skipped(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "j"
    with closing(Journal(path)) as book:
        book.append(trace(0))
        book.commit()
        path.write_bytes(path.read_bytes() + damage + b"\n")
        book.append(trace(1))
    assert Journal(path).load() == ([trace(0), trace(1)], 1, 0, [])


def test_a_wrong_type_or_an_unknown_finish_reason_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with closing(Journal(path)) as book:
        book.append(trace(0))
    line = path.read_bytes()
    path.write_bytes(
        line
        + line.replace(b'"index":0', b'"index":"0"')
        + line.replace(b'"stop"', b'"tired"')
        + line.replace(b'"hint"', b'"hinted"')
    )
    assert read(path) == ([trace(0)], 3, 0, [])


def test_a_missing_file_is_empty_and_no_file_is_made_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "j"
    with closing(Journal(path)) as book:
        assert book.load() == ([], 0, 0, [])
    assert not path.exists()


def test_what_is_appended_is_in_the_file_at_once(tmp_path: Path) -> None:
    """A kill costs nothing that was appended: the kernel has it."""
    book = Journal(tmp_path / "j")
    for n in range(3):
        book.append(trace(n))
        assert read(tmp_path / "j").traces == [trace(m) for m in range(n + 1)]
    book.close()


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for every fsync."""
    made: list[int] = []
    fsync = os.fsync

    def counted(file: int) -> None:
        made.append(file)
        fsync(file)

    monkeypatch.setattr(os, "fsync", counted)
    return made


def test_a_commit_forces_to_the_disk_what_is_new(tmp_path: Path, syncs: list[int]) -> None:
    book = Journal(tmp_path / "j")
    book.append(trace(0), trace(1))
    assert syncs == []
    book.commit()
    assert len(syncs) == 2  # the file, and the folder that names it
    book.commit()
    assert len(syncs) == 2
    book.append(trace(2))
    book.close()
    assert len(syncs) == 3


def test_a_late_append_commits_by_itself(
    tmp_path: Path, syncs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "COMMIT_SECONDS", 0.0)
    book = Journal(tmp_path / "j")
    book.append(trace(0))
    assert len(syncs) == 2
    book.close()


def test_a_commit_that_fails_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def broken(file: int) -> None:
        raise OSError(5, "Input/output error")

    book = Journal(tmp_path / "j")
    book.append(trace(0))
    monkeypatch.setattr(os, "fsync", broken)
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            book.commit()
    monkeypatch.setattr(os, "fsync", fsync)
    book.close()
    assert read(tmp_path / "j").traces == [trace(0)]


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


def test_a_full_disk_leaves_no_half_line_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "j"
    book = Journal(path)
    book.append(trace(0))
    book.commit()
    before = path.read_bytes()
    with _largest_file(len(before) + 100):
        with pytest.raises(OSError):
            book.append(trace(1, "y" * 1000))
        assert path.read_bytes() == before
        with pytest.raises(OSError):
            book.commit()
        assert path.read_bytes() == before
    book.append(trace(2))
    book.close()
    assert read(path).traces == [trace(0), trace(1, "y" * 1000), trace(2)]


def test_appends_and_commits_of_several_threads_lose_nothing(tmp_path: Path) -> None:
    book = Journal(tmp_path / "j")

    def write(first: int) -> None:
        for n in range(first, first + 300):
            book.append(trace(n))
            if n % 7 == 0:
                book.commit()

    threads = [Thread(target=write, args=(first,)) for first in (0, 300, 600)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    book.close()
    assert sorted(one.index for one in read(tmp_path / "j").traces) == list(range(900))


def test_an_archive_finds_keys_in_every_journal(tmp_path: Path) -> None:
    """Whatever a text holds, in journals of open and of closed shards; damaged lines are none."""
    paths = (tmp_path / "00000.jsonl", tmp_path / "00001.jsonl")
    with closing(Journal(paths[0])) as open_one, closing(Journal(paths[1])) as closed:
        open_one.append(trace(0, 'a text that says "key":"k1"'))
        open_one.append(trace(2))
        closed.append(trace(1))
        closed.append(trace(2, "again"))
        closed.append(trace(3, "damaged"))
    path = tmp_path / "00001.jsonl"
    path.write_bytes(path.read_bytes().replace(b"damaged", b"dAmaged"))
    path.rename(tmp_path / "00001.jsonl.done")
    found = JournalIndex(tmp_path)
    assert found.find({"k1"}) == [trace(1)]
    assert found.find({"k0", "k2"}) == [
        trace(0, 'a text that says "key":"k1"'),
        trace(2),
        trace(2, "again"),
    ]
    assert found.find({"k3", "k4"}) == []


def test_what_an_archive_holds_is_a_few_bytes_a_trace(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "00000.jsonl")) as book:
        for n in range(30_000):
            book.append(trace(n))
    tracemalloc.start()
    try:
        found = JournalIndex(tmp_path)
        found.find({"nothing"})
        assert tracemalloc.get_traced_memory()[0] < 20 * 30_000
    finally:
        tracemalloc.stop()
