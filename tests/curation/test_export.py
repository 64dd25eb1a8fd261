"""Exports: what another project's loader takes out of a file is the very text that went in.

Each parser here is written from the form that the project documents (the sources are named in
`curation/exports`), and knows nothing of the code that wrote the file.
"""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation import export as exporting
from curation.exports import ExportFormat, RowRefusal, parathinker
from curation.release import writer
from curation.release.reader import ReleaseReader
from curation.release.rows import read_rows, released
from schemas import canvas
from schemas.records import Canvas, Grade, Released, Scores
from support import plugins
from support.errors import DamagedError, NothingReleasedError, UserError
from tests.builds import contents
from tests.curation import samples
from tests.flows.commands import polytrace

FAMILY = "curation.exports"
ROOT = Path(__file__).resolve().parents[2]


class Read(NamedTuple):
    """What a loader takes out of a row; None: the format does not hold it."""

    prompt: str
    paths: tuple[str, ...] | None
    summary: str | None
    gold: str


def of_parathinker(line: dict[str, Any]) -> Read:
    """One pass over the special tokens, as the collator sees them: the prompt's first."""
    text = line["prompt"] + line["response"]
    opened = re.findall(r"<(think[1-8]|summary)>", text)
    paths = len(opened) - 2
    assert opened == ["summary", *(f"think{n}" for n in range(1, paths + 1)), "summary"]
    answer = line["response"]
    found = tuple(
        answer.partition(f"<think{n}>")[2].partition(f"</think{n}>")[0] for n in range(1, paths + 1)
    )
    summary = answer.partition("<summary>")[2].partition("</summary>")[0]
    rebuilt = "".join(f"<think{n}>{one}</think{n}>" for n, one in enumerate(found, 1))
    assert answer == f"{rebuilt}<summary>{summary}</summary>", "nothing stands between markers"
    prompt = line["prompt"].rpartition("\n")[0]
    assert prompt == line["problem"]
    return Read(prompt, found, summary, line["gold"])


def of_parallel_r1(line: dict[str, Any]) -> Read:
    """The trainer's two fields; its reward looks for the last line."""
    question, answer = line["extra_info"]["question"], line["extra_info"]["answer"]
    match = re.fullmatch(
        r"<Parallel>((?:<Path>.*?</Path>){2,})</Parallel>\n<Summary>\n(.*?)\n</Summary>\n\n"
        r"Final Answer: (.*)",
        answer,
        re.DOTALL,
    )
    assert match is not None
    assert line["reward_model"] == {"style": "rule", "ground_truth": match[3]}
    assert line["prompt"] == [{"role": "user", "content": question}]
    paths = re.findall(r"<Path>\n(.*?)\n</Path>", match[1], re.DOTALL)
    return Read(question, tuple(paths), match[2], match[3])


def of_multiverse(line: dict[str, Any]) -> Read:
    """The chat markup that its collator splits at, and the grammar of its third prompt."""
    match = re.fullmatch(
        r"<\|im_start\|>user\n(.*?)<\|im_end\|>\n<\|im_start\|>assistant\n<Think>\n<Parallel>\n"
        r"<Goal>\n(.*?)\n</Goal>\n(.*?)\n<Conclusion>\n(.*?)\n</Conclusion>\n</Parallel>\n</Think>"
        r"\n\nAnswer: (.*?)<\|im_end\|>\n",
        line["text"],
        re.DOTALL,
    )
    assert match is not None
    outlines = re.findall(r"<Outline>\n(\d+): [^\n]+\n</Outline>", match[2])
    paths = re.findall(r"<Path>\n(\d+): (.*?)\n</Path>", match[3], re.DOTALL)
    assert outlines == [number for number, _ in paths] == [str(n + 1) for n in range(len(paths))]
    return Read(match[1], tuple(text for _, text in paths), match[4], match[5])


