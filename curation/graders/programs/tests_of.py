"""The tests of a prompt, as text of the column: Python asserts, or pairs of input and output.

Asserts are a text, a JSON list of texts, or an object with `test` and `entry_point`; pairs are a
JSON list of objects with `input` and `output`, or an object with lists `inputs` and `outputs`.
"""

import ast
import builtins
import json
import sys
from typing import NamedTuple

from curation.graders.programs.extraction import parsed
from schemas.records import Prompt


class Pair(NamedTuple):
    """What a program reads from standard input, and what it must print."""

    input: str
    output: str


class Tests(NamedTuple):
    """Asserts, with the names that they take from the program; or pairs; or a fault.

    `modules` are those of Python's library that the asserts use without importing them.
    """

    asserts: str = ""
    names: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    fault: str = ""


def tests_of(prompt: Prompt) -> Tests:
    """The tests of a prompt; `fault` says why there are none that could be run."""
    try:
        value = json.loads(prompt.tests)
    except (ValueError, RecursionError):
        return _asserts(prompt.tests, "", prompt)
    if isinstance(value, dict) and isinstance(value.get("test"), str):
        return _asserts(value["test"], str(value.get("entry_point", "")), prompt)
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
            return Tests(fault=f"test {len(texts) + 1}: input and output must be texts")
        texts.append(Pair(read, printed))
    if not any(pair.output.strip() for pair in texts):
        return Tests(fault="no test has an output, so that a program that prints nothing passes")
    return Tests(pairs=tuple(texts))


def _text(value: object) -> str | None:
    """A text, or a list of lines."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return value if isinstance(value, str) else None


def _asserts(text: str, entry_point: str, prompt: Prompt) -> Tests:
    tree = parsed(text)
    if tree is None:
        return Tests(fault="the tests are no Python that compiles")
    if not any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
        return Tests(fault="the tests hold no assert, so that any program passes")
    known = defined(prompt.gold) | defined_in_prose(prompt.text)
    bound = _bound(tree)
    if "check" in bound and not _calls_at_top(tree, "check"):
        entry_point = entry_point or _last_function(prompt)
        if not entry_point:
            return Tests(fault="the tests define check, and nothing names the function to check")
        text = f"{text}\ncheck({entry_point})\n"
        known |= {entry_point}
        tree = ast.parse(text)
    elif not _has_live_assert(tree):
        return Tests(fault="the tests hold no assert that is run")
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - bound
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    modules = (used & sys.stdlib_module_names) - known - called
    # What Python itself has is the program's only where the problem asks for it: else a program
    # could bring an `all` of its own to tests that use Python's.
    names = used - modules - ({*vars(builtins)} - known)
    if not names:
        return Tests(fault="the tests use no name that a program defines")
    return Tests(asserts=text, names=tuple(sorted(names)), modules=tuple(sorted(modules)))


def defined(program: str) -> set[str]:
    """Names that a program defines at its top level."""
    tree = parsed(program)
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for node in tree.body if isinstance(node, kinds)} if tree else set()


def defined_in_prose(text: str) -> set[str]:
    """Names that a problem's text asks to define: `def NAME(`."""
    return set(_functions(text))


def _functions(text: str) -> list[str]:
    heads = [line.strip() for line in text.splitlines()]
    names = [line[4:].partition("(")[0].strip() for line in heads if line.startswith("def ")]
    return [name for name in names if name.isidentifier()]


def _last_function(prompt: Prompt) -> str:
    names = _functions(prompt.text) or _functions(prompt.gold)
    return names[-1] if names else ""


def _calls_at_top(tree: ast.Module, name: str) -> bool:
    return any(
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == name
        for node in tree.body
    )


def _has_live_assert(tree: ast.Module) -> bool:
    """Whether an assert stands outside functions, or in one that is called at the top level."""
    calls = {
        n.func.id
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name not in calls:
            continue
        if any(isinstance(inner, ast.Assert) for inner in ast.walk(node)):
            return True
    return False


def _bound(tree: ast.Module) -> set[str]:
    """Every name that the tests bind themselves, in whatever scope."""
    bound: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return bound
