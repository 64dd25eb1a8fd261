"""Two releases of Polytrace on one run directory: the same bytes, or one sentence that refuses.

A release with another number is made by metadata of its own on the path of modules. What a newer
release might write is made of our files: with a fact more, and with the checksums that belong to
it.
"""

import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curation.release.verify import find_problems
from schemas.manifest import MANIFEST_FILE, RELEASE_FOLDER, Manifest
from schemas.manifest import _checksum as checksum_of
from support.errors import NewerError
from support.paths import ROOT
from tests.builds import contents, make
from tests.flows.commands import polytrace
from tests.flows.test_served import write_recipe
from tests.servers.loopback import Loopback
from tests.soak import hostile

OTHER = "99.1"
SHARDS = "shard_rows=20"
BEGIN = """
import sys
from pathlib import Path
from tests.soak import dying
dying.build(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
"""

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile.write_plain(tmp_path_factory.mktemp("rows"), rows=60)


@pytest.fixture(scope="module")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    build(recipe, run)
    return run


def build(recipe: Path, run: Path) -> None:
    make(run, str(recipe.with_suffix("")), SHARDS)


def build_by_other(recipe: Path, run: Path, changes: int) -> int:
    """Build with the other release until it has made so many changes; its exit code."""
    information = run.with_name("other") / f"polytrace-{OTHER}.dist-info"
    information.mkdir(parents=True, exist_ok=True)
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: polytrace\nVersion: {OTHER}\n"
    )
    path = os.pathsep.join((str(information.parent), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-c", BEGIN, *map(str, (recipe, run, changes, run.with_name("counted")))],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode


def test_what_another_release_has_begun_ends_in_our_bytes(
    recipe: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert build_by_other(recipe, tmp_path / "all", 10**6) == 0
    changes = int((tmp_path / "counted").read_text())
    for part in (0.3, 0.6, 0.9):
        shutil.rmtree(run, ignore_errors=True)
        assert build_by_other(recipe, run, int(part * changes)) < 0
        build(recipe, run)
        assert contents(run / RELEASE_FOLDER) == contents(whole / RELEASE_FOLDER)
        assert (run / MANIFEST_FILE).read_bytes() == (whole / MANIFEST_FILE).read_bytes()
        assert find_problems(run) == []


def test_what_another_release_has_ended_is_sound_and_stays(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert build_by_other(recipe, run, 10**6) == 0
    assert Manifest.load(run / MANIFEST_FILE).polytrace == OTHER
    before = contents(run)
    assert find_problems(run) == []
    build(recipe, run)
    assert contents(run) == before
    assert polytrace("inspect", str(run), cwd=tmp_path).returncode == 0


def with_checksum(facts: dict[str, Any]) -> str:
    return json.dumps({**facts, "checksum": checksum_of(facts)}, ensure_ascii=False, indent=1)


def change(path: Path, **more: object) -> None:
    """Give the facts in a file other values, or more facts, and the checksum of these."""
    facts = json.loads(path.read_text())
    del facts["checksum"]
    path.write_text(with_checksum({**facts, **more}) + "\n")


def of_next_format(run: Path) -> None:
    change(run / MANIFEST_FILE, schema_version=2)


def of_more_facts(run: Path) -> None:
    change(run / MANIFEST_FILE, polytrace=OTHER, colour="blue")


@pytest.mark.parametrize("newer", [of_next_format, of_more_facts])
def test_the_manifest_of_a_newer_release_is_refused(
    newer: Callable[[Path], None], recipe: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    newer(run)
    check_refused(recipe, run, MANIFEST_FILE)


@pytest.mark.parametrize("name", ["prompts/00000.json", "graded/00000.json"])
def test_a_run_that_a_newer_release_has_begun_is_refused(
    name: str, recipe: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / MANIFEST_FILE).unlink()
    shutil.rmtree(run / RELEASE_FOLDER)
    change(run / name, colour="blue")
    check_refused(recipe, run, name)


def check_refused(recipe: Path, run: Path, name: str) -> None:
    """Build, verify and inspect say it in one sentence, and change nothing."""
    before = contents(run)
    for code, *command in (
        (2, "build", str(recipe), "--set", SHARDS, "--out", str(run)),
        (1, "verify", str(run)),
        (2, "inspect", str(run)),
    ):
        done = polytrace(*command, cwd=run.parent)
        assert done.returncode == code, done.stderr
        (line,) = (line for line in done.stderr.splitlines() if name in line)
        assert "a newer version of Polytrace" in line and "update" in line
        assert contents(run) == before
    assert not list(run.parent.glob(".prefect"))


def test_a_newer_note_of_what_was_read_is_refused(
    recipe: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / MANIFEST_FILE).unlink()
    change(run / "prompts/census.json", colour="blue")
    before = contents(run)
    with pytest.raises(NewerError, match=r"prompts/census\.json"):
        build(recipe, run)
    assert contents(run) == before


def test_the_marker_of_an_older_release_is_made_again(
    recipe: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    path = run / "graded/00001.json"
    facts = json.loads(path.read_text())
    del facts["checksum"], facts["rejected"]
    path.write_text(with_checksum(facts))
    build(recipe, run)
    assert contents(run) == contents(whole)


def test_no_sample_is_bought_again_that_a_newer_release_has_journaled(tmp_path: Path) -> None:
    with Loopback() as server:
        served = write_recipe(tmp_path, server.url, prompts=6)
        run = tmp_path / "run"
        make(run, str(served.with_suffix("")))
        (journal,) = (run / "traces").glob("*.jsonl.done")
        lines = journal.read_bytes().splitlines()
        (run / "traces/00000.json").unlink()
        journal.write_bytes(b"".join(map(newer_line, lines)))
        server.forget()
        before = journal.read_bytes()
        with pytest.raises(NewerError, match=r"traces/00000\.jsonl"):
            make(run, str(served.with_suffix("")))
        assert not server.served()
        (journal,) = (run / "traces").glob("*.jsonl*")
        assert journal.read_bytes() == before


def newer_line(line: bytes) -> bytes:
    row = json.loads(line)
    del row["crc32"]
    body = json.dumps({**row, "colour": "blue"}, separators=(",", ":")).encode()
    return b'%s,"crc32":%d}\n' % (body[:-1], zlib.crc32(body))
