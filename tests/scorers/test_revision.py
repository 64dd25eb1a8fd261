"""Which files a model of the Hub is: the same ones as long as a process runs."""

from pathlib import Path

import pytest

from scorers.revision import fetched


def test_the_hub_is_asked_once_for_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def snapshot(name: str, **_: object) -> str:
        asked.append(name)
        return str(tmp_path / str(len(asked)))

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    found = {fetched("nobody/asked-once", "model", code=False) for _ in range(2)}
    assert found == {tmp_path / "1"}
    assert fetched("nobody/asked-once", "model", code=False, commit="a") == tmp_path / "2"
    assert asked == ["nobody/asked-once"] * 2
