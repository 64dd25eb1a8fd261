"""Scores of any corpus: every document has a row, and a broken-off run goes on."""

import dataclasses
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from curation.seqdep_report import kept_scores, score
from curation.seqdep_report.controls import Control
from curation.seqdep_report.corpus_statistics import corpus_statistics
from curation.seqdep_report.documents import TextCorpus
from curation.seqdep_report.kept_scores import TextScores, read_scores
from curation.seqdep_report.report import Inputs, report
from curation.seqdep_report.score import check_out, score_corpus
from schemas.canvas import render
from schemas.records import Level, SeqDep
from scorers.seqdep import loader, packing
from scorers.seqdep.causal_lm import Scorer
from scorers.seqdep.measurement import SeqDepSettings
from support.display.progress import Work
from support.errors import UserError
from tests.curation import samples
from tests.scorers import small_models

SETTINGS = SeqDepSettings(step_tokens=8, window_tokens=8, keep_part=True, canvas_steps=True)
ROWS = [
    {"prompt": f"{i}?", "text": f"{i} and {i}. So {i + i}. Done" * (1 + i % 3)} for i in range(20)
]
ROWS[7] = {"prompt": "7?", "text": ""}


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return loader.load_scorer(
        str(small_models.save(tmp_path_factory.mktemp("llama"), "LlamaConfig"))
    )


@pytest.fixture
def corpus(tmp_path: Path) -> TextCorpus:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return TextCorpus(str(path))


class Told:
    """What the progress was told."""

    def __init__(self) -> None:
        self.done = self.kept = 0
        self.work: Work | None = None

    def __call__(self, done: int, /, *, kept: int = 0, work: Work | None = None) -> None:
        self.done, self.kept = self.done + done, self.kept + kept
        self.work = work or self.work


def run(corpus: Any, scorer: Scorer, out: Path, **options: Any) -> list[TextScores]:
    told = Told()
    usual: dict[str, Any] = {"limit": None, "progress": told}
    score_corpus(corpus, scorer, SETTINGS, out, **{**usual, **options})
    found = list(read_scores(out))
    if "progress" not in options:
        assert told.done + told.kept == len(found)
    return found


def test_every_document_has_a_row(corpus: TextCorpus, scorer: Scorer, tmp_path: Path) -> None:
    found = run(corpus, scorer, tmp_path / "out.parquet")
    assert [one.row for one in found] == list(range(1, 21))
    assert [one.reason for one in found if one.reason] == ["missing_text"]
    for one in found:
        assert (one.step is None) == bool(one.reason)
        if one.step is not None and one.window is not None:
            assert one.tokens == sum(one.step.tokens) == sum(one.window.tokens)
            assert one.path is None
    assert run(corpus, scorer, tmp_path / "out.jsonl") == found
    assert len(run(corpus, scorer, tmp_path / "five.parquet", limit=5)) == 5


