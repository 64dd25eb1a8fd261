"""Kept replies: found by key in every file, whatever else the files hold."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from curation.sampling import replies
from curation.sampling.replies import Replies
from schemas.records import Grade, Trace
from tests.curation.samples import graded

BLANK = graded(0, 0, "", Grade.UNPARSED).trace


def reply(n: int, text: str = "yes") -> Trace:
    return replace(BLANK, key=key(n), text=f"{text} {n}")


def key(n: int) -> str:
    return f"{n:016x}"


def keys(numbers: Iterable[int]) -> set[str]:
    return {key(n) for n in numbers}


def test_what_was_added_is_found_before_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "MOST_HELD", 10)
    kept = Replies(tmp_path)
    assert kept.find(keys([1])) == {} and not list(tmp_path.iterdir())
    for start in range(0, 100, 7):
        kept.add(map(reply, range(start, min(100, start + 7))))
        assert kept.find(keys(range(200))) == {key(n): reply(n) for n in range(min(100, start + 7))}
    kept.close()
    kept.add([reply(100)])
    assert len(list(tmp_path.iterdir())) == 1
    again = Replies(tmp_path)
    assert again.find(keys(range(200))) == {key(n): reply(n) for n in range(101)}
    assert again.find(set()) == {}
    again.add([reply(150)])
    assert again.find(keys([3, 150])) == {key(3): reply(3), key(150): reply(150)}
    assert len(list(tmp_path.iterdir())) == 2


def test_damaged_and_torn_lines_are_no_replies(tmp_path: Path) -> None:
    Replies(tmp_path).add(map(reply, range(5)))
    (path,) = tmp_path.iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"yes 2", b"no! 2")
    path.write_bytes(b"".join(lines)[:-9])
    kept = Replies(tmp_path)
    assert set(kept.find(keys(range(5)))) == keys([0, 1, 3])
    kept.add(map(reply, range(5)))
    assert set(Replies(tmp_path).find(keys(range(5)))) == keys(range(5)), "in another file"
    assert len(list(tmp_path.iterdir())) == 2


def test_threads_add_and_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "MOST_HELD", 10)
    kept = Replies(tmp_path)

    def work(n: int) -> bool:
        kept.add([reply(n)])
        return kept.find(keys([n])) == {key(n): reply(n)}

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(60)))
    assert len(Replies(tmp_path).find(keys(range(60)))) == 60
