"""The base of all sections of a recipe: frozen, and an unknown field is an error.

Also which options of a section that chooses a part shape the corpus.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

# Options of a teacher that say how it is reached; they do not change what it writes.
OPERATIONAL = (
    *("endpoints", "in_flight", "timeout_seconds", "patience_seconds", "api_key_env"),
    "tokens_field",
)


class Section(BaseModel):
    """A strict, frozen part of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def shaping_options(options: Mapping[str, Any], *, is_teacher: bool = False) -> dict[str, Any]:
    """Options of a part without the OPERATIONAL ones of teachers, wherever these stand in it."""
    kept: dict[str, Any] = {}
    for name, value in options.items():
        if is_teacher and name in OPERATIONAL:
            continue
        if isinstance(value, Mapping):
            value = shaping_options(value, is_teacher=name in ("teacher", "top_up"))
        elif isinstance(value, list):
            value = [shaping_options(v) if isinstance(v, Mapping) else v for v in value]
        kept[name] = value
    return kept
