"""Find a component by its file name: `curation/filters/seqdep.py` is the filter of kind `seqdep`.

A part's file exposes `build(...)` with typed keyword arguments; those are its options in a recipe.
Nothing is registered: the folder is the list.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, validate_call

from support.errors import UserError

FAMILIES = {
    "sources": "curation.sources",
    "teachers": "curation.teachers",
    "filters": "curation.filters",
    "rules": "diffusion.decoding.rules",
    "benchmarks": "diffusion.evaluation.benchmarks",
}


def kinds(family: str) -> tuple[str, ...]:
    """The kinds of a family, sorted; files that begin with "_", and folders, are not parts."""
    package = importlib.import_module(FAMILIES[family])
    names = (one.name for one in pkgutil.iter_modules(package.__path__) if not one.ispkg)
    return tuple(sorted(name for name in names if not name.startswith("_")))


def hint(name: str, choices: tuple[str, ...]) -> str:
    """The choices, and the closest one first when there is one."""
    close = get_close_matches(name, choices, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"{meant}choices: {', '.join(choices)}"


def options(family: str, kind: str, where: str) -> tuple[str, ...]:
    """The options of a kind; UserError if there is no such kind."""
    return tuple(inspect.signature(_make(family, kind, where)).parameters)


def effective(family: str, kind: str, given: Mapping[str, object]) -> Mapping[str, object]:
    """The options that a kind works with: those given, and the defaults of the others."""
    parameters = inspect.signature(_make(family, kind, family)).parameters
    return {
        name: given.get(name, parameter.default)
        for name, parameter in parameters.items()
        if name in given or parameter.default is not inspect.Parameter.empty
    }


def build(family: str, kind: str, options: Mapping[str, object], where: str) -> Any:
    """The part `kind` of `family`, built with `options`; `where` is the recipe field it came from.

    Raises UserError for an unknown kind, an unknown option, or a value that it does not take.
    """
    make = _make(family, kind, where)
    known = tuple(inspect.signature(make).parameters)
    for name in options:
        if name not in known:
            raise UserError(
                f"{where}.{name}: unknown option of {kind!r}; {hint(name, known)}; "
                f"--set '{where}={{kind: {kind}}}' drops all options of {where}"
            )
    try:
        if isinstance(make, type):  # a dataclass is its own `build`
            return TypeAdapter(make).validate_python(dict(options))
        return validate_call(config=ConfigDict(arbitrary_types_allowed=True))(make)(**options)
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"].removeprefix("Value error, ")
        # A dataclass's own check knows no place, and names the field itself.
        message = ": ".join((".".join(map(str, first["loc"])), said)) if first["loc"] else said
        raise UserError(f"{where}.{message} (kind {kind!r})") from None


def _make(family: str, kind: str, where: str) -> Any:
    choices = kinds(family)
    if kind not in choices:
        raise UserError(f"{where}.kind: no {family[:-1]} {kind!r}; {hint(kind, choices)}")
    return importlib.import_module(f"{FAMILIES[family]}.{kind}").build