def of_messages(line: dict[str, Any]) -> Read:
    """A chat of two turns, the second of which is the canvas."""
    user, assistant = line["messages"]
    assert [user["role"], assistant["role"]] == ["user", "assistant"]
    parsed = canvas.parse(assistant["content"])
    return Read(user["content"], parsed.paths, parsed.summary, line["gold"])


def of_rlvr(line: dict[str, Any]) -> Read:
    """verl's columns."""
    (user,) = line["prompt"]
    assert line["data_source"] == "problems.jsonl" and line["ability"]
    assert line["reward_model"] == {"style": "rule", "ground_truth": line["answer"]}
    return Read(user["content"], None, None, line["answer"])


PARSERS: dict[str, Callable[[dict[str, Any]], Read]] = {
    "parathinker": of_parathinker,
    "parallel_r1": of_parallel_r1,
    "multiverse": of_multiverse,
    "automodel": of_messages,
    "dfactory": of_messages,
    "sdar": of_messages,
    "rlvr": of_rlvr,
}
KINDS = (*PARSERS, "dpo")


def lines(folder: Path, split: str) -> list[dict[str, Any]]:
    """The rows of a split, as the project's loader reads the file."""
    names = {"train": ("train",), "validation": ("validation", "test")}[split]
    (file,) = [path for path in folder.iterdir() if path.stem in names]
    if file.suffix == ".parquet":
        read: list[dict[str, Any]] = pq.read_table(file).to_pylist()
        return read
    # AutoModel splits at everything that str.splitlines knows.
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def in_release(run: Path) -> dict[str, list[Released]]:
    found: dict[str, list[Released]] = {"train": [], "validation": []}
    for path in ReleaseReader(run).files:
        found[path.name.partition("-")[0]] += read_rows(path)
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("export") / "run"
    samples.write_run(run, samples.corpus(60))
    return run


def release(folder: Path, *rows: tuple[Canvas, Scores], validation: float = 0.0) -> Path:
    """A released dataset without its run."""
    writer.write_release(
        folder, samples.BUILD, iter(rows), validation=validation, rows_per_file=100
    )
    return folder


def row(**texts: str) -> Released:
    """A released row with another prompt, gold, first path or summary."""
    base = samples.canvas(3)
    prompt = replace(base.prompt, text=texts.get("prompt", base.prompt.text))
    path = replace(base.paths[0], text=texts.get("path", base.paths[0].text))
    made = replace(
        base,
        prompt=prompt,
        paths=(path, *base.paths[1:]),
        summary=texts.get("summary", base.summary),
        answer=texts.get("gold", base.answer),
    )
    return released(made, samples.scores(3))


def test_every_format_has_a_test() -> None:
    assert set(plugins.kinds(FAMILY)) == set(KINDS)


@pytest.mark.parametrize("kind", PARSERS)
def test_what_a_loader_reads_is_what_was_released(kind: str, run: Path, tmp_path: Path) -> None:
    facts = exporting.export(run, kind, tmp_path / "out")
    assert (facts.canvases, facts.exported, facts.refused) == (60, 60, {})
    for split, rows in in_release(run).items():
        assert len(rows) > 5
        for one, line in zip(rows, lines(tmp_path / "out", split), strict=True):
            read = PARSERS[kind](line)
            assert (read.prompt, read.gold) == (one.prompt, one.gold)
            if read.paths is not None:
                assert read.paths == tuple(path.text for path in one.paths)
                assert read.summary == one.summary


def test_pairs_are_a_right_path_and_a_wrong_sibling(run: Path, tmp_path: Path) -> None:
    facts = exporting.export(run, "dpo", tmp_path / "out")
    pairs = 0
    for split, rows in in_release(run).items():
        found = lines(tmp_path / "out", split)
        pairs += len(found)
        for one in rows:
            mine = [line for line in found if line["id"] == one.id]
            texts = {
                grade: [p.text for p in one.paths if p.grade is grade]
                for grade in (Grade.CORRECT, Grade.WRONG)
            }
            assert len(mine) == min(map(len, texts.values()))
            for line in mine:
                assert line["prompt"] == [{"role": "user", "content": one.prompt}]
                (chosen,), (rejected,) = line["chosen"], line["rejected"]
                assert chosen["role"] == rejected["role"] == "assistant"
                assert chosen["content"] in texts[Grade.CORRECT]
                assert rejected["content"] in texts[Grade.WRONG]
                assert line["gold"] == one.gold
    assert pairs == sum(facts.lines.values()) > 0
    assert facts.exported + facts.refused["no_wrong_path"] == facts.canvases == 60


