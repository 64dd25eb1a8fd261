"""What the tokens of a teacher and a judge cost, and how much a build may spend on them.

Both are sections of a recipe. They shape no byte of the corpus: they say when sampling ends.
"""

from pydantic import Field

from schemas.section import Section


class TokenPrice(Section):
    """Money for a million tokens that a model reads (`prompt`) and writes (`completion`)."""

    prompt: float = Field(ge=0, allow_inf_nan=False, description="For a million tokens it reads.")
    completion: float = Field(
        ge=0, allow_inf_nan=False, description="For a million tokens that it writes."
    )

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """The money that so many tokens cost."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


class Price(TokenPrice):
    """The teacher's prices, and those of a judge."""

    judge: TokenPrice | None = Field(
        default=None, description="The prices of a judge that grades: `prompt` and `completion`."
    )
    currency: str = Field(
        default="",
        max_length=16,
        pattern=r"^[\w$€£¥]*$",
        description="The currency's name, which is only printed.",
    )

    def of_judge(self, prompt_tokens: float, completion_tokens: float) -> float:
        """The money that so many tokens of a judge cost; nothing where no price is known."""
        return self.judge.of(prompt_tokens, completion_tokens) if self.judge else 0.0

    def amount(self, money: float) -> str:
        """An amount of money as text, with its currency: `0.0123 USD`."""
        digits = 2 if money >= 10 or money == 0 else 4
        return f"{money:,.{digits}f} {self.currency}".rstrip()


class Budget(Section):
    """When sampling ends; whatever is reached first. A key that is not set sets no limit."""

    tokens: int | None = Field(
        default=None,
        ge=0,
        description="Tokens that teacher and judge may write, earlier runs included.",
    )
    money: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Money for what they read and write, earlier runs included; needs `price`.",
    )
    hours: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Hours since this command began to sample.",
    )
