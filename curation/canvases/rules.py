"""What the traces of a prompt must satisfy: to stand together on a canvas, and to be enough.

In: a recipe. Out: `Rules`, with the `Allocation` that says when no more samples are drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from schemas.recipe import Recipe
from schemas.records import Draws, Grade, GradedTrace, StopReason
from schemas.samples import Rounds

RECORDED = "recorded"  # the revision of traces that a source holds
STOPS = {
    StopReason.FIXED: "the recipe asks for this number",
    StopReason.TOPPED_UP: "the recipe's number, and spare samples in place of unusable ones",
    StopReason.RECORDED: "all traces that the source holds",
    StopReason.GROUP_STANDS: "the traces made a group",
    StopReason.MOST_REACHED: "samples.most was reached",
    StopReason.GIVEN_UP: "given up, because no trace of a wanted kind came",
    StopReason.REFUSED: "the teacher refused the prompt",
    StopReason.GRADED_AGAIN: "the traces made a group by the grades of an earlier build",
}
"""Why no more samples of a prompt were drawn, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """How many samples a prompt gets, and when it has enough.

    `per_round` are drawn first. A recipe that names a number of samples has no `rounds`. Otherwise
    a group stands when it holds `distinct` traces, `right` right ones and `other` that are not.
    """

    per_round: int
    most: int
    distinct: int
    right: int
    other: int
    give_up: int | None
    rounds: bool

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """The allocation of a recipe."""
        samples, paths = recipe.samples or recipe.paths, recipe.paths
        need = recipe.groups.need_correct(paths)
        if not isinstance(samples, Rounds):
            return cls(
                per_round=samples,
                most=samples,
                distinct=paths,
                right=need,
                other=0,
                give_up=None,
                rounds=False,
            )
        right, other = samples.mix(paths, need)
        return cls(
            per_round=samples.per_round,
            most=samples.most,
            distinct=samples.until.distinct or paths,
            right=right,
            other=other,
            give_up=samples.until.give_up,
            rounds=True,
        )

    def stop_reason(self, drawn: int, kept: Sequence[bool]) -> StopReason | None:
        """Why a prompt gets no other round after `drawn` samples; None where it gets one.

        `kept` says of each of its usable and distinct traces whether it is right.
        """
        right = sum(kept)
        other = len(kept) - right
        if len(kept) >= self.distinct and right >= self.right and other >= self.other:
            return StopReason.GROUP_STANDS
        if drawn >= self.most:
            return StopReason.MOST_REACHED
        lacks_a_kind = (self.right and not right) or (self.other and not other)
        if self.give_up is not None and drawn >= self.give_up and lacks_a_kind:
            return StopReason.GIVEN_UP
        return None

    def draws(
        self, traces: Sequence[GradedTrace], kept: Sequence[bool], *, is_refused: bool
    ) -> Draws:
        """What was drawn for a prompt; `traces` are all that came, `kept` as in `stop_reason`.

        Where a source has recorded traces, they are the first round.
        """
        recorded = sum(graded.trace.revision == RECORDED for graded in traces)
        first = [one for one in traces if one.trace.index < (recorded or self.per_round)]
        return Draws(
            drawn=len(traces),
            correct=_right(traces),
            first_round_drawn=len(first),
            first_round_correct=_right(first),
            stop_reason=self._reason(len(traces), recorded, kept, is_refused),
        )

    def _reason(
        self, drawn: int, recorded: int, kept: Sequence[bool], is_refused: bool
    ) -> StopReason:
        if recorded == drawn and not is_refused:  # also where a source has no trace of the prompt
            return StopReason.RECORDED
        if self.rounds:
            otherwise = StopReason.REFUSED if is_refused else StopReason.GRADED_AGAIN
            return self.stop_reason(drawn, kept) or otherwise
        if drawn > (recorded or self.per_round):
            return StopReason.TOPPED_UP
        return StopReason.REFUSED if is_refused else StopReason.FIXED


def _right(traces: Sequence[GradedTrace]) -> int:
    return sum(graded.grade is Grade.CORRECT for graded in traces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a group must satisfy; the recipe's fields of the same names.

    Two rules are equal, and look alike, whatever their `allocation`.
    """

    paths: int
    min_correct: int
    max_wrong: int | None
    similarity: float
    slot_tokens: int
    summary_tokens: int
    summary_template: str
    seed: int
    allocation: Allocation | None = field(default=None, repr=False, compare=False)

    def summary(self, answer: str) -> str:
        """The template's summary for a final answer."""
        return self.summary_template.replace("{answer}", answer)

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """The rules of a recipe."""
        return cls(
            paths=recipe.paths,
            min_correct=recipe.groups.min_correct,
            max_wrong=recipe.groups.max_wrong,
            similarity=recipe.groups.similarity,
            slot_tokens=recipe.canvas.slot_tokens,
            summary_tokens=recipe.canvas.summary_tokens,
            summary_template=recipe.summary.template,
            seed=recipe.seed,
            allocation=Allocation.of(recipe),
        )

    @property
    def need_correct(self) -> int:
        """Correct paths that both limits together ask for."""
        most_wrong = self.paths if self.max_wrong is None else min(self.max_wrong, self.paths)
        return max(self.min_correct, self.paths - most_wrong)

    def mix(self, correct: Sequence[bool]) -> tuple[int, int]:
        """Least numbers of right and of other paths to choose from traces that make a group.

        The wanted mix of `allocation`, as far as the group has it.
        """
        right = sum(correct)
        if self.allocation is None:
            return self.need_correct, 0
        need = max(self.need_correct, min(self.allocation.right, right))
        return need, min(self.allocation.other, len(correct) - right, self.paths - need)
