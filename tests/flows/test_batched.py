"""The recipe of docs/sampling.md on a server of batches: stopped, expired, and built to the end."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.paths import ROOT
from tests.flows.commands import polytrace, start
from tests.servers.batches import BatchServer

PROMPTS = 10


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BatchServer]:
    (folder := tmp_path / "server").mkdir()
    with BatchServer(folder, key="a-secret-of-mine") as started:
        yield started


def write_recipe(folder: Path, url: str) -> Path:
    """The recipe of the page, at another address."""
    page = (ROOT / "docs/sampling.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"```yaml\n(name: batched\n.*?)```", page, re.DOTALL)
    path = folder / "batched.yaml"
    path.write_text(recipe.replace("https://api.openai.com/v1", url))
    rows = [{"question": f"What is {n} + {n}? [gold 17]", "answer": "17"} for n in range(PROMPTS)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.slow
def test_a_corpus_by_batches_that_is_stopped_and_expires(
    tmp_path: Path, server: BatchServer, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-secret-of-mine")
    recipe = write_recipe(tmp_path, server.url)
    server.hold = True
    args = ("build", str(recipe), "--out", "run")
    process = start(*args, cwd=tmp_path, PREFECT_API_URL=prefect_api)
    while not server.batches or server.batches[0].looks < 1:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in said
    assert f"1 batch goes on at {server.url}; the same command fetches what came of it" in said

    server.hold, server.end = False, "expired"
    done = polytrace(*args, cwd=tmp_path, PREFECT_API_URL=prefect_api)
    assert done.returncode == 3 and "batch_expired" in done.stderr
    server.end = "completed"
    done = polytrace(*args, cwd=tmp_path, PREFECT_API_URL=prefect_api)
    assert done.returncode == 0, done.stderr
    assert [one.total for one in server.batches[:2]] == [3 * PROMPTS, 3 * PROMPTS // 2]
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    prompts = manifest["prompts"]
    assert prompts["in"] == PROMPTS == prompts["released"] + prompts["rejected"]
    assert manifest["canvases"] > 0
    assert polytrace("verify", "run", cwd=tmp_path).returncode == 0
    card = (tmp_path / "run/release/README.md").read_text()
    assert "over an OpenAI-compatible server" in card
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not any(b"a-secret-of-mine" in path.read_bytes() for path in files)
