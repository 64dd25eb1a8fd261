"""`polytrace publish`, by the real client, against a Hub on loopback: what arrives, what resumes,
what is refused, and what must never be printed or kept.
"""

import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pyarrow.parquet as pq
import pytest
from datasets import Features
from huggingface_hub import constants

from curation.publish.hub_client import endpoint
from schemas import arrow
from schemas.manifest import MANIFEST_FILE, Manifest
from support.errors import UserError
from tests.builds import BuiltRuns, make
from tests.flows.commands import polytrace, start
from tests.flows.test_growing import PROMPTS, Corpus
from tests.servers.hub import SIGNATURE, Fault, File, HubServer

pytestmark = pytest.mark.slow

NAME = "org/demo"


@pytest.fixture(scope="module")
def run(built_runs: BuiltRuns, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both splits and several files; read only."""
    sets = ("release.validation=0.3", "release.rows_per_file=4")
    return built_runs.copy(tmp_path_factory.mktemp("run") / "demo", "demo", *sets, limit=24)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


class Done(NamedTuple):
    code: int
    out: str
    err: str


def command(hub: HubServer, run: Path, *args: str) -> tuple[list[str], dict[str, str]]:
    """The command's arguments and environment."""
    repo = [] if "--repo" in args else ["--repo", NAME]
    return ["publish", str(run), *repo, *args], {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token}


def begin(hub: HubServer, run: Path, *args: str, home: Path) -> "subprocess.Popen[str]":
    """The command in a process of its own."""
    words, env = command(hub, run, *args)
    return start(*words, cwd=home, HF_HOME=str(home / "hf"), TMPDIR=str(home), **env)


class Stderr:
    """Writes to what is standard error at the moment."""

    def write(self, text: str) -> None:
        sys.stderr.write(text)

    def flush(self) -> None:
        pass


@contextmanager
def anew(home: Path, env: Mapping[str, str]) -> Iterator[None]:
    """The Hub's client as a process begins with it: what it reads where it is imported."""
    with ExitStack() as stack:
        for name, value in {
            "HF_HUB_DISABLE_XET": False,
            "HF_HUB_OFFLINE": "HF_HUB_OFFLINE" in env,
            "HF_TOKEN_PATH": str(home / "hf" / "token"),
        }.items():
            stack.enter_context(mock.patch.object(constants, name, value))
        for handler in logging.getLogger("huggingface_hub").handlers:
            stack.enter_context(mock.patch.object(handler, "stream", Stderr()))
        stack.enter_context(mock.patch.object(tempfile, "tempdir", str(home)))
        yield


def publish(hub: HubServer, run: Path, *args: str, home: Path, **env: str) -> Done:
    """The command's outcome in this process."""
    words, usual = command(hub, run, *args)
    with anew(home, env):
        done = polytrace(*words, cwd=home, **usual | env)
    return checked(hub, run, home, Done(done.returncode, done.stdout, done.stderr))


def publish_apart(hub: HubServer, run: Path, *args: str, home: Path) -> Done:
    """The command's outcome in a process of its own, whose Hub's home is looked at too."""
    process = begin(hub, run, *args, home=home)
    out, err = process.communicate(timeout=120)
    return checked(hub, run, home, Done(process.returncode, out, err))


def checked(hub: HubServer, run: Path, home: Path, done: Done) -> Done:
    """Secrets in what the command printed or left behind fail any test."""
    _, out, err = done
    assert "Traceback" not in out + err, err
    for secret in (hub.token, SIGNATURE.partition("=")[2]):
        assert secret not in out + err
        for folder in (home, run):
            kept = [path for path in folder.rglob("*") if path.is_file()]
            assert not [path for path in kept if secret.encode() in path.read_bytes()]
    return done


def digest(run: Path) -> str:
    return Manifest.load(run / MANIFEST_FILE).recipe_digest


def local(run: Path) -> dict[str, bytes]:
    release = run / "release"
    files = (path for path in release.rglob("*") if path.is_file())
    return {path.relative_to(release).as_posix(): path.read_bytes() for path in files}


def large(run: Path) -> list[str]:
    """What the hub keeps in LFS."""
    return [path for path in local(run) if path.endswith((".parquet", ".png"))]


def remote(hub: HubServer) -> dict[str, bytes]:
    files = hub.repos[NAME].files
    return {path: file.content for path, file in files.items() if path != ".gitattributes"}


LOAD = """
import json, sys
from datasets import load_dataset
for revision in [None, *sys.argv[2:]]:
    data = load_dataset(sys.argv[1], revision=revision)
    print(json.dumps({
        "rows": {split: rows.to_list() for split, rows in data.items()},
        "features": {split: str(rows.features) for split, rows in data.items()},
    }))
"""


def test_what_is_published_is_loaded_back(hub: HubServer, run: Path, tmp_path: Path) -> None:
    done = publish_apart(hub, run, "--revision", "v1", home=tmp_path)
    assert done.code == 0, done.err
    repo = hub.repos[NAME]
    assert done.out == f"{hub.url}/datasets/{NAME}/tree/{repo.head}\n"
    assert remote(hub) == local(run)
    assert len(remote(hub)) > 5, "several data files"
    assert repo.private
    assert len(repo.commits) == 2, "the first, which makes a dataset, and ours"
    assert repo.tags == {digest(run): repo.head, "v1": repo.head}

    expected = {
        split: [
            row
            for file in sorted((run / "release/data").glob(f"{split}-*.parquet"))
            for row in pq.read_table(file).to_pylist()
        ]
        for split in ("train", "validation")
    }
    env = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HOME": str(tmp_path / "hf2")}
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, NAME, digest(run)],
        env={**os.environ, **env},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    newest, tagged = map(json.loads, loaded.stdout.splitlines())
    for found in (newest, tagged):
        assert found["rows"] == expected
        assert all(expected.values()), "both splits have rows"
        assert set(found["features"].values()) == {str(Features.from_arrow_schema(arrow.RELEASE))}


