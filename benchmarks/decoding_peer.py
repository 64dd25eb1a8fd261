"""The plain way: a batched loop over full-vocabulary logits, as one writes it for one model.

The most confident masks anywhere are committed, an even share at every step: the logits of every
position, their softmax in float32, its maximum, `topk` over the row.

Axes: B rows, T tokens, K commits of a row at a step, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from diffusion.data.layout import CanvasLayout
from diffusion.decoding.decode import Request

_NO_TEXT = np.zeros(0, dtype=np.int32)


class Batch(NamedTuple):
    """Rows [B, T] padded on the right; `attention_mask_BT` None where none is."""

    ids_BT: Tensor
    attention_mask_BT: Tensor | None


def laid(layout: CanvasLayout, requests: Sequence[Request], mask_id: int, device: str) -> Batch:
    """Prompts, headers and masks."""
    rows = [layout.lay(request.prompt, [_NO_TEXT] * len(layout.slots)) for request in requests]
    ids = [torch.as_tensor(np.where(row.answer_T, mask_id, row.ids_T)).long() for row in rows]
    attention_mask_BT = pad_sequence([torch.ones(len(row), dtype=torch.bool) for row in ids], True)
    ids_BT = pad_sequence(ids, True, layout.fill_id).to(device)
    return Batch(ids_BT, None if attention_mask_BT.all() else attention_mask_BT.to(device))


@torch.inference_mode()
def decode(net: Any, batch: Batch, mask_id: int, steps: int, *, shift: bool) -> tuple[Tensor, ...]:
    """The decoded rows, and the step of every position (-1: given), both [B, T]."""
    ids_BT = batch.ids_BT.clone()
    step_BT = torch.full_like(ids_BT, -1)
    masks = int((ids_BT[0] == mask_id).sum())
    for step in range(steps):
        logits_BTV = net(input_ids=ids_BT, attention_mask=batch.attention_mask_BT).logits
        if shift:
            logits_BTV = torch.cat([logits_BTV[:, :1], logits_BTV[:, :-1]], 1)
        logits_BTV[..., mask_id] = -torch.inf
        confidence_BT, token_BT = logits_BTV.float().softmax(-1).max(-1)
        confidence_BT = confidence_BT.where(ids_BT == mask_id, -torch.inf)
        quota = (step + 1) * masks // steps - step * masks // steps
        at_BK = confidence_BT.topk(quota).indices
        ids_BT.scatter_(1, at_BK, token_BT.gather(1, at_BK))
        step_BT.scatter_(1, at_BK, step)
    return ids_BT, step_BT
