"""Keys that version 0.1 wrote under another name: read for one version more.

In: plain data or JSON of that version. Out: the same under today's names. Nothing is written under
a former name; only digests still hash them, so that they stay what they were.
"""

from collections.abc import Mapping
from typing import Any

TODAY = {"licence": "license"}
FORMER = {new: old for old, new in TODAY.items()}


def renamed(data: Any, names: Mapping[str, str] = TODAY) -> Any:
    """Plain data, to any depth, with `names` for its keys."""
    if isinstance(data, list | tuple):
        return [renamed(one, names) for one in data]
    if not isinstance(data, Mapping):
        return data
    return {names.get(key, key): renamed(value, names) for key, value in data.items()}


def recipe(data: Mapping[str, Any], names: Mapping[str, str] = TODAY) -> dict[str, Any]:
    """A recipe's plain data with `names` for keys of sources, their `columns`, and `release`.

    Raises:
        ValueError: a section has a key under both names.
    """
    todays = dict(data)
    for name in ("source", "decontaminate", "release"):
        if isinstance(todays.get(name), list | tuple):
            todays[name] = [
                _section(one, f"{name}.{i}", names) for i, one in enumerate(todays[name])
            ]
        elif name in todays:
            todays[name] = _section(todays[name], name, names)
    return todays


def _section(data: Any, where: str, names: Mapping[str, str]) -> Any:
    if not isinstance(data, Mapping):
        return data
    todays = {}
    for key, value in data.items():
        new = names.get(key, key)
        if new != key and new in data:
            if value is None:  # as in the recipe of a run
                continue
            raise ValueError(f"{where}.{key}: the former name of {new}, which is there too")
        todays[new] = _section(value, f"{where}.{key}", names) if key == "columns" else value
    return todays


def as_written(json_text: str) -> str:
    """JSON as version 0.1 would have written it."""
    for new, old in FORMER.items():  # inside a string, a quote is never bare
        json_text = json_text.replace(f'"{new}":', f'"{old}":')
    return json_text