def test_the_second_time_nothing_is_sent(hub: HubServer, run: Path, tmp_path: Path) -> None:
    first = publish(hub, run, home=tmp_path)
    sent, commits = hub.received.total(), hub.asked("POST", "/commit/")
    assert sent == sum(len(local(run)[path]) for path in large(run))
    assert commits == 1
    second = publish(hub, run, "--revision", "v1", home=tmp_path)
    assert second.code == 0, second.err
    assert second.out == first.out
    assert "0 of" in second.err and " 0 bytes" in second.err
    assert hub.received.total() == sent
    assert hub.asked("POST", "/commit/") == commits
    assert hub.asked("POST", "/preupload/") == 1
    assert hub.repos[NAME].tags["v1"] == hub.repos[NAME].head


def test_of_a_corpus_that_grew_the_new_files_are_sent_alone(hub: HubServer, tmp_path: Path) -> None:
    corpus = Corpus(tmp_path)
    corpus.holds(PROMPTS[:18])
    corpus.build()
    assert publish(hub, corpus.run, home=tmp_path).code == 0
    before = dict(hub.repos[NAME].files)
    corpus.holds(PROMPTS[:36])
    grown = corpus.build()
    assert len(grown.editions) == 2
    done = publish(hub, corpus.run, home=tmp_path)
    assert done.code == 0, done.err
    assert remote(hub) == local(corpus.run)
    kept = [path for path in before if path.endswith(".parquet")]
    assert kept and all(hub.repos[NAME].files[path] is before[path] for path in kept)
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, NAME],
        env={
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": hub.token,
            "HF_HOME": str(tmp_path / "hf2"),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(loaded.stdout)["rows"]
    assert sum(len(rows) for rows in found.values()) == grown.canvases


def test_a_killed_upload_goes_on(hub: HubServer, run: Path, tmp_path: Path) -> None:
    files = sorted((run / "release/data").glob("train-*.parquet"))
    last = hashlib.sha256(files[-1].read_bytes()).hexdigest()
    released = threading.Event()
    hub.faults.append(Fault("PUT", f"/storage/{last}", None, after=1000, hold=released))
    process = begin(hub, run, home=tmp_path)
    until = time.monotonic() + 60
    while hub.received[last] == 0 or len(hub.objects) < len(large(run)) - 1:
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    released.set()
    assert len(hub.repos[NAME].commits) == 1
    before = dict(hub.received)
    assert before[last] == 1000

    done = publish_apart(hub, run, home=tmp_path)
    assert done.code == 0, done.err
    assert remote(hub) == local(run)
    grown = {oid for oid, count in hub.received.items() if count != before[oid]}
    assert grown == {last}, "what had arrived was not sent again"
    assert hub.received[last] == 1000 + files[-1].stat().st_size
    assert len(hub.repos[NAME].commits) == 2


def test_ctrl_c_ends_an_upload_at_once(hub: HubServer, run: Path, tmp_path: Path) -> None:
    released = threading.Event()
    hub.faults.append(Fault("PUT", "/storage/", None, times=3, after=1000, hold=released))
    process = begin(hub, run, home=tmp_path)
    until = time.monotonic() + 60
    while not any(hub.received.values()):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)  # the hub holds the connections meanwhile
    released.set()
    assert process.returncode == 130 and "interrupted; the same command goes on" in err


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault("POST", "/commit/", 429, retry_after="2"), "asks to slow down (429: as told)"),
        (Fault("PUT", "/storage/", 429, retry_after="1"), "Rate limited. Waiting 2.0s"),
        (Fault("POST", "/commit/", 409), "another change was made there"),
        (Fault("POST", "/commit/", 412), "another change was made there"),
        (Fault("POST", "/repos/create", 409), "another change was made there"),
        (Fault("POST", "/tag/", 409), "another change was made there"),
        (Fault("POST", "/commit/", None), "cannot be reached, or cut the connection"),
        (Fault("PUT", "/storage/", None, after=1000), "Retrying in 1s"),
        (Fault("GET", "/refs", 503, times=2), "the hub is out of order (503: as told)"),
    ],
    ids=lambda value: f"{value.path} {value.status}" if isinstance(value, Fault) else "",
)
def test_a_fault_that_passes_is_waited_for(
    fault: Fault, says: str, hub: HubServer, run: Path, tmp_path: Path
) -> None:
    hub.faults.append(Fault(**vars(fault)))
    began = time.monotonic()
    done = publish(hub, run, home=tmp_path)
    assert done.code == 0, done.err
    assert says in done.err
    assert time.monotonic() - began > int(fault.retry_after or 1)
    assert remote(hub) == local(run)
    assert len(hub.repos[NAME].commits) == 2, "committed once"
    assert hub.repos[NAME].tags == {digest(run): hub.repos[NAME].head}


