"""A corpus that grows: new rows in new files, and not a byte of what was released touched."""

import json
import shutil
from pathlib import Path

import pytest

from curation.context import Job
from curation.release.verify import find_problems
from curation.stages import prompt_stage
from schemas.manifest import MANIFEST_FILE, Manifest
from schemas.recipe import load_recipe
from support.errors import DamagedError, UserError
from support.paths import ROOT
from tests.builds import RECIPES, contents, make

pytestmark = pytest.mark.slow

PROMPTS = (ROOT / "tiny" / "prompts" / "demo.jsonl").read_text().splitlines()
BROKEN = '{"question": "What is 1 + 1?"}'  # no gold
NO_GOLD = '{"question": "What is 1 + 1?", "answer": ""}'
ROWS = [*PROMPTS[:54], BROKEN, PROMPTS[3]]  # of the corpus that has grown


FILTER = "filters=[{kind: seqdep, level: step, quantile: 0.95}]"


class Corpus:
    """A recipe, its source of a few rows, and a run."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "prompts.jsonl"
        self.run = folder / "run"

    def copy(self, folder: Path) -> "Corpus":
        """The same elsewhere."""
        other = Corpus(folder)
        shutil.copytree(self.run, other.run)
        shutil.copyfile(self.source, other.source)
        return other

    def holds(self, rows: list[str]) -> None:
        """What the source is from now on."""
        self.source.write_text("".join(f"{row}\n" for row in rows))

    def overrides(self, *more: str) -> tuple[str, ...]:
        return ("shard_rows=12", "grow=true", f"source.path={self.source}", FILTER, *more)

    def build(self, *more: str, limit: int | None = None) -> Manifest:
        make(self.run, "demo", *self.overrides(*more), limit=limit)
        assert find_problems(self.run) == []
        return self.manifest

    @property
    def manifest(self) -> Manifest:
        return Manifest.load(self.run / MANIFEST_FILE)

    def identities(self, folder: str) -> dict[str, tuple[int, int, bytes]]:
        """Inode, time and content of every Parquet file of a folder of the run."""
        return {
            path.name: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
            for path in sorted((self.run / folder).rglob("*.parquet"))
        }


STAGES = ("prompts", "traces", "graded", "canvases", "scored")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A first edition of 30 rows."""
    corpus = Corpus(tmp_path_factory.mktemp("growing"))
    corpus.holds(PROMPTS[:30])
    corpus.build()
    return corpus


@pytest.fixture(scope="module")
def grown_once(begun: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Manifest]:
    """The same with 26 more rows, a broken one and a repetition among them; and how it was."""
    corpus = begun.copy(tmp_path_factory.mktemp("grown"))
    files = {stage: corpus.identities(stage) for stage in (*STAGES, "release")}
    corpus.holds(ROWS)
    corpus.build()
    for stage, kept in files.items():
        now = corpus.identities(stage)
        assert {name: now[name] for name in kept} == kept, stage
        assert len(now) > len(kept), stage
    return corpus, begun.manifest


@pytest.fixture
def grown(
    grown_once: tuple[Corpus, Manifest], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Corpus, Manifest]:
    """A copy for one test, with the same source, which the recipe names by its path."""
    once, before = grown_once
    corpus = once.copy(tmp_path_factory.mktemp("copy"))
    corpus.source = once.source
    corpus.holds(ROWS)
    return corpus, before


def test_new_rows_come_into_new_files(grown: tuple[Corpus, Manifest]) -> None:
    from datasets import load_dataset

    corpus, before = grown
    after = corpus.manifest
    first, second = after.editions
    assert (first,) == before.editions and first.build == before.build != after.build
    assert (first.rows, second.rows) == (30, 26) and second.canvases > 0
    assert after.prompts.in_ == 56 and after.canvases == first.canvases + second.canvases
    assert after.release[: len(before.release)] == before.release
    reasons = {(one.reason, one.count) for one in after.rejected if one.stage == "prompts"}
    assert ("duplicate_exact", 1) in reasons and sum(count for _, count in reasons) == 2
    assert after.filters[0].frozen == before.filters[0].frozen != ""
    assert after.filters[0].seen > before.filters[0].seen
    data = load_dataset(str(corpus.run / "release"), cache_dir=str(corpus.run / "cache"))
    assert sum(split.num_rows for split in data.values()) == after.canvases
    card = (corpus.run / "release/README.md").read_text()
    assert f"| 2 | `data/*-{second.build}-*.parquet` | 26 | {second.canvases} |" in card
    assert not list(corpus.run.glob("release.*")), "nothing of it is kept twice"