class Breaks:
    """Scores groups of four, and is interrupted at the third."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self._scored = score.score_documents
        monkeypatch.setattr(score, "score_documents", self)
        monkeypatch.setattr(score, "_groups", self.fours)

    def fours(self, documents: Any, _: object) -> Any:
        return iter(lambda: list(islice(documents, 4)), [])

    def __call__(self, batch: Sequence[Any], *rest: Any) -> Any:
        self.sizes.append(len(batch))
        if len(self.sizes) == 3:
            raise KeyboardInterrupt
        return self._scored(batch, *rest)


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_a_broken_off_run_goes_on_and_ends_in_the_same_bytes(
    corpus: TextCorpus,
    scorer: Scorer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
) -> None:
    breaks = Breaks(monkeypatch)
    out, whole = tmp_path / "out.parquet", tmp_path / "whole.parquet"
    monkeypatch.setattr(kept_scores, "KEEP_SECONDS", seconds)
    with pytest.raises(KeyboardInterrupt):
        run(corpus, scorer, out)
    assert not out.exists()
    told = Told()
    run(corpus, scorer, out, progress=told)
    assert breaks.sizes == [4] * 6  # two groups stood already
    assert (told.done, told.kept) == (12, 8)
    run(corpus, scorer, whole)
    assert out.read_bytes() == whole.read_bytes()
    run(corpus, scorer, out)
    assert len(breaks.sizes) == 11  # all of it stands
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_higher_limit_scores_the_further_documents_alone(
    corpus: TextCorpus, scorer: Scorer, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"out.{suffix}"
    ten = run(corpus, scorer, out, limit=10)
    told = Told()
    eleven = run(corpus, scorer, out, limit=11, progress=told)
    assert (told.done, told.kept) == (1, 10)
    assert eleven[:10] == ten and len(eleven) == 11


def test_a_long_text_at_the_end_is_work_that_is_left(
    scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["Short. Text."] * 9 + ["Long and longer. " * 90]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    monkeypatch.setattr(packing, "_CPU_TOKENS", 64)
    left: list[float] = []

    class Heard(Told):
        def __call__(self, done: int, /, *, kept: int = 0, work: Work | None = None) -> None:
            super().__call__(done, kept=kept, work=work)
            if self.done == 9:
                assert work is not None
                left.append(work.left / work.done)

    run(TextCorpus(str(path)), scorer, tmp_path / "out.parquet", limit=10, progress=Heard())
    assert left and left[0] > 10, "one of ten texts is most of the work"


def test_a_changed_document_is_scored_again(
    corpus: TextCorpus, scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Breaks(monkeypatch)
    out = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        run(corpus, scorer, out)
    rows = [*ROWS]
    rows[5] = {"prompt": "5?", "text": "Something else. So 10."}
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changed = TextCorpus(str(tmp_path / "in.jsonl"))
    found = run(changed, scorer, out)
    assert found == run(changed, scorer, tmp_path / "afresh.parquet")


def test_other_scores_are_not_written_over(
    corpus: TextCorpus, scorer: Scorer, tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    run(corpus, scorer, out)
    with pytest.raises(UserError, match="holds other scores"):
        run(corpus, scorer, out, limit=3)
    assert len(list(read_scores(out))) == 20
    assert len(run(corpus, scorer, out, limit=3, is_ours=True)) == 3
    with pytest.raises(UserError, match=r"\.parquet or a \.jsonl"):
        check_out(tmp_path / "out.csv")
    with pytest.raises(UserError, match="holds no scores of this command"):
        check_out(tmp_path / "in.jsonl")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be made"):
        check_out(tmp_path / "file" / "out.jsonl")


def test_a_kill_at_the_end_costs_nothing_and_mixes_nothing(
    corpus: TextCorpus, scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.parquet"
    run(corpus, scorer, out)
    out.unlink()  # as the message advises

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    for place, name in ((kept_scores.Parts, "join"), (score, "replace_text")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, killed)
            with pytest.raises(KeyboardInterrupt):
                run(corpus, scorer, out, limit=5)
        assert not out.exists()
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            run(corpus, scorer, out, limit=5)
    assert len(run(corpus, scorer, out, limit=5)) == 5
    assert not list(tmp_path.glob("*.parts"))
    with monkeypatch.context() as patch:  # while more are added to what stands
        patch.setattr(kept_scores.Parts, "join", killed)
        with pytest.raises(KeyboardInterrupt):
            run(corpus, scorer, out)
    told = Told()
    assert len(run(corpus, scorer, out, progress=told)) == 20
    assert (told.done, told.kept) == (0, 20)


def test_path_level_of_what_is_no_canvas_says_so(scorer: Scorer, tmp_path: Path) -> None:
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = [render(("a b", "c d"), "e"), "just a text."]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    only = dataclasses.replace(SETTINGS, levels=(Level.PATH,))
    score_corpus(TextCorpus(str(path)), scorer, only, out, limit=None, progress=Told())
    first, second = read_scores(out)
    assert first.path is not None and not first.reason
    assert second.reason == "no_canvas"


def test_what_exceeds_the_context_is_cut_or_named(scorer: Scorer, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"text": "Tom has 3 boxes. " * 200}) + "\n" + '{"text": "A. B."}\n')
    found = run(TextCorpus(str(path)), scorer, tmp_path / "part.parquet")
    assert found[0].step is not None and found[0].step.is_cut and found[0].tokens == 511
    whole = dataclasses.replace(SETTINGS, keep_part=False)
    out = tmp_path / "whole.parquet"
    score_corpus(TextCorpus(str(path)), scorer, whole, out, limit=None, progress=Told())
    first, second = read_scores(out)
    assert (first.reason, first.step) == ("context_length", None)
    assert "512 tokens" in first.detail
    assert second.step is not None


def test_figures_by_hand() -> None:
    def one(row: int, gains: tuple[float, ...], tokens: tuple[int, ...]) -> TextScores:
        step = SeqDep(
            level=Level.STEP,
            nats=sum(gains) / len(gains),
            nats_per_token=sum(gains) / sum(tokens[1:]),
            gains=gains,
            tokens=tokens,
        )
        return TextScores(row=row, part=1, step=step, tokens=sum(tokens))

    rows = [one(1, (2.0, 4.0), (5, 2, 2)), one(2, (1.0,), (3, 4))]
    rows.append(dataclasses.replace(rows[0], reason="bad", step=None))
    found = corpus_statistics(rows)
    assert (found.documents, found.not_scored) == (2, {"bad": 1})
    (step,) = found.levels
    assert step.nats.mean is not None and step.nats.mean.value == pytest.approx(2.0)
    assert [(i.index, i.documents, i.nats) for i in step.by_index] == [(2, 2, 1.5), (3, 1, 4.0)]
    assert step.by_index[0].nats_per_token == pytest.approx(3.0 / 6)
    assert json.loads(found.json())["levels"][0]["level"] == "step"
    assert "under 30 documents" in found.text()


def test_controls_are_made_of_the_same_paths(tmp_path: Path) -> None:
    corpus = released(tmp_path, 4)
    own = list(corpus.documents())
    others = list(Control(corpus, "others", 9).documents())
    repeated = list(Control(corpus, "repeated", 9).documents())
    for i, (one, other, same) in enumerate(zip(own, others, repeated, strict=True)):
        assert other.prompt == same.prompt == one.prompt
        assert other.paths == tuple(own[(i + j) % 4].paths[j] for j in range(3))
        assert same.paths == (one.paths[0],) * 3
        assert other.summary == same.summary == ""


def test_too_few_prompts_lend_no_paths(tmp_path: Path) -> None:
    found = list(Control(released(tmp_path, 2), "others", 9).documents())
    assert [one.reason for one in found] == ["too_few_prompts"] * 2


def released(folder: Path, count: int) -> TextCorpus:
    from curation.release import writer

    writer.write_release(
        folder, samples.BUILD, samples.corpus(count), validation=0, rows_per_file=99
    )
    return TextCorpus(str(folder))


def test_a_report_has_a_table_a_picture_and_its_scores(tmp_path: Path, scorer: Scorer) -> None:
    run_folder, out = tmp_path / "run", tmp_path / "report"
    released(run_folder, 8)
    web = tmp_path / "web.jsonl"
    web.write_text("".join(json.dumps({"text": row["text"] or "x"}) + "\n" for row in ROWS))
    inputs = Inputs(run=run_folder, web=str(web), long_cot=(), long_cot_column=None)

    def make() -> str:
        return report(inputs, lambda: scorer, SETTINGS, out, limit=50, progress=Told())

    table = make()
    for name in ("web text", "long-CoT form of this corpus", "other prompts", "one path repeated"):
        assert name in table
    page = (out / "report.md").read_text()
    assert "fewer than 30 canvases were measured" in table
    assert table.splitlines()[0] in page and "under 30 documents" in page and "seqdep.png" in page
    assert (out / "seqdep.png").read_bytes()[:4] == b"\x89PNG"
    first = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert set(first) == {"report.md", "seqdep.png", "seqdep.svg", "figures.json"}
    scores = out / "scores"
    for new in list(scores.glob("own_long_cot.parquet*")):  # as version 0.1 called them
        new.rename(new.with_name(new.name.replace("own_long_cot", "twin")))
    stamp = (scores / "twin.parquet").stat().st_mtime_ns
    make()
    assert (scores / "own_long_cot.parquet").stat().st_mtime_ns == stamp
    assert not list(scores.glob("twin*"))
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == first
    with pytest.raises(UserError, match="is no run"):
        bad = Inputs(run=web, web=None, long_cot=(), long_cot_column=None)
        report(bad, lambda: scorer, SETTINGS, out, limit=50, progress=Told())
