"""What every section of a recipe is: strict and frozen. An unknown field is an error."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A strict, frozen part of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
