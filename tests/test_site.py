"""The documentation as a site: it builds without a network, and its pages load nothing from one."""

import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import polytrace
from support.paths import ROOT
from tests.security.test_journey import OWN_NETWORK, can_unshare

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


class Assets(HTMLParser):
    """What a page loads: scripts, styles, pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids.add(given.get("id") or "")
        if given.get("rel") not in ("canonical", "prev", "next"):
            self.found.append(given.get(LOADED.get(tag, "")) or "")


def read(page: Path) -> Assets:
    parser = Assets()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("mkdocs", "material", "mkdocstrings"):
        if importlib.util.find_spec(package) is None:
            pytest.skip('mkdocs is not installed: pip install -c constraints.txt -e ".[docs]"')
    out = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(out),
    ]
    no_network: list[str | Path] = [*OWN_NETWORK] if can_unshare() else []
    done = subprocess.run(
        [*no_network, *command], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.slow
def test_every_page_is_on_the_site_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = {str(page.relative_to(site)) for page in site.rglob("*.html")}
    wanted = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"README"}
    wanted |= {"index", "overview", "api", "AGENTS", "ARCHITECTURE", "CONTRIBUTING", "SECURITY"}
    assert {f"{name}.html" for name in wanted} <= pages and "adr/index.html" in pages
    for page in sorted(pages):
        outside = [one for one in read(site / page).found if re.match(r"(https?:)?//", one)]
        assert outside == [], page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", style.read_text(encoding="utf-8")), style


@pytest.mark.slow
def test_the_reference_holds_every_name_and_what_its_docstring_says(site: Path) -> None:
    text = (site / "api.html").read_text(encoding="utf-8")
    ids = read(site / "api.html").ids
    names = {name for name in polytrace.__all__ if not name.startswith("_")}
    assert {f"polytrace.{name}" for name in names} <= ids
    assert "at most this many rows of the sources" in text and ":::" not in text


@pytest.mark.slow
def test_links_to_files_beside_the_pages_are_links_of_the_site_or_none(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'href="[^"#:]*\.(md|py|yaml|jsonl|toml)["#]', text), page
