"""Similarity of texts: range, symmetry, identity, and time on long ones."""

import re
import time
from random import Random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scorers.similarity import EXACT_CELLS, _shingles, matrix, normalise, similarity

texts = st.text(max_size=40) | st.lists(
    st.sampled_from(["3", " ", "*", "\n", "=", "Ann ", "\u00e9", "e\u0301", "\u00df", "\u200b"])
).map("".join)


@given(texts)
def test_a_space_stays_between_two_word_characters_alone(text: str) -> None:
    plain = re.sub(r"(?<!\w) | (?!\w)", "", re.sub(r"\s+", " ", text)) if text.isascii() else None
    assert plain is None or normalise(text) == plain.casefold()


@given(texts)
@example("\u0345\u03b9 A\u0345")
@example("a\ud800 \ud800b")
@example("\u1e9e\u0130I\u0307")
def test_normalise_is_idempotent(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("3 * 4 = 12", "3*4=12"),
        ("Ann has\n\n3 apples.  ", "ann has 3 apples."),
        ("Total: $ 5", "total:$5"),
        ("caf\u00e9", "cafe\u0301"),
        ("a\u200bb\ufeff", "ab"),
        ("a\u034fb\ufe0f", "a\u061cb"),
        ("x\u00a0y", "x y"),
        ("Stra\u00dfe", "STRASSE"),
        ("", " \n\t"),
    ],
)
def test_these_are_equal(a: str, b: str) -> None:
    assert normalise(a) == normalise(b)
    assert similarity(a, b) == 1.0


@pytest.mark.parametrize(
    ("a", "b"), [("1 2", "12"), ("10\u00b2", "102"), ("a b", "ab"), ("x = 3", "x = -3"), ("", "a")]
)
def test_these_are_not_equal(a: str, b: str) -> None:
    assert similarity(a, b) < 1.0


@pytest.mark.parametrize("cells", [EXACT_CELLS, 0])
def test_range_symmetry_and_identity(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorers.similarity.EXACT_CELLS", cells)

    @given(texts, texts)
    @example("abcabcab", "abcabcabcab")
    @example("aaaa", "aaaaa")
    @example("", "a")
    @example("\ud800", "\ud801")
    def holds(a: str, b: str) -> None:
        value = similarity(a, b)
        assert 0.0 <= value <= 1.0
        assert value == similarity(b, a)
        assert (value == 1.0) == (normalise(a) == normalise(b))
        assert similarity(a, a) == 1.0

    holds()


def test_the_same_shingles_in_another_order_are_not_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorers.similarity.EXACT_CELLS", 0)
    whole, x, y = "abcdefgh", "1", "2"
    a = whole + x + whole + y + whole
    b = whole + y + whole + x + whole
    assert _shingles(a) == _shingles(b)
    assert 0.999 < similarity(a, b) < 1.0


@given(st.lists(texts, max_size=5))
def test_matrix_holds_every_pair(group: list[str]) -> None:
    similarity_KK = matrix(group)
    assert similarity_KK.shape == (len(group), len(group))
    expected = [[similarity(a, b) for b in group] for a in group]
    assert similarity_KK.tolist() == expected
    assert np.array_equal(similarity_KK, similarity_KK.T)


def words(rng: Random, characters: int) -> str:
    return " ".join(str(rng.randrange(100_000)) for _ in range(characters // 6))


def edited(rng: Random, text: str, share: float) -> str:
    return "".join("z" if rng.random() < share else c for c in text)


def test_the_estimate_agrees_with_the_exact_value(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(0)
    text = words(rng, 20_000)
    near, far = edited(rng, text, 0.005), words(rng, 20_000)
    exact = similarity(text, near), similarity(text, far)
    monkeypatch.setattr("scorers.similarity.EXACT_CELLS", 0)
    estimate = similarity(text, near), similarity(text, far)
    assert exact[0] == pytest.approx(0.995, abs=0.001)
    assert exact[0] - 0.04 < estimate[0] < exact[0]
    assert estimate[1] < exact[1] < 0.6


@pytest.mark.parametrize("characters", [30_000, 50_000, 500_000])
def test_long_texts_take_bounded_time(characters: int) -> None:
    rng = Random(0)
    a, b = words(rng, characters), words(rng, characters)
    start = time.thread_time()
    assert 0.0 < similarity(a, b) < 0.9
    assert time.thread_time() - start < 2.0  # 0.02 to 0.3 s on an idle core
