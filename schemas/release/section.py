"""How the released dataset is cut and described: the section `release` of a recipe."""

from pydantic import Field

from schemas.section import Section


class Release(Section):
    """How the dataset is cut and described."""

    validation: float = Field(
        default=0.02, ge=0, lt=1, description="Share of prompts for validation."
    )
    rows_per_file: int = Field(default=10_000, ge=1)
    pretty_name: str | None = None
    license: str | None = Field(
        default=None, description="Overrides the sources' license on the card."
    )
    notice: str | None = Field(
        default=None, description="A sentence that card and manifest must carry."
    )
