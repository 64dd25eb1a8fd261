"""The tests of a prompt, as text of the column: Python asserts, or pairs of input and output.

Asserts are a text, a JSON list of texts, or an object with `test` and `entry_point`; pairs are a
JSON list of objects with `input` and `output`, or an object with lists `inputs` and `outputs`.
"""

import ast
import json
from typing import NamedTuple

from curation.graders.programs.extraction import parsed
from curation.graders.programs.needs import functions, needs_of
from schemas.records import Prompt

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Pair(NamedTuple):
    """What a program reads from standard input, and what it must print."""

    input: str
    output: str


class Tests(NamedTuple):
    """Asserts, with the names that they take from the program; or pairs; or a fault.

    `modules` are those of Python's library that the asserts use without importing them; `imports`
    are statements of the gold that import names which the asserts use.
    """

    asserts: str = ""
    names: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    imports: str = ""
    pairs: tuple[Pair, ...] = ()
    fault: str = ""


def tests_of(prompt: Prompt) -> Tests:
    """The tests of a prompt; `fault` says why there are none that could be run."""
    try:
        value = json.loads(prompt.tests)
    except (ValueError, RecursionError):
        return _asserts(prompt.tests, "", prompt)
    if isinstance(value, dict) and isinstance(value.get("test"), str):
        entry_point = value.get("entry_point") or ""
        if not isinstance(entry_point, str):
            return Tests(fault="entry_point of the tests must be a text")
        return _asserts(value["test"], entry_point, prompt)
    if isinstance(value, dict):
        if value.get("fn_name"):
            return Tests(fault="tests with fn_name call a function; give them as asserts")
        inputs, outputs = value.get("inputs"), value.get("outputs")
        if not isinstance(inputs, list) or not isinstance(outputs, list):
            return Tests(fault="the tests are an object without inputs and outputs, or a test")
        if len(inputs) != len(outputs):
            return Tests(fault=f"the tests have {len(inputs)} inputs and {len(outputs)} outputs")
        return _pairs(list(zip(inputs, outputs, strict=True)))
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return _asserts("\n".join(value), "", prompt)
    if isinstance(value, list) and all(
        isinstance(one, dict) and {"input", "output"} <= one.keys() for one in value
    ):
        return _pairs([(one["input"], one["output"]) for one in value])
    return Tests(fault="the tests are neither asserts nor pairs of input and output")


def _pairs(pairs: list[tuple[object, object]]) -> Tests:
    texts: list[Pair] = []
    for given, wanted in pairs:
        read, printed = _text(given), _text(wanted)
        if read is None or printed is None:
            return Tests(
                fault=f"test {len(texts) + 1}: input and output must be texts (of valid Unicode)"
            )
        texts.append(Pair(read, printed))
    if not any(pair.output.strip() for pair in texts):
        return Tests(fault="no test has an output, so that a program that prints nothing passes")
    return Tests(pairs=tuple(texts))


def _text(value: object) -> str | None:
    """A text, or a list of lines; None where it is neither, or cannot be written as UTF-8."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "\n".join(value)
    try:
        return value if isinstance(value, str) and value.encode() is not None else None
    except UnicodeEncodeError:
        return None


def _asserts(text: str, entry_point: str, prompt: Prompt) -> Tests:
    tree = parsed(text)
    if tree is None:
        return Tests(fault="the tests are no Python that compiles")
    if not any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
        return Tests(fault="the tests hold no assert, so that any program passes")
    called = _called_at_top(tree)
    if _defines_check(tree) and "check" not in called:
        entry_point = entry_point or _last_function(prompt)
        if not entry_point:
            return Tests(fault="the tests define check, and nothing names the function to check")
        names = entry_point.replace("()", "").split(".")
        text = f"{text}\ncheck({entry_point})\n"
        whole = parsed(text)
        if whole is None or not all(name.isidentifier() for name in names):
            return Tests(fault="entry_point of the tests is no name of a function")
        tree = whole
    elif not _has_live_assert(tree):
        return Tests(fault="the tests hold no assert that is run")
    else:
        entry_point = ""
    needs = needs_of(text, tree, prompt, entry_point)
    if needs.fault:
        return Tests(fault=needs.fault)
    return Tests(
        asserts=text,
        names=needs.names,
        modules=needs.modules,
        imports="\n".join(needs.imports),
    )


def _last_function(prompt: Prompt) -> str:
    names = functions(prompt.text) or functions(prompt.gold)
    return names[-1] if names else ""


def _defines_check(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body)


def _called_at_top(tree: ast.Module) -> set[str]:
    """Names that are called outside the bodies of functions and classes."""
    return {
        inner.func.id
        for node in tree.body
        if not isinstance(node, _DEFINITIONS)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name)
    }


def _has_live_assert(tree: ast.Module) -> bool:
    """Whether an assert stands outside functions, or in one that is called anywhere."""
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return any(
        isinstance(inner, ast.Assert)
        for node in tree.body
        if not isinstance(node, _DEFINITIONS) or node.name in called
        for inner in ast.walk(node)
    )
