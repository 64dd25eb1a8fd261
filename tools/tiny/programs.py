"""Small programming problems by rule, with traces that are right and wrong by construction.

`python -m tools.tiny.programs --split train --out tiny/prompts/code.jsonl` writes rows with
`problem`, `program` (a right one), `tests` (asserts) and `traces`. A problem belongs to one split
by a hash of its family and number.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

TEST_SHARE = 10  # one problem in ten is kept for testing
NUMBERS = range(2, 10)
ASKS = (
    "Write a Python function `{head}` that returns {what}.",
    "In Python, define `{head}`. It returns {what}.",
    "I need a function `{head}` in Python: it should return {what}.",
)
OPENINGS = (
    "We can go through the values one by one.",
    "Python's own tools do most of this, so the program is short.",
    "Let me write down what has to hold first, and then turn it into code step by step.",
    "The edge cases are an empty value and a value at the limit; both need no special care.",
    "A direct way:",
)
LOOP = "def {head}:\n    while True:\n        pass"


class Family(NamedTuple):
    """A kind of problem with a number `k`: three right programs, two wrong ones, arguments."""

    head: str
    what: str
    right: tuple[str, str, str]
    wrong: tuple[str, str]
    arguments: tuple[Any, ...]


LISTS: tuple[list[int], ...] = ([], [1, 5, 9, 2, 7, 12, 3], [4, 4, 8, 6], [2, 3, 4, 5, 6, 7, 8, 9])
WORDS = ("", "parallel", "abcdefghijklmnopqrstuvwxyz", "seven seas")
FAMILIES = (
    Family(
        "count_above(values)",
        "how many of the numbers in the list `values` are greater than {k}",
        (
            "    return sum(1 for value in values if value > {k})",
            "    count = 0\n    for value in values:\n        if value > {k}:\n"
            "            count += 1\n    return count",
            "    return len([x for x in values if not x <= {k}])",
        ),
        ("    return sum(1 for value in values if value >= {k})", "    return sum(values) > {k}"),
        LISTS,
    ),
    Family(
        "sum_multiples(n)",
        "the sum of the positive multiples of {k} that are less than `n`",
        (
            "    return sum(range({k}, n, {k}))",
            "    total = 0\n    for i in range(1, n):\n        if i % {k} == 0:\n"
            "            total += i\n    return total",
            "    m = max(n - 1, 0) // {k}\n    return {k} * m * (m + 1) // 2",
        ),
        ("    return sum(range({k}, n + 1, {k}))", "    return sum(range(1, n)) // {k}"),
        (0, 30, 72, 2520),
    ),
    Family(
        "rotate(values)",
        "the list `values` rotated to the left by {k} places",
        (
            "    if not values:\n        return []\n    cut = {k} % len(values)\n"
            "    return values[cut:] + values[:cut]",
            "    from collections import deque\n    turned = deque(values)\n"
            "    turned.rotate(-{k})\n    return list(turned)",
            "    n = len(values)\n    return [values[(i + {k}) % n] for i in range(n)]",
        ),
        (
            "    cut = {k} % max(len(values), 1)\n    return values[-cut:] + values[:-cut]"
            " + values[:0] + [0]",
            "    cut = ({k} + 1) % max(len(values), 1)\n    return values[cut:] + values[:cut]",
        ),
        LISTS,
    ),
    Family(
        "every(text)",
        "every {k}-th character of `text`, beginning with the first one",
        (
            "    return text[::{k}]",
            '    kept = ""\n    for i, letter in enumerate(text):\n        if i % {k} == 0:\n'
            "            kept += letter\n    return kept",
            '    return "".join(text[i] for i in range(0, len(text), {k}))',
        ),
        ("    return text[{k} - 1::{k}]", "    return text[:{k}]"),
        WORDS,
    ),
    Family(
        "stretch(text)",
        "`text` with each of its characters written {k} times",
        (
            '    return "".join(letter * {k} for letter in text)',
            '    result = ""\n    for letter in text:\n        for _ in range({k}):\n'
            "            result += letter\n    return result",
            "    return str().join(text[i // {k}] for i in range({k} * len(text)))",
        ),
        ("    return text * {k}", '    return "".join(c * ({k} - 1) for c in text)'),
        WORDS,
    ),
    Family(
        "clip(values)",
        "a copy of the list `values` in which each number above {k} is replaced by {k}",
        (
            "    return [min(value, {k}) for value in values]",
            "    result = []\n    for value in values:\n"
            "        result.append({k} if value > {k} else value)\n    return result",
            "    copy = list(values)\n    for i in range(len(copy)):\n        if copy[i] > {k}:\n"
            "            copy[i] = {k}\n    return copy",
        ),
        (
            "    return [max(value, {k}) for value in values]",
            "    return [value for value in values if value <= {k}]",
        ),
        LISTS,
    ),
    Family(
        "digit_powers(n)",
        "the sum of the digits of `n`, each raised to the power {k}",
        (
            "    return sum(int(digit) ** {k} for digit in str(n))",
            "    total = 0\n    while n > 0:\n        total += (n % 10) ** {k}\n"
            "        n //= 10\n    return total",
            "    powers = [d ** {k} for d in range(10)]\n"
            "    return sum(map(powers.__getitem__, map(int, str(n))))",
        ),
        (
            "    return sum(int(digit) for digit in str(n)) ** {k}",
            "    total = 0\n    while n > 9:\n        total += (n % 10) ** {k}\n"
            "        n //= 10\n    return total",
        ),
        (0, 7, 123, 90210),
    ),
    Family(
        "chunks(values)",
        "the list `values` cut into lists of {k} numbers, the last of which may be shorter",
        (
            "    return [values[i:i + {k}] for i in range(0, len(values), {k})]",
            "    parts = []\n    while values:\n        parts.append(values[:{k}])\n"
            "        values = values[{k}:]\n    return parts",
            "    parts = []\n    for i, value in enumerate(values):\n        if i % {k} == 0:\n"
            "            parts.append([])\n        parts[-1].append(value)\n    return parts",
        ),
        (
            "    return [values[i:i + {k}] for i in range(0, len(values) - {k}, {k})]",
            "    return [values[i:i + {k}] for i in range(len(values))]",
        ),
        LISTS,
    ),
    Family(
        "shift(text)",
        "`text` with each letter moved {k} places on in the alphabet (after z comes a); what is no "
        "lower-case letter stays",
        (
            '    letters = "abcdefghijklmnopqrstuvwxyz"\n'
            "    table = str.maketrans(letters, letters[{k}:] + letters[:{k}])\n"
            "    return text.translate(table)",
            '    result = ""\n    for c in text:\n        if "a" <= c <= "z":\n'
            "            c = chr((ord(c) - 97 + {k}) % 26 + 97)\n        result += c\n"
            "    return result",
            "    from string import ascii_lowercase as abc\n    return ''.join(\n"
            "        abc[(abc.index(c) + {k}) % 26] if c in abc else c for c in text\n    )",
        ),
        (
            '    return "".join(chr(ord(c) + {k}) for c in text)',
            "    from string import ascii_lowercase as abc\n"
            '    return "".join(abc[abc.index(c) - {k}] if c in abc else c for c in text)',
        ),
        WORDS,
    ),
)


def rows(split: str) -> Iterator[dict[str, object]]:
    """The problems of a split, in order."""
    for family in FAMILIES:
        for k in NUMBERS:
            key = hashlib.blake2b(f"{family.head} {k}".encode(), digest_size=8).digest()
            is_test = int.from_bytes(key, "big") % TEST_SHARE == 0
            if is_test == (split == "test"):
                yield row(family, k)


def row(family: Family, k: int) -> dict[str, object]:
    """A problem with five or six traces, in an order of its own."""
    rng = Random(f"{family.head} {k}")
    name = family.head.partition("(")[0]
    right = [_program(family.head, body, k) for body in family.right]
    wrong = [_program(family.head, body, k) for body in family.wrong]
    results = [_call(right[0], name, given) for given in family.arguments]
    for program in right:
        assert [_call(program, name, given) for given in family.arguments] == results, program
    for program in wrong:
        assert [_call(program, name, given) for given in family.arguments] != results, program
    openings = rng.sample(OPENINGS, 5)
    traces = [(f"{openings[i]}\n\n```python\n{right[i]}\n```", True) for i in range(3)]
    traces += [(f"{openings[3]}\n\n```python\n{wrong[k % 2]}\n```", False)]
    faults = {
        2: right[0].replace("):", ")", 1) + "\n```",  # a syntax error
        3: right[1].rpartition("\n")[0],  # the reply was cut off
        5: wrong[1 - k % 2] + "\n```\nI did not test it.",
    }
    if k == 4 and name in ("rotate", "chunks"):
        faults[4] = LOOP.format(head=family.head) + "\n```"
    if k in faults:
        traces.append((f"{openings[4]}\n\n```python\n{faults[k]}", False))
    rng.shuffle(traces)
    ask = rng.choice(ASKS).format(head=family.head, what=family.what.format(k=k))
    return {
        "problem": ask,
        "program": right[0],
        "tests": [
            f"assert {name}({given!r}) == {result!r}"
            for given, result in zip(family.arguments, results, strict=True)
        ],
        "traces": [
            {"text": text, "model": f"by rule {i + 1}", "correct": is_right}
            for i, (text, is_right) in enumerate(traces)
        ],
    }


def _program(head: str, body: str, k: int) -> str:
    return f"def {head}:\n{body.replace('{k}', str(k))}"


def _call(program: str, name: str, given: object) -> object:
    """What a program of this file returns."""
    space: dict[str, Any] = {}
    exec(program, space)
    return space[name](given.copy() if isinstance(given, list) else given)


def main() -> None:
    """Write the problems of a split."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    lines = [json.dumps(one) + "\n" for one in rows(arguments.split)]
    arguments.out.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
