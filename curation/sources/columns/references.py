"""What the answer of a row is checked against: its gold, further golds, choices and tests.

In: a row's raw values and the layout of its source. Out: `References`, or the reason why no answer
could be checked. Choices become a part of the prompt, and the gold of a choice becomes its letter.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from curation.sources.columns.fields import ABSENT, RawRow, SourceLayout, dig, printable
from curation.sources.columns.gold import SURROGATE, Gold, read_gold
from curation.sources.columns.reasons import RowFault
from scorers.answers.compare.choices import options
from scorers.answers.compare.words import normal

LETTERS = "ABCDEFGHIJ"
_LABELS = ("label", "key", "id")  # of a choice that is a mapping, beside its text
# A choice with its letter: "A)21", "(b) red".
_MARKED = re.compile(r"\(?([A-Ja-j])[).:]\s*(?P<text>\S.*)")


class References(NamedTuple):
    """What a grader compares with, or a reason and a sentence about the column that is at fault."""

    gold: str = ""
    more_golds: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    tests: str = ""
    reason: str = ""
    detail: str = ""


class _Choices(NamedTuple):
    texts: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    detail: str = ""
    numbers: bool = False  # a gold that is a number may be one of them, or a position


def read_references(
    row: RawRow, layout: SourceLayout, tidy_gold: Callable[[str], str]
) -> References:
    """The references of a row; the first fault decides."""
    value = dig(row, layout.gold) if layout.gold else ABSENT
    column = f"column {layout.gold!r}" if layout.gold else "no column for the gold"
    if layout.tests:
        return _of_program(value, column, dig(row, layout.tests), layout.tests)
    if layout.choices:
        return _of_choice(value, column, row, layout.choices)
    values = value if isinstance(value, list) and value else [value]
    golds = [read_gold(one, layout.gold_after, tidy_gold) for one in values]
    fault = next((gold for gold in golds if gold.reason), None)
    if fault:
        return References(reason=fault.reason, detail=f"{column}: {fault.detail}")
    first, *more = dict.fromkeys(gold.text for gold in golds)
    return References(gold=first, more_golds=tuple(more))


def with_choices(prompt: str, choices: tuple[str, ...]) -> str:
    """The prompt with its choices below it, unless it lists them already."""
    listed = [" ".join(text.split()) for text in options(prompt).values()]
    if not choices or listed == [" ".join(text.split()) for text in choices]:
        return prompt
    lines = (f"({letter}) {text}" for letter, text in zip(LETTERS, choices, strict=False))
    return "\n".join((prompt, *lines))


def _of_program(value: object, column: str, tests: object, name: str) -> References:
    """The tests of a program; its gold is a program that passes them, and may be missing."""
    if tests is ABSENT or tests is None or tests in ("", [], {}):
        detail = f"column {name!r}: there is no test"
        return References(reason=RowFault.MISSING_TESTS, detail=detail)
    text = tests if isinstance(tests, str) else json.dumps(tests, ensure_ascii=False)
    gold = value.strip("\n").rstrip() if isinstance(value, str) else ""
    if SURROGATE.search(text) or SURROGATE.search(gold):
        detail = f"{column} or column {name!r} holds half of a surrogate pair"
        return References(reason=RowFault.BAD_ENCODING, detail=detail)
    return References(gold=gold, tests=text)


def _of_choice(value: object, column: str, row: RawRow, names: str | tuple[str, ...]) -> References:
    """The choices of a question, in one column or in one each, and the letter of the right one."""
    if isinstance(names, str):
        name = f"column {names!r}"
        choices = _choices(_unpacked(dig(row, names)))
    else:
        name = f"columns {', '.join(names)}"
        choices = _choices(_one_each(row, names))
    if choices.detail:
        detail = f"{name}: {choices.detail}"
        return References(reason=RowFault.BAD_CHOICES, detail=detail)
    if value is ABSENT or value is None or value == "":
        return References(reason=RowFault.MISSING_GOLD, detail=f"{column}: there is no gold")
    letters = _letters(value, choices)
    if len(letters) != 1:
        names = f"names none of the {len(choices.texts)} choices"
        if letters:
            names = f"may mean choice {' or '.join(letters)}; write the text of the choice"
            if isinstance(value, str):
                names = f"may mean choice {' or '.join(letters)}; write the number, from 0"
        detail = f"{column}: the gold {printable(value)!r} {names}"
        return References(reason=RowFault.DAMAGED_GOLD, detail=detail)
    return References(gold=letters[0], choices=choices.texts)


def _unpacked(raw: object) -> object:
    """A list or a mapping that is written as JSON, as CSV has to; anything else as it is."""
    if not isinstance(raw, str) or not raw.lstrip().startswith(("[", "{")):
        return raw
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return raw


def _one_each(row: RawRow, names: tuple[str, ...]) -> object:
    """The choices of several columns; the last ones may be empty, for questions with fewer.

    Names of one character, such as A or 1, are labels, and a gold names one of them.
    """
    texts = [dig(row, name) for name in names]
    while texts and (texts[-1] is ABSENT or texts[-1] in (None, "")):
        texts.pop()
    is_labelled = all(len(name) == 1 for name in names)
    return dict(zip(names, texts, strict=False)) if is_labelled else texts


def _choices(raw: object) -> _Choices:
    """The texts of choices, and the labels that the data give them."""
    labels: tuple[str, ...] = ()
    if isinstance(raw, list) and raw and all(isinstance(one, Mapping) for one in raw):
        mark = next((key for key in _LABELS if all(key in one for one in raw)), "")
        raw = {"text": [one.get("text") for one in raw]} | (
            {"label": [one[mark] for one in raw]} if mark else {}
        )
    if isinstance(raw, Mapping):
        if isinstance(raw.get("text"), list):
            marks = raw.get("label")
            labels = tuple(map(str, marks)) if isinstance(marks, list) else ()
            raw = raw["text"]
        else:
            labels, raw = tuple(map(str, raw)), list(raw.values())
    if not isinstance(raw, list):
        return _Choices(
            detail="neither a list nor a mapping of choices (in CSV they are written as JSON, or "
            "columns.choices names a column for each)"
        )
    numbers = all(not isinstance(one, str) for one in raw)
    texts: list[str] = []
    for one in raw:
        read = read_gold(one, None) if not isinstance(one, str) else Gold(" ".join(one.split()))
        if read.reason or not read.text or SURROGATE.search(read.text):
            return _Choices(detail=f"choice {len(texts) + 1} is no text")
        texts.append(read.text)
    if not 2 <= len(texts) <= len(LETTERS):
        return _Choices(detail=f"{len(texts)} choices; between 2 and {len(LETTERS)} can be graded")
    if len(set(texts)) < len(texts):
        return _Choices(detail="two choices are the same")
    if labels and (len(labels) != len(texts) or len(set(labels)) < len(labels)):
        return _Choices(detail="the labels do not belong to the choices")
    return _Choices(_without_marks(texts), labels, numbers=numbers)


def _without_marks(texts: Sequence[str]) -> tuple[str, ...]:
    """The texts without the letters that each begins with, as in "A)21", "B)21.5"."""
    marks = [_MARKED.match(text) for text in texts]
    if all(mark and mark[1] == letter for mark, letter in zip(marks, LETTERS, strict=False)):
        bare = tuple(mark["text"] for mark in marks if mark)
        return bare if len(set(bare)) == len(bare) else tuple(texts)
    return tuple(texts)


def _letters(value: object, choices: _Choices) -> list[str]:
    """What the gold may name: a label, else a letter or a text, else a number from 0."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, str | int):
        return []
    text, count = " ".join(str(value).split()), len(choices.texts)
    if text in choices.labels:
        return [LETTERS[choices.labels.index(text)]]
    if isinstance(value, str):
        names = [label.upper() for label in choices.labels] or list(LETTERS[:count])
        if found := _named(text, names, choices.texts):
            return found
    is_number = text.isascii() and text.isdecimal() and not choices.labels
    positions = {LETTERS[int(text)]} if is_number and int(text) < count else set()
    if choices.numbers and text in choices.texts:
        positions.add(LETTERS[choices.texts.index(text)])
    return sorted(positions)


def _named(text: str, names: Sequence[str], texts: Sequence[str]) -> list[str]:
    """The letters of the choices whose name or text, or both, `text` is: "b", "red", "(B) red"."""
    found = []
    for letter, name, own in zip(LETTERS, names, texts, strict=False):
        mark = _MARKED.match(text)
        both = mark and mark[1].upper() == name and normal(mark["text"]) == normal(own)
        if text.strip("().: ").upper() == name or text == own or both:
            found.append(letter)
    return found or [
        letter for letter, own in zip(LETTERS, texts, strict=False) if normal(text) == normal(own)
    ]
