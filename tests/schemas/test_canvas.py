"""The canvas format: exact bytes, and one reading for every text."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.canvas import CLOSE, MARKER, Parsed, header, parse, render, summary_header

PIECES = (
    "<think 1>",
    "<think 2>",
    "</think 1>",
    "</think 2>",
    "<summary>",
    "</summary>",
    "<think 1>\n",
    "\n</think 1>\n",
    "\n</think 1>\n<think 2>\n",
    "\n</think 2>\n<summary>\n",
    "\n</summary>",
    "<think",
    " 1>",
    "</think",
    "</think>",
    "<think>",
    "<think 007>",
    "<think \u0661>",
    "<",
    ">",
    "</",
    "\n",
    "\r\n",
    " ",
    "2",
    "\x00",
    "\u2028",
    "so 3 * 4 = 12",
)
adversarial = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=6).map("".join)
harmless = adversarial.filter(lambda text: not MARKER.search(text))


def test_the_bytes_of_a_canvas() -> None:
    expected = (
        "<think 1>\na\n</think 1>\n<think 2>\nb\n</think 2>\n<summary>\nThe answer is 4\n</summary>"
    )
    assert render(["a", "b"], "The answer is 4") == expected
    assert (
        header(1) + "a" + header(2) + "b" + summary_header(2) + "The answer is 4" + CLOSE
        == expected
    )


@given(paths=st.lists(harmless, min_size=1, max_size=5), summary=harmless)
@example(paths=["a\n", "\n", ""], summary="\n")
@example(paths=["<think", "1>", "</think 1"], summary="</summary")
@example(paths=["x"] * 64, summary="y")
def test_parse_inverts_render(paths: list[str], summary: str) -> None:
    assert parse(render(paths, summary)) == Parsed(tuple(paths), summary)


@given(paths=st.lists(adversarial, min_size=1, max_size=4), summary=adversarial)
def test_a_marker_is_refused_by_name_and_never_rendered(paths: list[str], summary: str) -> None:
    marked = [
        name
        for name, text in (
            *((f"path {j}", p) for j, p in enumerate(paths, 1)),
            ("summary", summary),
        )
        if MARKER.search(text)
    ]
    if not marked:
        assert parse(render(paths, summary)) == (tuple(paths), summary)
        return
    with pytest.raises(ValueError, match="contains the canvas marker") as caught:
        render(paths, summary)
    assert str(caught.value).startswith(marked[0])


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@example("<think 1>\na\n</think 1>\n<summary>\nb\n</summary>\nc\n</summary>")
@example("<think 1>\n<think 2>\n</think 1>\n<summary>\nb\n</summary>")
@example("<think 1>\na\n</think 1>\n<think 2>\nb\n</think 2>\n<summary>\n</summary>")
def test_whatever_parses_renders_back_to_the_same_text(text: str) -> None:
    try:
        parsed = parse(text)
    except ValueError:
        return
    assert render(*parsed) == text


@given(paths=st.lists(harmless, min_size=1, max_size=3), summary=harmless, data=st.data())
def test_a_cut_canvas_is_damaged(paths: list[str], summary: str, data: st.DataObject) -> None:
    text = render(paths, summary)
    end = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(ValueError, match="not a canvas"):
        parse(text[:end])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        " <think 1>\na\n</think 1>\n<summary>\nb\n</summary>",
        "<think 2>\na\n</think 2>\n<summary>\nb\n</summary>",
        "<think 1>\na\n</think 1>\n<think 3>\nb\n</think 3>\n<summary>\nc\n</summary>",
        "<think 1>\r\na\r\n</think 1>\r\n<summary>\r\nb\r\n</summary>",
        "<think 1>\na\n</think 1>\n<summary>\nb\n</summary>\n",
        "<summary>\nb\n</summary>",
    ],
)
def test_a_damaged_frame_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a canvas"):
        parse(text)


def test_a_canvas_has_a_path() -> None:
    with pytest.raises(ValueError, match="at least one path"):
        render([], "The answer is 4")
