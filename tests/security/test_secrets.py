"""Tracebacks and what is hidden in them."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT
from support.redact import clean, environment_secrets, hide_secrets, without_credentials
from tests.security.test_journey import KEY, TOKEN, leaks

FAULTY = """
import sys, flows.cli, schemas.recipe
from flows.runtime.session import prefect
from pathlib import Path
def fail(*arguments):
    raise RuntimeError("refused: Bearer " + __import__("os").environ["LOOP_KEY"])
schemas.recipe.load_recipe = fail
sys.argv = ["polytrace", "build", "demo"]
try:
    with prefect(Path(".")):
        fail()
except Exception as error:
    assert "internal fault" in str(error)
flows.cli.main()
"""


@pytest.mark.slow
def test_a_traceback_holds_no_secret(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTY],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "LOOP_KEY": KEY, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    (tmp_path / "said").write_text(done.stdout + done.stderr)
    (log,) = tmp_path.glob("polytrace-*.log")
    for file in (log, tmp_path / "polytrace.log"):
        assert "refused: Bearer ***" in file.read_text()
    assert leaks(tmp_path, KEY) == []


def test_what_counts_as_a_secret() -> None:
    variables = {
        "HF_TOKEN": TOKEN,
        "OPENAI_API_KEY": KEY,
        "KEY": "EMPTY",
        "TOKENIZERS_PARALLELISM": "false-false",
        "DB_PASSWORD": " hunter2hunter2\n",
        "PATH": "/usr/bin:/bin",
    }
    assert environment_secrets(variables) == (TOKEN, KEY, "hunter2hunter2")
    assert hide_secrets("nothing", None, "") == "nothing"
    assert hide_secrets(f"a {KEY}b", KEY) == "a ***b"
    bare = {"APIKEY": KEY, "my_token": TOKEN, "AWS_CREDENTIALS": "hunter2hunter2"}
    assert environment_secrets(bare) == (KEY, TOKEN, "hunter2hunter2")


@pytest.mark.parametrize(
    "said",
    [
        "kQ7x%2F9vR2%2BmZ%3D%3D",
        "kQ7x%2f9vR2%2bmZ%3d%3d",  # as .NET writes it
        "kQ7x\\/9vR2+mZ==",  # as JSON may
        base64.b64encode(b":kQ7x/9vR2+mZ==").decode(),
        base64.b64encode(b"kQ7x/9vR2+mZ==:").decode().rstrip("="),
    ],
)
def test_a_key_is_hidden_in_other_forms(said: str) -> None:
    assert hide_secrets(f"no such key: {said}.", "kQ7x/9vR2+mZ==") == "no such key: ***."


def test_a_key_is_hidden_between_entities() -> None:
    assert hide_secrets("<b>a&amp;b&lt;c</b>", "a&b<c") == "<b>***</b>"


def test_foreign_text_is_clean_as_a_part_of_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    said = f"GET https://me:pa55@host/x?X-Amz-Signature=5ec failed:\n{TOKEN} of AKIDEXAMPLE\x1b[2J"
    assert clean(said, TOKEN) == "GET https://…@host/x?… failed: *** of ***␛[2J"
    assert clean("x" * 999, None) == "x" * 200
    assert clean("no such file? look there") == "no such file? look there"


def test_a_published_address_is_without_credentials() -> None:
    address = "https://me:pa55@host/a b/ü[0-9].jsonl?X-Amz-Signature=5ec4e7#part"
    assert without_credentials(address) == "https://host/a b/ü[0-9].jsonl"
    assert without_credentials("file:///data/x.jsonl") == "file:///data/x.jsonl"
    assert without_credentials("https://[half") == "<withheld>"
