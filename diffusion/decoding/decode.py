"""The decoding loop. In: a model, a layout, prompts, a rule. Out: decoded rows.

At each step the rule names the positions whose confidences it needs, the head is computed there
alone (some rows at a time, so that [R, V] logits are never held whole), and the rule chooses what
is committed. Every step computes the whole row, unless a cache is asked for (`kv_cache.py`).
Shorter rows are padded on the right and masked from attention: in float32 each row decodes to the
tokens that it decodes to alone, whatever the family's positions, unless two confidences are as
close as rounding. In bfloat16 the rounding of sums, which depends on the batch's shape, changes
some confidences (docs/adr/0022).

Axes: B rows, T tokens, C columns of the layout, R positions in scope, H hidden, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import isnan

import numpy as np
import torch
from torch import Tensor, nn

from diffusion.data.layout import CanvasLayout
from diffusion.decoding import Measure, Remasks, Rule, View, measure_of
from diffusion.decoding.blocks import first_unfinished, rule_inside_blocks
from diffusion.decoding.decoded import Commit as Commit
from diffusion.decoding.decoded import Decoded as Decoded
from diffusion.decoding.decoded import Request as Request
from diffusion.decoding.finished_blocks import FinishedBlocks
from diffusion.decoding.kv_cache import Cache, CacheSettings, new_cache
from diffusion.decoding.sampling import Fill as Fill
from diffusion.decoding.sampling import Sampling as Sampling
from diffusion.decoding.sampling import Taken, take
from diffusion.models.network.denoiser import Dlm
from diffusion.models.network.linear_cross_entropy import rows_at_once
from diffusion.training.objective import generator
from support.errors import UserError


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
    mask unless it takes tokens back; a rule without a number of steps ignores it. A block-causal
    model is decoded block by block, which may take more steps. `caching` is an approximation, but
    for the cache of finished blocks. Raises ValueError if the rule needs steps and has none, has no
    blocks and the cache needs them, takes tokens back and has no number of steps, or does not suit
    the model; for a cache beside guidance; and for tokens of `sampling` that the model lacks.
    UserError if what the model computes is no number.
    """
    sampling = sampling or Sampling()
    if rule.has_steps and steps < 1:
        raise ValueError(f"steps: {steps}; this rule needs at least one")
    if isinstance(rule, Remasks) and not rule.has_steps:
        raise ValueError("a rule that takes tokens back has a number of steps, to come to an end")
    sampling.check(is_cached=caching is not None)
    block = dlm.denoiser.block
    if block is not None:
        rule = rule_inside_blocks(rule, block)
    batch = _Batch(dlm, layout, requests, sampling)
    if caching is not None:
        batch.cache = new_cache(caching, rule, dlm, batch.mask_index_C, len(requests))
    most = layout.masks  # steps; a rule that commits some masks twice may take more
    wanted = (steps if isinstance(rule, Remasks) else min(steps, most)) if rule.has_steps else 0
    for step in range(wanted if wanted and block is None else most):
        if batch.rows:
            batch.step(rule, step, wanted)
    assert not batch.rows, f"masks are left after {wanted or most} steps"
    return batch.decoded()


