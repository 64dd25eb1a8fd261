"""A decoding rule of your own: the surest positions, the more so the further left they stand.

Run it with the bundled model to see how its weight changes the order of decoding:
`python examples/own_rule.py`. `polytrace.decode` takes the object itself. To use it in recipes of
`polytrace evaluate`, declare it in the pyproject.toml of a package that you install:

    [project.entry-points."polytrace.rules"]
    left_leaning = "own_rule:build"

and write in a recipe: `rule: {kind: left_leaning, weight: 0.5}`.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

import polytrace
from diffusion.decoding import Order, View, highest


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftLeaning:
    """An even share of the masks at every step; weight 0 is AO, a large one is left to right.

    Shapes: B rows of a batch, C columns of an answer.
    """

    has_steps: ClassVar[bool] = True  # the caller says how many
    order: ClassVar[Order] = Order.OTHER  # no row of the paper's tables

    weight: float = 0.5

    def __post_init__(self) -> None:
        """Check the range: a ValueError becomes a sentence that names the option."""
        if self.weight < 0:
            raise ValueError(f"weight: {self.weight} is under 0")

    def scope(self, view: View) -> Tensor:
        """Where confidences are needed, [B, C]: everything that is masked."""
        return view.masked_BC

    def choose(self, view: View, confidence_BC: Tensor) -> Tensor:
        """What is committed at this step, [B, C]."""
        lean_C = self.weight * view.mask_index_C / view.mask_count
        return highest(confidence_BC - lean_C, view.masked_BC, view.quota)


build = LeftLeaning  # a frozen dataclass is its own `build`: its fields are the options


if __name__ == "__main__":
    model = polytrace.load_model("tiny/tuned/nap")
    problem = "Ivy is 4 years old. Max is 4 times as old. How old will Max be in 12 years?"
    for weight in (0.0, 0.5, 5.0):
        [answer] = polytrace.decode(
            model,
            [problem],
            LeftLeaning(weight=weight),
            steps=39,
            slot_tokens=48,
            summary_tokens=12,
        )
        order = polytrace.arness(answer.decoded.commits)
        assert order is not None
        print(f"weight {weight}: ARness {order.raw:.2f}, by chance {order.chance:.2f}")
