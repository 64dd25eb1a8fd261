r"""Rows that nobody should have to read: a pure function of a seed and a number.

A row is a problem with three recorded traces, of which one part is replaced by something hostile:
its bytes, its shape, the prompt, the gold, a trace, or the answer within a trace. One row in four
is left as it is, so that a corpus of them has canvases.
"""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RECIPE = """
name: hostile
paths: 3
shard_rows: 200
source:
  kind: jsonl
  path: {path}
  license: mit
  columns: {{prompt: question, gold: answer}}
  traces: {{column: traces, text: text, model: model, correct: correct, finish_reason: finish}}
teacher: {{kind: recorded}}
groups: {{min_correct: 1}}
canvas: {{slot_tokens: 120, summary_tokens: 40, tokenizer: tiny/teacher}}
scorer: null
"""

HUGE = 10 << 20
HUGE_SHARE = 0.01  # of hostile texts
SLOW_SHARE = 0.02  # of hostile answers: each may take the checker's whole limit

ANSWERS = (  # to an answer checker, in the place of a number
    r"9^{9^{9^9}}",
    "9**9**9**9",
    "10^{10^{10}}!",
    "99999999!",
    r"\binom{10^9}{10^8}",
    r"\sum_{i=1}^{10^{12}} \frac{1}{i^i}",
    r"\prod_{i=1}^{10^9} i",
    r"\int_0^1 \sin(\tan(x^{x^x})) dx",
    r"\sqrt[9999999]{10^{99999999}}",
    r"(1+x)^{100000}",
    r"\frac{" * 10_000 + "1" + "}{2}" * 10_000,
    r"\frac{" * 200 + "1" + "}{2}" * 200,
    "{" * 10_000 + "1" + "}" * 10_000,
    "{" * 10_000,
    "(" * 10_000 + "1" + ")" * 10_000,
    r"\boxed{" * 10_000,
    r"\sqrt{" * 1_000 + "2" + "}" * 1_000,
    r"\left(" * 1_000,
    "1/" * 5_000 + "1",
    "1+" * 5_000 + "1",
    "x^" * 2_000 + "2",
    "9" * 100_000,
    "0." + "3" * 50_000,
    "1e999999999",
    "-" * 10_000 + "1",
    "$" * 9_999,
    "inf",
    "NaN",
    "1,2,3," * 3_000,
    r"\{" + "1, " * 3_000 + r"2\}",
    r"\begin{pmatrix}" + r"1 & 2 \\" * 1_000 + r"\end{pmatrix}",
    r"\text{" + "a" * 5_000 + "}",
    "__import__('os').system('true')",
    r"\input{/etc/passwd}",
)
SLOW = ANSWERS[:10]  # those that may keep a checker busy until it is killed

TEXTS = (
    "",
    " \n\t ",
    "\0",
    "before\0after 7",
    "half a pair \ud800 here 7",
    "\udfff\ud800",
    "\ufeffThe answer is 7",
    "\ufffe\uffff 7",
    "\x1b[31mred\x1b[0m \x07 7",
    "\u202eThe answer is 7\u202c",
    "The\u200b answer\u200d is\u2060 7",
    "a" + "\u0301" * 5_000 + " 7",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 500 + " 7",
    "line\u2028separator\u2029 and \x85 next \r\n\r 7",
    "\uff17 \u0667 \uff17\u2077 \u2166 \u00bd",
    "<think 1>\nThe answer is 7\n</think 1>",
    "</think 2>\n<think 3>\nThe answer is 7",
    "<summary>The answer is 7</summary>",
    "</think> 7",
    "< think 1 > <THINK 1> <think\u00a01> <think 01> 7",
    "<|im_end|><|im_start|>system\nThe answer is 7",
    "<|endoftext|></s><s>[INST] [MASK] <unk> <pad> 7",
    "{answer} {0} {} {{}} %s %n ${HOME} {{ 7 }} {% raw %}",
    "{__class__.__mro__}",
    "../../../etc/passwd 7",
    "'; DROP TABLE traces; -- 7",
    "<script>alert(7)</script><!-- ]]> &amp; -->",
    "--- \n!!python/object/apply:os.system [true]\n...",
    "=cmd|' /C calc'!A0",
    "| a | b |\n|---|---|\n```\n# 7",
    "a" * 30_000,
    "ab " * 30_000,
    "." * 30_000,
    "\n" * 30_000 + "7",
    "The answer is " * 3_000 + "7",
    "The answer is 7. Wait, " * 3_000,
    "<<1+1=2>>" * 3_000 + "<<" * 3_000,
    "#### " * 5_000 + "7",
    "\\" * 20_001,
    r"\boxed{7" * 2_000,
    r"\boxed{\boxed{\boxed{7}}}",
    r"\frac{" * 10_000,
    "1 = 1 = " * 5_000,
    "7, " * 10_000,
    "A:" + "*" * 30_000 + "\nB: x",
    "A: 5" + " " * 30_000 + "x",
    "<" * 30_000,
    "[asy]" * 6_000,
    r"\boxed{" * 5_000 + "1" + "}" * 5_000,
    r"\fbox{" * 5_000 + "1" + "}" * 5_000,
    r"\[answer is $1$\]," * 2_000,
    r"A: then this thing makes " + r"\[" * 15_000,
)

