"""Ways to write an option of multiple choice: "[B]", "red (B)", "B (red)", "letter B".

In: an answer in its own words. Out: the same without what stands around a letter, or the letter and
the text that it names.
"""

import re
import unicodedata

from scorers.answers.compare.mismatches import TEXT_COMMAND
from scorers.answers.compare.plain_rules import tidy

# Full-width ASCII as ASCII, and the comma of Chinese lists.
_WIDE = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | {0x3001: ", "}
# A letter behind the text of its option: "red (B)", "red, option B".
_LETTER_BEHIND = re.compile(
    r"(?P<text>.+?)[\s,]+(?:\((?:(?:option|choice|letter|answer) )?|(?:option|choice|letter) \(?)"
    r"(?P<letter>[A-J])\){0,2}",
    re.IGNORECASE,
)
# A letter before the text of its option, without a mark between them: "B (red)", "B/red".
_TEXT_BEHIND = re.compile(r"\(?(?P<letter>[A-J])\)?(?: ?\(| ?/ ?)(?P<text>[^()/]+)\)?")
# What may stand around a letter: the "letter" of "letter B", the brackets of "[B]".
_AROUND = re.compile(r"(?:letter |option |choice )?[\['\u2018]?([A-J])[\]'\u2019]?", re.IGNORECASE)
# A lowered number of a formula of chemistry: the 2 of "H₂O", `H_2O`, `H_{2}O`.
_LOWERED = re.compile(r"(?<=[A-Za-z)])(?:_([0-9])|_\{([0-9]{1,3})\}|([\u2080-\u2089]{1,3}))")
_CROSSES = "\u2715\u2716\u2717\u2718\u274c\u274e\u2612\U0001f6ab"  # they call an answer wrong
_LEVEL = {0x2080 + digit: str(digit) for digit in range(10)}


def plain(text: str) -> str:
    """An answer without markup and pictures around it, and with wide letters as narrow ones.

    Nothing is left of an answer that is struck through.
    """
    if "~~" in text:
        return ""
    text = tidy(TEXT_COMMAND.sub(r"\1", text.translate(_WIDE)))
    while text and _is_picture(text[-1]):
        text = text[:-1].strip()
    while text and _is_picture(text[0]):
        text = text[1:].strip()
    around = _AROUND.fullmatch(text)
    return around[1] if around and len(text) > 1 else text


def letter_and_text(text: str) -> tuple[str, str] | None:
    """The parts of "red (B)", "red, option B", "B (red)"; None for any other text."""
    both = _LETTER_BEHIND.fullmatch(text) or _TEXT_BEHIND.fullmatch(text)
    return (both["letter"].upper(), both["text"]) if both else None


def level(text: str) -> str:
    """A text with the lowered numbers behind letters on the line: "H2O" for "H₂O"."""
    return _LOWERED.sub(lambda one: (one[1] or one[2] or one[3]).translate(_LEVEL), text)


def _is_picture(character: str) -> bool:
    return character == "\ufe0f" or (
        unicodedata.category(character) == "So" and character not in _CROSSES
    )
