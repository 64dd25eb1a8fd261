"""What `make site` adds to docs/: a hook of mkdocs, named in mkdocs.yml.

Pages of the site that are no file of docs/ are added: the pages at the repository's root, a list of
the decisions in docs/adr, and the API reference, one entry a name that `polytrace` exports. The
pages are written for GitHub, where a link is the path of a file. Here links between pages become
links of the site. A link to another file leads to the repository, if pyproject.toml names its
address, and is otherwise left out.
"""

import posixpath
import re
import tomllib
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import polytrace

ROOT = Path(__file__).resolve().parents[1]
DOCS = "docs"
OTHERS = ("AGENTS.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
AT_ROOT = {"README.md": "overview.md", **{name: name for name in OTHERS}}  # docs/ has a README
DECISIONS, REFERENCE = "adr/index.md", "api.md"
_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
# A text that may hold brackets of its own, and the target.
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no file of docs/."""
    for name, uri in AT_ROOT.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / name)))
    files.append(File.generated(config, DECISIONS, content=decisions()))
    files.append(File.generated(config, REFERENCE, content=reference()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of a page."""
    uri = page.file.src_uri
    home = next((name for name, at in AT_ROOT.items() if at == uri), f"{DOCS}/{uri}")
    parts = _FENCED.split(markdown)
    parts[::2] = [_LINK.sub(lambda link: turned(link, home, uri), part) for part in parts[::2]]
    return "".join(parts)


def decisions() -> str:
    """The page that lists docs/adr."""
    lines = ["# Decisions", "", "Why was it decided so? Each page says what was measured.", ""]
    for path in sorted((ROOT / DOCS / "adr").glob("*.md")):
        title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        lines.append(f"- [{title}]({path.name})")
    return "\n".join(lines)


def reference() -> str:
    """The page of the API: every exported name, whose docstring mkdocstrings puts in."""
    names = [name for name in polytrace.__all__ if not name.startswith("_")]
    about = "What `import polytrace` offers. [From Python](python.md) says how it is used."
    return "\n\n".join(["# API reference", about, *(f"::: polytrace.{name}" for name in names)])


def turned(link: re.Match[str], home: str, uri: str) -> str:
    """A link of the file `home` in the repository, as one of the page `uri` of the site."""
    image, text, target = link.groups()
    path, mark, anchor = target.partition("#")
    if not path or re.match(r"[a-z]+:", target):
        return link[0]
    there = posixpath.normpath(posixpath.join(posixpath.dirname(home), path))
    at = site_path(there)
    if at is not None:
        place = posixpath.relpath(at, posixpath.dirname(uri) or ".")
        return f"{image}[{text}]({place}{mark}{anchor})"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if address := project.get("urls", {}).get("Repository"):
        kind = "tree" if (ROOT / there).is_dir() else "blob"
        return f"{image}[{text}]({address}/{kind}/HEAD/{there}{mark}{anchor})"
    return text


def site_path(there: str) -> str | None:
    """Where a file of the repository is on the site; None if it is not there."""
    if there in AT_ROOT:
        return AT_ROOT[there]
    if there in (DOCS, f"{DOCS}/adr"):
        return "README.md" if there == DOCS else DECISIONS
    inside = there.startswith(f"{DOCS}/") and there.endswith((".md", ".svg", ".png"))
    return there.removeprefix(f"{DOCS}/") if inside else None
