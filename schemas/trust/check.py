"""Refuse an untrusted recipe that could harm: plain data in, one sentence out.

`fields.py` lists what is checked. The data are those of the recipe as it will be used: with all
overrides, and after YAML's anchors and merges.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from schemas.trust.addresses import Allowed, names_server, parsed
from schemas.trust.fields import (
    FAMILIES,
    FREE,
    FROM_HUB,
    KEYS,
    SERVER_OPTIONS,
    Check,
    Guarded,
    guarded,
)
from schemas.trust.places import exists, place_fault
from support import plugins
from support.errors import UserError

MOST_FAULTS = 5
ALLOW = "allow the address with --allow-address"
_HUB_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?", re.ASCII)
_HUB_PREFIX = "hub:"
_NAMED = re.compile(r"[\w.-]+=(.+)")  # a series of `seqdep.long_cot`
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_.]+")
_SERVED = "http://127.0.0.1"
_PLAIN = (str, int, float, type(None))


def refuse_untrusted(data: Mapping[str, Any], where: str, allowed: Allowed, otherwise: str) -> None:
    """UserError that names what a stranger's recipe may not set like this, and what to do.

    `otherwise` says how a recipe that is trusted is run.
    """
    faults = [*_faults(data, (), "", allowed), *_served_model(data, allowed)]
    if faults:
        more = len(faults) - MOST_FAULTS
        shown = " | ".join((*faults[:MOST_FAULTS], *([f"and {more} more"] if more > 0 else [])))
        raise UserError(f"{where} is not trusted: {shown} | if you trust it: {otherwise}")


def _faults(value: object, names: tuple[str, ...], place: str, allowed: Allowed) -> Iterator[str]:
    """Faults of a value and all below it; `place` is its dotted place, `names` without numbers."""
    if isinstance(value, Mapping):
        yield from _part_faults(value, names, place, allowed)
        for key, below in value.items():
            inner, at = (*names, str(key)), f"{place}.{key}" if place else str(key)
            if not isinstance(key, _PLAIN):
                yield f"{at}: is no plain name; write it as text"
            if key in FREE:
                continue
            if (row := guarded(inner)) is not None:
                if (fault := _fault(row, below, value, allowed)) is not None:
                    yield f"{at}: {fault}"
            else:
                yield from _faults(below, inner, at, allowed)
    elif isinstance(value, list | tuple):
        for number, below in enumerate(value):
            yield from _faults(below, names, f"{place}.{number}", allowed)
    elif not isinstance(value, _PLAIN):  # bytes and sets, which a part would take for texts
        yield f"{place}: {type(value).__name__} is no plain value; write it as text or a list"


def _part_faults(
    part: Mapping[str, Any], names: tuple[str, ...], place: str, allowed: Allowed
) -> Iterator[str]:
    family = FAMILIES.get(names[-1]) if names else None
    if family is None:
        return
    kind = part.get("kind")
    if not isinstance(kind, str):
        yield f"{place}.kind: must be text"
    elif (other := plugins.origin(family, kind)) is not None:
        yield (
            f"{place}.kind: {kind!r} is code of {other.owner}, whose options are not known here; "
            "take a part of Polytrace"
        )
    if kind in FROM_HUB and part.get("path") is None and (fault := allowed.hub_fault()):
        yield f"{place}.kind: {fault}; {ALLOW}, or set path to a file"


def _fault(row: Guarded, value: object, beside: Mapping[str, Any], allowed: Allowed) -> str | None:
    """What is wrong with a field, and what to do; None if nothing is."""
    if value is None or value is False:
        return None
    values = (value,) if isinstance(value, str) else value
    is_text = isinstance(values, list | tuple) and all(isinstance(one, str) for one in values)
    if row.check is Check.OFF or not is_text:
        return f"{row.why}; {row.instead}"
    assert isinstance(values, list | tuple)
    if row.check is Check.OPTIONS:
        return _options_fault(row, values)
    if row.check is Check.VARIABLE:
        return _variable_fault(row, values, beside)
    if row.check is Check.ONLY:
        wrong = [one for one in values if one not in row.only]
        return f"{wrong[0]} {row.why}; take {' or '.join(row.only)}" if wrong else None
    checks = (_VALUE_CHECKS[row.check](one, allowed) for one in values)
    return next(filter(None, checks), None)


def _served_model(data: Mapping[str, Any], allowed: Allowed) -> list[str]:
    """The fault of the model that vLLM is to load, where `serve` does not name it itself."""
    serve, teacher = data.get("serve"), data.get("teacher")
    if not (isinstance(serve, Mapping) and isinstance(teacher, Mapping)) or serve.get("model"):
        return []
    below = teacher.get("top_up")
    writer, place = (
        (below, "teacher.top_up") if isinstance(below, Mapping) else (teacher, "teacher")
    )
    fault = _fault(Guarded("model", Check.MODEL, "is loaded"), writer.get("model"), {}, allowed)
    return [f"{place}.model: {fault}"] if fault else []


def _options_fault(row: Guarded, words: list[str] | tuple[str, ...]) -> str | None:
    """A fault where a word is no known option, or no plain value of one."""
    is_value = False
    for word in words:
        name, equals, value = word.partition("=")
        option = name.removeprefix("--").replace("_", "-") if name.startswith("--") else None
        if is_value:
            is_fine, is_value = _PLAIN_VALUE.fullmatch(word) is not None, False
        elif option in SERVER_OPTIONS:
            has_value = SERVER_OPTIONS[option]
            is_fine = bool(_PLAIN_VALUE.fullmatch(value)) if equals else True
            is_fine = is_fine and (has_value or not equals)
            is_value = has_value and not equals
        else:
            is_fine = False
        if not is_fine:
            return f"{word[:80]!r} {row.why}; keep to {', '.join(SERVER_OPTIONS)}"
    return None


def _variable_fault(
    row: Guarded, names: list[str] | tuple[str, ...], beside: Mapping[str, Any]
) -> str | None:
    """A fault where a variable is not known, or would reach a server that it is not meant for."""
    endpoints = beside.get("endpoints") or _SERVED
    urls = (endpoints,) if isinstance(endpoints, str) else endpoints
    for name in names:
        if name not in KEYS:
            return f"{row.why}; use one of {', '.join(KEYS)}"
        homes = [parsed(home) for home in KEYS[name]]
        for url in urls if isinstance(urls, list | tuple) else ("",):
            server = parsed(str(url))
            if homes and not (server and any(home and home.covers(server) for home in homes)):
                return f"{name} is only sent to {' and '.join(KEYS[name])}; use another variable"
    return None


def _address_fault(text: str, allowed: Allowed) -> str | None:
    fault = allowed.fault(text)
    return fault and f"{fault}; {ALLOW}"


def _files_fault(text: str, allowed: Allowed) -> str | None:
    if names_server(text):
        return _address_fault(text, allowed)
    fault = place_fault(text)
    return fault and f"{fault}; copy what is needed into the working directory"


def _model_fault(text: str, allowed: Allowed) -> str | None:
    # What is no directory is asked of the Hub, also as ORG/NAME:QUANTIZATION, and by vLLM as
    # ORG/NAME/FILE.gguf; only other names of more than two parts, and those that cannot be ids,
    # are not.
    is_deep = text.strip("/").count("/") > 1 and not text.endswith(".gguf")
    is_path = exists(text) or text.startswith(("/", "~", ".")) or is_deep
    if names_server(text) or is_path:
        return _files_fault(text, allowed)
    fault = allowed.hub_fault()
    return fault and f"{fault}; {ALLOW}, or name a directory"


def _dataset_fault(text: str, allowed: Allowed) -> str | None:
    if exists(text) or not _HUB_ID.fullmatch(text) or "/" not in text or ".." in text:
        return f"{text[:80]!r} is no dataset on the Hub (owner/name); read files by another kind"
    fault = allowed.hub_fault()
    return fault and f"{fault}; {ALLOW}"


def _corpus_fault(text: str, allowed: Allowed) -> str | None:
    if text.startswith(_HUB_PREFIX):
        return _dataset_fault(text.removeprefix(_HUB_PREFIX), allowed)
    return _files_fault(text, allowed)


def _series_fault(text: str, allowed: Allowed) -> str | None:
    named = _NAMED.fullmatch(text)
    return _corpus_fault(named[1] if named else text, allowed)


def _loopback_fault(text: str, allowed: Allowed) -> str | None:
    address = parsed(f"http://[{text}]" if ":" in text else f"http://{text}")
    if address is not None and address.is_loopback:
        return None
    return f"{text[:80]!r} is no address of this machine alone; take it out"


_VALUE_CHECKS: Mapping[Check, Callable[[str, Allowed], str | None]] = {
    Check.ADDRESSES: _address_fault,
    Check.FILES: _files_fault,
    Check.MODEL: _model_fault,
    Check.CORPUS: _corpus_fault,
    Check.SERIES: _series_fault,
    Check.DATASET: _dataset_fault,
    Check.LOOPBACK: _loopback_fault,
}
