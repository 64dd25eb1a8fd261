"""`--untrusted`: a stranger's recipe starts nothing, reaches nothing, and reads nothing foreign.

What the single fields may hold is in tests/schemas/test_trust.py; here are the ways to the check.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.recipe_files import EVALUATIONS, EXPERIMENTS, RECIPES, TRAININGS
from schemas.trust.addresses import SETTING
from support.errors import UserError
from tests.curation.served_runs import sample
from tests.curation.test_reply_bounds import made, one_shard
from tests.flows.commands import polytrace

PROGRAM = "#!/bin/sh\ntouch started\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stranger's folder: a program, and a recipe that is harmless."""
    monkeypatch.delenv(SETTING, raising=False)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    home = tmp_path / "home"
    home.mkdir()
    program = home / "program.sh"
    program.write_text(PROGRAM)
    program.chmod(0o700)
    (home / "rows.jsonl").write_text('{"question": "What is 1 + 1?", "answer": "2"}\n')
    write(home / "good.yaml", **GOOD)
    return home


GOOD: dict[str, Any] = {
    "name": "good",
    "source": {"kind": "jsonl", "path": "rows.jsonl"},
    "teacher": {"kind": "openai_server", "model": "tiny/teacher"},
    "serve": {"servers": 1},
}


def write(file: Path, **data: Any) -> str:
    file.write_text(yaml.safe_dump(data))
    return file.name


def refused(place: Path, *words: str, **env: str) -> str:
    """The one sentence with which a command refuses; it has touched nothing."""
    before = sorted(place.rglob("*"))
    done = polytrace(*words, cwd=place, **env)
    assert done.returncode == 2, done.stderr
    assert sorted(place.rglob("*")) == before, "a refused recipe leaves nothing"
    (line,) = done.stderr.strip().splitlines()
    assert "is not trusted" in line
    return line


def test_a_trusted_recipe_runs_the_program_that_it_names(place: Path) -> None:
    """What SECURITY.md says of recipes: they are code."""
    done = polytrace("build", "good.yaml", "--set", "serve.python=./program.sh", cwd=place)
    assert done.returncode != 0 and (place / "started").exists()


def test_an_override_is_checked_too(place: Path) -> None:
    override = "serve.python=./program.sh"
    line = refused(place, "build", "good.yaml", "--untrusted", "--set", override)
    assert "good.yaml is not trusted: serve.python: starts this program; take it out" in line
    assert line.endswith("leave --untrusted out")
    estimate = refused(place, "build", "good.yaml", "--untrusted", "--estimate", "--set", override)
    assert estimate == line


@pytest.mark.parametrize(
    "text",
    [
        "serve: {<<: {python: ./program.sh}}",
        "serve: {<<: [{servers: 1}, {python: ./program.sh}]}",
        'serve: {"\\x70ython": ./program.sh}',
        "serve: {!!str python: ./program.sh}",
        "summary: {prompt: &p ./program.sh}\nserve: {python: *p}",
        "serve: {python: !!binary Li9wcm9ncmFtLnNo}",
        "serve: {servers: 1}\nteacher: {<<: *teacher, endpoints: !!binary aHR0cDovL2UueA==}",
        "serve: {servers: 1}\nteacher: {<<: *teacher, endpoints: !!set {'http://e.x'}}",
        "serve: {servers: 1}\ngrader: {kind: judge, teacher: {<<: *teacher, endpoints: 'http://e.x'}}",
    ],
)  # fmt: skip
def test_no_way_of_writing_it_hides_a_field(place: Path, text: str) -> None:
    file = place / "hidden.yaml"
    teacher = "teacher: &teacher {kind: openai_server, model: tiny/teacher}"
    if "\nteacher:" in text:
        teacher = "grader: {kind: judge, teacher: &teacher {kind: openai_server, model: x}}"
    source = "source: {kind: jsonl, path: rows.jsonl}"
    file.write_text(f"name: hidden\n{source}\n{teacher}\n{text}\n")
    before = sorted(place.rglob("*"))
    done = polytrace("build", file.name, "--untrusted", cwd=place)
    assert done.returncode == 2, done.stderr
    assert sorted(place.rglob("*")) == before
    # Where YAML's types do not fit a section, the recipe is refused before this check.
    assert "is not trusted" in done.stderr or "hidden.yaml: " in done.stderr


def test_what_an_experiment_and_a_handoff_name_is_checked(place: Path) -> None:
    write(
        place / "experiment.yaml",
        name="experiment",
        train=[{"recipe": "tiny_nap", "set": ["model.trust_remote_code=true"]}],
        evaluate={"recipe": "evaluation.yaml"},
    )
    write(
        place / "evaluation.yaml",
        name="evaluation",
        benchmark={"kind": "tiny"},
        systems=[{"name": "x", "model": {"path": "tiny/dlm"}, "rule": {"kind": "confidence"}}],
        steps=[4],
    )
    says = "experiment.yaml: tiny_nap is not trusted: model.trust_remote_code: runs code"
    words: tuple[str, ...] = ("finetune-eval", "experiment.yaml", "--corpus", "x", "--untrusted")
    assert says in refused(place, *words)
    words = ("build", "good.yaml", "--untrusted", "--set", "handoff=experiment.yaml")
    assert f"good.yaml: handoff {says}" in refused(place, *words)
    fixed = ("--set", "train.0.set=[]", "--set", "evaluate.set=[benchmark.path=/etc/passwd]")
    words = ("finetune-eval", "experiment.yaml", "--corpus", "x", "--untrusted", *fixed)
    assert "evaluation.yaml is not trusted: benchmark.path: /etc/passwd lies" in refused(
        place, *words
    )
    words = ("train", "tiny_nap", "--untrusted", "--set", "corpus=hub:org/name")
    assert "corpus: it is fetched from the Hub" in refused(place, *words)
    words = (
        "evaluate",
        "evaluation.yaml",
        "--untrusted",
        "--set",
        "systems.0.model.path=/models/x",
    )
    assert "systems.0.model.path: /models/x lies outside" in refused(place, *words)


