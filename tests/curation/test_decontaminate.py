"""Decontamination: planted problems are found whatever was done to them; real sets are reported."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from curation.prompts.decontaminate import EXACT, NGRAM, EvaluationIndex, build_index
from curation.sources import Source
from support.errors import UserError
from support.plugins import build


def source(kind: str, path: Path, **options: object) -> Source:
    made: Source = build("curation.sources", kind, {"path": str(path), **options}, "source")
    return made


@pytest.fixture(scope="module")
def math500(shared_data: Path) -> EvaluationIndex:
    return build_index([source("jsonl", shared_data / "math500" / "test.jsonl")])


def problems(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as lines:
        return [row.get("problem") or row["question"] for row in map(json.loads, lines)]


def hidden(text: str, mark: str) -> str:
    """The text with an invisible character in every word of four letters."""
    return re.sub("([a-z]{3})([a-z])", rf"\1{mark}\2", text)


PLANTED: dict[str, Callable[[str], str]] = {
    "as it is": lambda t: t,
    "white space": lambda t: "  " + re.sub(r"\s+", "\n  ", t) + "\n",
    "upper case": str.upper,
    "lower case": str.lower,
    "no dollars": lambda t: t.replace("$", ""),
    "latex brackets": lambda t: re.sub(r"\$([^$]+)\$", r"\\(\1\\)", t),
    "no full stop": lambda t: t.rstrip(". "),
    "curly apostrophes": lambda t: t.replace("'", "\u2019"),
    "zero-width space in words": lambda t: hidden(t, "\u200b"),
    "soft hyphen in words": lambda t: hidden(t, "\u00ad"),
    "byte-order mark in words": lambda t: hidden(t, "\ufeff"),
    "word joiner everywhere": "\u2060".join,
}
INSIDE: dict[str, Callable[[str], str]] = {
    "longer text": lambda t: (
        f"Here is a problem from a well known contest. {t} Please reason step by step, "
        "and put your final answer within \\boxed{}. " + "Some more words follow here. " * 20
    ),
    "after another problem": lambda t: (
        f"Question: What is 2 + 3?\nAnswer: 5\n\nQuestion: {t}\nAnswer:"
    ),
}


@pytest.mark.parametrize("change", PLANTED)
def test_every_math500_problem_is_found(
    shared_data: Path, math500: EvaluationIndex, change: str
) -> None:
    texts = [PLANTED[change](t) for t in problems(shared_data / "math500" / "test.jsonl")]
    assert len(texts) == 500
    hits = [math500.find(text) for text in texts]
    assert [text for text, hit in zip(texts, hits, strict=True) if hit is None] == []
    reasons = Counter(hit.reason for hit in hits if hit)
    # without its dollars "\\$5" is another text and "of$x$" one word: the 8-grams find those
    assert reasons[EXACT] >= (480 if "dollar" in change or "bracket" in change else 500), reasons


@pytest.mark.parametrize("change", INSIDE)
def test_every_math500_problem_is_found_inside_a_longer_text(
    shared_data: Path, math500: EvaluationIndex, change: str
) -> None:
    for row, text in enumerate(problems(shared_data / "math500" / "test.jsonl"), 1):
        hit = math500.find(INSIDE[change](text))
        assert hit is not None and hit.reason == NGRAM, text
        assert "of evaluation set test.jsonl" in hit.detail, row


def test_every_gsm8k_test_problem_is_found(shared_data: Path) -> None:
    path = shared_data / "gsm8k" / "test.jsonl"
    index = build_index([source("gsm8k", path)])
    for text in problems(path):
        changes = ("upper case", "zero-width space in words", "curly apostrophes")
        for change in (*(PLANTED[name] for name in changes), INSIDE["longer text"]):
            assert index.find(change(text)) is not None


def test_a_fragment_without_its_drawing_is_found(
    shared_data: Path, math500: EvaluationIndex
) -> None:
    drawn = [t for t in problems(shared_data / "math500" / "test.jsonl") if "[asy]" in t]
    bare = [re.sub(r"\[asy\].*?\[/asy\]", "", t, flags=re.DOTALL) for t in drawn]
    long = [t for t in bare if len(re.findall(r"[a-zA-Z0-9]+", t)) > 8]
    assert len(long) >= 30
    assert all(math500.find(t) for t in long)


class Overlap(NamedTuple):
    """Texts of a pool, those found by either rule, and those that share any n-gram at all.

    The last are without those equal to an evaluation prompt.
    """

    texts: int
    exact: int
    ngram: int
    any_ngram: int


def overlap(texts: Sequence[str], index: EvaluationIndex) -> Overlap:
    hits = [index.find(text) for text in texts]
    reasons = Counter(hit.reason for hit in hits if hit)
    others = [t for t, hit in zip(texts, hits, strict=True) if not hit or hit.reason != EXACT]
    touched = sum(touches(index, text) for text in others)
    return Overlap(len(texts), reasons[EXACT], reasons[NGRAM], touched)


def touches(index: EvaluationIndex, text: str) -> bool:
    return not index._grams.keys().isdisjoint(index._grams_of(text))


def test_gsm8k_train_against_gsm8k_test(shared_data: Path) -> None:
    index = build_index([source("gsm8k", shared_data / "gsm8k" / "test.jsonl")])
    found = overlap(problems(shared_data / "gsm8k" / "train.jsonl"), index)
    # the table in the module's docstring; most of the 94 share a phrase such as "how many
    # hours a week does he"
    assert found == Overlap(texts=7473, exact=0, ngram=3, any_ngram=94)


def test_math_train_against_math500(shared_data: Path, math500: EvaluationIndex) -> None:
    found = overlap(problems(shared_data / "math500" / "math_train_1000.jsonl"), math500)
    assert found == Overlap(texts=1000, exact=0, ngram=16, any_ngram=96)


def test_recorded_traces_against_both(shared_data: Path) -> None:
    index = build_index(
        [
            source("gsm8k", shared_data / "gsm8k" / "test.jsonl"),
            source("jsonl", shared_data / "math500" / "test.jsonl"),
        ]
    )
    assert len(index) == 1819
    texts = problems(shared_data / "traces" / "recorded_traces.jsonl")
    assert overlap(texts, index) == Overlap(texts=450, exact=305, ngram=4, any_ngram=14)


def words(first: int, count: int) -> str:
    return " ".join(f"w{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(first, first + count))


def test_the_share_decides() -> None:
    index = EvaluationIndex()
    index.add(words(0, 37), "set", 1)  # 30 distinct 8-grams
    at_a_third = words(0, 17) + " " + words(100, 60)  # 10 shared
    below = words(0, 16) + " " + words(100, 60)  # 9 shared
    fragment = words(5, 9) + " " + words(200, 4)  # 2 of its own 6
    assert index.find(at_a_third) is not None
    assert index.find(below) is None and touches(index, below)
    hit = index.find(fragment)
    assert hit is not None and hit.detail.startswith("shares 2 8-grams with row 1 of")
    assert EvaluationIndex(min_share=1).find(at_a_third) is None
    strict = EvaluationIndex(min_share=0)
    strict.add(words(0, 37), "set", 1)
    assert strict.find(words(0, 8) + " " + words(100, 60)) is not None
    assert strict.find(words(100, 60)) is None


def test_short_evaluation_prompts() -> None:
    index = EvaluationIndex()
    index.add("Simplify $\\sqrt{242}$.", "set", 1)
    index.add("Why?", "set", 2)
    assert index.find("First, simplify \\sqrt{242}, then add 1 to it and say what you found.")
    assert index.find("Simplify \\sqrt{243} and add 1.") is None
    assert index.find("why") is not None
    assert index.find("Why are there seven apples in the big box?") is None


def test_nothing_to_compare_with() -> None:
    index = build_index([])
    assert index.find("What is 1 + 1?") is None
    assert overlap(["What is 1 + 1?"], index) == Overlap(texts=1, exact=0, ngram=0, any_ngram=0)


def test_scripts_without_spaces_have_ngrams() -> None:
    index = EvaluationIndex()
    index.add("一个农夫有九百个鸡蛋,每个托盘放三十个鸡蛋。", "set", 1)
    assert index.find("请回答:一个农夫有九百个鸡蛋,每个托盘放三十个鸡蛋。一共几个托盘?") is not None
    assert index.find("小明有三个苹果,又买了五个。") is None


@pytest.mark.parametrize("options", [{"ngram": 0}, {"min_share": 1.5}])
def test_impossible_options(options: dict[str, float]) -> None:
    with pytest.raises(UserError):
        EvaluationIndex(**options)  # type: ignore[arg-type]


def test_an_unreadable_evaluation_row_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "eval.jsonl"
    path.write_text('{"problem": "What is 1 + 1?"}\n{"problem": \n')
    with pytest.raises(UserError, match=r"evaluation set eval.jsonl, row 2: broken_json"):
        build_index([source("jsonl", path)])
    path.write_text('{"problem": "What is 1 + 1?"}\n')  # golds do not matter
    assert len(build_index([source("jsonl", path)])) == 1
