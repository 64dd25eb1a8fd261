"""One process a device: the same scores as in this process, from several threads at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scorers.seqdep.device_pool import ModelSpec, Scorers
from scorers.seqdep.measurement import ScoredInstance, SeqDepSettings
from support.errors import UserError
from tests.scorers import small_models

ITEMS = [
    [ScoredInstance(prompt=f"{i}?", text=f"{i} and {i}. So {2 * i}. Done {j}.") for j in range(3)]
    for i in range(4)
]


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    model = ModelSpec(path=str(small_models.save(tmp_path, "LlamaConfig")))
    one, two = Scorers(model, ["cpu"]), Scorers(model, ["cpu", "cpu"])
    try:
        assert one.facts == two.facts
        told: list[int] = []
        with ThreadPoolExecutor(4) as threads:
            found = threads.map(
                lambda i: two.score(i, SeqDepSettings(), progress=told.append), ITEMS
            )
            assert list(found) == [one.score(items, SeqDepSettings()) for items in ITEMS]
        assert told == [3] * 4
        next(iter(two._processes[0]._processes.values())).kill()
        with pytest.raises(UserError, match="its process was killed"):
            for items in ITEMS:
                two.score(items, SeqDepSettings())
    finally:
        two.close()


@pytest.mark.parametrize("devices", [["cuda:7"], ["cpu", "cuda:7"], ["gpu"]])
def test_a_device_that_is_none_is_the_users_mistake(tmp_path: Path, devices: list[str]) -> None:
    model = ModelSpec(path=str(small_models.save(tmp_path, "LlamaConfig")))
    with pytest.raises(UserError, match="cannot be used"):
        Scorers(model, devices)