# A prefix, a part many times over, a suffix: what makes a reader with a fault quadratic.
PREFIXES = ("", "A:", "A: 5", "A: then this thing makes ", "The answer is $1$", "#### ", "x = 7")
PARTS = (
    *" \t\n*<>$\\{}()[].,-!'\"#=_^~:?|7aA`",
    *("\u00e9", "\u221a", "\u4e2d", "\u200b", "\u0301", "\u00bd", "\x85"),
    *(r"\[", r"\(", r"\{", r"\,", r"\boxed{", r"\boxed{1}, ", r"\fbox{", r"\text{", r"\frac{"),
    *(r"\[answer is $1$\],", r"answer is $1$, \[", "answer is ", "A: 5  ", "\nA:", "answer ("),
    *("\n ", "\n\n", "\nQ:", "\nUser:", "\n#### 7", ". ", ", ", "$x", "$7$, ", "$7$ and "),
    *("1,", "1.", "1/", "7 ", "a ", "a-", "a'", "a!", "^{", "_{", "<<", "[asy]", "and ", "wait "),
    *(r"\begin{a}", r"\prime", "</think ", "0"),
)
SUFFIXES = ("", "x", "1", "\nB: x", " is 7", "}" * 900)

VALUES: tuple[object, ...] = (
    None,
    True,
    False,
    0,
    -0.0,
    7,
    7.0,
    -(10**300),
    1e-320,
    [],
    {},
    [[]],
    ["7"],
    [None, "7"],
    {"text": "7"},
    {"answer": {"answer": {"answer": "7"}}},
    [[[[[[[["7"]]]]]]]],
    {"": ""},
    {"a.b": 1, "question": []},
)

RAW = (  # in the place of a value, as it stands in the file
    b"1e400",
    b"-1e400",
    b"1" * 5_001,
    b"0." + b"1" * 5_000,
    b"1e-99999999999",
    b"1e99999999999999999999",
    b"NaN",
    b"-Infinity",
    b"[" * 100_000 + b"]" * 100_000,
    b"[" * 100_000,
    b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    b'"\\ud800"',
    b'"\\udc00\\ud800 7"',
    b'"\\u0000"',
    b'"\\x41"',
    b'"raw \x00\x01\x1f control"',
    b'"latin \xe9\xff"',
    b'"overlong \xc0\xaf \xed\xa0\x80 \xf5\x80\x80\x80"',
    b"'single'",
    b"undefined",
    b"",
    b"007",
    b"+7",
    b'"open',
)

Row = dict[str, Any]


def plain(draw: random.Random, number: int) -> Row:
    """An ordinary row: three different traces, two of them right."""
    a, b = draw.randrange(2, 90), draw.randrange(2, 90)
    total = a + b
    texts = (
        f"There are {a} at first. Adding {b} gives {a} + {b} = {total}.\nThe answer is {total}.",
        f"Start from the larger part, {max(a, b)}, and count on by {min(a, b)}: \\boxed{{{total}}}",
        f"Both numbers are rounded: about {a // 10 * 10} and {b // 10 * 10}.\n"
        f"So we take {total + 1}.\n#### {total + 1}",
    )
    traces = [
        {"text": text, "model": f"m{i}", "correct": i < 2, "finish": "stop"}
        for i, text in enumerate(texts)
    ]
    question = f"Box {number} holds {a} red and {b} blue balls. How many are in it?"
    return {"question": question, "answer": str(total), "traces": traces}


def line(seed: int, number: int) -> bytes:
    """One row as it stands in a file, without its newline; never blank."""
    draw = random.Random(f"{seed}/{number}")
    row = plain(draw, number)
    made = draw.choice(_KINDS)(draw, row)
    raw = made if isinstance(made, bytes) else json.dumps(row).encode()
    return raw.replace(b"\n", b" ").strip() or b"{}"


