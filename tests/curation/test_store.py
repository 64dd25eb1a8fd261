"""`polytrace publish --to`, by the real client, to an S3 server on loopback: what arrives, in which
order, what goes on after an interruption, what is refused, and what must never be printed or kept.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from curation.publish import fsspec_folder
from curation.publish.fsspec_folder import CARD, INDEX
from flows import cli
from support.errors import StoppedError, UserError
from tests.builds import make
from tests.curation.test_remote import SETS, recorded
from tests.flows.commands import start
from tests.servers.s3 import KEY, SECRET, S3Server

TO = "s3://bucket/corpora/demo"
ROOT = TO.removeprefix("s3://")


def built(folder: Path, rows: int, *more: str) -> Path:
    """A run of both splits and several files."""
    folder.mkdir(exist_ok=True)
    (folder / "problems.jsonl").write_bytes(recorded(rows))
    source = f"source.path={folder}/problems.jsonl"
    make(folder / "run", "recorded_traces", source, *SETS, *more)
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    return built(tmp_path_factory.mktemp("small"), 30)


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A later build of the same corpus."""
    return built(tmp_path_factory.mktemp("longer"), 36)


def publish(run: Path, to: str = TO) -> list[str]:
    """What was said."""
    said: list[str] = []
    assert fsspec_folder.publish(run, to, say=said.append) == to.rstrip("/")
    return said


def local(run: Path) -> dict[str, bytes]:
    release = run / "release"
    files = (path for path in release.rglob("*") if path.is_file())
    return {path.relative_to(release).as_posix(): path.read_bytes() for path in files}


def data_of(files: dict[str, bytes]) -> set[str]:
    return {path for path in files if path.startswith("data/")}


def remote(s3: S3Server) -> dict[str, bytes]:
    """What is there, without the index."""
    return {path: data for path, data in s3.tree(ROOT).items() if path != INDEX}


def index(s3: S3Server) -> dict[str, object]:
    found: dict[str, object] = json.loads(s3.tree(ROOT)[INDEX])
    return found


def put(s3: S3Server) -> list[str]:
    """The files that were sent, in order, by their path in the folder."""
    return [
        path.partition("?")[0].removeprefix(f"/{ROOT}/")
        for verb, path in s3.requests
        if verb == "PUT" and not path.partition("?")[0].endswith(INDEX)
    ]


LOAD = """
import json, sys
from datasets import load_dataset
files = {split: f"{sys.argv[1]}/data/{split}-*.parquet" for split in ("train", "validation")}
data = load_dataset("parquet", data_files=files, storage_options=json.loads(sys.argv[2]))
print(json.dumps({split: rows.to_list() for split, rows in data.items()}))
"""


