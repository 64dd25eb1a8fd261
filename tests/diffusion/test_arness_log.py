"""`polytrace arness`: every form of a log, what each mistake says, and the examples of its page."""

import dataclasses
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from diffusion.evaluation.arness import arness, global_arness
from diffusion.evaluation.commit_log import read_log
from diffusion.evaluation.log_arness import arness_of_log
from diffusion.evaluation.rows import DecodedProblem
from flows.cli.command_line import app, main
from schemas import arrow
from schemas.records import Grade
from support.errors import UserError
from support.paths import ROOT
from support.stats import mean

PAGE = (ROOT / "docs" / "arness.md").read_text(encoding="utf-8")
MASK = 9


def blocks(language: str) -> list[str]:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return found


def write(file: Path, records: Iterable[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(one) + "\n" for one in records))
    return file


def commits(row: Any, pairs: Iterable[tuple[int, int]], **more: int) -> list[dict[str, Any]]:
    return [{"row": row, "step": step, "position": at} | more for step, at in pairs]


def states(row: Any, *ids: list[int]) -> list[dict[str, Any]]:
    return [{"row": row, "step": step, "ids": one} for step, one in enumerate(ids)]


def test_the_example_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("log.jsonl").write_text(blocks("json")[0])
    ran = CliRunner().invoke(app, ["arness", "log.jsonl", "--out", "figures.json"])
    assert ran.exit_code == 0, ran.output
    shown = [line.split() for line in ran.output.splitlines()[:2]]
    assert shown == [line.split() for line in blocks("text")[0].splitlines()]
    figures = json.loads(Path("figures.json").read_text())["log.jsonl"]
    assert figures["order"]["raw"] == pytest.approx({"value": 5 / 6, "low": 4 / 6, "high": 1.0})
    assert figures["rows"] == 2 and figures["content"] is None


def test_figures_are_means_of_each_rows_arness(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        ([int(step) for step in np.sort(rng.integers(0, 9, 12))], rng.permutation(12).tolist())
        for _ in range(20)
    ]
    log = write(
        tmp_path / "log.jsonl",
        (one for n, row in enumerate(rows) for one in commits(n, zip(*row, strict=True))),
    )
    found = arness_of_log(log)
    orders = [one for row in rows if (one := arness(*row))]
    assert found.rows == found.order.rows == 20 and found.commits == 240 and found.churn == 0
    assert found.order.raw == mean([global_arness(*row) for row in rows])
    assert found.order.corrected == mean([one.corrected for one in orders])
    assert found.order.local == mean([one.local for one in orders])
    steps = sum(len(set(row[0])) for row in rows)
    assert found.tokens_per_step == 240 / steps


def test_parquet_and_lines_in_any_order_read_alike(tmp_path: Path) -> None:
    records = [*commits("a", [(2, 0), (0, 7), (1, 3)]), *commits("b", [(1, 2), (0, 1)])]
    lines = read_log(write(tmp_path / "log.jsonl", records))
    pq.write_table(pa.Table.from_pylist(records[::-1]), tmp_path / "log.parquet")
    columns = read_log(tmp_path / "log.parquet")
    assert lines == {name: columns[name] for name in lines}
    assert (lines["a"].steps_K, lines["a"].positions_K) == ([0, 1, 2], [7, 3, 0])


def test_of_a_position_the_last_commit_counts(tmp_path: Path) -> None:
    pairs = [(0, 2), (1, 0), (2, 1), (3, 2)]
    found = arness_of_log(write(tmp_path / "log.jsonl", commits(0, pairs)))
    assert found.order.raw.value == 1.0 and found.commits == 3 and found.churn == 0.25
    shuffled = arness_of_log(write(tmp_path / "other.jsonl", commits(0, pairs[::-1])))
    assert shuffled == found


def test_states_are_told_apart_into_commits(tmp_path: Path) -> None:
    """A prompt of two tokens; one token replaced, one masked again, one still masked at the end."""
    log = write(
        tmp_path / "log.jsonl",
        states(
            "x",
            [1, 2, MASK, MASK, MASK, MASK],
            [1, 2, MASK, 5, MASK, 6],
            [1, 2, 4, 7, MASK, MASK],
            [1, 2, 4, 7, 3, MASK],
        ),
    )
    row = read_log(log, MASK)["x"]
    made = list(zip(row.steps_K, row.positions_K, row.tokens_K, strict=True))
    assert made == [(1, 3, 5), (1, 5, 6), (2, 2, 4), (2, 3, 7), (3, 4, 3)]
    assert row.open == {5}
    found = arness_of_log(log, mask_id=MASK)
    assert (found.commits, found.unfinished) == (3, 1) and found.churn == pytest.approx(0.4)
    assert found.order.raw.value == 1.0


