"""The program of a trace: its last fenced block of Python, or the whole text if it is a program.

Only the reply behind the last `</think>` is read.
"""

import ast
import re
import warnings
from typing import NamedTuple

# An opening or a closing fence, with the language that follows it.
_FENCE = re.compile(r"^[ ]{0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^\n`]*$", re.MULTILINE)
_OPEN, _CLOSE = "<think>", "</think>"
_LANGUAGES = ("", "python", "python3", "py")
_STATEMENTS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
LONGEST_PROGRAM_CHARACTERS = 100_000


class Program(NamedTuple):
    """A program, and where its fence ends in the text."""

    text: str
    end: int


def program_of(text: str) -> Program | None:
    """The program of a trace; None where there is none, or its block is not finished.

    What stands in thoughts (`<think>`) is no answer.
    """
    if _OPEN in text and _CLOSE not in text:
        return None
    start = text.rfind(_CLOSE) + len(_CLOSE) if _CLOSE in text else 0
    found = _program_of_reply(text[start:])
    return found._replace(end=found.end + start) if found else None


def _program_of_reply(text: str) -> Program | None:
    found, opened = None, None
    for fence in _FENCE.finditer(text):
        mark, language = fence[1], fence[2].lower()
        if opened is None:
            opened = (mark, language, fence.end() + 1)
        elif mark.startswith(opened[0]) and not language:
            if opened[1] in _LANGUAGES:
                found = Program(text[opened[2] : fence.start()].rstrip(), fence.end())
            opened = None
    if opened is not None:
        return None  # the last block is cut off: what stands before it is no answer
    if found is None and "```" not in text and is_program(text):
        found = Program(text.strip("\n").rstrip(), len(text))
    if found is None or not found.text.strip() or len(found.text) > LONGEST_PROGRAM_CHARACTERS:
        return None
    return found


def is_program(text: str) -> bool:
    """Whether a text without fences is plainly a program: it compiles, and defines or imports."""
    tree = parsed(text)
    return tree is not None and any(isinstance(one, _STATEMENTS) for one in tree.body)


def parsed(text: str) -> ast.Module | None:
    """The syntax tree of a program; None where it has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
