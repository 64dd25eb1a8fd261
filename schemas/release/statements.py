"""What the makers of a corpus state on its card and no build can find out: the section `card`.

It shapes no row. So a statement can be added to a corpus that is released, and only the card and
`croissant.json` are written anew.
"""

from typing import Annotated

from pydantic import Field

from schemas.section import Section

HubId = Annotated[str, Field(pattern=r"^([\w.-]+/)?[\w.-]+$", max_length=120)]
_LONGEST = 2_000


class Energy(Section):
    """What the energy of sampling is estimated from: tokens written / speed x power."""

    watts: float = Field(
        gt=0,
        allow_inf_nan=False,
        description="Power of all machines that sample, in watts, cooling included if you know it.",
    )
    tokens_per_second: float = Field(
        gt=0, allow_inf_nan=False, description="Tokens that they write in a second, together."
    )
    grams_per_kwh: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Grams of CO2 for a kilowatt-hour of your electricity.",
    )

    def kilowatt_hours(self, tokens: int) -> float:
        """The energy of writing so many tokens."""
        return tokens / self.tokens_per_second * self.watts / 3.6e6


class Statements(Section):
    """Statements of a corpus's makers, for its card; the card says so where there is none."""

    teacher_license: str | None = Field(
        default=None,
        max_length=_LONGEST,
        description="License of the teacher, and what its terms ask of those who use the traces.",
    )
    intended_use: str | None = Field(
        default=None, max_length=_LONGEST, description="What the corpus is for, in a sentence."
    )
    personal_information: str | None = Field(
        default=None,
        max_length=_LONGEST,
        description="What you know of personal and sensitive information in the prompts.",
    )
    source_datasets: tuple[HubId, ...] = Field(
        default=(),
        description="Hub ids of the datasets that the prompts come from, where the sources do not "
        'say so themselves; "original" if you wrote the prompts.',
    )
    energy: Energy | None = Field(
        default=None, description="What the energy of sampling is estimated from."
    )
