r"""The process in which math-verify runs; started by `math_verify_pool.py`, never imported by it.

In: JSON lines `[answer, gold]`, both as formulas. Out: JSON lines `[verdict]`: null where one of
them could not be read, or not all of it. Ends at end of input.

math-verify 0.9.0 passes over what it cannot read: `4\star 3` is 4 to it. Two guards stand before
each "equal": every symbol of both formulas must matter to what was read (`_reads_all`), and values
must be as near as their notation claims (`_are_near`).

A question may use `argv[1]` seconds of processor time; then the kernel kills the process (SIGPROF),
inside C code too. Processor time, because a busy machine must not change a verdict. The parent's
wall-clock limit is the backstop. Nothing of the project is imported, so that it runs from anywhere.
"""

import json
import logging
import os
import re
import resource
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

MEMORY_BYTES = 4 << 30  # of address space; a tower of powers fills a machine within its time limit


def main(seconds: float) -> None:
    """Answer questions until the input ends."""
    # Whatever a library prints must not reach the protocol.
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit_memory()
    _check("$2$", "$2$")  # builds the parser's tables before the clock runs
    _send(replies, "ready")
    while line := sys.stdin.buffer.readline():
        answer, gold = json.loads(line)
        _forget_earlier_questions()
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            verdict = _check(answer, gold)
        except MemoryError:
            os._exit(1)
        except Exception:  # the verifier's own faults: no verdict, and the next question follows
            verdict = None
        signal.setitimer(signal.ITIMER_PROF, 0)
        _send(replies, [verdict])


def _forget_earlier_questions() -> None:
    r"""Make the verdict depend on its question alone.

    SymPy tries random numbers where it can't decide by algebra, and keeps results between calls.
    Without this, `2\pi\infty` equalled `2\pi` for 12 of 400 random states.
    """
    from sympy.core.cache import clear_cache
    from sympy.core.random import seed

    clear_cache()
    seed(0)


def _check(answer: str, gold: str) -> bool | None:
    """math-verify's verdict behind the guards; its own timers are off (they are only alarms)."""
    from math_verify import verify

    read, expected = _parse(answer), _parse(gold)
    if not read or not expected:
        return None
    # As formulas where both could be read, else as normalised text: as what they are equal counts.
    formulas = [first for first, *_ in (read, expected) if not isinstance(first, str)]
    if len(formulas) == 2 and verify(
        formulas[1], formulas[0], allow_set_relation_comp=True, timeout_seconds=None
    ):
        if not _are_near(formulas[0], formulas[1], "%" in answer + gold):
            return False
        return True if _reads_all(answer, "formula") and _reads_all(gold, "formula") else None
    if not verify(expected, read, timeout_seconds=None):
        return False
    return True if _reads_all(answer, "text") and _reads_all(gold, "text") else None


@lru_cache(maxsize=256)
def _parse(text: str) -> list[Any]:
    """All readings of `text`, the last as a string; [] for none. Golds repeat, hence the cache."""
    from math_verify import parse

    return list(parse(text, parsing_timeout=None))


# A command with its text, another command, a number, a letter or a sign: `\text{cm}`, `\pi`, "12".
_TOKEN = re.compile(
    r"\\(?:text|textbf|textit|mbox|textnormal)\s?\{[^{}]*\}|\\(?:begin|end)\s?\{[a-zA-Z*]*\}"
    r"|\\(?:math[a-z]+|operatorname)\s?\{[^{}]*\}|\\[A-Za-z]+|\\."
    r"|[0-9]+(?:\.[0-9]+)?|\.[0-9]+|[A-Za-z]|\S"
)
# What may be left out without another meaning: joints, spacing, brackets (unequal ones are compared
# before), multiplication, and "=" (both of its sides are looked at).
_SILENT = frozenset(
    (
        *(r"\left", r"\right", r"\big", r"\Big", r"\bigg", r"\Bigg", r"\bigl", r"\bigr"),
        *(r"\Bigl", r"\Bigr", r"\displaystyle", r"\dfrac", r"\tfrac", r"\limits"),
        *(r"\lbrace", r"\rbrace", r"\lbrack", r"\rbrack", r"\{", r"\}", *"()[]{}"),
        *(r"\cdot", r"\times", "*", r"\quad", r"\qquad", r"\,", r"\;", r"\:", r"\!", "\\ ", "~"),
        *(r"\\", "&", ",", "=", r"\$", "$"),
    )
)
_USUAL = frozenset(
    (
        *(r"\frac", r"\sqrt", r"\pi", r"\infty", r"\log", r"\ln", r"\exp", *"+-/^_"),
        *(r"\sin", r"\cos", r"\tan", r"\cot", r"\sec", r"\csc"),
    )
)
_MOST_TOKENS = 120
_OTHER_DIGIT = str.maketrans("0123456789", "4785923164")
_LETTERS = "kmqtuvwzrsp"


