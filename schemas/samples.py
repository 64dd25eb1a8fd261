"""How many samples a prompt gets: a number, or rounds until its group stands."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    Field,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from schemas.section import Section

MOST = 500  # samples of a prompt in rounds; no more traces are compared with each other
_NUMBER: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=1)])
_AtLeast = Annotated[int, Field(ge=0)]


class Until(Section):
    """When a prompt has enough samples; samples that cannot stand on a canvas do not count."""

    distinct: int | None = Field(
        default=None, ge=1, description="Usable traces that differ (default: paths)."
    )
    correct: tuple[_AtLeast, _AtLeast | None] | None = Field(
        default=None,
        description="The wanted mix: [at least, at most] so many right paths on the canvas; at "
        "most b of P asks for P - b that are not right (default: what groups asks for).",
    )
    give_up: int | None = Field(
        default=None,
        ge=1,
        description="Give a prompt up after so many samples, if not one of them is of a kind that "
        "the mix asks for (default: never).",
    )

    @field_validator("correct", mode="before")
    @classmethod
    def _is_pair(cls, value: object) -> object:
        if value is not None and not (isinstance(value, list | tuple) and len(value) == 2):
            raise ValueError("give two numbers, [at least, at most], such as [1, 2]")
        return value


class Rounds(Section):
    """Sampling in rounds of `per_round`, `most` in all, until the group of a prompt stands."""

    per_round: int = Field(ge=1, le=MOST)
    most: int = Field(ge=1, le=MOST)
    until: Until = Until()

    @model_validator(mode="after")
    def _has_room(self) -> "Rounds":
        if self.most < self.per_round:
            raise ValueError(f"most is {self.most}, fewer than per_round ({self.per_round})")
        if self.until.give_up is not None and self.until.give_up > self.most:
            raise ValueError(
                f"until.give_up is {self.until.give_up}, more than most ({self.most}); set it "
                "lower, or leave it out"
            )
        return self

    def mix(self, paths: int, need_correct: int) -> tuple[int, int]:
        """Least numbers of right and of other traces; without `until.correct`, those of groups."""
        at_least, at_most = self.until.correct or (need_correct, None)
        return at_least, 0 if at_most is None else paths - at_most

    def fault(self, paths: int, need_correct: int, max_wrong: int | None) -> str:
        """What contradicts the rest of the recipe, as a sentence; empty where nothing does."""
        distinct = paths if self.until.distinct is None else self.until.distinct
        if distinct < paths:
            return f"samples.until.distinct is {distinct}, fewer than paths ({paths})"
        if self.most < distinct:
            return (
                f"samples.most is {self.most}, too few for {distinct} distinct traces; set it to "
                f"{distinct} or more"
            )
        if self.until.give_up is not None and not any(self.mix(paths, need_correct)):
            return (
                "samples.until.give_up: no kind of trace is wanted, so that no prompt would ever "
                "be given up; set samples.until.correct or groups.min_correct, or take it out"
            )
        at_least, at_most = self.until.correct or (need_correct, None)
        where = "samples.until.correct"
        if at_most is not None and at_most < at_least:
            return f"{where}: at most {at_most} is less than at least {at_least}"
        if max(at_least, at_most or 0) > paths:
            return f"{where}: a canvas has {paths} paths (paths); ask for no more than that"
        if at_least < need_correct:
            return (
                f"{where}: at least {at_least} is fewer than the {need_correct} right paths that "
                "groups.min_correct and groups.max_wrong ask for; set it higher"
            )
        if max_wrong is not None and at_most is not None and paths - at_most > max_wrong:
            return (
                f"{where}: at most {at_most} of {paths} right paths leave {paths - at_most} "
                f"others, and groups.max_wrong allows {max_wrong}; change one of them"
            )
        return ""


def _number_or_rounds(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Choose by the form of the value, so that a mistake is told for that form alone."""
    if value is None or isinstance(value, Rounds):
        return value
    if isinstance(value, Mapping):
        return Rounds.model_validate(value)
    return _NUMBER.validate_python(value)


Samples = Annotated[Annotated[int, Field(ge=1)] | Rounds | None, WrapValidator(_number_or_rounds)]
"""A number of samples, or rounds; None is the default."""