def test_a_pass_rate_is_that_of_the_release(tmp_path: Path, run: Path) -> None:
    exporting.export(run, "rlvr", tmp_path / "out")
    rates = [line["pass_rate"] for line in lines(tmp_path / "out", "train")]
    assert rates == [one.pass_rate for one in in_release(run)["train"]]


def test_llama_factory_finds_both_files(run: Path, tmp_path: Path) -> None:
    exporting.export(run, "sdar", tmp_path / "out")
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())
    assert set(info) == {"polytrace_train", "polytrace_validation"}
    for entry in info.values():
        line = json.loads((tmp_path / "out" / entry["file_name"]).read_text().splitlines()[0])
        turns, tags = line[entry["columns"]["messages"]], entry["tags"]
        assert [one[tags["role_tag"]] for one in turns] == [tags["user_tag"], tags["assistant_tag"]]
        assert all(one[tags["content_tag"]] for one in turns)


@pytest.mark.parametrize("kind", ["dpo", "multiverse", "rlvr"])
def test_datasets_loads_the_folder(kind: str, run: Path, tmp_path: Path) -> None:
    facts = exporting.export(run, kind, tmp_path / "out")
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert sorted(len(loaded[split]) for split in loaded) == sorted(facts.lines.values())


def test_a_line_is_a_line_whatever_it_holds(tmp_path: Path) -> None:
    text = "a\u2028b\x85c\x0bd\x1ce\rf\u2029 漢 😀"
    folder = release(tmp_path / "in", samples.with_text(3, text))
    exporting.export(folder, "automodel", tmp_path / "out")
    (line,) = lines(tmp_path / "out", "train")
    assert of_messages(line).prompt == text


MARKED = {
    "parathinker": (
        "</think2>",
        "<summary>",
        "<vllm_pad>",
        "<\uff5cUser\uff5c>",
        "<|im_end|>",
        "</think>",
    ),
    "parallel_r1": ("<Parallel>", "</Path>", "<Summary>", "<|endoftext|>"),
    "multiverse": ("<Think>", "</Goal>", "<Outline>", "</Conclusion>", "<|im_start|>"),
    **dict.fromkeys(("automodel", "dfactory", "sdar", "dpo"), ("<|im_end|>", "<think>", "<role>")),
}


@pytest.mark.parametrize("where", ["prompt", "path", "summary", "gold"])
@pytest.mark.parametrize(
    ("kind", "marker"), [(kind, marker) for kind, markers in MARKED.items() for marker in markers]
)
def test_a_text_with_a_marker_is_refused(kind: str, marker: str, where: str) -> None:
    if where in ("path", "summary") and marker == "<summary>":
        return  # no canvas can hold it
    made = exporting.named(kind).lines(row(**{where: f"so {marker} then 7"}))
    assert isinstance(made, RowRefusal)
    assert made.reason == "contains_marker" and repr(marker) in made.detail
    assert {"path": "path 1"}.get(where, where) in made.detail


def test_only_the_prompt_matters_where_only_it_is_written() -> None:
    style = exporting.named("rlvr")
    assert not isinstance(style.lines(row(path="so <|im_end|> 7")), RowRefusal)
    assert isinstance(style.lines(row(prompt="so <|im_end|> 7")), RowRefusal)


