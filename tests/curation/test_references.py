"""What answers are checked against: several golds, choices, tests of programs."""

import json
from pathlib import Path

import pytest

from curation.sources import Row, Source
from support import plugins
from support.errors import UserError


def rows(tmp_path: Path, *records: object, **options: object) -> list[Row]:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    source: Source = plugins.build(
        "curation.sources", "jsonl", {"path": str(path), **options}, "source"
    )
    return list(source.rows(traces=False))


CHOICES = {"columns": {"choices": "choices"}}
FOUR = ["red", "green", "blue", "grey"]
ARC = {"text": ["red", "green", "blue"], "label": ["1", "2", "3"]}


@pytest.mark.parametrize(
    ("choices", "gold", "letter"),
    [
        (FOUR, 2, "C"),
        (FOUR, "2", "C"),
        (FOUR, "C", "C"),
        (FOUR, "(c)", "C"),
        (FOUR, "blue", "C"),
        (ARC, "3", "C"),
        ({"A": "red", "B": "green", "C": "blue"}, "C", "C"),
        ({"1": "red", "2": "green", "3": "blue"}, 3, "C"),
        ([4, 2, 6], "6", "C"),
        ([4, 1, 2], 2, "C"),
        (["4", "2", "6"], 2, "C"),
        ({"A": "red", "B": "green", "C": "blue"}, "(c)", "C"),
        ({"a": "red", "b": "green", "c": "blue"}, "C.", "C"),
        (FOUR, "Blue.", "C"),
        (FOUR, "(C) blue", "C"),
        (FOUR, "c. Blue", "C"),
        (FOUR, ["blue"], "C"),
        (["A)1", "B)2", "C)2.5"], "C", "C"),
        (["A)1", "B)2", "C)2.5"], "2.5", "C"),
        (
            [
                {"label": "A", "text": "red"},
                {"label": "B", "text": "green"},
                {"label": "C", "text": "blue"},
            ],
            "C",
            "C",
        ),
        (
            [
                {"key": "1", "text": "red"},
                {"key": "2", "text": "green"},
                {"key": "3", "text": "blue"},
            ],
            "3",
            "C",
        ),
    ],
)
def test_the_gold_of_a_choice_is_its_letter(
    tmp_path: Path, choices: object, gold: object, letter: str
) -> None:
    row = {"question": "Which colour?", "answer": gold, "choices": choices}
    (one,) = rows(tmp_path, row, **CHOICES)
    assert not one.reason and one.gold == letter and len(one.choices) in (3, 4)
    assert one.text.startswith("Which colour?\n(A) ") and f"({letter}) " in one.text


def test_choices_that_the_prompt_lists_are_not_written_twice(tmp_path: Path) -> None:
    text = "Which? (A) red (B) green"
    row = {"question": text, "answer": "B", "choices": ["red", "green"]}
    (one,) = rows(tmp_path, row, **CHOICES)
    assert one.text == text


@pytest.mark.parametrize(
    ("choices", "gold", "reason"),
    [
        (FOUR, 4, "damaged_gold"),
        (FOUR, "E", "damaged_gold"),
        (FOUR, "purple", "damaged_gold"),
        (FOUR, True, "damaged_gold"),
        (FOUR, "(B) blue", "damaged_gold"),
        (FOUR, ["red", "blue"], "damaged_gold"),
        (FOUR, 1.5, "damaged_gold"),
        (["B", "A", "C"], "A", "damaged_gold"),
        ([4, 2, 6], 2, "damaged_gold"),
        ([{"label": "A"}, {"label": "B"}], "A", "bad_choices"),
        (FOUR, None, "missing_gold"),
        (ARC, "A", "damaged_gold"),
        (["red"], 0, "bad_choices"),
        (["red", "red"], 0, "bad_choices"),
        (["red", ""], 0, "bad_choices"),
        (["red", None], 0, "bad_choices"),
        ("red", 0, "bad_choices"),
        ({"text": ["red", "green"], "label": ["1"]}, "1", "bad_choices"),
        ([str(n) for n in range(11)], 0, "bad_choices"),
        (None, 0, "bad_choices"),
    ],
)
def test_a_choice_without_a_right_one_is_rejected(
    tmp_path: Path, choices: object, gold: object, reason: str
) -> None:
    good = {"question": "Which?", "answer": "red", "choices": FOUR}
    row = {"question": "Which colour?", "answer": gold, "choices": choices}
    assert [one.reason for one in rows(tmp_path, good, row, **CHOICES)] == ["", reason]


@pytest.mark.parametrize(
    ("table", "choices", "letters"),
    [
        ('question;options;answer\nWhich?;["red", "blue, dark"];B\n', "options", ["B"]),
        ('question;options;answer\nWhich?;{"x": "red", "y": "blue"};y\n', "options", ["B"]),
        ("question,A,B,C,answer\nOne?,red,blue,grey,B\nTwo?,red,blue,,red\n", "ABC", ["B", "A"]),
        ("question,first,second,answer\nOne?,red,blue,B\nTwo?,red,blue,0\n", None, ["B", "A"]),
        ("question,1,2,answer\nOne?,red,blue,1\nTwo?,red,blue,0\n", "12", ["A", ""]),
        ("question,B,A,answer\nOne?,red,blue,A\n", "BA", ["B"]),  # the column that is named A
    ],
)
def test_choices_of_a_table_are_json_or_a_column_each(
    tmp_path: Path, table: str, choices: str | None, letters: list[str]
) -> None:
    (tmp_path / "rows.csv").write_text(table)
    named = ["first", "second"] if choices is None else choices
    columns = {"choices": named if named == "options" else list(named)}
    options = {"path": str(tmp_path / "rows.csv"), "columns": columns}
    source: Source = plugins.build("curation.sources", "csv", options, "source")
    found = list(source.rows(traces=False))
    assert [one.gold for one in found] == letters
    assert all("\n(A) red\n(B) blue" in one.text for one in found if one.gold)


def test_a_column_of_a_choice_that_is_not_there_is_named(tmp_path: Path) -> None:
    row = {"question": "Which?", "answer": "A", "A": "red", "B": "blue"}
    with pytest.raises(UserError, match=r"columns.choices: no column 'C'"):
        rows(tmp_path, row, columns={"choices": ["A", "B", "C"]})


def test_any_gold_of_a_list_is_right(tmp_path: Path) -> None:
    found = rows(
        tmp_path,
        {"question": "Who wrote it?", "answer": ["Mark Twain", "Samuel Clemens", "Mark Twain"]},
        {"question": "Who drew it?", "answer": []},
        {"question": "Who sang it?", "answer": ["me", None]},
    )
    assert (found[0].gold, found[0].more_golds) == ("Mark Twain", ("Samuel Clemens",))
    assert [row.reason for row in found[1:]] == ["damaged_gold", "missing_gold"]


def test_a_program_has_tests_and_may_lack_a_gold(tmp_path: Path) -> None:
    found = rows(
        tmp_path,
        {"question": "Add two numbers.", "tests": ["assert add(1, 2) == 3"]},
        {"question": "Add.", "tests": "assert add(1, 2) == 3", "answer": "def add(a, b):\n  pass"},
        {"question": "Add more.", "tests": []},
        {"question": "Add most.", "tests": "\ud800"},
        columns={"tests": "tests"},
    )
    assert found[0].tests == '["assert add(1, 2) == 3"]' and found[0].gold == ""
    assert found[1].tests == "assert add(1, 2) == 3" and found[1].gold.startswith("def add")
    assert [row.reason for row in found[2:]] == ["missing_tests", "bad_encoding"]
