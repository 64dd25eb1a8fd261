r"""Variables that math-verify 0.9.0 misreads: it takes `R - r` for 0, and `5t` for 5.

It does not distinguish a capital from its small letter, and takes some last letters for a unit.
In: two answers as formulas. Out: the same two with such letters under other names.
"""

import re

# A command, with its text where it has one, or a run of letters: `\text{cm}`, `\pi`, "xy".
_TOKEN = re.compile(
    r"\\(?:text|textbf|textit|mathrm|mbox|textnormal|operatorname|begin|end)\s?\{[^{}]*\}"
    r"|\\[A-Za-z]+|[A-Za-z]+"
)
_LONGEST_PRODUCT = 3  # longer runs of letters are words
_FREE = "kqwzjuvrpnbaxyf"  # not e and i, which mean something by themselves, and no unit
# Up to three letters that end a formula: the "t" of `$5t$`.
_LAST = re.compile(r"(?P<run>[A-Za-z]{1,3})\s*\$?$")
_TAKEN_FOR_UNITS = frozenset("cdghlmost")
_UNITS = frozenset(
    ("cm", "mm", "km", "kg", "mg", "ml", "ft", "hr", "mph", "min", "lbs", "lb", "mi")
)


def rename_clashing_letters(answer: str, gold: str) -> tuple[str, str]:
    """Both formulas, with new names for letters that would be taken for others or for a unit."""
    letters = {letter for text in (answer, gold) for run in _runs(text) for letter in run}
    doubled = {letter for letter in letters if letter.isupper() and letter.lower() in letters}
    doubled |= {letter for text in (answer, gold) if (letter := _last_letter(text))}
    if not doubled:
        return answer, gold
    used = {letter.lower() for letter in letters}
    free = [letter for letter in _FREE if letter not in used]
    if len(free) < len(doubled):
        return answer, gold
    names = str.maketrans(dict(zip(sorted(doubled), free, strict=False)))
    return _renamed(answer, names), _renamed(gold, names)


def _last_letter(text: str) -> str | None:
    last = _LAST.search(text)
    if not last or text[: last.start()].endswith("\\") or last["run"] in _UNITS:
        return None
    if text[max(0, last.start() - 1) : last.start()].isalpha():  # a word, or the end of a command
        return None
    return last["run"][-1] if last["run"][-1] in _TAKEN_FOR_UNITS else None


def _runs(text: str) -> list[str]:
    return [
        match[0]
        for match in _TOKEN.finditer(text)
        if match[0][0] != "\\" and len(match[0]) <= _LONGEST_PRODUCT
    ]


def _renamed(text: str, names: dict[int, str]) -> str:
    def other(match: re.Match[str]) -> str:
        run = match[0]
        product = run[0] != "\\" and len(run) <= _LONGEST_PRODUCT
        return run.translate(names) if product else run

    return _TOKEN.sub(other, text)