@given(
    st.lists(st.text(alphabet="<>/|\n think12Path:au", min_size=1), min_size=2, max_size=6),
    st.text(alphabet="<>/|\n Sumary", min_size=1),
    st.sampled_from([kind for kind in PARSERS if kind != "rlvr"]),
)
def test_a_text_is_refused_or_comes_back(texts: list[str], summary: str, kind: str) -> None:
    base = samples.canvas(3)
    paths = tuple(replace(base.paths[0], text=text) for text in texts)
    made = replace(base, paths=paths, summary=summary, path_tokens=(1,) * len(paths))
    try:
        one = released(made, samples.scores(3))
    except ValueError:
        return  # no canvas can hold it
    found = exporting.named(kind).lines(one)
    if not isinstance(found, RowRefusal):
        read = PARSERS[kind](dict(found[0]))
        assert (read.paths, read.summary) == (tuple(texts), summary)


def test_as_many_paths_as_a_format_has() -> None:
    base = samples.canvas(3)
    for count, reason in ((1, "too_few_paths"), (7, "too_many_paths")):
        made = replace(base, paths=(base.paths[0],) * count, path_tokens=(1,) * count)
        one = released(made, samples.scores(3))
        kind = "parallel_r1" if count == 1 else "parathinker"
        found = exporting.named(kind).lines(one)
        assert isinstance(found, RowRefusal) and found.reason == reason
    assert parathinker.ASK.count("<summary>") == 1


# --- the folder


def test_twice_gives_the_same_bytes_and_counts_add_up(run: Path, tmp_path: Path) -> None:
    first, second = (exporting.export(run, "dpo", tmp_path / name) for name in "ab")
    assert first == second and contents(tmp_path / "a") == contents(tmp_path / "b")
    assert first.canvases == first.exported + sum(first.refused.values())
    facts = json.loads((tmp_path / "a" / exporting.FACTS_FILE).read_text())
    assert facts["build"] == samples.BUILD and facts["to"] == "dpo"
    hashes = contents(tmp_path / "a")
    assert {**facts["sha256"], exporting.FACTS_FILE: hashes[exporting.FACTS_FILE]} == hashes
    refused = [
        json.loads(line)
        for line in (tmp_path / "a" / exporting.REFUSED_FILE).read_text().splitlines()
    ]
    assert len(refused) == sum(first.refused.values())
    ids = {line["id"] for line in refused}
    assert not ids & {
        line["id"] for split in ("train", "validation") for line in lines(tmp_path / "a", split)
    }


