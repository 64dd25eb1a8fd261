r"""Read a gold answer from a raw value: text that can be graded against, or the reason why not.

With a damaged gold every trace would be graded wrong, or right by accident. Real data holds units
emptied by a cleaner (`4\mathrm{~}/\mathrm{}`, row 1 of OpenR1-Math-220k), LaTeX cut at its first
closing brace (18 of 1,000 MATH rows), and placeholders such as "notfound".
"""

import math
import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from curation.sources.columns.fields import ABSENT, printable
from curation.sources.columns.reasons import RowFault

MAX_GOLD_CHARS = 1_000
"""A longer "answer" is a solution or rubbish; the longest of MATH-500 has 53 characters."""

LARGEST_EXPONENT = 300
"""A JSON number beyond 10^±300 would be written as text of hundreds of digits."""

PLACEHOLDERS = frozenset({"n/a", "nan", "none", "not found", "notfound", "null", "proof"})

SURROGATE = re.compile("[\ud800-\udfff]")
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

_EMPTIED = re.compile(
    r"\\(?:mathrm|mathbf|mathit|text(?:rm|bf|it)?|mbox|operatorname|boxed|sqrt|overline|vec|[dt]?frac)"
    r"\s*\{(?:\s*~[\s~]*)?\}"  # {} and {~}; \text{ } is a space that someone meant
    r"|\\[dt]?frac\s*\{[^{}]*\}\s*\{[\s~]*\}"
    r"|[\^_]\s*\{[\s~]*\}"
)
_WHOLE = re.compile(r"^(-?[0-9]+)\.0+$")  # "7.0" is 7, and so the summary says it
_BRACE = re.compile(r"\\\\|\\[{}]|[{}]")


class Gold(NamedTuple):
    """The gold's text, or a reason and a sentence."""

    text: str
    reason: str = ""
    detail: str = ""


def read_gold(value: object, mark: str | None, tidy: Callable[[str], str] = str.strip) -> Gold:
    """The gold in a raw value; with a `mark`, what follows its last occurrence."""
    if value is ABSENT or value is None:
        return Gold("", RowFault.MISSING_GOLD, "there is no gold")
    text = _as_text(value)
    if text is None:
        is_flag = isinstance(value, bool)
        kind = "a boolean" if is_flag else f"{printable(value)} ({type(value).__name__})"
        detail = f"the gold is {kind}, neither text nor a usable number"
        return Gold("", RowFault.DAMAGED_GOLD, detail)
    if SURROGATE.search(text):
        return Gold("", RowFault.BAD_ENCODING, "the gold holds half of a surrogate pair")
    if mark is not None:
        if mark not in text:
            detail = f"the mark {mark!r} does not occur before a gold"
            return Gold("", RowFault.MISSING_GOLD, detail)
        text = text.rpartition(mark)[2]
    if control := CONTROL.search(text):
        return Gold("", RowFault.CONTROL_CHARACTERS, f"the gold holds U+{ord(control[0]):04X}")
    text = _WHOLE.sub(r"\1", tidy(text).strip())
    if not text or text.casefold() in PLACEHOLDERS:
        detail = f"the gold is {text!r}" if text else "the gold is empty"
        return Gold("", RowFault.MISSING_GOLD, detail)
    if detail := damage(text):
        return Gold("", RowFault.DAMAGED_GOLD, detail)
    return Gold(text)


def damage(gold: str) -> str:
    """What is wrong with a gold, as a sentence; "" if nothing is seen."""
    if len(gold) > MAX_GOLD_CHARS:
        return f"the gold has {len(gold)} characters, over {MAX_GOLD_CHARS}"
    shown = printable(gold)
    if "\ufffd" in gold:
        return f"the gold {shown!r} holds a replacement character"
    if not _balanced(gold):
        return f"the braces of the gold {shown!r} are not balanced"
    if _count(gold, "left") != _count(gold, "right"):
        return f"the gold {shown!r} has a \\left without its \\right"
    if _EMPTIED.search(gold):
        return f"the gold {shown!r} has an emptied group: a unit or a number is lost"
    if not any(_says_something(c) for c in gold) and gold != r"\{\}":
        return f"the gold {shown!r} is only punctuation"
    if (len(gold) > 1 and gold.endswith("=")) or _ends_in_backslash(gold):
        return f"the gold {shown!r} is cut off"
    return ""


def plain_number(text: str) -> str:
    """`$1,200` -> `1200`, `18.` -> `18`; anything that is no plain number comes back stripped."""
    bare = re.sub(r"[\s,$]", "", text).removesuffix(".")
    return bare if re.fullmatch(r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)", bare) else text.strip()


def _as_text(value: object) -> str | None:
    """Text of a string or a number (18.0 -> "18", 0.10 -> "0.1"); None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        # beyond ~1e300 Python refuses to print, and no answer looks like that
        return str(value) if abs(value) < 10**LARGEST_EXPONENT else None
    if isinstance(value, float) and math.isfinite(value):
        value = Decimal(repr(value))
    if isinstance(value, Decimal) and value.is_finite():
        if value and abs(value.adjusted()) > LARGEST_EXPONENT:
            return None
        plain = f"{value if value else Decimal(0):f}"
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    return None


def _balanced(gold: str) -> bool:
    depth = 0
    for brace in _BRACE.findall(gold):
        depth += {"{": 1, "}": -1}.get(brace, 0)
        if depth < 0:
            return False
    return depth == 0


def _count(gold: str, command: str) -> int:
    return len(re.findall(rf"\\{command}(?![a-zA-Z])", gold))


def _says_something(character: str) -> bool:
    """Letters, digits, and mathematical or other symbols such as < and the empty set."""
    return character.isalnum() or unicodedata.category(character) in ("Sm", "So")


def _ends_in_backslash(gold: str) -> bool:
    return (len(gold) - len(gold.rstrip("\\"))) % 2 == 1