def test_addresses_are_allowed_one_by_one(place: Path) -> None:
    asks = ("build", "good.yaml", "--untrusted", "--set", "serve=null", "--set")
    there = "teacher.endpoints=[http://a.invalid/v1, http://b.invalid/v1]"
    line = refused(place, *asks, there, "--allow-address", "a.invalid")
    assert "the address http://b.invalid/v1 is not allowed" in line and "a.invalid" not in line
    assert "a.invalid" in refused(place, *asks, there, **{SETTING: "b.invalid c.invalid"})
    for words, env in (
        (("--allow-address", "a.invalid", "--allow-address", "b.invalid"), {}),
        (("--allow-address", "a.invalid"), {SETTING: "c.invalid,b.invalid"}),
    ):
        done = polytrace(*asks, there, "--set", "source.path=none", *words, cwd=place, **env)
        assert "'none': no such file" in done.stderr, "the check has passed"
    alone = polytrace("build", "good.yaml", "--allow-address", "a.invalid", cwd=place)
    assert alone.returncode == 2 and "add --untrusted" in alone.stderr


def test_bundled_recipes_can_be_used_without_trust() -> None:
    from flows.experiment import find_experiment
    from flows.recipe_files import settings_of
    from flows.trust import on_command_line
    from schemas.recipe import load_recipe

    checks = on_command_line(True, ["huggingface.co"])
    assert checks is not None
    for file in RECIPES.glob("*.yaml"):
        more = ["teacher.model=x"] if "openai" in file.read_text() else []
        checks.recipe(load_recipe(file, more), file.name)
    for file in TRAININGS.glob("*.yaml"):
        checks.settings(settings_of(file.stem, ()), file.name)
    for file in EXPERIMENTS.glob("*.yaml"):
        checks.experiment(find_experiment(file.stem), file.name)
    assert {*EVALUATIONS.glob("*.yaml")}, "those that experiments name were checked with them"


@pytest.mark.parametrize("flow", ["build", "finetune_eval"])
def test_who_starts_a_deployment_is_not_trusted(
    place: Path, monkeypatch: pytest.MonkeyPatch, flow: str
) -> None:
    """The functions of the flows themselves; tests/flows/test_deployed.py has them on a server."""
    from flows import deployed
    from flows.trust import TRUST_INLINE, in_deployment

    monkeypatch.chdir(place)
    monkeypatch.delenv(TRUST_INLINE, raising=False)
    first, override = {
        "build": ("good.yaml", "serve.python=./program.sh"),
        "finetune_eval": ("tiny", 'train.0.set=["model.trust_remote_code=true"]'),
    }[flow]
    state = getattr(deployed, flow).fn(first, overrides=[override])
    assert "is not trusted" in state.message and TRUST_INLINE in state.message
    assert not (place / "started").exists()
    outside = place.parent / "outside.yaml"
    outside.write_text((place / "good.yaml").read_text())
    assert in_deployment("good.yaml", None) is None, "a file of the worker is trusted"
    assert in_deployment("demo", []) is None
    for name in (str(outside), "../outside.yaml"):
        assert in_deployment(name, None) is not None
    assert in_deployment(None, None) is not None, "a recipe that is a parameter"
    monkeypatch.setenv(TRUST_INLINE, "1")
    assert in_deployment("good.yaml", [override]) is None


class Redirecting(BaseHTTPRequestHandler):
    """Sends everybody who samples, or fetches rows, to another server; notes who came with what."""

    seen: list[tuple[str, dict[str, str]]]
    elsewhere = ""

    def do_GET(self) -> None:
        if self.path.endswith("/models"):
            self.answer(200, b'{"data": [{"id": "m"}]}')
        else:
            self.note()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.note()

    do_HEAD = do_GET

    def note(self) -> None:
        self.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        self.answer(307 if self.elsewhere else 404, b"")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status == 307:
            self.send_header("Location", self.elsewhere + self.path)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def server(elsewhere: str = "") -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """A server's address, and what it has seen."""
    handler = type("Handler", (Redirecting,), {"seen": [], "elsewhere": elsewhere})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{one.server_port}", handler.seen  # type: ignore[attr-defined]
        one.shutdown()


def test_a_redirect_takes_no_key_and_no_prompt_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "secret-of-this-server")
    with server() as (foreign, seen_there), server(foreign) as (allowed, seen):
        teacher = made(f"{allowed}/v1", api_key_env="VLLM_API_KEY", patience_seconds=1.0)
        with pytest.raises(UserError, match="answers 307"):
            sample(teacher, tmp_path, one_shard("What is 1 + 1?"))
        assert any("secret-of-this-server" in str(headers) for _, headers in seen)
        assert seen_there == []


def test_a_redirected_source_takes_no_key_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curation.sources.jsonl import build

    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password secretsecret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with server() as (foreign, seen_there), server(foreign) as (allowed, _):
        with pytest.raises(UserError):
            build(path=f"{allowed}/rows.jsonl").fingerprint()
        assert seen_there, "storage may send its readers on, and hubs do"
        for _, headers in seen_there:
            assert not {"authorization", "cookie"} & headers.keys()
            assert "secret" not in str(headers)
