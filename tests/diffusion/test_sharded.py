"""FSDP2's sharding on two gloo processes: the same gradients, and checkpoints of shards."""

from pathlib import Path

import pytest

from tests.diffusion import sharded
from tests.diffusion.checkpoints import FAMILIES, make, write_corpus
from tests.forked import begin


@pytest.mark.slow
@pytest.mark.parametrize("family", [*FAMILIES, "a2d-qwen3", "llada_moe"])
def test_shards_give_the_gradients_of_the_whole(family: str, tmp_path: Path) -> None:
    model = make(family, tmp_path / "model")
    corpus, out = write_corpus(tmp_path / "corpus"), tmp_path / "out"
    output = [tmp_path / f"output{rank}" for rank in range(sharded.PROCESSES)]
    both = [
        begin(sharded.check, rank, tmp_path / "store", model, corpus, out, output=file)
        for rank, file in enumerate(output)
    ]
    for process, file in zip(both, output, strict=True):
        process.join(120)
        assert process.exitcode == 0, file.read_text()[-3000:]
    files = sorted(p.name for p in (out / "step-00000001").iterdir())
    assert files == [
        "state-00000-of-00002.safetensors",
        "state-00001-of-00002.safetensors",
        "state.json",
    ]
