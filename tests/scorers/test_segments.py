from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorers.seqdep.segments import Span, token_slice
from scorers.seqdep.segments.step import steps
from scorers.seqdep.segments.window import windows

TEXT = st.text(
    alphabet=st.one_of(
        st.sampled_from(" \n\t.!?。…\"')1aB$\r\u2028"), st.characters(exclude_categories=["Cs"])
    ),
    max_size=120,
)


def cut(text: str, cap: int = 1000) -> list[str]:
    """The steps of a text whose tokens are its characters."""
    return [text[a:b] for a, b in steps(text, range(len(text)), cap)]


@st.composite
def tokenised(draw: st.DrawFn) -> tuple[str, list[int]]:
    """A text and token starts: some characters share a token, some have several."""
    text = draw(TEXT)
    counts = draw(st.lists(st.integers(0, 4), min_size=len(text), max_size=len(text)))
    return text, [at for at, count in enumerate(counts) for _ in range(count)]


def test_each_line_is_a_step() -> None:
    text = "3 * 12 = 36\n24 + 36 = 60\nThe answer is 60."
    assert cut(text) == ["3 * 12 = 36\n", "24 + 36 = 60\n", "The answer is 60."]


def test_sentences_leave_decimals_whole_and_begin_with_their_blank() -> None:
    text = 'He pays $3.50 a day. He said "2 days!" So 3.5 * 2 = 7... Right?'
    assert cut(text) == [
        "He pays $3.50 a day.",
        ' He said "2 days!"',
        " So 3.5 * 2 = 7...",
        " Right?",
    ]


def test_east_asian_full_stops_need_no_blank() -> None:
    assert cut("三加四等于七。所以是七！") == ["三加四等于七。", "所以是七！"]  # noqa: RUF001


def test_blank_pieces_join_their_neighbours() -> None:
    assert cut("\n\n  a\n \n\nb \n\n") == ["\n\n  a\n \n\n", "b \n\n"]
    assert cut(" \n\t") == [" \n\t"]
    assert cut("") == []


def test_a_label_stays_with_its_sentence() -> None:
    assert cut("1. Add. Then stop.\n2. Go\n60.\nEnd") == [
        "1. Add.",
        " Then stop.\n",
        "2. Go\n",
        "60.\n",
        "End",
    ]


def test_an_unfinished_last_piece_is_kept() -> None:
    assert cut("a = 1.\nb =") == ["a = 1.\n", "b ="]


def test_the_cap_cuts_evenly() -> None:
    assert [len(piece) for piece in cut("x" * 10, cap=8)] == [5, 5]
    assert [len(piece) for piece in cut("x" * 7 + "\n" + "y" * 17, cap=8)] == [8, 6, 6, 5]


def test_the_cap_leaves_a_character_of_many_tokens_whole() -> None:
    assert steps("a🙂b", [0, 1, 1, 1, 1, 2], 2) == [Span(0, 1), Span(1, 2), Span(2, 3)]


def test_windows_have_a_fixed_number_of_tokens() -> None:
    assert windows("abcdefg", range(7), 3) == [Span(0, 3), Span(3, 6), Span(6, 7)]
    assert windows("", [], 3) == []


@pytest.mark.parametrize("cutter", [steps, windows])
def test_a_size_below_one_is_refused(cutter: type) -> None:
    with pytest.raises(ValueError, match="at least 1 token"):
        cutter("abc", [0, 1, 2], 0)


@given(tokenised(), st.integers(1, 9))
def test_segments_are_lossless_and_capped(sample: tuple[str, list[int]], cap: int) -> None:
    text, starts = sample
    for spans in (steps(text, starts, cap), windows(text, starts, cap)):
        assert "".join(text[a:b] for a, b in spans) == text
        assert all(a < b for a, b in spans)
        slices = [token_slice(starts, span) for span in spans]
        assert [t for s in slices for t in range(s.start, s.stop)] == list(range(len(starts)))
        for part in slices:
            own = starts[part]
            assert len(own) <= cap or len(set(own)) == 1


@given(TEXT)
def test_no_step_is_blank_unless_the_text_is(text: str) -> None:
    assert all(piece.strip() for piece in cut(text)) or not text.strip()


@pytest.mark.parametrize("unit", [".", "\n", " ", "a. ", "1.", "\n \t", '."', "1. "])
def test_long_texts_take_linear_time(unit: str) -> None:
    text = unit * (300_000 // len(unit))
    begin = perf_counter()
    spans = steps(text, range(len(text)), 64)
    assert perf_counter() - begin < 10
    assert spans[0].start == 0
    assert spans[-1].end == len(text)