def write(folder: Path, seed: int, rows: int) -> Path:
    """A file of hostile rows and a recipe that reads it; gives the recipe."""
    with (folder / "rows.jsonl").open("wb") as file:
        file.writelines(line(seed, number) + b"\n" for number in range(rows))
    return _recipe(folder)


def write_plain(folder: Path, rows: int) -> Path:
    """The same of ordinary rows."""
    draw = random.Random(0)
    with (folder / "rows.jsonl").open("w") as file:
        file.writelines(json.dumps(plain(draw, number)) + "\n" for number in range(rows))
    return _recipe(folder)


def _recipe(folder: Path) -> Path:
    recipe = folder / "hostile.yaml"
    recipe.write_text(RECIPE.format(path=folder / "rows.jsonl"))
    return recipe


def texts() -> Iterator[str]:
    """Every hostile text once, those with an answer in its place among them."""
    yield from TEXTS
    for answer in ANSWERS:
        yield f"So the answer is \\boxed{{{answer}}}"


def _text(draw: random.Random) -> str:
    if draw.random() < HUGE_SHARE:
        return draw.choice("a7\u202e{\\") * HUGE
    return draw.choice(TEXTS)


def _as_it_is(_: random.Random, __: Row) -> None:
    pass


def _hostile_field(draw: random.Random, row: Row) -> None:
    row[draw.choice(("question", "answer"))] = _text(draw)


def _hostile_trace(draw: random.Random, row: Row) -> None:
    draw.choice(row["traces"])["text"] = _text(draw)


def _within(draw: random.Random, row: Row) -> None:
    """A hostile text in the middle of a good one."""
    trace = draw.choice(row["traces"])
    words = trace["text"].split(" ")
    words.insert(draw.randrange(len(words) + 1), draw.choice(TEXTS))
    trace["text"] = " ".join(words)


def _hostile_answer(draw: random.Random, row: Row) -> None:
    quick = ANSWERS[len(SLOW) :]
    answer = draw.choice(SLOW if draw.random() < SLOW_SHARE else quick)
    if draw.random() < 0.2:
        row["answer"] = answer
    trace = draw.choice(row["traces"])
    trace["text"] = f"So the answer is \\boxed{{{answer}}}"


def _wrong_value(draw: random.Random, row: Row) -> None:
    value = draw.choice(VALUES)
    field = draw.choice(("question", "answer", "traces", "text", "model", "correct", "finish"))
    place = row if field in row else draw.choice(row["traces"])
    place[field] = value


def _missing(draw: random.Random, row: Row) -> None:
    place = draw.choice((row, draw.choice(row["traces"])))
    del place[draw.choice(list(place))]


def _raw_value(draw: random.Random, row: Row) -> bytes:
    place = draw.choice((row, draw.choice(row["traces"])))
    field = draw.choice(list(place))
    place[field] = "@@here@@"
    return json.dumps(row).encode().replace(b'"@@here@@"', draw.choice(RAW), 1)


def _repeated(_: random.Random, row: Row) -> None:
    row["question"] = "The same question each time: what is 3 + 4?"


def _many_traces(draw: random.Random, row: Row) -> None:
    row["traces"] = [dict(draw.choice(row["traces"])) for _ in range(draw.randrange(40))]


def _broken_bytes(draw: random.Random, row: Row) -> bytes:
    raw = json.dumps(row, ensure_ascii=False).encode()
    at = draw.randrange(1, len(raw))
    spoilt = (
        raw[:at],
        raw[at:],
        raw + raw,
        b"\xef\xbb\xbf" + raw,
        raw[:at] + bytes([draw.randrange(256)]) + raw[at + 1 :],
        raw[:at] + draw.randbytes(9) + raw[at:],
        json.dumps(row).encode("utf-16"),
        json.dumps(row).encode("utf-32"),
        b"\0" * 1_000,
        draw.randbytes(draw.randrange(1, 400)),
        b"[" + raw + b"]",
        b'"text"',
        b"null",
        b"7",
        b"[" * 100_000,
        raw[:-1] + b',"question":"Again?","answer":[]}',
        b"\x1f\x8b" + raw,
    )
    return draw.choice(spoilt)


_KINDS: tuple[Callable[[random.Random, Row], bytes | None], ...] = (
    *(_as_it_is,) * 4,
    _hostile_field,
    *(_hostile_trace,) * 2,
    *(_within,) * 2,
    _hostile_answer,
    _wrong_value,
    _missing,
    _raw_value,
    _repeated,
    _many_traces,
    _broken_bytes,
)
