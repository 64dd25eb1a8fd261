"""SIGTERM and Ctrl-C while a vLLM server that the build has started is not ready yet."""

import json
import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.curation.test_serve import Bench, bench, is_running
from tests.flows.commands import check_all_end, start

__all__ = ["bench"]

STARTUP = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
PATIENCE = 600.0  # until the server has been started, on a machine that does other work
RECIPE = """
name: served
shard_rows: 3
source: {{kind: jsonl, path: prompts.jsonl, columns: {{prompt: question, gold: answer}}}}
teacher: {{kind: openai_server, model: loop, prompt: "{{{{problem}}}}"}}
serve: {{python: {python}, args: [--healthy-after, "3000", --grandchild, {grandchildren}]}}
scorer: null
"""


@pytest.mark.soak
@pytest.mark.parametrize(
    ("number", "send"), [(signal.SIGTERM, os.kill), (signal.SIGINT, os.killpg)]
)
def test_a_build_whose_vllm_server_is_starting_ends_at_once(
    bench: Bench, number: signal.Signals, send: Callable[[int, int], None]
) -> None:
    """SIGTERM to the command alone, as a batch system does; Ctrl-C to all of its group."""
    place = bench.folder
    rows = [{"question": f"{n} + {n}?", "answer": f"{2 * n}"} for n in range(12)]
    (place / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (place / "served.yaml").write_text(
        RECIPE.format(python=bench.python, grandchildren=bench.grandchildren)
    )
    process = start("build", "served.yaml", "--out", "run", cwd=place, **{STARTUP: "600"})
    try:
        deadline = time.monotonic() + PATIENCE
        while not bench.pids("grandchildren"):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1)
        began = time.monotonic()
        send(process.pid, number)
        out, err = process.communicate(timeout=60)
        print(f"{number.name}: ended after {time.monotonic() - began:.2f} s")
    finally:
        process.kill()
    assert process.returncode == 128 + number, err
    assert err.splitlines()[-1] == "polytrace: interrupted; the same command goes on", err
    assert err.count("polytrace:") == 1 and out == "", err
    assert "Traceback" not in err and "CancelledError" not in err, err
    check_all_end(place / ".prefect")
    print(f"nothing is left after {time.monotonic() - began:.2f} s")
    assert not any(map(is_running, bench.pids("grandchildren")))
