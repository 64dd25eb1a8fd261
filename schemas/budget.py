"""What a teacher's tokens cost, and how much of them a build may spend.

Both are sections of a recipe. They shape no byte of the corpus: they say when sampling ends.
"""

from pydantic import Field

from schemas.section import Section


class Price(Section):
    """Money for a million tokens that the teacher reads (`prompt`) and writes (`completion`)."""

    prompt: float = Field(ge=0, allow_inf_nan=False, description="For a million tokens it reads.")
    completion: float = Field(
        ge=0, allow_inf_nan=False, description="For a million tokens that it writes."
    )
    currency: str = Field(
        default="",
        max_length=16,
        pattern=r"^[\w$€£¥]*$",
        description="The currency's name, which is only printed.",
    )

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """The money that so many tokens cost."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6

    def amount(self, money: float) -> str:
        """An amount of money as text, with its currency: `0.0123 USD`."""
        digits = 2 if money >= 10 or money == 0 else 4
        return f"{money:,.{digits}f} {self.currency}".rstrip()


class Budget(Section):
    """When sampling ends; whatever is reached first. A key that is not set sets no limit."""

    tokens: int | None = Field(
        default=None, ge=0, description="Tokens that the teacher may write, earlier runs included."
    )
    money: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Money for what it reads and writes, earlier runs included; needs `price`.",
    )
    hours: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Hours since this command began to sample.",
    )
