"""Find a part by its name: `curation/filters/seqdep.py` is the filter of kind `seqdep`.

A family is a package; each of its files is a part. A part's `build(...)` has typed keyword
arguments, which are its options in a recipe. Other distributions add parts by entry points in the
group `polytrace.` and the family's name (`polytrace.filters`): the entry point's name is the kind,
its object the `build`, or a module that has one. Code of another distribution is imported only
where its part is used.
"""

import importlib
import inspect
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, NamedTuple, get_args, get_origin

from support.display.invalid_values import explain
from support.errors import UserError
from support.paths import ROOT

GROUPS = "polytrace."  # and a family's name


class Plugin(NamedTuple):
    """A part of another distribution, and that distribution's name and version.

    One that `is_hidden` is not used, because a part of this project has its name.
    """

    family: str
    kind: str
    package: str
    version: str
    is_hidden: bool

    @property
    def owner(self) -> str:
        """The distribution, as errors name it."""
        return f"{self.package} {self.version}"


def kinds(package: str) -> tuple[str, ...]:
    """Our own kinds of a family, sorted; files that begin with "_", and folders, are not parts."""
    folder = ROOT.joinpath(*package.split("."))
    assert folder.is_dir(), f"{package} is no package"
    names = (file.stem for file in folder.glob("*.py"))
    return tuple(sorted(name for name in names if not name.startswith("_")))


def installed(package: str) -> tuple[Plugin, ...]:
    """The parts of a family that other distributions have, sorted; imports none of them."""
    family, ours = _family(package), kinds(package)
    plugins = [
        Plugin(family, entry.name, entry.dist.name, entry.dist.version, entry.name in ours)
        for entry in entry_points(group=GROUPS + family)
        if entry.dist
    ]
    return tuple(sorted(plugins))


def origin(package: str, kind: str) -> Plugin | None:
    """The part of another distribution; None where it is our own, or does not exist."""
    if kind in kinds(package):
        return None
    return next((one for one in installed(package) if one.kind == kind), None)


