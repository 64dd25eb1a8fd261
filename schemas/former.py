"""Keys that version 0.1 wrote under another name; this version still reads them.

In: plain data or JSON of that version. Out: the same under today's names. Nothing is written under
a former name, but digests still hash the former names, so that they do not change.
"""

from collections.abc import Mapping
from typing import Any

TODAY = {"licence": "license"}
FORMER = {new: old for old, new in TODAY.items()}


def renamed(data: Any, names: Mapping[str, str] = TODAY) -> Any:
    """Plain data, to any depth, with `names` for its keys."""
    if isinstance(data, list | tuple):
        return [renamed(item, names) for item in data]
    if not isinstance(data, Mapping):
        return data
    return {names.get(key, key): renamed(value, names) for key, value in data.items()}


def recipe(data: Mapping[str, Any], names: Mapping[str, str] = TODAY) -> dict[str, Any]:
    """A recipe's plain data with `names` for keys of sources, their `columns`, and `release`.

    Raises:
        ValueError: a section has a key under both names.
    """
    sections = dict(data)
    for name in ("source", "decontaminate", "release"):
        value = sections.get(name)
        if isinstance(value, list | tuple):
            sections[name] = [_section(s, f"{name}.{i}", names) for i, s in enumerate(value)]
        elif name in sections:
            sections[name] = _section(value, name, names)
    return sections


def _section(data: Any, where: str, names: Mapping[str, str]) -> Any:
    if not isinstance(data, Mapping):
        return data
    section = {}
    for key, value in data.items():
        new = names.get(key, key)
        if new != key and new in data:
            if value is None:  # as in the recipe of a run
                continue
            raise ValueError(f"{where}.{key}: the former name of {new}, which is there too")
        section[new] = _section(value, f"{where}.{key}", names) if key == "columns" else value
    return section


def as_written(json_text: str) -> str:
    """JSON as version 0.1 would have written it."""
    for new, old in FORMER.items():  # inside a string, a quote is never bare
        json_text = json_text.replace(f'"{new}":', f'"{old}":')
    return json_text
