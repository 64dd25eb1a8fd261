"""Whoever reads a file or loads a model tells full memory from damage: the file may be whole."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import transformers
from safetensors import SafetensorError

from curation.release.rows import readable
from curation.release.verify import find_problems
from curation.run_store import shards
from curation.sources.readers.parquet import ParquetReader
from curation.teachers.local.causal_lm import load_causal_lm
from diffusion.data import corpus
from diffusion.evaluation.commit_log import read_log
from diffusion.models.conversion import weights
from schemas.records import Stage
from scorers.seqdep.loader import load_scorer
from support.paths import ROOT
from tests.builds import BuiltRuns

TEACHER = ROOT / "tiny" / "teacher"


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


LOADERS: dict[str, Callable[[], object]] = {
    "a teacher": lambda: load_causal_lm(TEACHER, None, False),
    "a scorer": lambda: load_scorer(str(TEACHER)),
}


@pytest.mark.parametrize("name", LOADERS)
def test_a_model_is_not_called_unloadable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", full)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        LOADERS[name]()


def test_weights_are_not_called_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: Cannot allocate memory (os error 12)")

    monkeypatch.setattr(weights, "safe_open", full)
    with pytest.raises(SafetensorError):
        weights.check_types(ROOT / "tiny" / "dlm")
