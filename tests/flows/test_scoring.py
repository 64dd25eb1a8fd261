"""`polytrace score` and `polytrace seqdep-report`: what they print, and what they refuse."""

import json
from pathlib import Path

import pytest

from curation.release import writer
from curation.seqdep_report.kept_scores import read_scores
from tests.curation import samples
from tests.flows.test_cli import run


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    rows = [{"question": f"{i} + 1?", "text": f"{i} + 1 = {i + 1}. So {i + 1}."} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_scores_of_any_file(tmp_path: Path, texts: Path) -> None:
    command = ("score", "--model", "tiny/teacher", "--input", str(texts), "--out", "out.parquet")
    code, out, err = run(*command, cwd=tmp_path)
    assert code == 0, err
    assert "40 documents scored" in out and "step" in out and "window" in out
    assert "text in column 'text', prompt in 'question'" in err
    assert len(list(read_scores(tmp_path / "out.parquet"))) == 40
    figures = json.loads((tmp_path / "out.parquet.figures.json").read_text())
    assert figures["documents"] == 40
    assert run(*command, cwd=tmp_path)[:2] == (0, out)  # it stands
    code, _, err = run(*command, "--limit", "3", cwd=tmp_path)
    assert code == 2 and "holds other scores" in err


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("--model", "gone"), "is no directory"),
        (("--input", "gone.jsonl"), "no such file"),
        (("--text-column", "txt"), "no column 'txt'"),
        (("--out", "out.csv"), ".parquet or a .jsonl"),
        (("--segments", "word"), "'word' is no level"),
        (("--out", "texts.jsonl"), "holds no scores of this command"),
        (("--out", "texts.jsonl/out.jsonl"), "cannot be made"),
        (("--device", "cuda:9"), "cannot be used"),
        (("--prompt", "both"), "--prompt"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path, texts: Path, changed: tuple[str, str], message: str
) -> None:
    options = {"--model": "tiny/teacher", "--input": str(texts), "--out": "out.parquet"}
    options[changed[0]] = changed[1]
    code, _, err = run("score", *(part for pair in options.items() for part in pair), cwd=tmp_path)
    assert code == 2 and message in err


def test_the_columns_are_looked_for_before_the_model(tmp_path: Path, texts: Path) -> None:
    options = ("--model", "gone", "--input", str(texts), "--out", "out.parquet")
    code, _, err = run("score", *options, "--text-column", "txt", cwd=tmp_path)
    assert code == 2 and "no column 'txt'" in err and "gone" not in err


def test_a_report_reads_its_corpora_before_the_model(tmp_path: Path, texts: Path) -> None:
    writer.write_release(
        tmp_path / "run", samples.BUILD, samples.corpus(2), validation=0, rows_per_file=9
    )
    options = ("--model", "gone", "--long-cot", str(texts), "--long-cot-column", "txt")
    code, _, err = run("seqdep-report", "run", *options, "--out", "report", cwd=tmp_path)
    assert code == 2 and "no column 'txt'" in err and "gone" not in err


def test_nothing_to_score_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": ""}\n')
    options = ("--model", "tiny/teacher", "--input", "in.jsonl", "--out", "out.jsonl")
    code, out, err = run("score", *options, cwd=tmp_path)
    assert code == 1 and "1 not scored: missing_text" in out and "no document" in err


def test_scores_do_not_go_into_the_folder_that_is_read(tmp_path: Path, texts: Path) -> None:
    options = ("--model", "tiny/teacher", "--input", ".", "--out", "out.parquet")
    code, _, err = run("score", *options, cwd=tmp_path)
    assert code == 2 and "lies in the folder that is read" in err


def test_a_report_of_a_run(tmp_path: Path, texts: Path) -> None:
    rows = samples.corpus(6)
    writer.write_release(tmp_path / "run", samples.BUILD, rows, validation=0, rows_per_file=9)
    options = ("run", "--model", "tiny/teacher", "--web", str(texts), "--out", "report")
    code, out, err = run("seqdep-report", *options, cwd=tmp_path)
    assert code == 0, err
    assert "one path repeated" in out and "figures on natural text mean little" in out
    page = (tmp_path / "report" / "report.md").read_text()
    assert "2.9 M parameters" in page and "web text: 40 scored" in page
    assert (tmp_path / "report" / "seqdep.svg").read_text().count("mean little") == 1
