"""What asserts need to be run: names of the program, modules of Python's library, or a fault.

A name that the tests use and do not define is the program's only where that is sure. Otherwise a
program could bring the very helper that decides about it, such as an `isclose` that is always true.
"""

import ast
import builtins
import symtable
import sys
from collections.abc import Iterator
from typing import NamedTuple

from curation.graders.programs.extraction import parsed
from schemas.records import Prompt

# What a program prints or reads is in its own process, where the tests do not reach.
_OF_ONE_PROCESS = {"redirect_stdout", "redirect_stderr", "stdout", "stderr", "stdin", "capsys"}


class Needs(NamedTuple):
    """Names that a program must define, modules that the tests use, imports that the gold makes."""

    names: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    fault: str = ""


def needs_of(text: str, tree: ast.Module, prompt: Prompt, entry_point: str) -> Needs:
    """The needs of asserts; `entry_point` is the expression that `check` is called with, if any."""
    if fault := _fault(tree):
        return Needs(fault=fault)
    free = _free(text)
    if free is None:
        return Needs(fault="the tests are no Python that compiles")
    asked = _definitions(prompt.gold) | set(functions(prompt.text)) | _classes(prompt.text)
    asked |= {entry_point.partition(".")[0].removesuffix("()")} - {""}
    known = asked | _assigned(prompt.gold)
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    modules = (free & sys.stdlib_module_names) - asked - called
    # What Python itself has is the program's only where the problem asks for it: else a program
    # could bring an `all` of its own to tests that use Python's.
    names = free - modules - ({*vars(builtins)} - asked)
    imports = {name: line for name, line in _imports(prompt.gold) if name in names - known}
    names -= imports.keys()
    strange = sorted(names - known)
    if not names:
        return Needs(fault="the tests use no name that a program defines")
    if names & known and strange:
        where = "neither they nor the gold nor the problem defines"
        return Needs(fault=f"the tests use {strange[0]}, which {where}")
    if len(strange) > 1:
        return Needs(
            fault=f"the tests use {' and '.join(strange[:3])}, and no gold and no `def` in the "
            "problem says which of them a program defines"
        )
    return Needs(tuple(sorted(names)), tuple(sorted(modules)), tuple(imports.values()))


def _definitions(program: str) -> set[str]:
    """Functions and classes that a program defines at its top level."""
    tree = parsed(program) if program else None
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in tree.body if isinstance(node, kinds)} if tree else set()


def _assigned(program: str) -> set[str]:
    """Every name that a program binds at its top level, but for what it imports."""
    table = _table(program) if program else None
    symbols = table.get_symbols() if table else ()
    return {one.get_name() for one in symbols if one.is_assigned()}


def _classes(text: str) -> set[str]:
    return set(_heads(text, "class "))


def functions(text: str) -> list[str]:
    """Names of the functions whose first lines a text holds, in order."""
    return _heads(text, "def ")


def _heads(text: str, word: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    heads = (line[len(word) :] for line in lines if line.startswith(word))
    names = [head.partition("(")[0].partition(":")[0].strip() for head in heads]
    return [name for name in names if name.isidentifier()]


def _fault(tree: ast.Module) -> str:
    """What in the tests could not be run, or would hold for every program; empty if nothing."""
    guarded = {
        inner for node in ast.walk(tree) if isinstance(node, ast.Try) for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Tuple) and node.test.elts:
            return "the tests hold an assert of a tuple, which is always true"
        used = node.attr if isinstance(node, ast.Attribute) else ""
        used = node.id if isinstance(node, ast.Name) else used
        if used in _OF_ONE_PROCESS:
            return f"the tests use {used}, and what a program prints or reads is not in reach"
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = ["." * node.level + (node.module or "")]
            if any(alias.name == "*" for alias in node.names):
                return f"the tests import * from {modules[0]}; they must name what they import"
            if node.module == "unittest" and any(alias.name == "mock" for alias in node.names):
                modules = ["unittest.mock"]
        else:
            continue
        for module in modules:
            if module.startswith("unittest.mock"):
                return "the tests use unittest.mock, which does not reach the program's process"
            if module.partition(".")[0] not in sys.stdlib_module_names and node not in guarded:
                return f"the tests import {module}, which is not in Python's library"
    return ""


def _table(text: str) -> symtable.SymbolTable | None:
    try:
        return symtable.symtable(text, "tests.py", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for inner in table.get_children():
        yield from _tables(inner)


def _free(text: str) -> set[str] | None:
    """Names that are used in a scope where neither it nor one around it binds them."""
    top = _table(text)
    if top is None:
        return None
    used, bound = set(), set()
    for table in _tables(top):
        for one in table.get_symbols():
            if one.is_global() and one.is_referenced():
                used.add(one.get_name())
            is_bound = one.is_assigned() or one.is_imported()
            if is_bound and (table is top or one.is_declared_global()):
                bound.add(one.get_name())
    return used - bound


def _imports(gold: str) -> Iterator[tuple[str, str]]:
    """Names that the gold imports from Python's library, each with a statement that does it."""
    tree = parsed(gold) if gold else None
    for node in tree.body if tree else ():
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        for alias in node.names:
            is_from = isinstance(node, ast.ImportFrom)
            module = (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
            if module.partition(".")[0] not in sys.stdlib_module_names:
                continue
            alone = ast.ImportFrom(module, [alias], 0) if is_from else ast.Import([alias])
            yield alias.asname or alias.name.partition(".")[0], ast.unparse(alone)
