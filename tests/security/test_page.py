"""SECURITY.md names tests that exist, in files that exist."""

import re

from support.paths import ROOT

PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_exists() -> None:
    files = re.findall(r"`((?:tests/[\w/]+/)?test_\w+\.py)`", PAGE)
    paths = {ROOT / (f if "/" in f else f"tests/security/{f}") for f in files}
    assert all(path.is_file() for path in paths)
    here = sorted((ROOT / "tests" / "security").glob("test_*.py"))
    source = "\n".join(path.read_text(encoding="utf-8") for path in (*here, *paths))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 15
    assert not [name for name in named if f"def {name}(" not in source]


def test_every_file_of_proofs_is_named() -> None:
    here = {path.name for path in (ROOT / "tests" / "security").glob("test_*.py")}
    assert not [name for name in here - {"test_page.py"} if f"`{name}`" not in PAGE]
