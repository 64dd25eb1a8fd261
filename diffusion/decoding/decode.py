"""The decoding loop. In: a model, a layout, prompts, a rule. Out: decoded rows.

At each step the rule names the positions whose confidences it needs, the head is computed there
alone (some rows at a time, so that [R, V] logits are never held whole), and the rule chooses what
is committed. Every step computes the whole row, unless a cache is asked for (`kv_cache.py`).
Shorter rows are padded on the right and masked from attention: in float32 each row decodes to the
tokens that it decodes to alone, whatever the family's positions. In bfloat16 the rounding of sums,
which depends on the batch's shape, changes some confidences (docs/adr/0022).

Axes: B rows, T tokens, C columns of the layout, R positions in scope, H hidden, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from diffusion.data.layout import CanvasLayout, Ids
from diffusion.decoding import Rule, View
from diffusion.decoding.blocks import first_unfinished, rule_inside_blocks
from diffusion.decoding.finished_blocks import FinishedBlocks
from diffusion.decoding.kv_cache import Cache, CacheSettings, new_cache
from diffusion.models.network.denoiser import Dlm
from diffusion.models.network.linear_cross_entropy import rows_at_once
from diffusion.training.objective import generator

_LOWERED = 2.0  # taken from confidences in [0, 1], so that they come last and keep their order


class Fill(StrEnum):
    """When fill tokens, and tokens that end a turn, may be committed."""

    FREE = "free"  # as any other token
    LAST = "last"  # after everything that is predicted to be content


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a token is taken from its logits, and the seed of all random numbers.

    At temperature 0 it is the most likely token, else a sample of softmax(logits / temperature).
    Its confidence is its probability at temperature 1, as in LLaDA.
    """

    temperature: float = 0.0
    seed: int = 0
    fill: Fill = Fill.FREE

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature: {self.temperature} is under 0")


class Request(NamedTuple):
    """A prompt's ids, and a name on which the row's random numbers depend."""

    name: str
    prompt: Ids


class Commit(NamedTuple):
    """One committed token; `position` is its column in the layout, headers counted."""

    step: int
    position: int
    confidence: float
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A row: the answer's tokens [C], its commits in order, and its number of forward passes."""

    ids_C: Ids
    commits: tuple[Commit, ...]
    nfe: int


@torch.inference_mode()
def decode(
    dlm: Dlm,
    layout: CanvasLayout,
    requests: Sequence[Request],
    rule: Rule,
    *,
    steps: int = 0,
    sampling: Sampling | None = None,
    caching: CacheSettings | None = None,
) -> list[Decoded]:
    """Decode the answers to all requests in one batch; they begin as masks.

    `steps` is the number of steps over which the rule spreads its commits, at most one for each
    mask; a rule without a number of steps ignores it. `caching` is an approximation, but for the
    cache of finished blocks. Raises ValueError if the rule needs steps and has none, has no blocks
    and the cache needs them, or if the model cannot be decoded with the rule or the cache.
    """
    if rule.has_steps and steps < 1:
        raise ValueError(f"steps: {steps}; this rule needs at least one")
    block = dlm.denoiser.block
    if block is not None:
        rule = rule_inside_blocks(rule, block)
    batch = _Batch(dlm, layout, requests, sampling or Sampling())
    if caching is not None:
        batch.cache = new_cache(caching, rule, dlm, batch.mask_index_C, len(requests))
    wanted = min(steps, layout.masks) if rule.has_steps else 0
    step = 0
    while batch.rows:
        batch.step(rule, step, wanted)
        step += 1
    is_exact = step == wanted or (block is not None and step > wanted)
    assert not (wanted and requests) or is_exact, f"{step} steps, not {wanted}"
    return batch.decoded()


