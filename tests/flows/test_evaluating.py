"""`polytrace evaluate` from its recipe to its files, and what it says of mistakes."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from diffusion.evaluation.settings import Evaluation
from flows.recipe_files import EVALUATIONS
from support.errors import UserError
from support.yaml_file import load
from tests.flows.commands import check_all_end, polytrace, run, start


@pytest.mark.slow
def test_the_bundled_model_is_evaluated(tmp_path: Path) -> None:
    done = polytrace(
        "evaluate", "tiny_base", "--set", "limit=4", "--set", "steps=[39]", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "results  runs/tiny_base/results.json" in done.stdout
    assert "5 cells x 4 problems" in done.stderr
    results = json.loads((tmp_path / "runs/tiny_base/results.json").read_text())
    by_name = {one["system"]: one for one in results}
    assert by_name["AR order"]["arness"] == 1.0
    assert by_name["Random"]["arness"] < 0.5
    assert by_name["Fast-dLLM"]["steps"] is None
    assert all(one["count"] == 4 for one in results)
    printed = polytrace("tables", "runs/tiny_base", cwd=tmp_path)
    assert printed.returncode == 0, printed.stderr
    page = (tmp_path / "runs/tiny_base/tables/tables.md").read_text()
    assert "page     runs/tiny_base/tables/tables.md" in printed.stdout
    assert "Table 1. ARness and accuracy of base models (a trial, n = 4)" in printed.stdout
    assert "LLaDA" not in printed.stdout.replace("(LLaDA block-wise)", ""), "it was not evaluated"
    assert "| tiny, tiny problems | 1.00 [1.00, 1.00] |" in page
    assert (tmp_path / "runs/tiny_base/tables/figure_1.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_stopped_evaluation_says_that_it_goes_on(tmp_path: Path) -> None:
    process = start("evaluate", "tiny_base", "--set", "limit=8", cwd=tmp_path)
    while not list((tmp_path / "runs/tiny_base").glob("cells/*/*.parquet")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert "the same command goes on" in err and "Traceback" not in err
    check_all_end(tmp_path / ".prefect", seconds=10)


def test_mistakes_end_with_2_and_no_traceback(tmp_path: Path) -> None:
    for change, says in (
        ("systems.0.rule.kind=ar_ordre", "did you mean 'ar_order'"),
        ("systems.3.rule.blok=4", "unknown option of 'blockwise'"),
        ("systems.0.model.path=nowhere", "nowhere"),
        ("benchmark.kind=gsm9k", "choices: gpqa, gsm8k, math500, tiny"),
        ("benchmark.path=none.jsonl", "no such file"),
    ):
        done = polytrace("evaluate", "tiny_base", "--set", "limit=2", "--set", change, cwd=tmp_path)
        assert done.returncode == 2, (change, done.stderr)
        assert says in done.stderr
        assert "Traceback" not in done.stderr
    done = polytrace("tables", "runs", cwd=tmp_path)
    assert done.returncode == 2 and "holds no results.parquet" in done.stderr


def test_an_unknown_field_of_a_system_is_named() -> None:
    with pytest.raises(UserError, match=r"systems\.1\.ruel: unknown field; did you mean 'rule'"):
        load(EVALUATIONS / "tiny_base.yaml", ["systems.1.ruel=x"], Evaluation)


class Gate(BaseHTTPRequestHandler):
    """A hub whose datasets ask for an agreement: 401 without a token, 403 with one."""

    tokens: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        token = self.headers.get("Authorization")
        self.tokens.append(token)
        self.send_response(403 if token else 401)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def gated_hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gate)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_gated_benchmark_asks_for_an_agreement_and_shows_no_token(
    gated_hub: str, tmp_path: Path
) -> None:
    for token in ("", "hf_themostsecret"):
        hub = {"HF_ENDPOINT": gated_hub, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": token}
        done = run(
            *("evaluate", "tiny_base", "--set", "benchmark={kind: gpqa}"), cwd=tmp_path, **hub
        )
        assert done.returncode == 2, done.stderr
        assert "Idavidrein/gpqa: asks for your agreement; accept its terms" in done.stderr
        assert "Traceback" not in done.stderr and "themostsecret" not in done.stderr + done.stdout
    assert "Bearer hf_themostsecret" in Gate.tokens, "the user's token was sent"
    written = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert not any(b"themostsecret" in path.read_bytes() for path in written)
