"""The lines of `benchmarks.grading` on a small labelled file, and what it refuses."""

import json
from pathlib import Path

import pytest

from benchmarks import grading

ROWS = [
    ("<answer>540</answer>", "540", True),
    ("9 * 60 = 540 meters. #### 540", "540", True),
    ("The answer is 540.", "540", False),  # the label errs: a disagreement to read
    (r"\boxed{2**10}", "2**11", False),
    ("I cannot tell.", "7", True),
    ("The answer is 7.", "7", None),
]


@pytest.mark.slow
def test_shares_have_their_intervals_and_disagreements_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "few.jsonl"
    rows = [{"text": text, "gold": gold, "label": label} for text, gold, label in ROWS]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    kept = tmp_path / "kept.jsonl"
    kept.write_text("")
    lines = {line.name: line for line in grading._lines(grading._labelled(path), kept)}
    ours, theirs = lines["grading_agreement:few"], lines["math_verify_agreement:few"]
    assert (ours.value, ours.n) == (0.6, 5)
    assert ours.spread is not None and ours.spread[0] < 0.6 < ours.spread[1]
    assert theirs.value is not None and theirs.n == 5
    assert lines["grading_false_correct:few"].value == 0.5
    assert lines["grading_false_wrong:few"].value == pytest.approx(1 / 3, abs=1e-5)
    assert "1 rows have no gold" in str(ours.baseline)
    disagreements = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [(one["row"], one["grade"]) for one in disagreements] == [
        (3, "correct"),
        (5, "unparsed"),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "5", "gold": "5"}', "few.jsonl, line 1: lacks 'label'; write"),
        ('{"text": ["5"], "gold": "5", "label": true}', "line 1: 'text' is list, no text"),
        ("text,gold,label", "few.jsonl, line 1: is no JSON"),
        ("5", "few.jsonl, line 1: is no object"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "few.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        grading._labelled(path)
    assert said in str(stopped.value)


def test_rows_without_gold_are_counted_and_packed_files_refused(tmp_path: Path) -> None:
    path = tmp_path / "few.jsonl"
    rows = [{"text": 5, "gold": 5, "label": True}, {"text": "5", "gold": None, "label": True}]
    path.write_text("\n" + "\n".join(map(json.dumps, rows)))
    found = grading._labelled(path)
    assert (len(found.samples), found.passed_over) == (1, 1)
    assert found.samples[0].attempt.text == "5"
    path.write_bytes(b"\x1f\x8b\x08\x00")
    with pytest.raises(SystemExit, match="is no text in UTF-8"):
        grading._labelled(path)
