"""Low-rank adapters (LoRA, Hu et al. 2021) of linear layers, beside them or merged into them.

Axes: I inputs of a layer, O outputs, R rank.
"""

from torch import Tensor, nn


def merged(weight_OI: Tensor, down_RI: Tensor, up_OR: Tensor, scale: float) -> Tensor:
    """The weight of one layer that computes what a layer and its adapter compute together."""
    return weight_OI + (up_OR @ down_RI) * scale


class LowRank(nn.Module):
    """A linear layer with an adapter beside it: W x + scale * up (down x)."""

    def __init__(self, base: nn.Linear, down_RI: Tensor, up_OR: Tensor, scale: float) -> None:
        super().__init__()
        self.base, self.scale = base, scale
        self.down, self.up = (
            nn.Parameter(one.to(base.weight), requires_grad=False) for one in (down_RI, up_OR)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """What the layer gives for `inputs`, [..., I] to [..., O]."""
        low = nn.functional.linear(inputs, self.down)
        outputs: Tensor = self.base(inputs)
        return outputs + nn.functional.linear(low, self.up) * self.scale