def test_the_same_steps_give_the_same_bytes(grown: tuple[Corpus, Manifest], tmp_path: Path) -> None:
    """Also where the second was stopped after reading, and damaged before it went on."""
    corpus, first = grown
    again = Corpus(tmp_path)
    again.source, rows = corpus.source, corpus.source.read_text()
    again.holds(PROMPTS[:30])
    again.build()
    assert again.manifest.release == first.release
    corpus.source.write_text(rows)
    job = Job(recipe=load_recipe(RECIPES / "demo.yaml", again.overrides()), run=again.run)
    source_index = prompt_stage.read_prompts(job)
    job.close()
    assert [edition.rows for edition in source_index.editions] == [(30,), (26,)]
    for name in ("prompts/00001.parquet", first.release[0].path):
        damaged = bytearray((again.run / name).read_bytes())
        damaged[len(damaged) // 2] ^= 1
        (again.run / name).write_bytes(bytes(damaged))
    again.build()
    assert contents(again.run / "release") == contents(corpus.run / "release")
    facts = again.run / MANIFEST_FILE
    assert facts.read_bytes() == (corpus.run / MANIFEST_FILE).read_bytes()


def test_nothing_new_is_no_edition(grown: tuple[Corpus, Manifest]) -> None:
    corpus, _ = grown
    before = contents(corpus.run / "release")
    corpus.source.touch()
    corpus.build(limit=1000)
    assert contents(corpus.run / "release") == before
    assert len(corpus.manifest.editions) == 2


@pytest.mark.parametrize(
    ("rows", "more", "limit", "said"),
    [
        (lambda rows: rows[:20], (), None, "fewer rows than were read before"),
        (lambda rows: rows[1:], (), None, "row 1: has another text and gold"),
        (lambda rows: [rows[0], *rows], (), None, r"row 2: is rejected now \(duplicate_exact\)"),
        (lambda rows: [*rows[:29], PROMPTS[50]], (), None, "row 30: has another text and gold"),
        (lambda rows: [BROKEN, *rows[1:]], (), None, r"row 1: is rejected now"),
        (None, (), 20, "30 rows were read so far, and --limit is 20"),
        (None, ("shard_rows=13",), None, "shard_rows"),
        (None, ("teacher.max_tokens=60",), None, "shard 0 of traces was released"),
        (None, ("groups.similarity=0.7",), None, "shard 0 of canvases was released"),
        (None, (FILTER.replace("0.95", "0.9"),), None, "other filters"),
        (None, ("release.validation=0.5",), None, "settings of release"),
    ],
)
def test_what_was_released_must_stay(
    rows: object, more: tuple[str, ...], limit: int | None, said: str, begun: Corpus, tmp_path: Path
) -> None:
    corpus = begun.copy(tmp_path)
    before = contents(corpus.run)
    if callable(rows):
        corpus.holds(rows(PROMPTS[:30]))
    with pytest.raises(UserError, match=said) as caught:
        corpus.build(*more, limit=limit)
    assert "\n" not in str(caught.value) and ("--out" in str(caught.value) or limit)
    assert contents(corpus.run) == before, "nothing was touched"


def test_a_damaged_census_is_restored(
    grown: tuple[Corpus, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = grown[0].copy(tmp_path)
    monkeypatch.setattr(corpus, "source", grown[0].source)
    corpus.build()  # another test's may have been with a limit, which the source index names
    before = contents(corpus.run)
    for names in (prompt_stage.INDEX_FILES[:1], prompt_stage.INDEX_FILES[1:]):
        for name in names:
            data = bytearray((corpus.run / name).read_bytes())
            data[len(data) // 2] ^= 1
            (corpus.run / name).write_bytes(data)
            assert any(name in line for line in find_problems(corpus.run))
        corpus.build()
        assert contents(corpus.run) == before
    for name in prompt_stage.INDEX_FILES:
        (corpus.run / name).unlink()
    damaged = contents(corpus.run)
    with pytest.raises(DamagedError, match="not known what the corpus has grown from"):
        corpus.build()
    assert contents(corpus.run) == damaged, "nothing was touched"


@pytest.mark.parametrize("grow", ["true", "false"])
def test_no_build_replaces_another_corpus(begun: Corpus, tmp_path: Path, grow: str) -> None:
    corpus = begun.copy(tmp_path)
    before = contents(corpus.run)
    with pytest.raises(UserError, match="which would replace it"):
        make(corpus.run, "demo", "name=another", f"grow={grow}", limit=5)
    assert contents(corpus.run) == before


@pytest.mark.parametrize("grow", ["true", "false"])
@pytest.mark.parametrize("content", [b"", b'{"name": "another"}', None])
def test_a_damaged_manifest_lets_no_other_recipe_in(
    begun: Corpus, tmp_path: Path, grow: str, content: bytes | None
) -> None:
    corpus = begun.copy(tmp_path)
    manifest = corpus.run / "manifest.json"
    manifest.unlink()
    if content is not None:
        manifest.write_bytes(content)
    before = contents(corpus.run)
    with pytest.raises((UserError, DamagedError), match=r"which would replace it|not known what"):
        make(corpus.run, "demo", "name=another", f"grow={grow}", limit=5)
    (corpus.run / "recipe.yaml").write_bytes(b"{")
    with pytest.raises(DamagedError, match="not known which corpus is in it"):
        make(corpus.run, "demo", "name=another", f"grow={grow}", limit=5)
    (corpus.run / "recipe.yaml").unlink()
    del before["recipe.yaml"]
    assert contents(corpus.run) == before, "nothing was touched"


def test_a_damaged_manifest_is_made_again_unless_the_corpus_grows(
    begun: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = begun.copy(tmp_path)
    monkeypatch.setattr(corpus, "source", begun.source)
    corpus.holds(PROMPTS[:30])
    whole = contents(corpus.run)
    (corpus.run / "manifest.json").unlink()  # as after a kill before it is written
    corpus.build()
    assert contents(corpus.run) == whole
    (corpus.run / "manifest.json").write_bytes(b"{")
    with pytest.raises(DamagedError, match="not known what was released"):
        corpus.build()


def test_a_corpus_begins_to_grow_and_ends_it(begun: Corpus, tmp_path: Path) -> None:
    corpus = Corpus(tmp_path)
    corpus.holds(PROMPTS[:18])
    corpus.build("grow=false")
    corpus.holds(PROMPTS[:30])
    grown = corpus.build()
    assert [part.rows for part in grown.editions] == [18, 12]
    whole = corpus.build("grow=false")
    (only,) = whole.editions
    assert only.rows == 30 and only.build == whole.build == begun.manifest.editions[0].build
    assert {file.path for file in whole.release} == {
        file.path for file in begun.manifest.release if only.build in file.path
    }


def test_a_filled_corpus_does_not_grow() -> None:
    with pytest.raises(UserError, match="grow: a corpus that the filter count has filled"):
        load_recipe(RECIPES / "demo.yaml", ("grow=true", "filters=[{kind: count, most: 9}]"))


def test_a_second_source_is_added_after_the_first(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path)
    corpus.holds(PROMPTS[:18])
    other = tmp_path / "other.jsonl"
    other.write_text("".join(f"{row}\n" for row in PROMPTS[10:30]))
    corpus.build()
    sources = [
        {
            "kind": "jsonl",
            "path": str(path),
            "columns": {"prompt": "question", "gold": "answer"},
            "license": "apache-2.0",
        }
        for path in (corpus.source, other)
    ]
    grown = corpus.build(f"source={json.dumps(sources)}")
    assert [part.rows for part in grown.editions] == [18, 20]
    assert sum(one.count for one in grown.rejected if one.reason == "duplicate_exact") == 8
    corpus.holds([*PROMPTS[:18], PROMPTS[40]])
    with other.open("a") as file:
        file.write(f"{PROMPTS[40]}\n{PROMPTS[41]}\n")
    again = corpus.build(f"source={json.dumps(sources)}")
    assert [part.rows for part in again.editions] == [18, 20, 3]
    with pytest.raises(UserError, match="source 1 was"):
        corpus.build(f"source={json.dumps(sources[::-1])}")


def test_filters_learn_from_the_first_edition_that_holds_a_canvas(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path)
    corpus.holds([NO_GOLD])
    limit = "filters=[{kind: seqdep, level: path, quantile: 0.5}]"
    assert corpus.build(limit).canvases == 0
    corpus.holds([NO_GOLD, *PROMPTS[:30]])
    second = corpus.build(limit)
    assert second.filters[0].frozen and 0 < second.canvases < second.filters[0].seen
    corpus.holds([NO_GOLD, *PROMPTS[:54]])
    assert corpus.build(limit).filters[0].frozen == second.filters[0].frozen


def test_a_kill_in_the_middle_of_a_swap_loses_no_released_file(
    begun: Corpus, tmp_path: Path
) -> None:
    corpus = begun.copy(tmp_path)
    before = corpus.identities("release")
    corpus.holds(PROMPTS[:54])
    (corpus.run / "release").rename(corpus.run / "release.old")  # so far it came
    corpus.build()
    after = corpus.identities("release")
    assert {name: after[name] for name in before} == before
    assert not list(corpus.run.glob("release.*"))
