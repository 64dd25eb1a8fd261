"""The base of all sections of a recipe: frozen, and an unknown field is an error."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A strict, frozen part of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
