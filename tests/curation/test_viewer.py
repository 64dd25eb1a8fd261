"""The viewer's numbers, orders, search and rows, against a release that was written for real."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from curation.release.reader import ReleaseReader
from curation.release.rows import read_rows
from curation.viewer import shown
from curation.viewer.numbers import MEASURES, Bounds, GradeChoice, Numbers, Selection, selection
from curation.viewer.search import search
from schemas import arrow, former
from schemas.records import Grade, Released
from support.errors import DamagedError, UserError
from tests.curation import samples

ROWS = 100


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> ReleaseReader:
    run = tmp_path_factory.mktemp("viewer") / "run"
    samples.write_run(run, samples.corpus(ROWS))
    return ReleaseReader(run)


@pytest.fixture(scope="module")
def released(corpus: ReleaseReader) -> list[Released]:
    return [row for path in corpus.files for row in read_rows(path)]


@pytest.fixture(scope="module")
def numbers(corpus: ReleaseReader) -> Numbers:
    made = Numbers(corpus)
    reads = list(made.fill())
    assert reads == sorted(reads) and reads[-1] == ROWS and len(reads) > 3
    return made


def test_the_numbers_are_those_of_the_rows(numbers: Numbers, released: list[Released]) -> None:
    own: dict[str, list[float]] = {
        "right": [row.correct_paths / len(row.paths) for row in released],
        "tokens": [sum(path.tokens for path in row.paths) for row in released],
    }
    for measure in MEASURES:
        expected: list[float | None] = [
            *(own.get(measure.key) or (getattr(row, measure.column or "") for row in released))
        ]
        np.testing.assert_array_equal(
            numbers.values[measure.key],
            np.array([np.nan if value is None else value for value in expected]),
        )
    assert numbers.range_of("seqdep_step") is None, "never measured in these rows"
    assert numbers.range_of("tokens") == (27.0, 31.0)


def test_columns_that_statistics_describe_are_right_without_being_read(
    corpus: ReleaseReader, released: list[Released], tmp_path: Path
) -> None:
    """A constant column, one with a single null, and one that has no statistics."""
    table = pq.read_table(corpus.files[0])
    position = table.schema.get_field_index("similarity")
    constant = table.set_column(position, "similarity", [[0.5] * len(table)])
    hole = table.set_column(position, "similarity", [[None, *[0.5] * (len(table) - 1)]])
    for name, data, statistics in (
        ("constant", constant, True),
        ("hole", hole, True),
        ("plain", constant, False),
    ):
        pq.write_table(data, tmp_path / f"{name}.parquet", write_statistics=statistics)
        made = Numbers(ReleaseReader(tmp_path / f"{name}.parquet"))
        assert list(made.fill()) == [len(table)]
        found = made.values["similarity"]
        assert np.isnan(found[0]) == (name == "hole") and set(found[1:]) == {0.5}
        assert not np.isnan(made.values["seqdep_path"]).any()


def test_every_row_has_one_kind_of_grades(numbers: Numbers, released: list[Released]) -> None:
    wrong = Counter(min(2, len(row.paths) - row.correct_paths) for row in released)
    kinds = (GradeChoice.ALL_RIGHT, GradeChoice.ONE_WRONG, GradeChoice.MORE_WRONG)
    for number, kind in enumerate(kinds):
        assert len(numbers.order(Selection(grades=kind))) == wrong[number] > 0
    assert sum(wrong.values()) == ROWS == len(numbers.order(Selection()))
    unread = [
        n
        for n, row in enumerate(released)
        if {path.grade for path in row.paths} & {Grade.UNPARSED, Grade.TIMEOUT}
    ]
    assert numbers.order(Selection(grades=GradeChoice.UNREAD)).tolist() == unread
    assert not len(numbers.order(Selection(grades=GradeChoice.NONE_RIGHT)))


def test_bounds_and_orders(numbers: Numbers, released: list[Released]) -> None:
    chosen = Selection(bounds=(Bounds("seqdep_path", 0.06, 0.1),), sort="seqdep_path")
    values = [row.seqdep_path_nats_per_token or 0.0 for row in released]
    found = numbers.order(chosen).tolist()
    assert found == sorted(
        (n for n, value in enumerate(values) if 0.06 <= value <= 0.1), key=lambda n: values[n]
    )
    down = Selection(bounds=chosen.bounds, sort="seqdep_path", descending=True)
    assert numbers.order(down).tolist() == found[::-1]
    assert not len(numbers.order(Selection(bounds=(Bounds("seqdep_step", None, 9.0),))))
    assert len(numbers.order(Selection(sort="seqdep_step"))) == ROWS, "unknown values stay"


def test_an_address_names_a_selection_or_is_a_mistake() -> None:
    query = {"grades": "one_wrong", "tokens_min": "30", "right_max": "", "sort": "similarity"}
    assert selection(query | {"descending": "1", "text": "x"}) == Selection(
        grades=GradeChoice.ONE_WRONG,
        bounds=(Bounds("tokens", 30.0, None),),
        sort="similarity",
        descending=True,
    )
    for name, value in {"grades": "good", "tokens_min": "many", "sort": "id"}.items():
        with pytest.raises(UserError, match=name):
            selection({name: value})
    with pytest.raises(UserError, match="tokens_max"):
        selection({"tokens_max": "nan"})


def hits(corpus: ReleaseReader, text: str, **more: object) -> list[tuple[int, str]]:
    steps = list(search(corpus, text, **more))  # type: ignore[arg-type]
    assert steps[-1].end == len(corpus)
    return [(one.number, one.where) for step in steps for one in step.found]


def test_a_search_finds_what_the_rows_hold(corpus: ReleaseReader, released: list[Released]) -> None:
    for text in ("buys 17 MORE", "twice 1", "COUNT ON FROM 9", "answer is 19", "漢", "Ü"):
        held = [
            (n, where)
            for n, row in enumerate(released)
            for where in [
                next(
                    (
                        name
                        for name, content in [
                            ("prompt", row.prompt),
                            *((f"path {k}", one.text) for k, one in enumerate(row.paths, 1)),
                            ("summary", row.summary),
                        ]
                        if text.lower() in content.lower()
                    ),
                    None,
                )
            ]
            if where
        ]
        assert hits(corpus, text) == held and held
    identity = released[7].id
    assert (7, "id") in hits(corpus, identity)
    assert hits(corpus, "no such words") == []
    everywhere = hits(corpus, "apples")
    assert [n for n, _ in everywhere] == list(range(ROWS))
    assert hits(corpus, "apples", after=42) == everywhere[42:]


def test_a_search_reads_no_row_group_without_a_row_that_counts(
    corpus: ReleaseReader, tmp_path: Path
) -> None:
    among = np.zeros(ROWS, np.bool_)
    among[[3, 90]] = True
    assert [n for n, _ in hits(corpus, "apples", among=among)] == [3, 90]
    table = pq.read_table(corpus.files[0])
    whole, damaged = tmp_path / "a.parquet", tmp_path / "b.parquet"
    for path in (whole, damaged):
        pq.write_table(table, path, compression="none", write_page_checksum=True)
    data = damaged.read_bytes()
    at = data.index(b"buys")  # within a page of prompts
    damaged.write_bytes(data[:at] + b"BUYS" + data[at + 4 :])
    both = ReleaseReader(whole, damaged)
    among = np.zeros(len(both), np.bool_)
    among[0] = True
    assert [n for n, _ in hits(both, "apples", among=among)] == [0]
    with pytest.raises(DamagedError, match=r"b\.parquet"):
        hits(both, "apples")


def test_an_excerpt_shows_the_words_around(corpus: ReleaseReader) -> None:
    (step, *_) = search(corpus, "how many")
    assert step.found[0].excerpt == "Ann has 0 apples and buys 1 more. How many has she? — ü 漢"
    for text in ("", "  \n", "x" * 1001, "\ud800"):
        with pytest.raises(UserError, match="search"):
            next(search(corpus, text))


def test_lines_and_canvases_are_the_rows(corpus: ReleaseReader, released: list[Released]) -> None:
    wanted = [77, 3, 50]
    lines = shown.list_rows(corpus, wanted)
    assert [one.number for one in lines] == wanted
    assert [one.id for one in lines] == [released[n].id for n in wanted]
    assert lines[0].values["tokens"] == str(sum(one.tokens for one in released[77].paths))
    assert lines[0].grades.count("right") == released[77].correct_paths
    assert "seqdep_step" not in lines[0].values
    one = shown.canvas(corpus, 77)
    assert [path.text.text for path in one.paths] == [path.text for path in released[77].paths]
    assert one.paths[0].measured == ("SeqDep begins with path 2",)
    assert one.paths[1].measured[0].startswith("SeqDep +0.25 nats")
    assert ("teacher", "tiny (abc)") in one.paths[2].provenance
    assert ("source", f"problems.jsonl, row {released[77].source_row}") in one.provenance
    assert shown.long_cot(corpus, 77).text == released[77].long_cot
    assert shown.canvas(corpus, 77, limit=3).prompt == shown.CutText(
        "Ann", len(released[77].prompt) - 3
    )


def test_a_release_of_an_earlier_version_and_several_files(
    corpus: ReleaseReader, tmp_path: Path
) -> None:
    table = pq.read_table(corpus.files[0]).drop_columns(list(arrow.ADDED))
    names = [former.FORMER.get(name, name) for name in table.column_names]
    old = tmp_path / "old.parquet"
    pq.write_table(table.rename_columns(names), old)
    both = ReleaseReader(old, corpus.where / "release", old)
    assert len(both) == len(table) + ROWS, "a file that is named twice is shown once"
    assert both.manifest is None
    assert shown.list_rows(both, [0])[0].id == shown.list_rows(both, [len(table)])[0].id
    assert ("license", "MIT") in shown.canvas(both, 1).provenance
    made = Numbers(both)
    assert list(made.fill())[-1] == len(both)
    assert np.isnan(made.values["pass_rate"]).all()
