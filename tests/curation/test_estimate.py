"""What `--estimate` asks for before it reads the prompts, and what a build asks for with it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from curation.context import Job
from curation.estimate import estimate_build
from curation.stages import prompt_stage, trace_stage
from schemas.recipe import Recipe, load_recipe, validate_recipe
from support.errors import ShortError, UserError
from tests.builds import RECIPES, make
from tests.curation.test_remote import SETS, recorded
from tests.servers.loopback import Loopback

NOBODY = "http://127.0.0.1:9/v1"


@pytest.fixture
def bare_python(tmp_path: Path) -> str:
    """An interpreter without any installed package, vLLM among them."""
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    wrapper.chmod(0o755)
    return str(wrapper)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the prompts fails the test: with a large source it takes a minute."""

    def read(job: Job) -> None:
        pytest.fail("the prompts were read first")

    monkeypatch.setattr(prompt_stage, "read_prompts", read)


def recipe(folder: Path, teacher: dict[str, Any], **more: Any) -> Recipe:
    (folder / "in.jsonl").write_text(json.dumps({"prompt": "1 + 1?", "gold": "2"}) + "\n")
    given = {
        "name": "x",
        "source": {"kind": "jsonl", "path": str(folder / "in.jsonl"), "license": "mit"},
        "teacher": teacher,
        "canvas": {"slot_tokens": 99, "summary_tokens": 9, "tokenizer": "tiny/teacher"},
        "scorer": None,
    }
    return validate_recipe({**given, **more}, "r.yaml")


SERVED = {"kind": "openai_server", "model": "loop"}


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    "teacher",
    [
        {**SERVED, "endpoints": NOBODY},
        {"kind": "recorded", "top_up": {**SERVED, "endpoints": NOBODY}},
    ],
    ids=lambda teacher: teacher["kind"],
)
def test_a_server_that_is_missing_shows_before_the_prompts_are_read(
    tmp_path: Path, teacher: dict[str, Any]
) -> None:
    with pytest.raises(ShortError) as caught:
        estimate_build(recipe(tmp_path, teacher))
    assert f"{NOBODY} cannot be reached: connection refused; start the server" in str(caught.value)


@pytest.mark.usefixtures("unread")
def test_so_does_an_address_that_is_missing_and_a_model_that_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"teacher\.endpoints: none"):
        estimate_build(recipe(tmp_path, SERVED))
    with Loopback() as server, pytest.raises(UserError, match="serves 'loop', not 'other'"):
        estimate_build(recipe(tmp_path, {**SERVED, "model": "other", "endpoints": server.url}))


@pytest.mark.usefixtures("unread")
def test_so_does_vllm_that_is_missing(tmp_path: Path, bare_python: str) -> None:
    with pytest.raises(UserError) as caught:
        estimate_build(recipe(tmp_path, SERVED, serve={"python": bare_python}))
    assert f"serve.python: {bare_python} has no vLLM; run" in str(caught.value)


def test_a_build_asks_for_vllm_where_samples_are_missing(tmp_path: Path, bare_python: str) -> None:
    """Before it reads prompts; with all samples at hand it starts no server, and needs no vLLM."""
    (tmp_path / "rows.jsonl").write_bytes(recorded(20))
    top_up = {**SERVED, "endpoints": NOBODY}
    sets = (f"source.path={tmp_path}/rows.jsonl", *SETS)
    made = make(tmp_path / "run", "recorded_traces", *sets, f"teacher.top_up={json.dumps(top_up)}")
    assert made.canvases == 20
    served = load_recipe(
        RECIPES / "recorded_traces.yaml",
        (*sets, f"teacher.top_up={json.dumps(SERVED)}", f"serve.python={bare_python}"),
    )
    trace_stage.check_servers(Job(recipe=served, run=tmp_path / "run"))
    with pytest.raises(UserError, match="has no vLLM"):
        trace_stage.check_servers(Job(recipe=served, run=tmp_path / "new"))
