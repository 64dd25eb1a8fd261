"""The page *Troubleshooting*: each sentence that it quotes is one that the code can print."""

import ast
import re
from collections.abc import Iterator

import pytest

from schemas.records import Grade
from support.paths import ROOT
from tests.test_layout import modules, parsed

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
CELLS = re.findall(r"^\| ([^|]+) \|", PAGE, re.MULTILINE)
SPANS = [(cell, span) for cell in CELLS for _, span in re.findall(r"(`+)(.+?)\1(?!`)", cell)]
REASONS = [span for cell, span in SPANS if cell.startswith("reason")]
QUOTES = [span for cell, span in SPANS if not cell.startswith("reason")]


def texts(tree: ast.AST) -> Iterator[str]:
    """The texts of a module; `…` stands for what a formatted one fills in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
            )


@pytest.fixture(scope="module")
def said() -> list[str]:
    return [text for path in modules() for text in texts(parsed(path))]


def test_the_page_quotes_many() -> None:
    assert len(QUOTES) > 40 and len(REASONS) > 6 and len(set(QUOTES)) == len(QUOTES)


@pytest.mark.parametrize("quote", QUOTES)
def test_a_quoted_message_is_in_the_code(quote: str, said: list[str]) -> None:
    pieces = [piece.strip() for piece in quote.split("…")]
    assert max(map(len, pieces)) >= 12, "too short to be looked for"
    wanted = re.compile(".*".join(map(re.escape, pieces)), re.DOTALL)
    assert any(wanted.search(text) for text in said)


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_is_in_the_code(reason: str, said: list[str]) -> None:
    assert reason not in set(Grade) and any(reason in text.split() for text in said)