@pytest.mark.parametrize(
    ("fault", "code", "says"),
    [
        (Fault("GET", "/api/datasets/", 401), 2, "set HF_TOKEN (401: as told)"),
        (Fault("POST", "/repos/create", 403), 2, "lacks the right to write to org"),
        (Fault("POST", "/preupload/", 403), 2, "lacks the right to write to org"),
        (Fault("POST", "/commit/", 404), 2, "no such repository or organisation"),
        (Fault("POST", "/commit/", 413), 2, "the hub refuses (413: as told)"),
        (Fault("POST", "/commit/", 429, retry_after="3600"), 3, "asks to wait 3600 s"),
        (Fault("PUT", "/storage/", 429, retry_after="3600"), 3, "asks to wait 3600 s"),
        (Fault("POST", "/commit/", 409, times=9), 3, "the same command goes on"),
        (Fault("PUT", "/storage/", None, times=99, after=1000), 3, "the same command goes on"),
    ],
    ids=lambda value: f"{value.path} {value.status}" if isinstance(value, Fault) else "",
)
def test_a_fault_that_stays_is_one_line_and_the_command_can_be_repeated(
    fault: Fault, code: int, says: str, hub: HubServer, run: Path, tmp_path: Path
) -> None:
    hub.faults.append(Fault(**vars(fault)))
    done = publish(hub, run, home=tmp_path)
    assert done.code == code, done.err
    assert done.out == ""
    (line,) = [line for line in done.err.splitlines() if line.startswith("polytrace: ")]
    assert says in line
    hub.faults.clear()
    assert publish(hub, run, home=tmp_path).code == 0
    assert remote(hub) == local(run)


