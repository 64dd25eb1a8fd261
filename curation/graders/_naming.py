"""Errors of parts that stand inside a grader name their place in the recipe."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from support.errors import PolytraceError


@contextmanager
def named(name: str, place: str) -> Iterator[None]:
    """Errors that call a field `name.…` call it `place.…`, as in grader.teacher.endpoints."""
    try:
        yield
    except PolytraceError as error:
        message = re.sub(rf"(?<![\w./@-]){name}(?=[.:=])", place, str(error))
        raise type(error)(message) from error
