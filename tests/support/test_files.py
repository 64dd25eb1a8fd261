"""Files and folders that are there as a whole, or as they were before."""

import errno
import fcntl
import os
from pathlib import Path
from typing import IO

import pytest

from support.errors import UserError
from support.files import atomic_folder, atomic_write, lock, sha256


def test_a_file_takes_its_place_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "below" / "a.txt"
    with atomic_write(path) as part:
        part.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert [one.name for one in path.parent.iterdir()] == ["a.txt"]


def test_a_file_is_as_before_where_the_block_raises(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    with pytest.raises(FileNotFoundError), atomic_write(path):
        pass  # nothing was written
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == {"a.txt": "old"}


def test_what_a_kill_left_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("precious")
    (tmp_path / "a.txt.part").symlink_to("outside")
    with atomic_write(tmp_path / "a.txt") as part:
        part.write_text("new")
    assert (tmp_path / "outside").read_text() == "precious"
    assert not (tmp_path / "a.txt").is_symlink()


def test_a_folder_takes_the_place_of_the_former(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for name in ("model", "model.part"):  # a kill left the second
        (tmp_path / name).mkdir()
        (tmp_path / name / "old").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(path) as part:
        (part / "half").write_text("half")
        raise RuntimeError
    assert [one.name for one in path.iterdir()] == ["old"]
    with atomic_folder(path) as part:
        (part / "new").write_text("new")
    assert [one.name for one in path.iterdir()] == ["new"]
    assert [one.name for one in tmp_path.iterdir()] == ["model"]


def test_a_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a").startswith("ba7816bf8f01cfea")


def test_two_may_write_a_file_at_once(tmp_path: Path) -> None:
    file = tmp_path / "rows"
    with atomic_write(file, alone=False) as one:
        with atomic_write(file, alone=False) as other:
            one.write_text("one")
            other.write_text("other")
        assert file.read_text() == "other"
    assert file.read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_sharing_holders_of_a_run_keep_others_out(tmp_path: Path) -> None:
    refused = pytest.raises(UserError, match="another command")
    with lock(tmp_path, shared=True), lock(tmp_path, shared=True), refused:
        lock(tmp_path).__enter__()
    with lock(tmp_path), pytest.raises(UserError, match="another command"):
        lock(tmp_path, shared=True).__enter__()


@pytest.mark.parametrize("shared", [True, False])
def test_a_lock_may_be_read_and_written(
    shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS refuses (EBADF) a shared lock of a file that cannot be read, an exclusive one else."""
    modes: list[int] = []

    def looked_at(file: IO[str], operation: int) -> None:
        modes.append(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE)
        flock(file, operation)

    flock = fcntl.flock
    monkeypatch.setattr("support.files.fcntl.flock", looked_at)
    with lock(tmp_path, shared=shared):
        assert modes == [os.O_RDWR]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("support.files.fcntl.flock", refuse)
    with pytest.raises(UserError, match=r"its file system has no locks \(.*\), .* choose another"):
        lock(tmp_path, shared=True).__enter__()