@lru_cache(maxsize=256)
def _reads_all(text: str, kind: str) -> bool:
    """Whether another number, letter or sign in the place of any in `text` changes its reading."""
    inside = text[1:-1]
    tokens = list(_TOKEN.finditer(inside))
    if kind == "formula" and _holds_all(_parse(text)[0], [token[0] for token in tokens]):
        return True
    if len(tokens) > _MOST_TOKENS:
        return False
    before = _fingerprint(inside, kind)
    letter = next((free for free in _LETTERS if free not in inside.lower()), "k")
    for token in tokens:
        sign = token[0]
        if sign in _SILENT or sign.startswith(("\\text", "\\mbox", "\\begin", "\\end")):
            continue
        other = " "
        if sign[0].isdigit() or (sign[0] == "." and len(sign) > 1):
            first = next(k for k, character in enumerate(sign) if character.isdigit())
            other = sign[:first] + sign[first].translate(_OTHER_DIGIT) + sign[first + 1 :]
        elif len(sign) == 1 and sign.isalpha():
            other = letter
        # math-verify takes "t" and other letters at the end for units, so that 5t is 5.
        last = sign.isalpha() and sign not in ("e", "i") and token.end() == len(inside)
        others = (other, " ") if last else (other,)
        if any(
            _fingerprint(inside[: token.start()] + new + inside[token.end() :], kind) == before
            for new in others
        ):
            return False
    return True


def _holds_all(expression: Any, tokens: Sequence[str]) -> bool:
    """Whether a formula of usual signs alone has each of its letters and numbers in its reading.

    The short way for most formulas: to read one again takes 1 to 60 ms. A number that SymPy has
    worked out is not found, and then the long way decides.
    """
    from sympy import Basic, exp, preorder_traversal
    from sympy.core.function import AppliedUndef

    if not isinstance(expression, Basic):  # a matrix
        return False
    read: Counter[str] = Counter()
    for node in preorder_traversal(expression):
        if node.is_Symbol or isinstance(node, AppliedUndef):
            name = node.name if node.is_Symbol else node.func.__name__
            read.update(re.findall(r"[0-9]+|[a-z]", name.lower()))
        elif isinstance(node, exp) or str(node) == "E":
            read["e"] += 1
        elif str(node) == "I":
            read["i"] += 1
        elif node.is_Rational and node != -1:
            read.update((str(abs(node.p)), str(node.q)) if node.q != 1 else (str(abs(node.p)),))
    written: Counter[str] = Counter()
    for sign in tokens:
        if sign.isdecimal():
            written[str(int(sign))] += 1
        elif len(sign) == 1 and sign.isalpha():
            written[sign.lower()] += 1
        elif sign not in _USUAL and sign not in _SILENT:
            return False
    return written <= read


def _fingerprint(inside: str, kind: str) -> str:
    """What was read, as text that is equal for equal readings alone."""
    from sympy import Float, Rational, srepr

    read = _parse.__wrapped__(f"${inside}$")  # asked once each: they must not push golds out
    if kind == "text":
        return str(read[-1]) if read else ""
    if not read or isinstance(read[0], str):
        return ""
    # 0.5 is a Float or a Rational, as its neighbours will have it.
    floats = read[0].atoms(Float) if hasattr(read[0], "atoms") else ()
    exact = {number: Rational(str(number)) for number in floats if number.is_finite}
    return str(srepr(read[0].xreplace(exact) if exact else read[0]))


def _are_near(one: Any, other: Any, percent: bool) -> bool:
    """Whether values that math-verify calls equal are so, exactly or as far as decimals tell.

    A percentage equals its figure too, whose hundredth it is.
    """
    mine, yours = _values(one), _values(other)

    def near(a: Any, b: Any) -> bool:
        hundred = percent and (_is_near(100 * a, b) or _is_near(a, 100 * b))
        return hundred or _is_near(a, b)

    if not mine or not yours:
        return True
    return all(any(near(a, b) for b in yours) for a in mine) and all(
        any(near(a, b) for a in mine) for b in yours
    )


def _values(expression: Any) -> list[Any]:
    """The numbers that an answer consists of; nothing where it holds a variable."""
    from sympy import Interval, Set, Tuple
    from sympy.core.relational import Equality

    if isinstance(expression, Equality):
        return _values(expression.rhs) if expression.lhs.is_Symbol else []
    if isinstance(expression, Set | Tuple) and not isinstance(expression, Interval):
        return [value for part in expression.args for value in _values(part)]
    return [expression] if getattr(expression, "is_number", False) else []


def _is_near(one: Any, other: Any) -> bool:
    from sympy import Float, simplify

    if one == other:
        return True
    a, b = one.doit(), other.doit()
    if a.is_Rational and b.is_Rational:
        return bool(a == b)
    a, b = a.evalf(60), b.evalf(60)
    if not (a.is_finite and b.is_finite):
        return bool(a == b)
    distance, largest = abs(a - b), max(abs(a), abs(b))
    if one.has(Float) or other.has(Float):
        # math-verify rounds to six places, where a tiny value has no digits left.
        return bool(largest >= 1e-3 or distance <= largest / 1000)
    return bool(distance <= largest * 1e-40) or simplify(one - other) == 0


def _limit_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    # Some systems do not offer this limit; the time limit holds there all the same.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _send(replies: Any, reply: object) -> None:
    try:
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main(float(sys.argv[1]))