def test_a_row_may_grow_block_by_block(tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", states(0, [1, MASK], [1, 5], [1, 5, MASK, 6], [1, 5, 7, 6]))
    row = read_log(log, MASK)[0]
    assert (row.steps_K, row.positions_K) == ([1, 2, 3], [1, 3, 2]) and not row.open


def test_content_alone_leaves_end_tokens_out(tmp_path: Path) -> None:
    """Fill is written from the far end first; the text itself from left to right."""
    pairs = [(0, 5), (1, 4), (2, 0), (3, 1), (4, 2), (5, 3)]
    records = [one | {"token": 0 if n < 2 else 7} for n, one in enumerate(commits(0, pairs))]
    found = arness_of_log(write(tmp_path / "log.jsonl", records), end_ids=[0])
    assert found.content is not None
    assert found.content.raw.value == 1.0 and found.order.raw.value == pytest.approx(4 / 6)


def test_rows_of_an_evaluation_are_read(tmp_path: Path) -> None:
    row = DecodedProblem(
        id="p",
        gold="4",
        texts=("a",),
        scored="a",
        answer=None,
        grade=Grade.UNPARSED,
        nfe=3,
        fill_id=0,
        end_ids=(0, 1),
        steps_K=(0, 1, 1, 2),
        positions_K=(3, 0, 1, 2),
        confidences_K=(1.0, 1.0, 1.0, 1.0),
        tokens_K=(0, 5, 6, 7),
        slots_K=(0, 0, 0, 0),
    )
    same = dataclasses.replace(row, gold="5")  # an id may occur twice
    pq.write_table(arrow.table(DecodedProblem, [row, same]), tmp_path / "cell.parquet")
    found = arness_of_log(tmp_path / "cell.parquet")
    expected = arness(row.steps_K, row.positions_K)
    assert expected is not None and found.content is not None
    assert found.rows == 2 and found.order.raw.value == expected.raw
    assert found.content.raw.value == 1.0


def test_rows_that_are_short_or_without_order_are_told(tmp_path: Path) -> None:
    records = [
        *commits(0, [(0, 0), (1, 1)], masks=3),
        *commits(1, [(0, 0), (0, 1), (0, 2)], masks=3),
    ]
    ran = CliRunner().invoke(app, ["arness", str(write(tmp_path / "log.jsonl", records))])
    assert ran.exit_code == 0
    assert "log.jsonl: 1 rows left positions masked" in ran.output
    assert "log.jsonl: 1 rows have no order" in ran.output


ONE = {"row": 0, "step": 0, "position": 0}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "log.jsonl: holds no commit"),
        ("{\n", "log.jsonl: line 1: is no JSON"),
        ("[" * 100_000, "line 1: is no JSON"),
        ("[1]", "line 1: is no JSON object"),
        ('{"step": 1}', "line 1: has step; a log has row, step, position, or row, step, ids"),
        ({**ONE, "row": None}, "line 1: row: is missing; give a whole number or a text"),
        ({**ONE, "step": 1.5}, r"line 1: step: is 1\.5; give a whole number from 0"),
        ({**ONE, "position": True}, "line 1: position: is True"),
        ({**ONE, "position": -1}, "line 1: position: is -1"),
        ({**ONE, "step": 1 << 40}, "line 1: step: is 1099511627776"),
        ([ONE, {**ONE, "token": 4}], "line 2: token: every line has one, or none has"),
        ([ONE, {"row": 0, "position": 1}], "line 2: step: is missing"),
        ([ONE, ONE], "log.jsonl: row 0: position: 0 is committed twice at step 0"),
        (commits(0, [(0, 0), (1, 1)], masks=1), "row 0: masks: 1, but 2 positions"),
        ([{**ONE, "masks": 2}, {**ONE, "masks": 3}], "line 2: masks: 3, and 2 in an earlier"),
        (commits(0, [(0, 0), (0, 1)]), "no row has an order"),
        (states(0, [1, 9]), "holds states .*give the token of the mask by --mask-id"),
        ({"id": "a", "steps_K": [0], "positions_K": []}, "line 1: positions_K: 0 of them"),
        ([ONE, {**ONE, "row": "0", "step": 1}], "log.jsonl: row: is a number in some lines and a"),
        ({**ONE, "step": 1 << 31}, "step: is 2147483648; give a whole number from 0 to 2147483647"),
        ("row,step,position", "line 1: is no JSON .*; a log is JSON Lines, or Parquet with a name"),
        ({"id": "a", "steps_K": 3, "positions_K": []}, "steps_K: is 3; give a list of whole"),
    ],
)
def test_mistakes_name_file_line_and_field(tmp_path: Path, text: Any, says: str) -> None:
    file = tmp_path / "log.jsonl"
    if isinstance(text, str):
        file.write_text(text)
    else:
        write(file, text if isinstance(text, list) else [text])
    with pytest.raises(UserError, match=says):
        arness_of_log(file)


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (([9, 9], [1]), "line 2: ids: 1 tokens after 2; a row never shrinks"),
        (([9], ["1"]), "line 2: ids: is '1'"),
        (([9], 1), "line 2: ids: is 1; give a list"),
    ],
)
def test_mistakes_in_states(tmp_path: Path, ids: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        arness_of_log(write(tmp_path / "log.jsonl", states(0, *ids)), mask_id=MASK)


def test_a_mask_that_no_state_holds_is_refused(tmp_path: Path) -> None:
    """Otherwise a position that is masked again would count as one that is committed."""
    file = write(tmp_path / "log.jsonl", states(0, [1, 9, 9], [1, 2, 9], [1, 2, 3]))
    with pytest.raises(UserError, match=r"log\.jsonl: ids: no state holds the token 8; give that"):
        arness_of_log(file, mask_id=8)


def test_a_text_of_end_tokens_alone_is_told(tmp_path: Path) -> None:
    records = commits(0, [(0, 1), (1, 0)], token=7)
    log = str(write(tmp_path / "log.jsonl", records))
    ran = CliRunner().invoke(app, ["arness", log, "--end-id", "7"])
    assert ran.exit_code == 0
    assert "log.jsonl: without the end tokens, no row has an order" in ran.output


def test_states_out_of_order_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "log.jsonl", states(0, [9, 9], [1, 9])[::-1])
    with pytest.raises(UserError, match="line 2: step: 0 after 1; the states of a row come in"):
        arness_of_log(file, mask_id=MASK)


