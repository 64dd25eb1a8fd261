"""Whoever reads a file or loads a model tells full memory from damage: the file may be whole."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from curation.canvases import token_counter
from curation.release.rows import readable
from curation.release.verify import find_problems
from curation.run_store import shards
from curation.sources.readers.parquet import ParquetReader
from curation.teachers.local.causal_lm import load_causal_lm
from diffusion.data import corpus
from diffusion.evaluation.commit_log import read_log
from diffusion.evaluation.shards import processes
from diffusion.models import masked_lm, tokenizer_of
from diffusion.models.conversion import weights
from schemas.records import Stage
from scorers.revision import fetched
from scorers.seqdep import device_pool, loader
from scorers.seqdep.device_pool import ModelSpec, Scorers
from scorers.seqdep.loader import load_scorer
from support.errors import StoppedError
from support.paths import ROOT
from tests.builds import BuiltRuns

TEACHER = ROOT / "tiny" / "teacher"
NO_BATCH: Any = None


def open_release(file: Path) -> None:
    with readable(file):
        pass


READERS: dict[str, Callable[[Path, Path], object]] = {
    "a source": lambda _, file: list(ParquetReader(str(file)).records(None)),
    "a release file": lambda _, file: open_release(file),
    "a shard": lambda run, _: shards.read(run, Stage.GRADED, 0),
    "rejections": lambda run, _: shards.rejections(run, Stage.CANVASES, 0),
    "verify": lambda run, _: find_problems(run),
    "a corpus to train on": lambda run, _: list(corpus.rows(run / "release", "train")),
    "a log of commits": lambda _, file: read_log(file),
}


@pytest.mark.parametrize("name", READERS)
def test_a_parquet_file_is_not_called_damaged(
    name: str, built_runs: BuiltRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = built_runs.path("demo", limit=24)
    (file, *_) = sorted((run / "release" / "data").glob("*.parquet"))

    def full(*_: object, **__: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    for reader in ("ParquetFile", "read_table", "read_metadata", "read_schema"):
        monkeypatch.setattr(pq, reader, full)
    with pytest.raises(MemoryError):
        READERS[name](run, file)


LOADERS: dict[str, tuple[type, Callable[[], object]]] = {
    "a teacher": (AutoModelForCausalLM, lambda: load_causal_lm(TEACHER, None, False)),
    "a scorer": (AutoModelForCausalLM, lambda: load_scorer(str(TEACHER))),
    "a device's scorer": (
        AutoModelForCausalLM,
        lambda: Scorers(ModelSpec(path=str(TEACHER)), ["cpu"]),
    ),
    "a masked language model": (
        AutoModelForMaskedLM,
        lambda: masked_lm.build(TEACHER, {}, torch.float32, False),
    ),
    "its tokenizer": (AutoTokenizer, lambda: tokenizer_of(masked_lm, TEACHER, {}, False)),
}


def full_memory(*_: object, **__: object) -> None:
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")


@pytest.mark.parametrize("name", LOADERS)
def test_a_model_is_not_called_unloadable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    auto, load = LOADERS[name]
    monkeypatch.setattr(auto, "from_pretrained", full_memory)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        load()


def test_a_scorer_that_fits_on_none_of_two_devices_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", full_memory)
    monkeypatch.setattr(device_pool, "_scorer", None)
    device_pool._start(ModelSpec(path=str(TEACHER)), "cpu")  # as each of its processes does
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        device_pool._identity()


def test_a_packed_row_that_does_not_fit_is_no_sign_of_another_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scorer = load_scorer(str(TEACHER))
    monkeypatch.setattr(type(scorer), "log_probs", full_memory)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        loader._agrees(scorer, NO_BATCH, torch.zeros(1), 0.1)


def test_a_tokenizer_is_not_called_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: str) -> None:
        raise Exception("out of memory")  # what tokenizers raises

    monkeypatch.setattr(token_counter, "Tokenizer", SimpleNamespace(from_file=full))
    with pytest.raises(Exception, match=r"^out of memory$"):
        token_counter.TokenCounter([str(TEACHER)])


@pytest.mark.parametrize("what", ["a model", "a corpus"])
def test_the_hub_is_not_blamed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", full_memory)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        if what == "a model":
            fetched("owner/name", "model", code=False)
        else:
            corpus.locate_release("hub:owner/name")


def test_a_process_of_an_evaluation_tells_full_memory() -> None:
    told = processes._told(MemoryError("malloc of size 64 failed"))
    error = processes._raised(told, "the process of device 0")
    assert isinstance(error, StoppedError) and "memory ran out" in str(error)


def test_weights_are_not_called_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: Cannot allocate memory (os error 12)")

    monkeypatch.setattr(weights, "safe_open", full)
    with pytest.raises(SafetensorError):
        weights.check_types(ROOT / "tiny" / "dlm")