class _Batch:
    """The state of a decode: the rows that still have masks, and the commits of all."""

    def __init__(
        self, dlm: Dlm, layout: CanvasLayout, requests: Sequence[Request], sampling: Sampling
    ) -> None:
        self.dlm, self.layout, self.sampling = dlm, layout, sampling
        self.device = dlm.denoiser.net.device
        self.ends = torch.tensor(sorted(dlm.end_ids), device=self.device)
        self.names = [request.name for request in requests]
        self.commits: list[list[Commit]] = [[] for _ in requests]
        self.nfe = [0] * len(requests)
        self.done: list[Tensor | None] = [None] * len(requests)
        self.rows = list(range(len(requests)))
        no_texts = [np.zeros(0, dtype=np.int32)] * len(layout.slots)
        empty = [layout.lay(request.prompt, no_texts) for request in requests]
        longest = max((len(row.ids_T) for row in empty), default=0)
        ids_BT = np.full((len(empty), longest), layout.fill_id, dtype=np.int64)
        for b, row in enumerate(empty):
            ids_BT[b, : len(row.ids_T)] = np.where(row.answer_T, dlm.mask_id, row.ids_T)
        lengths_B = torch.tensor([len(row.ids_T) for row in empty], dtype=torch.long)
        is_padded = bool((lengths_B != longest).any())
        self.ids_BT = torch.from_numpy(ids_BT).to(self.device)
        self.attention_mask_BT = (
            (torch.arange(longest) < lengths_B[:, None]).to(self.device) if is_padded else None
        )
        columns_C = torch.arange(layout.tokens)
        self.at_BC = ((lengths_B - layout.tokens)[:, None] + columns_C).to(self.device)
        self.slot_C = torch.tensor(layout.slot_of(), device=self.device)
        is_mask_C = self.slot_C >= 0
        self.mask_index_C = torch.where(is_mask_C, is_mask_C.cumsum(0) - 1, -1)
        self.masked_BC = is_mask_C.repeat(len(empty), 1)
        self.cache: Cache | FinishedBlocks | None = None
        self._drop_finished()

    def step(self, rule: Rule, number: int, steps: int) -> None:
        """One forward pass and its commits; nothing if the rule commits nothing at this step."""
        view = View(
            step=number,
            steps=steps,
            masked_BC=self._decoded_now(),
            slot_C=self.slot_C,
            mask_index_C=self.mask_index_C,
            mask_count=self.layout.masks,
            noise=lambda: self._noise(number),
        )
        scope_BC = rule.scope(view)
        if not scope_BC.any():
            return
        token_BC, confidence_BC = self._predict(scope_BC, number)
        chosen_BC = rule.choose(view, self._keys(token_BC, confidence_BC, scope_BC))
        assert not (chosen_BC & ~scope_BC).any(), "a rule chose where it did not look"
        self._commit(chosen_BC, token_BC, confidence_BC, number)
        for row in self.rows:
            self.nfe[row] += 1
        self._drop_finished()

    def _decoded_now(self) -> Tensor:
        """The masks that a rule sees: all, or those of a block-causal model's current block."""
        block = self.dlm.denoiser.block
        if block is None:
            return self.masked_BC
        return first_unfinished(self.masked_BC, self.at_BC, block)

    def _predict(self, scope_BC: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """A token and its confidence (float32) for every position in scope, -inf elsewhere."""
        rows_R, columns_R = scope_BC.nonzero(as_tuple=True)
        denoiser = self.dlm.denoiser
        if self.cache is None:
            positions_R = rows_R * self.ids_BT.shape[1] + self.at_BC[rows_R, columns_R]
            features_RH = denoiser.features(self.ids_BT, positions_R, self.attention_mask_BT)
        else:
            features_RH = self.cache.features(
                denoiser, self.ids_BT, self.attention_mask_BT, self.at_BC, scope_BC
            )
        head = denoiser.net.get_output_embeddings()
        bias_V = getattr(head, "bias", None)
        size = rows_at_once(len(head.weight))
        draws = None
        if self.sampling.temperature:  # a row's positions draw from its generator one by one
            of_row = self._generators("token", step)
            draws = [of_row[b] for b in rows_R.tolist()]
        tokens, confidences = [], []
        for start in range(0, len(features_RH), size):
            part = slice(start, start + size)
            logits_rV = nn.functional.linear(features_RH[part], head.weight, bias_V).float()
            logits_rV[:, self.dlm.mask_id] = -torch.inf
            token_r, confidence_r = self._take(logits_rV, draws and draws[part])
            tokens.append(token_r)
            confidences.append(confidence_r)
        token_BC = torch.full_like(scope_BC, self.dlm.mask_id, dtype=torch.long)
        confidence_BC = torch.full_like(scope_BC, -torch.inf, dtype=torch.float32)
        token_BC[scope_BC], confidence_BC[scope_BC] = torch.cat(tokens), torch.cat(confidences)
        return token_BC, confidence_BC

    def _take(
        self, logits_rV: Tensor, draws: Sequence[torch.Generator] | None
    ) -> tuple[Tensor, Tensor]:
        """Tokens and their probabilities [r]; overwrites the logits."""
        top_r, best_r = logits_rV.max(1)
        if draws is not None:
            noise_rV = torch.stack(
                [torch.empty(logits_rV.shape[1]).exponential_(generator=draw) for draw in draws]
            ).to(self.device)
            best_r = (logits_rV / self.sampling.temperature - noise_rV.log()).argmax(1)
        chosen_r = logits_rV.gather(1, best_r[:, None]).squeeze(1)
        mass_r = logits_rV.sub_(top_r[:, None]).exp_().sum(1)
        return best_r, (chosen_r - top_r).exp() / mass_r

    def _generators(self, purpose: str, step: int) -> list[torch.Generator]:
        """The random generators of all rows that still have masks, for one step and purpose."""
        return [generator(self.sampling.seed, purpose, self.names[row], step) for row in self.rows]

    def _noise(self, step: int) -> Tensor:
        columns, draws = len(self.slot_C), self._generators("order", step)
        return torch.stack([torch.rand(columns, generator=draw) for draw in draws]).to(self.device)

    def _keys(self, token_BC: Tensor, confidence_BC: Tensor, scope_BC: Tensor) -> Tensor:
        """Confidences as the rule sees them."""
        if self.sampling.fill is Fill.FREE:
            return confidence_BC
        is_fill_BC = scope_BC & torch.isin(token_BC, self.ends)
        has_content_B1 = (scope_BC & ~is_fill_BC).any(1, keepdim=True)
        return torch.where(is_fill_BC & has_content_B1, confidence_BC - _LOWERED, confidence_BC)

    def _commit(
        self, chosen_BC: Tensor, token_BC: Tensor, confidence_BC: Tensor, step: int
    ) -> None:
        rows_K, columns_K = chosen_BC.nonzero(as_tuple=True)
        tokens_K, confidences_K = token_BC[chosen_BC], confidence_BC[chosen_BC]
        self.ids_BT[rows_K, self.at_BC[rows_K, columns_K]] = tokens_K
        self.masked_BC = self.masked_BC & ~chosen_BC
        lists = (one.tolist() for one in (rows_K, columns_K, confidences_K, tokens_K))
        for b, column, confidence, token in zip(*lists, strict=True):
            self.commits[self.rows[b]].append(Commit(step, column, confidence, token))

    def _drop_finished(self) -> None:
        """Rows without masks leave the batch."""
        open_B = self.masked_BC.any(1)
        if bool(open_B.all()):
            return
        answers_BC = self.ids_BT.gather(1, self.at_BC)
        for b in (~open_B).nonzero().squeeze(1).tolist():
            self.done[self.rows[b]] = answers_BC[b].cpu()
        self.rows = [self.rows[b] for b in open_B.nonzero().squeeze(1).tolist()]
        self.ids_BT, self.at_BC = self.ids_BT[open_B], self.at_BC[open_B]
        self.masked_BC = self.masked_BC[open_B]
        if self.attention_mask_BT is not None:
            self.attention_mask_BT = self.attention_mask_BT[open_B]
        if self.cache is not None:
            self.cache.select(open_B)

    def decoded(self) -> list[Decoded]:
        """All rows, in the order of the requests."""
        rows = []
        for ids_C, commits, nfe in zip(self.done, self.commits, self.nfe, strict=True):
            assert ids_C is not None and len(commits) == self.layout.masks
            ids = ids_C.numpy().astype(np.int32)
            rows.append(Decoded(ids_C=ids, commits=tuple(commits), nfe=nfe))
        return rows
