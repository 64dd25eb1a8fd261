"""The page *What does it cost?*: its table follows from the figures and formulas beside it."""

import re

import pytest

from support.paths import ROOT

PAGE = (ROOT / "docs" / "cost.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| (?P<model>[^|]+ B[^|]*) \| (?P<gpus>\d) (?P<gpu>[^|]+) \|(?P<figures>.*)\|$", re.MULTILINE
)
ROWS = [match.groupdict() for match in ROW.finditer(PAGE)]
CANVASES = (1_000, 103_000)


def number(pattern: str) -> float:
    found = re.search(pattern, PAGE, re.DOTALL)
    assert found is not None, pattern
    return float(found[1].replace(",", ""))


def test_the_tokens_of_a_canvas_follow_from_what_is_assumed() -> None:
    samples = number(r"(\d+) samples a prompt, \d+ tokens")
    tokens, share = number(r"(\d+) tokens a sample, and"), number(r"and ([\d.]+) canvases a prompt")
    assert samples * tokens / share == number(r"= ([\d,]+) tokens;")
    millions = (number(r"canvases take ([\d.]+) million"), number(r"103,000 take ([\d.]+) million"))
    canvas = samples * tokens / share
    assert millions == tuple(round(canvas * count / 1e6, 1) for count in CANVASES)


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['model']} {row['gpu']}" for row in ROWS])
def test_a_row_follows_from_its_tokens_per_second(row: dict[str, str]) -> None:
    speed, *printed = (float(cell.replace(",", "")) for cell in row["figures"].split("|"))
    seconds = number(r"= ([\d,]+) tokens;") / speed * int(row["gpus"])
    few, many = (seconds * count / 3_600 for count in CANVASES)
    watts = {"H100 PCIe": number(r"(\d+) W for the\s"), "RTX 4090": number(r"(\d+) W for\s+an")}
    price = {
        "H100 PCIe": number(r"([\d.]+) USD for an H"),
        "RTX 4090": number(r"([\d.]+) USD for an R"),
    }
    computed = (few, many, many * watts[row["gpu"]] / 1_000, many * price[row["gpu"]])
    digits = (2, 1, 1, 0)
    assert printed == [round(value, places) for value, places in zip(computed, digits, strict=True)]


def test_the_table_has_rows_of_both_gpus() -> None:
    assert len(ROWS) == 9 and {row["gpu"] for row in ROWS} == {"H100 PCIe", "RTX 4090"}


def test_what_is_said_to_be_measured_here_is_on_its_page() -> None:
    measured = (ROOT / "docs" / "measured.md").read_text(encoding="utf-8")
    scaling = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert "0.97 and 0.98 x" in measured and "1.96 and 1.50 x" in measured
    assert "71.1 % solved" in measured and "739 rows/s" in scaling
    assert round(103_000 / 739) == number(r"103,000 rows in (\d+) s")