def hint(name: str, choices: Iterable[str], shown: Iterable[str] = ()) -> str:
    """The choices (as `shown`), and the closest one first when there is one."""
    choices = tuple(choices)
    if not choices:
        return "there are none"
    close = get_close_matches(name, choices, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"{meant}choices: {', '.join(tuple(shown) or choices)}"


def options(package: str, kind: str, where: str) -> tuple[str, ...]:
    """The options of a kind; UserError if there is no such kind."""
    return tuple(_parameters(package, kind, where))


def effective(package: str, kind: str, options: Mapping[str, object]) -> Mapping[str, object]:
    """The options that a kind works with: `options`, and the defaults of the others."""
    return {
        name: options.get(name, parameter.default)
        for name, parameter in _parameters(package, kind, _family(package)).items()
        if name in options or parameter.default is not inspect.Parameter.empty
    }


def build(package: str, kind: str, options: Mapping[str, object], where: str) -> Any:
    """The part `kind` of a family, built with `options`; `where` is the recipe field it came from.

    Raises UserError for an unknown kind, an unknown option, or a value that it does not take.
    """
    # Models are found here too, on machines that have no pydantic.
    from pydantic import ConfigDict, TypeAdapter, ValidationError, validate_call
    from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

    known = _parameters(package, kind, where)
    for name, value in options.items():
        if name not in known:
            raise UserError(
                f"{where}.{name}: unknown option of {kind!r}; {hint(name, known)}; "
                f"--set '{where}={{kind: {kind}}}' drops all options of {where}"
            )
        if (flag := _flag_as_number(value, known[name].annotation)) is not None:
            place, said = ".".join((where, name, *flag[0])), str(flag[1]).lower()
            raise UserError(f"{place} is {said}; give a number (kind {kind!r})")
    make = _make(package, kind, where)
    try:
        if isinstance(make, type):  # a dataclass is its own `build`
            return TypeAdapter(make).validate_python(dict(options))
        return validate_call(config=ConfigDict(arbitrary_types_allowed=True))(make)(**options)
    except ValidationError as error:
        first = error.errors()[0]
        # A dataclass's own check has no location: its message names the field.
        message = explain(first, ".".join([where, *map(str, first["loc"])] if first["loc"] else []))
        message = message if first["loc"] else f"{where}.{message}"
        raise UserError(f"{message} (kind {kind!r})") from None
    except (PydanticUserError, PydanticUndefinedAnnotation) as error:
        fault = f"has options of no known type ({error})"
        raise _faulty(package, kind, f"{where}.kind", fault) from error


def load(package: str, kind: str, where: str, needs: Iterable[str] = ()) -> Any:
    """The object of a part: our module, or what another distribution's entry point names.

    `where` is the field that names it. Raises UserError where there is no such kind, where two
    distributions have one of this name, where it cannot be imported, or lacks a name in `needs`.
    """
    ours = kinds(package)
    if kind in ours:
        return importlib.import_module(f"{package}.{kind}")
    family = _family(package)
    others = [plugin for plugin in installed(package) if not plugin.is_hidden]
    owners = [plugin.owner for plugin in others if plugin.kind == kind]
    if not owners:
        names = (*ours, *(plugin.kind for plugin in others))
        shown = (*ours, *(f"{plugin.kind} ({plugin.owner})" for plugin in others))
        raise UserError(f"{where}: no {family[:-1]} {kind!r}; {hint(kind, names, shown)}")
    if len(owners) > 1:
        raise UserError(
            f"{where}: {kind!r} is a {family[:-1]} of {' and '.join(owners)}; uninstall all but one"
        )
    (entry,) = entry_points(group=GROUPS + family, name=kind)
    try:
        part = entry.load()
    except (Exception, SystemExit) as error:  # other people's code raises anything
        fault = f"cannot be imported ({type(error).__name__}: {error})"
        raise _faulty(package, kind, where, fault) from error
    if missing := [name for name in needs if not hasattr(part, name)]:
        raise _faulty(package, kind, where, f"has no {missing[0]}")
    return part


def _flag_as_number(value: object, annotation: object) -> tuple[tuple[str, ...], bool] | None:
    """Where `true` or `false` stands in an option, within its lists too, and pydantic makes it 1.

    The place in the lists and the flag; None where there is none.
    """
    if isinstance(value, bool):
        return ((), value) if _is_number(annotation) else None
    if not isinstance(value, list):
        return None
    members = (annotation, *get_args(annotation))
    items = [item for one in members if get_origin(one) in (tuple, list) for item in get_args(one)]
    for number, one in enumerate(value):
        for found in filter(None, (_flag_as_number(one, item) for item in items)):
            return (str(number), *found[0]), found[1]
    return None


def _is_number(annotation: object) -> bool:
    """Whether an option is a number and cannot be true or false."""
    members = [annotation, *get_args(annotation)]
    return (int in members or float in members) and bool not in members


def _make(package: str, kind: str, where: str) -> Any:
    """The `build` of a part."""
    part = load(package, kind, f"{where}.kind")
    return getattr(part, "build", None) if isinstance(part, ModuleType) else part


def _parameters(package: str, kind: str, where: str) -> Mapping[str, inspect.Parameter]:
    make = _make(package, kind, where)
    try:
        return inspect.signature(make).parameters
    except (TypeError, ValueError):
        fault = "has no build(...) of named options"
        raise _faulty(package, kind, f"{where}.kind", fault) from None


def _family(package: str) -> str:
    return package.rpartition(".")[2]


def _faulty(package: str, kind: str, where: str, fault: str) -> UserError:
    """A mistake in another distribution, as one sentence that names it."""
    part = origin(package, kind)
    owner = part.owner if part is not None else "Polytrace"
    fault = " ".join(fault.split())
    return UserError(f"{where}: {kind!r} of {owner} {fault}; update or uninstall it")
