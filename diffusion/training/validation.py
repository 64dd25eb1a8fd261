"""Validation loss by mask ratio. In: held-out instances. Out: mean nats a masked token by bucket.

Mask ratios and masks are the same at every call, and every bucket holds as many instances.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from diffusion.data.canvas_layouts import CanvasLayouts
from diffusion.data.corpus import Instance
from diffusion.data.layout import CanvasLayout
from diffusion.training.collate import collate, mask_step, pieces

BUCKETS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """Mean cross-entropy, nats a masked token, of mask ratios in [0, 1/5), [1/5, 2/5) and so on.

    `content` and `fill` hold one value a bucket, None if nothing was masked; `loss` is the
    objective over all of them, `instances` how many there were.
    """

    loss: float
    content: tuple[float | None, ...]
    fill: tuple[float | None, ...]
    instances: int

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Buckets":
        """The buckets from plain values, as JSON has them."""
        return replace(cls(**facts), content=tuple(facts["content"]), fill=tuple(facts["fill"]))

    def curves(self) -> dict[str, float]:
        """Names and values for a tracker."""
        named = {"validation/loss": self.loss}
        for name, values in (("content", self.content), ("fill", self.fill)):
            for bucket, value in enumerate(values):
                if value is not None:
                    named[f"validation/{name}_{bucket / BUCKETS:.1f}"] = value
        return named


@torch.no_grad()
def validate(
    model: Any,
    instances: Sequence[Instance],
    layout: CanvasLayout,
    mask_id: int,
    micro_tokens: int,
    accelerator: Any,
    layouts: CanvasLayouts | None = None,
) -> Buckets:
    """The mean losses of `instances`; every process computes its share, and all get the result.

    Paths are never shuffled; with `layouts`, headers show hints.
    """
    masked = mask_step(instances, layout, seed=0, step=0, layouts=layouts)
    cut = pieces(masked, layout, micro_tokens, accelerator.num_processes)
    sums = torch.zeros(2 * 2 * BUCKETS + 1, dtype=torch.float64, device=accelerator.device)
    model.eval()
    for piece in cut[accelerator.process_index :: accelerator.num_processes]:
        batch = collate(piece, layout, mask_id).to(accelerator.device)
        total, nats_R = model(*batch.inputs)
        sums[-1] += total.double()
        bucket_B = [min(BUCKETS - 1, int(m.p * BUCKETS)) for m in piece]
        bucket_R = torch.tensor(bucket_B, dtype=torch.long, device=accelerator.device)[batch.rows_R]
        place_R = 2 * (bucket_R + BUCKETS * (~batch.is_content_R))
        sums.index_add_(0, place_R, nats_R.double())
        sums.index_add_(0, place_R + 1, torch.ones_like(nats_R, dtype=torch.float64))
    model.train()
    *pairs, loss = accelerator.reduce(sums, reduction="sum").tolist()
    means = [
        nats / count if count else None for nats, count in zip(pairs[::2], pairs[1::2], strict=True)
    ]
    return Buckets(
        loss=loss,
        content=tuple(means[:BUCKETS]),
        fill=tuple(means[BUCKETS:]),
        instances=len(instances),
    )