class _Batch:
    """The state of a decode: the rows that still have masks, and the commits of all."""

    def __init__(
        self, dlm: Dlm, layout: CanvasLayout, requests: Sequence[Request], sampling: Sampling
    ) -> None:
        self.dlm, self.layout, self.sampling = dlm, layout, sampling
        self.device = dlm.denoiser.net.device
        self.ends = torch.tensor(sorted(dlm.end_ids), device=self.device)
        rows = len(dlm.denoiser.net.get_output_embeddings().weight)
        self.suppressed, self.deferred = sampling.suppressed_and_deferred(dlm.tokenizer, rows)
        self.names = [request.name for request in requests]
        self.commits: list[list[Commit]] = [[] for _ in requests]
        self.latest: list[dict[int, int]] = [{} for _ in requests]  # commit of a position
        self.nfe = [0] * len(requests)
        self.done: list[Tensor | None] = [None] * len(requests)
        self.rows = list(range(len(requests)))
        no_texts = [np.zeros(0, dtype=np.int32)] * len(layout.slots)
        layouts = [request.layout or layout for request in requests]
        empty = [
            own.lay(request.prompt, no_texts)
            for own, request in zip(layouts, requests, strict=True)
        ]
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
        columns_BC = torch.tensor([layout.columns_in(own) for own in layouts], dtype=torch.long)
        prompts_B = torch.tensor([len(request.prompt) for request in requests], dtype=torch.long)
        self.at_BC = (prompts_B[:, None] + columns_BC.reshape(-1, layout.tokens)).to(self.device)
        self.slot_C = torch.tensor(layout.slot_of(), device=self.device)
        is_mask_C = self.slot_C >= 0
        self.mask_index_C = torch.where(is_mask_C, is_mask_C.cumsum(0) - 1, -1)
        self.masked_BC = is_mask_C.repeat(len(empty), 1)
        self.at_commit_BC = torch.full_like(self.masked_BC, torch.inf, dtype=torch.float32)
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
            at_commit_BC=self.at_commit_BC,
        )
        scope_BC = rule.scope(view)
        if not scope_BC.any():
            return
        token_BC, probability_BC, key_BC, gap_BC = self._predict(rule, scope_BC, number)
        key_BC = self._keys(token_BC, key_BC, scope_BC, measure_of(rule))
        view = replace(view, gap_BC=gap_BC)
        chosen_BC = rule.choose(view, key_BC)
        assert not (chosen_BC & ~(scope_BC & self.masked_BC)).any(), "no mask, or not looked at"
        assert steps or chosen_BC.any(1).all(), "a rule without steps commits at each one"
        self._commit(chosen_BC, token_BC, probability_BC, number)
        if isinstance(rule, Remasks) and number < steps - 1:
            self._take_back(rule.take_back(view, key_BC, chosen_BC), number)
        for b in scope_BC.any(1).nonzero().squeeze(1).tolist():
            self.nfe[self.rows[b]] += self.sampling.passes
        self._drop_finished()

    def _decoded_now(self) -> Tensor:
        """The masks that a rule sees: all, or those of a block-causal model's current block."""
        block = self.dlm.denoiser.block
        if block is None:
            return self.masked_BC
        return first_unfinished(self.masked_BC, self.at_BC, block)

    def _predict(self, rule: Rule, scope_BC: Tensor, step: int) -> tuple[Tensor, ...]:
        """What is taken at every position in scope, each [B, C]; confidences are -inf elsewhere."""
        rows_R, columns_R = scope_BC.nonzero(as_tuple=True)
        denoiser = self.dlm.denoiser
        if self.cache is None:
            positions_R = rows_R * self.ids_BT.shape[1] + self.at_BC[rows_R, columns_R]
            features_RH = denoiser.features(self.ids_BT, positions_R, self.attention_mask_BT)
        else:
            features_RH = self.cache.features(
                denoiser, self.ids_BT, self.attention_mask_BT, self.at_BC, scope_BC
            )
        unprompted_RH = None
        if self.sampling.guidance:
            unprompted_RH = denoiser.features(
                self._unprompted(), positions_R, self.attention_mask_BT
            )
        head = denoiser.net.get_output_embeddings()
        bias_V = getattr(head, "bias", None)
        size = rows_at_once(len(head.weight))
        draws = None
        if self.sampling.temperature:  # a row's positions draw from its generator one by one
            of_row = self._generators("token", step)
            draws = [of_row[b] for b in rows_R.tolist()]
        taken: list[Taken] = []
        for start in range(0, len(features_RH), size):
            part = slice(start, start + size)
            logits_rV = nn.functional.linear(features_RH[part], head.weight, bias_V).float()
            if unprompted_RH is not None:
                plain_rV = nn.functional.linear(unprompted_RH[part], head.weight, bias_V).float()
                logits_rV = plain_rV + (self.sampling.guidance + 1) * (logits_rV - plain_rV)
            logits_rV[:, [self.dlm.mask_id, *self.suppressed]] = -torch.inf
            taken.append(
                take(
                    logits_rV,
                    self.sampling,
                    measure_of(rule),
                    draws=draws and draws[part],
                    deferred=self.deferred,
                    with_gap=getattr(rule, "reads_gap", False),
                )
            )
        token_BC = torch.full_like(scope_BC, self.dlm.mask_id, dtype=torch.long)
        token_BC[scope_BC] = torch.cat([one.token_r for one in taken])
        found = [token_BC]
        for columns in ([one[n] for one in taken] for n in range(1, len(Taken._fields))):
            known = [one for one in columns if one is not None]
            one_BC = torch.full_like(scope_BC, -torch.inf, dtype=torch.float32)
            if known:
                one_BC[scope_BC] = torch.cat(known)
            found.append(one_BC)
        return tuple(found)

    def _unprompted(self) -> Tensor:
        """The rows with masks for their prompts; headers and committed tokens stay."""
        columns_T = torch.arange(self.ids_BT.shape[1], device=self.device)
        return self.ids_BT.masked_fill(columns_T < self.at_BC[:, :1], self.dlm.mask_id)

    def _generators(self, purpose: str, step: int) -> list[torch.Generator]:
        """The random generators of all rows that still have masks, for one step and purpose."""
        return [generator(self.sampling.seed, purpose, self.names[row], step) for row in self.rows]

    def _noise(self, step: int) -> Tensor:
        columns, draws = len(self.slot_C), self._generators("order", step)
        return torch.stack([torch.rand(columns, generator=draw) for draw in draws]).to(self.device)

    def _keys(self, token_BC: Tensor, key_BC: Tensor, scope_BC: Tensor, measure: Measure) -> Tensor:
        """Confidences as the rule sees them."""
        if self.sampling.fill is Fill.FREE:
            return key_BC
        is_fill_BC = scope_BC & torch.isin(token_BC, self.ends)
        has_content_B1 = (scope_BC & self.masked_BC & ~is_fill_BC).any(1, keepdim=True)
        return torch.where(is_fill_BC & has_content_B1, key_BC - measure.lowered, key_BC)

    def _commit(
        self, chosen_BC: Tensor, token_BC: Tensor, confidence_BC: Tensor, step: int
    ) -> None:
        rows_K, columns_K = chosen_BC.nonzero(as_tuple=True)
        tokens_K, confidences_K = token_BC[chosen_BC], confidence_BC[chosen_BC]
        self.ids_BT[rows_K, self.at_BC[rows_K, columns_K]] = tokens_K
        self.masked_BC = self.masked_BC & ~chosen_BC
        self.at_commit_BC = torch.where(chosen_BC, confidence_BC, self.at_commit_BC)
        lists = (one.tolist() for one in (rows_K, columns_K, confidences_K, tokens_K))
        for b, column, confidence, token in zip(*lists, strict=True):
            if isnan(confidence):
                raise UserError(
                    f"{self.dlm.folder}: the model computes no numbers (NaN); look at its "
                    "config.json, or take precision=float32"
                )
            commits = self.commits[self.rows[b]]
            self.latest[self.rows[b]][column] = len(commits)
            commits.append(Commit(step, column, confidence, token))

    def _take_back(self, back_BC: Tensor, step: int) -> None:
        """Mask positions again, and say so in the log."""
        assert not (back_BC & (self.masked_BC | (self.slot_C < 0))).any(), "nothing is there"
        rows_K, columns_K = back_BC.nonzero(as_tuple=True)
        self.ids_BT[rows_K, self.at_BC[rows_K, columns_K]] = self.dlm.mask_id
        self.masked_BC = self.masked_BC | back_BC
        self.at_commit_BC = self.at_commit_BC.masked_fill(back_BC, torch.inf)
        for b, column in zip(rows_K.tolist(), columns_K.tolist(), strict=True):
            commits = self.commits[self.rows[b]]
            at = self.latest[self.rows[b]][column]
            commits[at] = commits[at]._replace(taken_back=step)

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
        self.masked_BC, self.at_commit_BC = self.masked_BC[open_B], self.at_commit_BC[open_B]
        if self.attention_mask_BT is not None:
            self.attention_mask_BT = self.attention_mask_BT[open_B]
        if self.cache is not None:
            self.cache.select(open_B)

    def decoded(self) -> list[Decoded]:
        """All rows, in the order of the requests."""
        rows = []
        for ids_C, commits, nfe in zip(self.done, self.commits, self.nfe, strict=True):
            assert ids_C is not None
            assert sum(one.taken_back is None for one in commits) == self.layout.masks
            ids = ids_C.numpy().astype(np.int32)
            rows.append(Decoded(ids_C=ids, commits=tuple(commits), nfe=nfe))
        return rows
