"""`polytrace inspect` on a small corpus, really built: what it prints, and what it refuses."""

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from support.paths import ROOT
from tests.builds import make
from tests.curation import samples
from tests.flows.test_cli import run as command

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of the demo's recipe; half its canvases are filtered away."""
    run = tmp_path_factory.mktemp("built") / "run"
    make(run, "demo", "filters=[{kind: seqdep, level: path, quantile: 0.5}]", limit=24)
    return run


def inspect(run: Path, *args: str) -> tuple[int, str, str]:
    return command("inspect", run.name, *args, cwd=run.parent)


def released(run: Path) -> list[dict[str, object]]:
    files = sorted((run / "release" / "data").glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def on_a_terminal(run: Path, *args: str, cells: int = 120, **env: str) -> str:
    """What a terminal of this width is sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, cells, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "inspect", str(run), *args],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **env},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        said = b""
        try:
            while block := os.read(ours, 65536):
                said += block
        except OSError:  # the other end was closed
            pass
    os.close(ours)
    assert process.returncode == 0, said
    return said.decode()


def test_without_options_an_overview_and_the_first_canvas(built: Path) -> None:
    code, out, err = inspect(built)
    assert code == 0, err
    first = released(built)[0]
    assert out.startswith("demo build ")
    assert re.search(r"release +prompt +seqdep_above", out)
    assert f"canvas 1 of {len(released(built))}   {first['id']}" in out
    assert "24 in = " not in inspect(built, "--canvas", "1")[1]


def test_a_pipe_gets_path_below_path_unless_columns_says_how_wide(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    out = inspect(built, "--canvas", "1")[1]
    assert len(re.findall("^path [123]  [✓✗?]", out, re.M)) == 3
    assert "│" not in out and "\x1b" not in out
    monkeypatch.setenv("COLUMNS", "110")
    out = inspect(built, "--canvas", "1")[1]
    assert len(re.findall("^path 1  .*│ path 2  .*│ path 3  ", out, re.M)) == 1
    assert max(map(len, out.splitlines())) == 110
    assert "\x1b" not in out


def test_a_terminal_gets_columns_and_colours(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    wide = on_a_terminal(built, "--canvas", "1")
    assert "\x1b[32m" in wide
    plain = ESCAPE.sub("", wide)
    assert len(re.findall("^path 1  .*│ path 2  .*│ path 3  ", plain, re.M)) == 1
    assert max(map(len, plain.splitlines())) == 120
    assert "\x1b" not in plain
    assert on_a_terminal(built, "--canvas", "1", NO_COLOR="1") == plain
    narrow = ESCAPE.sub("", on_a_terminal(built, "--canvas", "1", cells=44))
    assert max(map(len, narrow.splitlines())) == 44
    assert len(re.findall("^path [123]  [✓✗?]", narrow, re.M)) == 3


def test_json_lines_hold_the_records_whole(built: Path) -> None:
    code, out, _ = inspect(built, "--json", "--limit", "1000")
    assert code == 0
    assert [json.loads(line) for line in out.splitlines()] == released(built)
    assert out.isascii()
    code, out, _ = inspect(built, "--reason", "duplicate", "--json", "--limit", "100000")
    shown = [json.loads(line) for line in out.splitlines()]
    files = sorted((built / "rejected").glob("*.parquet"))
    kept = [row for file in files for row in pq.read_table(file).to_pylist()]
    expected = [row for row in kept if row["reason"] == "duplicate"]
    assert [{key: row[key] for key in expected[0]} for row in shown] == expected
    traces = pq.read_table(built / "traces" / "00000.parquet").to_pylist()
    texts = {(trace["prompt_id"], trace["index"]): trace["text"] for trace in traces}
    assert [row["text"] for row in shown] == [texts[r["prompt_id"], r["index"]] for r in expected]
    assert all(row["prompt"] and row["gold"] for row in shown)


def test_searches_show_what_matches_and_say_how_much_more(built: Path) -> None:
    rows = released(built)
    some = rows[-1]
    code, out, _ = inspect(built, "--id", str(some["id"])[:12])
    assert code == 0 and str(some["id"]) in out
    word = str(some["prompt"]).split()[0].upper()
    matching = [row for row in rows if word in str(row["prompt"]).upper()]
    out = inspect(built, "--grep", word, "--json", "--limit", "99")[1]
    assert [json.loads(line)["id"] for line in out.splitlines()] == [row["id"] for row in matching]
    out = inspect(built, "--seqdep-below", "1e9", "--level", "step", "--limit", "2")[1]
    lowest = sorted(rows, key=lambda row: float(str(row["seqdep_step_nats_per_token"])))
    ids = re.findall(r"^canvas \d+ of \d+ +(\w+)", out, re.M)
    assert ids == [row["id"] for row in lowest[:2]]
    assert out.endswith(f"2 of {len(rows)} that match; more with --limit\n")
    drawn = inspect(built, "--seed", "5")[1]
    assert drawn == inspect(built, "--seed", "5")[1]
    out = inspect(built, "--reason", "seqdep_above", "--limit", "2")[1]
    assert out.count("reason seqdep_above: filter seqdep: ") == 2


def test_a_dataset_alone_is_shown_too(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built / "release", tmp_path / "dataset")
    code, out, _ = inspect(tmp_path / "dataset")
    assert code == 0 and out.startswith("canvas 1 of ")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--id", "zz"), 2, r"no canvas 'zz' among \d+; nearest ids: \w{20}, "),
        (("--grep", "no such text"), 2, r"matches --grep 'no such text'"),
        (("--seqdep-above", "99"), 2, r"SeqDep at path level goes from -?\d"),
        (("--reason", "duplicat"), 2, r"did you mean 'duplicate'.*duplicate \(\d+ traces\)"),
        (("--canvas", "x" * 5), 2, r"give a number from 1 to \d+"),
        (("--seed", "1", "--grep", "a"), 2, "--seed"),
        (("--limit", "0"), 2, "--limit"),
        (("--level", "word"), 2, "--level"),
    ],
)
def test_mistakes_are_one_line(built: Path, args: tuple[str, ...], code: int, message: str) -> None:
    for more in ((), ("--json",)):
        found, out, err = inspect(built, *args, *more)
        assert (found, out) == (code, "")
        assert re.search(message, err), err


def test_unfinished_and_damaged_runs_are_one_line(built: Path, tmp_path: Path) -> None:
    code, _, err = inspect(tmp_path / "nowhere")
    assert code == 2 and "no such run directory" in err
    shutil.copytree(built, tmp_path / "run")
    (tmp_path / "run" / "manifest.json").rename(tmp_path / "manifest.json")
    code, _, err = inspect(tmp_path / "run")
    assert code == 2 and "no complete run" in err
    (tmp_path / "manifest.json").rename(tmp_path / "run" / "manifest.json")
    for path in (tmp_path / "run" / "release" / "data").iterdir():
        path.write_bytes(path.read_bytes()[:-10])
    for args in ((), ("--json",), ("--grep", "a")):
        code, _, err = inspect(tmp_path / "run", *args)
        assert code == 1 and "cannot be read" in err and len(err.splitlines()) == 1


def test_nothing_hostile_reaches_a_terminal(tmp_path: Path) -> None:
    nasty = "\x1b[2J\x1b]0;owned\x07\r\x9b31m\u202e [red]m[/red] \x08" + "y" * 1_000_000
    samples.write_run(tmp_path / "run", [samples.with_text(0, nasty)], samples.recipe())
    shown = ESCAPE.sub("", on_a_terminal(tmp_path / "run", cells=100)).replace("\r\n", "\n")
    assert not [char for char in shown if char != "\n" and not char.isprintable()]
    assert "[red]m[/red]" in shown and "␛[2J" in shown and "more characters]" in shown
    assert len(shown) < 200_000
    out = inspect(tmp_path / "run", "--json")[1]
    assert all(" " <= char <= "~" or char == "\n" for char in out)
    assert json.loads(out)["paths"][0]["text"] == nasty


def test_an_empty_run_says_so(tmp_path: Path) -> None:
    samples.write_run(tmp_path / "run", [])
    code, out, _ = inspect(tmp_path / "run")
    assert code == 0 and out.endswith("no canvas was released\n")
    for args in (("--grep", "a"), ("--canvas", "1"), ("--seed", "1"), ("--json",)):
        code, out, err = inspect(tmp_path / "run", *args)
        assert (code, out) == (2, "") and "no canvas" in err


@pytest.mark.parametrize(
    "overrides", [("scorer=null", "filters=[]"), ("paths=1", "filters=[]")], ids=["plain", "P=1"]
)
def test_a_corpus_without_figures_of_seqdep_is_shown(
    overrides: tuple[str, ...], tmp_path: Path
) -> None:
    make(tmp_path / "run", "demo", *overrides, limit=12)
    code, out, err = inspect(tmp_path / "run")
    assert code == 0, err
    assert re.search("^path 1  [✓✗?]", out, re.M)
