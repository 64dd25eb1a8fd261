"""Make foreign text safe inside Markdown, and a recipe safe to publish.

In: text that a model or a dataset wrote; a recipe. Out: Markdown that only shows the text, without
links, images or HTML; the recipe as YAML without credentials and without this machine's folders.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import yaml

from schemas.recipe import Recipe
from support.display.text import one_line, visible
from support.redact import without_credentials

_ACTIVE = re.compile(r"([\\`*_{}\[\]()<>#|~$&!])")
_SECRET = re.compile(
    r"(?:^|[_-])(?:(?:api|access|secret)[_-]?key|token|secret|passwd|password|auth\w*)$"
)
_WWW = re.compile(r"(www)\.", re.IGNORECASE)  # GitHub's Markdown makes a link of it
_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_FOLDER = re.compile(r"(?:/|~|[A-Za-z]:[\\/]|\\\\)")


def escape(text: str) -> str:
    """`text` on one line, every character with a meaning in Markdown, HTML or maths escaped."""
    escaped = _WWW.sub(r"\1&#46;", _ACTIVE.sub(r"\\\1", one_line(text)))
    return _URL.sub(lambda url: url.group().replace(":", "&#58;", 1), escaped)  # no link


def code(text: str) -> str:
    """`text` on one line as a code span with more ticks than any run inside; not for tables."""
    plain = one_line(text) or " "
    ticks = "`" * (1 + _longest_run(plain))
    edge = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{ticks}{edge}{plain}{edge}{ticks}"


def fenced(text: str, language: str = "text") -> str:
    """`text` in a fenced block that nothing inside can close."""
    shown = visible(text)
    fence = "`" * max(3, 1 + _longest_run(shown))
    return f"{fence}{language}\n{shown}\n{fence}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


class PrintableRecipe(NamedTuple):
    """A recipe as YAML, and the fields whose values were shortened or withheld."""

    text: str
    shortened: tuple[str, ...]
    withheld: tuple[str, ...]


def printable_recipe(recipe: Recipe) -> PrintableRecipe:
    """The recipe for a card: paths and addresses of data shortened, credentials withheld."""
    shortened: list[str] = []
    withheld: list[str] = []

    def clean(value: object, where: str, name: str) -> object:
        if isinstance(value, Mapping):
            return {
                k: clean(v, f"{where}.{k}" if where else str(k), str(k)) for k, v in value.items()
            }
        if isinstance(value, list | tuple):
            return [clean(v, f"{where}.{i}", name) for i, v in enumerate(value)]
        if not isinstance(value, str):
            return value
        if _SECRET.search(name.lower()):
            withheld.append(where)
            return "<withheld>"
        bare = _URL.sub(lambda match: without_credentials(match.group()), value)
        if bare != value:
            withheld.append(where)
        local = bare.removeprefix("file://")
        is_place = _FOLDER.match(local) or (name == "path" and _URL.match(local))
        if is_place and "\n" not in local:
            shortened.append(where)
            return "…/" + re.split(r"[\\/]", local.rstrip("\\/"))[-1]
        return bare

    facts = clean(recipe.shaping(), "", "")
    text = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=100)
    return PrintableRecipe(text.rstrip("\n"), tuple(shortened), tuple(withheld))
