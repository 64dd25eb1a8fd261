"""YAML files that are validated strictly: recipes of corpora and of fine-tuning.

A file and `--set key.sub=value` overrides become an instance of a given class, or a UserError that
names file and field. An unknown field is an error with a suggestion.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from support.display.invalid_values import explain
from support.errors import UserError, first_line
from support.plugins import hint
from support.redact import CREDENTIALS

MOST_VALUES = 10_000  # aliases can make a small file endless
MOST_BYTES = 1 << 18
S = TypeVar("S")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which would copy what `<<` merges without end: ninefold a line."""

    _merged = 0

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse a key that occurs twice: PyYAML would silently use the last one."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    problem = f"{key.value!r} is there twice; which is meant?"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge, unless that makes more than MOST_VALUES values in this document."""
        for key, value in node.value:
            if key.tag != "tag:yaml.org,2002:merge":
                continue
            nodes = value.value if isinstance(value, yaml.SequenceNode) else [value]
            mappings = {id(one): one for one in nodes if isinstance(one, yaml.MappingNode)}
            for mapping in mappings.values():
                self.flatten_mapping(mapping)
            self._merged += sum(len(one.value) + 1 for one in nodes)
            if self._merged > MOST_VALUES:
                problem = f"merges (<<) of more than {MOST_VALUES} values"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        super().flatten_mapping(node)


def load(path: Path, overrides: Sequence[str], section: type[S]) -> S:
    """The `section` in a YAML file with `key.sub=value` overrides; UserError says what is wrong."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        text = raw[:MOST_BYTES].decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read the recipe: {error}") from None
    if len(raw) > MOST_BYTES:
        raise UserError(f"{path}: more than {MOST_BYTES} bytes; that is no recipe")
    try:
        data = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        row = f", line {mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise UserError(f"{path}{row}: not valid YAML: {problem}") from None
    except (ValueError, RecursionError) as error:  # an impossible date, endless nesting
        raise UserError(f"{path}: not valid YAML: {first_line(error)}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: a recipe is a mapping of keys, such as 'name: …'")
    for override in overrides:
        _apply(data, override)
    return validate(data, str(path), section, overrides)


def validate(
    data: Mapping[str, object], where: str, section: type[S], overrides: Sequence[str] = ()
) -> S:
    """A `section` from plain data; `where` names it in errors, `--set` what an override gave."""
    try:
        _refuse(data)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    try:
        instance = TypeAdapter(section).validate_python(data)
    except ValidationError as error:
        errors = error.errors()[:5]
        message = "; ".join(dict.fromkeys(_explain(e, section) for e in errors))
        raise UserError(f"{_origin(errors, where, overrides)}: {message}") from None
    if (flag := _flag_as_number(data, instance)) is not None:
        raise UserError(f"{where}: {flag} is true or false; give a number")
    return instance


def _flag_as_number(data: object, instance: object) -> str | None:
    """The name of a field that pydantic made a number of `true` or `false`, if there is one."""
    pairs: Iterable[tuple[object, object, object]] = ()
    if isinstance(data, Mapping):
        pairs = ((name, one, getattr(instance, str(name), None)) for name, one in data.items())
    elif isinstance(data, list | tuple) and isinstance(instance, list | tuple):
        pairs = zip(count(), data, instance, strict=False)
    for name, value, inner in pairs:
        if isinstance(value, bool) and isinstance(inner, int | float) and inner is not value:
            return str(name)
        if (field := _flag_as_number(value, inner)) is not None:
            return f"{name}.{field}"
    return None


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, raw = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override!r}: write key.sub=value")
    try:
        value = yaml.load(raw, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UserError(f"--set {key}: {raw!r} is not a YAML value") from None
    names = key.split(".")
    here: Any = data
    for depth, name in enumerate(names):
        is_last = depth == len(names) - 1
        if isinstance(here, list):
            if not _is_index(name) or int(name) > len(here):
                raise UserError(
                    f"--set {key}: {name!r} is no index of a list of {len(here)} "
                    f"(append with {len(here)})"
                )
            at: Any = int(name)
            if at == len(here):
                here.append(None)
        elif isinstance(here, dict):
            at = name
        else:
            raise UserError(f"--set {key}: {'.'.join(names[:depth])} is a value, not a section")
        if is_last:
            here[at] = value
            return
        below = here[at] if isinstance(here, list) else here.get(at)
        if below is None:
            below = here[at] = [] if _is_index(names[depth + 1]) else {}
        here = below


def _is_index(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _refuse(data: Mapping[str, object]) -> None:
    """UserError for values that no later stage could carry; credentials are not printed."""
    waiting: list[tuple[str, object]] = [("", data)]
    for _ in range(MOST_VALUES):
        if not waiting:
            return
        where, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [(f"{where}.{k}" if where else str(k), inner) for k, inner in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(f"{where}.{number}", inner) for number, inner in enumerate(value)]
        elif isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{where}: {value} is no number to work with")
        elif isinstance(value, str):
            _refuse_text(value, where)
    raise UserError(f"more than {MOST_VALUES} values; that is no recipe")


def _refuse_text(value: str, where: str) -> None:
    if CREDENTIALS.search(value):
        raise UserError(
            f"{where}: holds a user name, password, key or signature; a recipe is kept and "
            f"published, so secrets belong in the environment"
        )
    if any("\ud800" <= c <= "\udfff" or c == "\0" for c in value):
        raise UserError(f"{where}: holds a character that is no text (NUL or half a pair)")


def _explain(error: Any, section: type[object]) -> str:
    """One pydantic error as "field: what is wrong (what to do)"."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        for part in error["loc"][:-1]:
            if isinstance(part, int):  # the place in a list, whose items the section is already
                continue
            inner = _fields(section)[str(part)]
            options = [inner, *getattr(inner, "__args__", ())]
            section = next(o for o in options if isinstance(o, type) and _fields(o))
        return f"{where}: unknown field; {hint(str(error['loc'][-1]), tuple(_fields(section)))}"
    return explain(error, where)


def _origin(errors: Sequence[Any], where: str, overrides: Sequence[str]) -> str:
    """Whose mistake it is: `--set KEY=VALUE` where one override gave every field that is wrong."""
    for override in overrides:
        names = override.partition("=")[0].split(".")
        places = [[str(part) for part in error["loc"]] for error in errors]
        if all(place and place[: len(names)] == names for place in places):
            return f"--set {override}"
    return where


def _fields(section: type[object]) -> Mapping[str, Any]:
    """The fields of a pydantic model or a dataclass with their types; of anything else, none."""
    if issubclass(section, BaseModel):
        return {name: field.annotation for name, field in section.model_fields.items()}
    if dataclasses.is_dataclass(section):
        hints = get_type_hints(section)
        return {field.name: hints[field.name] for field in dataclasses.fields(section)}
    return {}