def test_files_that_are_no_log(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        arness_of_log(tmp_path)
    (tmp_path / "a.parquet").write_text("text")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        arness_of_log(tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"b\.parquet: has the columns x; a log has"):
        arness_of_log(tmp_path / "b.parquet")
    with pytest.raises(UserError, match="has no tokens, so --end-id has nothing"):
        arness_of_log(write(tmp_path / "c.jsonl", commits(0, [(0, 0), (1, 1)])), end_ids=[0])


def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["polytrace", "arness", str(tmp_path / "none")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_recorders_of_the_page(tmp_path: Path) -> None:
    """A loop over two rows, logged by states and, block by block, by commits: the same order."""
    names: dict[str, Any] = {}
    for code in blocks("python"):
        exec(code, names)
    torch.manual_seed(0)
    orders = torch.stack([torch.randperm(8), torch.randperm(8)])
    ids = torch.full((2, 10), MASK)
    ids[:, :2] = 1
    by_state, by_commit = io.StringIO(), io.StringIO()
    log = names["StateLog"](by_state, first_row=5)
    log.write(ids)
    positions = torch.arange(2, 10).repeat(2)
    for step in range(1, 5):
        before = ids[:, 2:].reshape(-1).clone()
        for row in range(2):
            ids[row, 2 + orders[row, 2 * step - 2 : 2 * step]] = 3
        log.write(ids)
        after = ids[:, 2:].reshape(-1)
        names["log_commits"](by_commit, [5, 6], step, before, after, positions)
    (tmp_path / "states.jsonl").write_text(by_state.getvalue())
    (tmp_path / "commits.jsonl").write_text(by_commit.getvalue())
    rows = read_log(tmp_path / "states.jsonl", MASK)
    assert rows == read_log(tmp_path / "commits.jsonl") and list(rows) == [5, 6]
    found = arness_of_log(tmp_path / "states.jsonl", mask_id=MASK)
    by_hand = [global_arness([k // 2 for k in range(8)], order.tolist()) for order in orders]
    assert found.order.raw.value == pytest.approx(sum(by_hand) / 2)


def test_long_rows_need_no_square_of_memory() -> None:
    """One left-to-right row of a million commits; a square of it would be a terabyte."""
    count = 1 << 20
    found = arness(range(count), range(count))
    assert found is not None and found.raw == 1.0
