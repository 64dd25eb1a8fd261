"""A masked-diffusion language model as the objective and the decoder use it.

In: token ids with masks in them, and the positions to predict. Out: the cross-entropy of those
positions, or their features, from which a caller computes logits. The head is applied to these
positions only, in any transformers model whose trunk is its `base_model` and whose head ends in its
output embeddings: a hook picks the rows from the trunk's output.

Axes: B rows, T tokens, R predicted positions, H hidden, V vocabulary.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffusion.models.network.attention import block_causal
from diffusion.models.network.linear_cross_entropy import CrossEntropy, linear_cross_entropy


class Denoiser(nn.Module):
    """A transformers model `net` that predicts masked tokens.

    `shift`: the logits for position i are read at position i - 1 (at 0 for position 0), as Dream's
    are: `cat([l[:, :1], l[:, :-1]], 1)`, METHOD section 5.
    `block`: the tokens of a block of a block-causal model, which is never run in any other way;
    None if every position sees the whole row.
    """

    def __init__(self, net: Any, *, shift: bool, block: int | None = None) -> None:
        super().__init__()
        self.net = net
        self.shift = shift
        self.block = block
        self._rows_R: Tensor | None = None
        # What FSDP shards as units. The output matrix is applied here, so it and every module that
        # shares it must stay in the root unit.
        names = net._no_split_modules or ()
        matrix = net.get_output_embeddings().weight
        self._no_split_modules = sorted(
            {
                type(module).__name__
                for module in net.modules()
                if type(module).__name__ in names
                and all(parameter is not matrix for parameter in module.parameters())
            }
        )
        net.base_model.register_forward_hook(self._pick)
        net.get_output_embeddings().forward = _identity  # it is applied here, some rows at a time

    def forward(
        self,
        ids_BT: Tensor,
        positions_R: Tensor,
        targets_R: Tensor,
        weights_R: Tensor,
        attention_mask_BT: Tensor | None = None,
    ) -> CrossEntropy:
        """Weighted cross-entropy (nats) of `targets_R` at `positions_R`, flat indices b*T + t.

        `attention_mask_BT` is False at padding; None if nothing is padded.
        """
        head = self.net.get_output_embeddings()
        features_RH = self.features(ids_BT, positions_R, attention_mask_BT)
        bias_V = getattr(head, "bias", None)
        return linear_cross_entropy(features_RH, head.weight, bias_V, targets_R, weights_R)

    def features(
        self, ids_BT: Tensor, positions_R: Tensor, attention_mask: Tensor | None, **more: Any
    ) -> Tensor:
        """What the output embeddings are applied to, [R, H]; `more` goes to the network.

        A mask of four axes, [B, 1, Q, K], is used as it is.
        """
        tokens = ids_BT.shape[1]
        if self.block is not None and (attention_mask is None or attention_mask.ndim == 2):
            attention_mask = self._blocks(ids_BT, attention_mask)
        self._rows_R = (
            torch.where(positions_R % tokens == 0, positions_R, positions_R - 1)
            if self.shift
            else positions_R
        )
        try:
            out = self.net(input_ids=ids_BT, attention_mask=attention_mask, **more)
        finally:
            self._rows_R = None
        features_RH: Tensor = out.logits.squeeze(0)
        return features_RH

    def _blocks(self, ids_BT: Tensor, attention_mask_BT: Tensor | None) -> Tensor:
        """The mask of a whole row of a block-causal model, [B or 1, 1, T, T]."""
        assert self.block is not None
        at_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
        seen_11TT = block_causal(at_T[:, None], at_T, self.block)[None, None]
        if attention_mask_BT is None:
            return seen_11TT
        return seen_11TT & attention_mask_BT[:, None, None, :].bool()

    def _pick(self, _module: Any, _inputs: Any, out: Any) -> Any:
        """The trunk's output at the predicted positions alone, as one sequence [1, R, H]."""
        assert self._rows_R is not None, "the network is called through its Denoiser only"
        out.last_hidden_state = out.last_hidden_state.flatten(0, 1)[self._rows_R][None]
        return out


def _identity(features: Tensor) -> Tensor:
    return features


@dataclass(frozen=True, slots=True, kw_only=True)
class Dlm:
    """A loaded masked-diffusion language model.

    `family` is its file under `diffusion/models`, `mask_id` the token that is denoised, `fill_id`
    the one that fills a slot behind its text, `turn_end_ids` those that also end an answer,
    `context` the longest row in tokens (None: no limit), `folder` the directory of its files.
    """

    family: str
    denoiser: Denoiser
    tokenizer: Any
    mask_id: int
    fill_id: int
    context: int | None
    folder: Path
    turn_end_ids: frozenset[int] = frozenset()

    @property
    def end_ids(self) -> frozenset[int]:
        """All tokens that end a text."""
        return self.turn_end_ids | {self.fill_id}
