"""Links that were planted in a run directory: no file outside of it is written or removed."""

import os
from pathlib import Path

import pytest

from flows.page import write_report
from support.errors import UserError
from support.files import lock, replace_text
from tests.curation.samples import corpus, write_run


@pytest.mark.parametrize("name", [".lock", "polytrace.log", "traces/00000.jsonl", "a.json.part"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_to_a_file_outside_is_refused(name: str, is_there: bool, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    if is_there:
        outside.write_text("precious")
    link = tmp_path / "run" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    with (
        pytest.raises(UserError, match="is a link to a file outside") as caught,
        lock(tmp_path / "run"),
    ):
        pass
    assert "\n" not in str(caught.value) and str(link) in str(caught.value)
    assert outside.exists() == is_there
    assert not is_there or outside.read_text() == "precious"


def test_a_link_in_circles_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (run / "c").symlink_to(tmp_path / "a")
    with pytest.raises(UserError, match="is a link"), lock(run):
        pass


def test_a_folder_on_another_disk_is_followed(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    (disk / "traces").mkdir(parents=True)
    run = tmp_path / "run"
    run.mkdir()
    (run / "traces").symlink_to(disk / "traces")
    (run / "inside").write_text("x")
    (run / "link").symlink_to("inside")
    with lock(run):
        assert (run / ".lock").exists()
    (tmp_path / "other").symlink_to(run)
    with lock(tmp_path / "other"):
        pass


def test_a_file_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    for name in ("a.json", "a.json.part"):
        (tmp_path / name).symlink_to(outside)
    replace_text(tmp_path / "a.json", "ours")
    assert outside.read_text() == "precious"
    assert (tmp_path / "a.json").read_text() == "ours"
    assert not os.path.lexists(tmp_path / "a.json.part")


def test_a_report_is_not_written_through_a_link(tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    write_run(run, corpus(8))
    outside.write_text("precious")
    for name in ("report.html", "report.html.part"):
        (run / name).symlink_to(outside)
    write_report(run / "report.html", run)
    assert outside.read_text() == "precious"
    assert "<html" in (run / "report.html").read_text()