@pytest.mark.parametrize("kind", ["dpo", "rlvr"])
def test_lines_in_memory_change_nothing(
    kind: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporting.export(run, kind, tmp_path / "a")
    monkeypatch.setattr(exporting, "AT_ONCE", 4)
    seen: list[int] = []
    exporting.export(run, kind, tmp_path / "b", progress=seen.append)
    assert sum(seen) == 60
    for split in ("train", "validation"):
        assert lines(tmp_path / "a", split) == lines(tmp_path / "b", split)


def test_a_run_and_its_release_folder_give_the_same(run: Path, tmp_path: Path) -> None:
    exporting.export(run, "parathinker", tmp_path / "a")
    facts = exporting.export(run / "release", "parathinker", tmp_path / "b")
    assert facts.build is None
    for name in ("train.jsonl", "validation.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("kind", PARSERS)
def test_a_run_of_version_0_1_is_exported(kind: str, tmp_path: Path) -> None:
    kept = ROOT / "tests" / "former_run" / "run"
    facts = exporting.export(kept, kind, tmp_path / "out")
    assert facts.canvases == facts.exported == 3


def test_an_export_is_replaced_and_nothing_else(run: Path, tmp_path: Path) -> None:
    exporting.export(run, "rlvr", tmp_path / "out")
    exporting.export(run, "sdar", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.parquet"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    before = contents(tmp_path)
    for out in (tmp_path / "mine", tmp_path / "mine" / "thesis.tex", run, run / "export", tmp_path):
        with pytest.raises(UserError, match="choose another"):
            exporting.export(run, "sdar", out)
    assert contents(tmp_path) == before


def test_files_that_somebody_put_beside_an_export_are_not_lost(run: Path, tmp_path: Path) -> None:
    """Token ids made of it, or the run itself: replacing the folder would delete them."""
    out = tmp_path / "out"
    exporting.export(run, "parathinker", out)
    (out / "tokens").mkdir()
    (out / "tokens" / "data.arrow").write_text("hours of work")
    with pytest.raises(UserError, match=r"tokens beside an export.*choose another --out"):
        exporting.export(run, "parathinker", out)
    assert (out / "tokens" / "data.arrow").read_text() == "hours of work"
    shutil.rmtree(out / "tokens")
    exporting.export(run, "parathinker", out)
    (out / exporting.FACTS_FILE).write_text("{}")  # of anybody
    with pytest.raises(UserError, match="choose another --out"):
        exporting.export(run, "parathinker", out)


def test_a_damaged_row_ends_the_export_and_leaves_no_folder(run: Path, tmp_path: Path) -> None:
    bad = Path(shutil.copytree(run / "release", tmp_path / "bad"))
    file = sorted((bad / "data").glob("train-*"))[0]
    table = pq.read_table(file)
    texts = table.column("response").to_pylist()
    texts[2] = texts[2].replace("</summary>", "")
    at = table.schema.get_field_index("response")
    pq.write_table(table.set_column(at, table.schema.field(at), [texts]), file)
    with pytest.raises(DamagedError, match=rf"{file.name}, row 3: not a canvas"):
        exporting.export(bad, "sdar", tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_a_format_of_another_package_must_give_lines_or_a_refusal(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "named", lambda kind: ExportFormat(lines=lambda row: ()))
    with pytest.raises(AssertionError, match="no line"):
        exporting.export(run, "mine", tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


# --- the command


def test_the_command_says_what_was_written(run: Path, tmp_path: Path) -> None:
    done = polytrace("export", str(run), "--to", "dpo", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "out" / exporting.FACTS_FILE).read_text())
    refused = 60 - facts["exported"]
    assert f"60 canvases: {facts['exported']} exported, {refused} refused" in done.stdout
    assert f"refused  no_wrong_path {refused}" in done.stdout
    assert f"out/train.jsonl, {facts['lines']['train.jsonl']} rows" in done.stdout
    assert "out/refused.jsonl" in done.stdout


def test_nothing_to_write_is_no_success(tmp_path: Path) -> None:
    release(tmp_path / "in", samples.with_text(3, "so <|im_end|> 7"))
    done = polytrace("export", "in", "--to", "sdar", "--out", "out", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "none of its 1 canvases can be written as 'sdar' (contains_marker 1)" in done.stderr
    assert not list(tmp_path.glob("out*"))
    with pytest.raises(NothingReleasedError):
        exporting.export(tmp_path / "in", "sdar", tmp_path / "out")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("nowhere", "--to", "dpo", "--out", "out"), "nowhere: no such run directory"),
        (("RUN", "--to", "parathinkr", "--out", "out"), "did you mean 'parathinker'?"),
        (("RUN", "--to", "_messages", "--out", "out"), "--to: no export '_messages'"),
        (("RUN", "--to", "dpo", "--out", "s3://bucket/x"), "is a URL"),
        (("RUN", "--to", "dpo", "--out", "RUN/x"), "lies in the folder that is read"),
        (("RUN", "--to", "dpo", "--out", "/proc/x"), "cannot write there"),
        (("RUN", "--to", "dpo"), "--out"),
        (("RUN", "--out", "out"), "--to"),
        ((".", "--to", "dpo", "--out", "out"), "manifest.json"),
    ],
)
def test_a_mistake_ends_with_2_and_one_sentence(
    args: tuple[str, ...], says: str, run: Path, tmp_path: Path
) -> None:
    given = [arg.replace("RUN", str(run)) for arg in args]
    done = polytrace("export", *given, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert says in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir())


def test_help_names_every_format_and_an_example(tmp_path: Path) -> None:
    done = polytrace("export", "--help", cwd=tmp_path)
    text = " ".join(done.stdout.split())
    assert all(kind in text for kind in KINDS)
    assert "polytrace export runs/demo --to parathinker" in text
