"""Numbers in English words: "twenty-one" is 21.

In: words. Out: the whole number that they name, below a thousand millions, or None.
"""

import re

_FIRST_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
)
_ONES = {word: number for number, word in enumerate(_FIRST_WORDS)}
_TENS_WORDS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_TENS = {word: 10 * number for number, word in enumerate(_TENS_WORDS, start=2)}
COUNTS = (*_FIRST_WORDS[2:], *_TENS_WORDS, "hundred", "thousand")
"""The words that make another number of what they stand beside: from "two" on."""

_SCALES = {"thousand": 1000, "million": 1_000_000}
# A word in small letters: "twenty".
_WORD = re.compile(r"[a-z]+")


# A run of words that may be a number: "forty-two", "one hundred and one".
_RUN = re.compile(
    rf"(?<![A-Za-z-])(?:{'|'.join((*_FIRST_WORDS, *_TENS_WORDS))})"
    rf"(?:(?: and |[ -])(?:{'|'.join((*_FIRST_WORDS, *_TENS_WORDS, 'hundred', *_SCALES))}))*"
    r"(?![A-Za-z-])",
    re.IGNORECASE,
)


def in_figures(text: str) -> str | None:
    """`text` with the one number that it spells as figures: "She has 42" for "She has forty-two".

    None where it holds figures, no number in words, or several; "one" may be any noun.
    """
    runs = list(_RUN.finditer(text))
    if len(runs) != 1 or re.search(r"[0-9]", text) or runs[0][0].lower() == "one":
        return None
    value = spelled_number(runs[0][0])
    if value is None:
        return None
    return f"{text[: runs[0].start()]}{value}{text[runs[0].end() :]}"


def spelled_number(text: str) -> int | None:
    """The number that `text` spells, all of it; None for any other text."""
    text = text.strip().lower()
    words = _WORD.findall(text)
    if not words or len(words) > 12 or not re.fullmatch(r"[a-z]+(?:(?: and |[ -])[a-z]+)*", text):
        return None
    if words == ["zero"]:
        return 0
    if words[-1] == "and":
        return None
    total = group = 0
    last = 1_000_000_000
    for word in words:
        if word == "and":
            if group % 100 or not (group or total):
                return None
        elif word in _ONES and word != "zero":
            one = _ONES[word]
            # "twenty one", "one hundred one"; not "one two" and not "twenty twelve"
            free = group % 10 == 0 if one < 10 and group % 100 >= 20 else group % 100 == 0
            if not free:
                return None
            group += one
        elif word in _TENS and group % 100 == 0:
            group += _TENS[word]
        elif word == "hundred" and 0 < group < 10:
            group *= 100
        elif word in _SCALES and group and _SCALES[word] < last:
            last = _SCALES[word]
            total, group = total + group * last, 0
        else:
            return None
    return total + group