@pytest.mark.parametrize(
    ("args", "env", "says"),
    [
        ((), {"HF_TOKEN": ""}, "no token for the Hub: set HF_TOKEN"),
        ((), {"HF_TOKEN": "hf_someoneelses"}, "wants a valid token; set HF_TOKEN"),
        ((), {"HF_TOKEN": "hf_žluťoučký"}, "HF_TOKEN holds characters"),
        (("--repo", "other/demo"), {}, "lacks the right to write to other"),
        (("--repo", "demo"), {}, "write ORG/NAME"),
        (("--repo", "org/a..b"), {}, "--repo org/a..b"),
        (("--revision", "a b"), {}, "not a tag"),
        (("--revision", "main"), {}, "is a branch"),
        ((), {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        ((), {"HF_ENDPOINT": "http://me:pa55@127.0.0.1:9"}, "HF_ENDPOINT carries credentials"),
    ],
)
def test_a_users_mistake_is_one_line(
    args: tuple[str, ...], env: dict[str, str], says: str, hub: HubServer, run: Path, tmp_path: Path
) -> None:
    done = publish(hub, run, *args, home=tmp_path, **env)
    assert done.code == 2, done.err
    assert done.out == ""
    assert says in done.err
    assert "žluť" not in done.err and "pa55" not in done.err
    assert hub.received.total() == 0


def test_a_token_that_the_hub_repeats_is_not_shown(
    hub: HubServer, run: Path, tmp_path: Path
) -> None:
    hub.faults.append(Fault("GET", "/api/datasets/", 401, message=f"bad token {hub.token}"))
    done = publish(hub, run, home=tmp_path)
    assert done.code == 2
    assert "(401: bad token ***)" in done.err


@pytest.mark.parametrize(
    "url",
    [
        "https://me:secret@hub.example",
        "https://secret@hub.example",
        "https://hub.example?X-Amz-Signature=secret",
        "https://hub.example/?token=secret",
        "https://hub.example/token=secret",
        "https://hub.example/#secret",
        "https://hub.example/hf_secretsecret",
        "https://hub.example:secret",
        "ftp://secret.example",
        "secret",
        "",
    ],
)
def test_an_endpoint_with_a_secret_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", url)
    with pytest.raises(UserError, match="HF_ENDPOINT") as caught:
        endpoint()
    assert "secret" not in str(caught.value)


def test_an_endpoint_is_taken_as_the_client_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:80/hub/")
    assert endpoint() == "http://127.0.0.1:80/hub"
    monkeypatch.delenv("HF_ENDPOINT")
    assert endpoint() == "https://huggingface.co"


def test_a_dry_run_changes_nothing(hub: HubServer, run: Path, tmp_path: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    done = publish(hub, run, "--dry-run", home=tmp_path)
    assert done.code == 0, done.err
    assert "does not exist yet" in done.out and "nothing was sent" in done.out
    lines = [line.split() for line in done.out.splitlines()]
    sizes = {path: f"{len(data):,}" for path, data in local(run).items()}
    assert [line for line in lines if line[0] == "new"] == [
        ["new", size, path] for path, size in sorted(sizes.items())
    ]
    assert {method for method, _, _ in hub.requests} == {"GET"}
    assert not hub.repos
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == files

    assert publish(hub, run, home=tmp_path).code == 0
    repo = hub.repos[NAME]
    repo.commit({**repo.files, "README.md": File(b"edited", is_lfs=False)})
    asked = len(hub.requests)
    again = publish(hub, run, "--dry-run", home=tmp_path)
    words = {line.split()[-1]: line.split()[0] for line in again.out.splitlines()[:-1]}
    assert words.pop("README.md") == "changed"
    assert set(words.values()) == {"unchanged"}
    assert {method for method, _, _ in hub.requests[asked:]} == {"GET"}


def test_a_dry_run_without_the_hub_says_that_nothing_was_compared(
    hub: HubServer, run: Path, tmp_path: Path
) -> None:
    done = publish(hub, run, "--dry-run", home=tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert done.code == 0, done.err
    first, *files, last = done.out.splitlines()
    assert first.startswith(f"{NAME}: the hub cannot be reached")
    assert first.endswith("; nothing was compared, so every file is listed as new")
    assert "the same command goes on" not in done.out, "nothing was stopped"
    assert {line.split()[0] for line in files} == {"new"} and last.endswith("nothing was sent")

    unread = publish(hub, run, "--dry-run", home=tmp_path, HF_TOKEN="")
    assert unread.code == 0, unread.err
    assert "set HF_TOKEN" in unread.out and f"new  {'':>7}" in unread.out


def test_an_unsound_run_is_refused(hub: HubServer, run: Path, tmp_path: Path) -> None:
    for number, (damage, says) in enumerate(
        [
            (
                "release/data/" + sorted(p.name for p in (run / "release/data").iterdir())[0],
                "sha256",
            ),
            ("release/README.md", "sha256"),
            ("manifest.json", "manifest.json"),  # its checksum, or what stands at that byte
        ]
    ):
        copy = tmp_path / f"run{number}"
        shutil.copytree(run, copy)
        data = bytearray((copy / damage).read_bytes())
        data[len(data) // 2] ^= 1
        (copy / damage).write_bytes(data)
        home = tmp_path / f"home{number}"
        home.mkdir()
        done = publish(hub, copy, home=home)
        assert done.code == 2, done.err
        assert "not sound" in done.err and "polytrace build" in done.err
        assert says in done.err
    copy = tmp_path / "no-release"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "release")
    for folder, says in ((copy, "missing"), (tmp_path / "nowhere", "no such run directory")):
        done = publish(hub, folder, home=tmp_path / "home0")
        assert done.code == 2 and says in done.err
    assert not hub.requests, "refused before anything was asked or sent"
    assert not (tmp_path / "nowhere").exists()


def test_a_run_that_released_nothing_is_refused(hub: HubServer, tmp_path: Path) -> None:
    assert make(tmp_path / "none", "demo", "groups.similarity=0.01", limit=2).canvases == 0
    home = tmp_path / "home"
    home.mkdir()
    done = publish(hub, tmp_path / "none", home=home)
    assert done.code == 2
    assert "it released nothing; polytrace inspect" in done.err
    assert not hub.repos


def test_tags(hub: HubServer, run: Path, tmp_path: Path) -> None:
    assert publish(hub, run, "--revision", "v1", home=tmp_path).code == 0
    repo = hub.repos[NAME]
    first = repo.head
    assert publish(hub, run, "--revision", "v1", home=tmp_path).code == 0, "same commit: fine"
    repo.commit({**repo.files, "README.md": File(b"edited", is_lfs=False)})
    refused = publish(hub, run, "--revision", "v1", home=tmp_path)
    assert refused.code == 2
    assert f"tag 'v1' stands on another commit ({first[:8]})" in refused.err
    assert len(repo.commits) == 3, "refused before anything was sent"
    assert publish(hub, run, "--revision", digest(run), home=tmp_path).code == 0
    assert repo.head not in (first, repo.commits[2][0])
    assert repo.tags == {"v1": first, digest(run): repo.head}, "the digest's own tag moved"
    assert remote(hub) == local(run)


def test_data_of_a_former_build_goes_and_other_files_stay(
    hub: HubServer, run: Path, tmp_path: Path
) -> None:
    assert publish(hub, run, home=tmp_path).code == 0
    repo = hub.repos[NAME]
    old, own = "data/train-0123456789ab-00000.parquet", "data/mine.parquet"
    more = {old: File(b"old", is_lfs=True), own: File(b"own", is_lfs=True)}
    repo.commit({**repo.files, **more, "LICENSE": File(b"free", is_lfs=False)})
    done = publish(hub, run, home=tmp_path)
    assert done.code == 0, done.err
    assert "1 of a former version deleted" in done.err
    assert remote(hub) == {**local(run), own: b"own", "LICENSE": b"free"}


def test_private_unless_public(hub: HubServer, run: Path, tmp_path: Path) -> None:
    assert publish(hub, run, home=tmp_path).code == 0
    assert hub.repos[NAME].private
    assert publish(hub, run, "--public", home=tmp_path).code == 0
    assert not hub.repos[NAME].private
    refused = publish(hub, run, home=tmp_path)
    assert refused.code == 2
    assert "is public already; add --public" in refused.err
    hub.repos.clear()
    assert publish(hub, run, "--public", home=tmp_path).code == 0
    assert not hub.repos[NAME].private


def test_a_stray_file_is_not_published(hub: HubServer, run: Path, tmp_path: Path) -> None:
    copy, home = tmp_path / "run", tmp_path / "home"
    shutil.copytree(run, copy)
    (copy / "release" / ".env").write_text("PASSWORD=1")
    home.mkdir()
    done = publish(hub, copy, home=home)
    assert done.code == 0, done.err
    assert ".env: left out" in done.err
    assert remote(hub) == local(run)
