r"""What stands around a box and changes its value: `-\boxed{5}`, `\sqrt{\boxed{5}}`, `\boxed{5}^2`.

In: a text, the place of a box in it, and what the box holds. Out: the value in its place.
"""

import re

from scorers.answers.compare.plain_rules import tidy
from scorers.answers.notation.unit_words import changes_number, is_unit

_REACH = 60
# A sign, a factor or a function before a box: the `\sqrt{` of `\sqrt{\boxed{5}}`.
_BEFORE = re.compile(
    r"(?:(?:^|[=(,:$\[]|\\[(\[]|\b(?:is|be|equals))\s*(?P<sign>-)\s?"
    r"|(?P<factor>[0-9]|[0-9A-Za-z)}]\s?(?:\\times|\\cdot|[+/])\s*)"
    r"|(?P<function>\\(?:sqrt|[dt]?frac|log|ln|sin|cos|tan|cot|binom)\s?(?:\[[^\]]*\]|\{[^{}]*\})?"
    r"\s?\{?\s*|[\^_]\s?\{?\s*))$"
)
# The dash of an item of a list, which is no sign: "- ".
_BULLET = re.compile(r"\s*-\s+")
# A power, an operator, a function or a letter behind a box: the `^2` of `\boxed{5}^2`.
_BEHIND = re.compile(
    r"\s?\^\s?(?!\{?\s?\\circ|\{?\s?\\text)[0-9A-Za-z{(-]|!(?=\s?(?:\$|\\[)\]]))"
    r"|\s?\\(?:sqrt|pi|sin|cos|tan|log|ln|times|cdot|[dt]?frac|binom)(?![A-Za-z])"
    r"|\s?[-+/\u00d7\u00f7]\s?(?:[\\$]?[0-9(]|[a-z](?![a-z]))|:[0-9]|[A-Za-z]"
)
# Letters that touch a box: the "cm" of `\boxed{5}cm`.
_ATTACHED_WORD = re.compile(r"[A-Za-z]+")
# Up to four words behind a box: the "more apples" of `\boxed{5} more apples`.
_WORDS = re.compile(r"(?:\\text\s?\{)?(?P<words>(?:\s{0,2}[A-Za-z]+){1,4})")
# A per cent sign or word directly behind a box: the `\%` of `\boxed{5}\%`.
_PERCENT = re.compile(r"\s?(?:\\?%|percent\b)")
# The end of a formula, a sentence or a line: `$`, ". ".
_END = re.compile(r"(?<!\\)\$|\\[)\]]|[.,;](?=\s|$)|\n")


def with_surroundings(text: str, start: int, stop: int, answer: str) -> str:
    """`answer`, the content of the box at `text[start:stop]`, with what changes it around it."""
    before = text[max(0, start - _REACH) : start].rsplit("\n", 1)[-1]
    behind = text[stop : stop + _REACH]
    if cut := _END.search(behind):
        behind = behind[: cut.start()] + (cut[0] if cut[0] != "\n" else "")
    changing = None if _BULLET.fullmatch(before) else _BEFORE.search(before)
    prefix = (changing["sign"] or changing["factor"] or changing["function"]) if changing else ""
    changed = _changes(behind)
    if not prefix and not changed:
        percent = _PERCENT.match(behind) and not answer.endswith("%")
        return rf"{answer}\%" if percent else answer
    rest = _END.sub("", behind) if changed or prefix.endswith("{") else ""
    return tidy(f"{prefix}{answer}{rest}")


def _changes(behind: str) -> bool:
    if word := _ATTACHED_WORD.match(behind):
        return not is_unit(word[0])
    words = _WORDS.match(behind)
    if words and changes_number(words["words"]):
        return True
    return _BEHIND.match(behind) is not None
