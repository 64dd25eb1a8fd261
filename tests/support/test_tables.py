"""Tables in both forms."""

from support.display.tables import Table

ROWS = (("a|b", "1"), ("漢", "22"))


def test_markdown_has_a_title_a_header_and_a_note_where_there_are_any() -> None:
    plain = "| name | n |\n| --- | --: |\n| a&#124;b | 1 |\n| 漢 | 22 |\n"
    table = Table(header=("name", "n"), rows=ROWS)
    assert table.markdown() == plain
    full = Table(header=("name", "n"), rows=ROWS, title="Title", note="Note.", left=(0, 1))
    assert full.markdown() == f"## Title\n\n{plain.replace('--:', '---')}\nNote.\n"


def test_columns_of_text_are_aligned_by_the_cells_that_they_take() -> None:
    table = Table(header=("name", "n"), rows=ROWS)
    assert table.text() == "name  n\na|b   1\n漢    22"
    assert table.text(right=(1,), gap=1) == "name  n\na|b   1\n漢   22"
    assert Table(rows=ROWS, title="Title").text() == "Title\n  a|b  1\n  漢   22"