@pytest.mark.slow
def test_what_is_published_is_loaded_back(s3: S3Server, run: Path, tmp_path: Path) -> None:
    process = start("publish", str(run), "--to", TO, cwd=tmp_path, **s3.env)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out == f"{TO}\n"
    assert remote(s3) == local(run)
    assert len(data_of(local(run))) > 5
    assert index(s3)["complete"] is True
    sent = put(s3)
    assert sorted(sent) == sorted(local(run)), "each once"
    count = len(data_of(local(run)))
    assert set(sent[:count]) == data_of(local(run)), "data first"
    assert sent[-1] == CARD, "the card last"
    assert s3.changes()[-1][1].endswith(INDEX)
    for secret in (SECRET, KEY):
        assert secret not in out + err
        kept = [path for folder in (run, tmp_path) for path in folder.rglob("*") if path.is_file()]
        assert not [path for path in kept if secret.encode() in path.read_bytes()]
        assert secret.encode() not in b"".join(s3.tree(ROOT).values())

    options = {"key": KEY, "secret": SECRET, "endpoint_url": s3.env["AWS_ENDPOINT_URL"]}
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, TO, json.dumps(options)],
        env={**os.environ, "HF_HOME": str(tmp_path / "hf")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    expected = {
        split: [
            row
            for file in sorted((run / "release/data").glob(f"{split}-*.parquet"))
            for row in pq.read_table(file).to_pylist()
        ]
        for split in ("train", "validation")
    }
    assert json.loads(loaded.stdout) == expected
    assert all(expected.values()), "both splits have rows"


def test_the_second_time_nothing_is_sent(s3: S3Server, run: Path) -> None:
    publish(run)
    s3.requests.clear()
    said = publish(run)
    assert said == [f"0 of {len(local(run))} files, 0 bytes to {TO}"]
    assert s3.changes() == []
    assert not [path for verb, path in s3.requests if verb == "GET" and "data/" in path]


def test_what_lacks_or_differs_is_sent_alone(s3: S3Server, run: Path) -> None:
    publish(run)
    first, second = sorted(data_of(local(run)))[:2]
    s3.files.rm_file(f"{ROOT}/{first}")
    s3.files.pipe_file(f"{ROOT}/{second}", b"x" * len(local(run)[second]))
    s3.files.pipe_file(f"{ROOT}/LICENSE", b"of the user")
    s3.files.pipe_file(f"{ROOT}/data/notes.txt", b"of the user")
    s3.requests.clear()
    publish(run)
    assert put(s3) == [first, second]
    others = {"LICENSE": b"of the user", "data/notes.txt": b"of the user"}
    assert remote(s3) == local(run) | others


def test_a_later_build_replaces_the_former(s3: S3Server, run: Path, longer: Path) -> None:
    publish(run)
    s3.files.pipe_file(f"{ROOT}/data/more.parquet", b"of the user")
    old, new = data_of(local(run)), data_of(local(longer))
    assert not old & new
    s3.requests.clear()
    said = publish(longer)
    assert f"and {len(old)} of a former version deleted" in said[0]
    assert remote(s3) == local(longer) | {"data/more.parquet": b"of the user"}
    card = next(n for n, (_, path) in enumerate(s3.changes()) if path.startswith(f"/{ROOT}/{CARD}"))
    gone = [n for n, (verb, _) in enumerate(s3.changes()) if verb != "PUT"]
    assert len(gone) >= 1 and min(gone) > card
    assert {file["path"] for file in index(s3)["files"]} == set(local(longer))  # type: ignore[attr-defined]


def test_a_dry_run_changes_nothing(s3: S3Server, run: Path, longer: Path) -> None:
    said = fsspec_folder.dry_run(run, TO, say=print)
    assert said.splitlines()[-1].endswith(f"to {TO}; nothing was sent")
    lines = [line.split() for line in said.splitlines()[:-1]]
    assert lines == [["new", f"{len(d):,}", path] for path, d in sorted(local(run).items())]
    publish(run)
    s3.requests.clear()
    states = [
        line.split()[0] for line in fsspec_folder.dry_run(run, TO, say=print).splitlines()[:-1]
    ]
    assert set(states) == {"unchanged"}
    words = [
        line.split() for line in fsspec_folder.dry_run(longer, TO, say=print).splitlines()[:-1]
    ]
    assert {path for state, _, path in words if state == "deleted"} == data_of(local(run))
    assert s3.changes() == []


# --- interruptions


def hasty(monkeypatch: pytest.MonkeyPatch, waits: tuple[float, ...]) -> None:
    """The client does not try again by itself, and we after `waits`."""
    monkeypatch.setattr("support.retry.WAITS", waits)
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.mark.parametrize("after", [1, 5, 9])
def test_an_interrupted_upload_goes_on(
    after: int, s3: S3Server, run: Path, longer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that breaks for good at some file, over a complete former build."""
    publish(run)
    s3.requests.clear()
    s3.put_limit = after
    hasty(monkeypatch, ())
    with pytest.raises(StoppedError, match="the same command goes on"):
        publish(longer)
    s3.put_limit = None
    assert index(s3)["complete"] is False
    there = remote(s3)
    assert data_of(local(run)) <= set(there), "the former build stands until the new one does"
    assert there[CARD] == local(run)[CARD]
    first = put(s3)[:after]
    s3.requests.clear()
    publish(longer)
    assert not set(put(s3)) & set(first), "what had arrived is not sent again"
    assert remote(s3) == local(longer)
    assert index(s3)["complete"] is True


def test_a_killed_upload_goes_on(s3: S3Server, run: Path, tmp_path: Path) -> None:
    s3.hold, s3.held_path = threading.Event(), sorted(data_of(local(run)))[3]
    process = start("publish", str(run), "--to", TO, cwd=tmp_path, **s3.env)
    assert s3.is_held.wait(60)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    s3.hold.set()
    s3.hold, s3.held_path = None, ""
    assert CARD not in remote(s3)
    assert index(s3)["complete"] is False
    s3.requests.clear()
    publish(run)
    assert len(put(s3)) == len(local(run)) - 3
    assert remote(s3) == local(run)


def test_a_cut_that_passes_is_waited_for(
    s3: S3Server, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty(monkeypatch, (0.0, 0.0, 0.0))
    with s3.cutting(3, 9_000, "up"):
        said = publish(run)
    assert [line for line in said if "trying again" in line]
    assert remote(s3) == local(run)


# --- refusals


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ("s3://missing/prefix", "no such bucket"),
        ("runs/elsewhere", "write s3://BUCKET/PREFIX"),
        ("s3://me:hunter2secret@bucket/x", "secrets belong in the environment"),
        ("s3://bucket/x?X-Amz-Signature=hunter2secret", "secrets belong in the environment"),
        ("s3://bucket/others", "holds README.md, but no polytrace.json"),
        ("s3://bucket/damaged", "its polytrace.json is damaged"),
        ("s3://bucket/another", "holds the corpus 'another', not 'recorded_traces'"),
    ],
)
def test_a_users_mistake_is_one_sentence(to: str, says: str, s3: S3Server, run: Path) -> None:
    other = {"name": "another", "build": "b", "recipe": "r", "complete": True, "files": []}
    s3.files.pipe_file("bucket/others/README.md", b"of the user")
    s3.files.pipe_file(f"bucket/damaged/{INDEX}", b"{}")
    s3.files.pipe_file(f"bucket/another/{INDEX}", json.dumps(other).encode())
    for act in (fsspec_folder.publish, fsspec_folder.dry_run):
        with pytest.raises(UserError) as caught:
            act(run, to, say=print)
        message = str(caught.value)
        assert says in message and "\n" not in message and "hunter2secret" not in message
    assert s3.changes() == []


@pytest.mark.parametrize(
    "args",
    [(), ("--to", TO, "--repo", "a/b"), ("--to", TO, "--public"), ("--to", TO, "--revision", "v1")],
)
def test_one_place_is_asked_for(args: tuple[str, ...], run: Path) -> None:
    done = CliRunner().invoke(cli.app, ["publish", str(run), *args])
    assert isinstance(done.exception, UserError)
    assert "--repo" in str(done.exception)


def test_an_unsound_run_is_refused(s3: S3Server, run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    file = copy / "release" / sorted(data_of(local(run)))[0]
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="not published, for it is not sound"):
        publish(copy)
    assert s3.changes() == []


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_other_file_systems(scheme: str, run: Path, longer: Path, tmp_path: Path) -> None:
    to = f"{scheme}://{tmp_path}/there"
    publish(run, to)
    assert publish(run, to)[0].startswith("0 of ")
    publish(longer, to)
    fs, root = fsspec.url_to_fs(to)
    found = {path.removeprefix(f"{root}/"): fs.cat_file(path) for path in fs.find(root)}
    assert json.loads(found.pop(INDEX))["complete"] is True
    assert found == local(longer)


def test_damage_of_the_same_size_is_sent_anew_without_an_etag(run: Path, tmp_path: Path) -> None:
    to = f"file://{tmp_path}/there"
    publish(run, to)
    path = sorted(data_of(local(run)))[0]
    file = tmp_path / "there" / path
    file.write_bytes(b"x" * len(local(run)[path]))
    said = fsspec_folder.dry_run(run, to, say=print).splitlines()
    assert [line.split()[2] for line in said[:-1] if line.split()[0] == "changed"] == [path]
    assert publish(run, to)[0].startswith("1 of ")
    assert file.read_bytes() == local(run)[path]
