"""Batched sampling from a causal LM: token ids of prompts in, sampled token ids out.

One loop with a key-value cache; rows that end leave the batch. Every row draws from its own uniform
numbers, so that it does not depend on its neighbours, except for floating-point noise.
Axes: `B` prompts, `R` rows (several samples of one prompt share its prefill), `T` tokens,
`V` vocabulary.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from schemas.records import FinishReason
from support.errors import UserError

# Copying the cache to drop a row costs about a step, so ended rows wait until they are this many.
_ENDED_SHARE = 1 / 8
_ROOM = 64  # positions by which the cache grows


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingSample:
    """One sample to be drawn: the prompt it continues, and a uniform number in [0, 1) a token.

    The number of uniforms is the row's token limit.
    """

    prompt: int
    uniforms: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedSample:
    """A finished row: its ids without the end token; `tokens` counts that one too."""

    row: int
    ids: Sequence[int]
    tokens: int
    finish_reason: FinishReason


def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[PendingSample],
    *,
    temperature: float,
    top_p: float,
    end_ids: frozenset[int],
    is_stopped: Callable[[Sequence[int]], bool],
) -> Iterator[FinishedSample]:
    """Draw every row; rows are yielded as they end.

    `prompts` [B] are non-empty id lists, `is_stopped` says whether a row's ids complete a stop
    string. Raises UserError for a model that gives no finite logits and for a full device.
    """
    drawn: list[list[int]] = [[] for _ in rows]
    alive = list(range(len(rows)))  # alive[i] is the row at place i of the batch
    ended: set[int] = set()
    with _explained_shortage(len(prompts), len(rows)):
        batch = _Batch(model, prompts, [row.prompt for row in rows])
        while True:
            # An ended row that has not left yet draws from 0: any token does.
            uniforms = [0.0 if r in ended else rows[r].uniforms[len(drawn[r])] for r in alive]
            tokens = _draw(batch.logits_RV, uniforms, temperature, top_p)
            for row, token in zip(alive, tokens, strict=True):
                if row in ended:
                    continue
                ids = drawn[row]
                ids.append(token)
                count = len(ids)
                if is_end := token in end_ids:
                    ids.pop()
                if is_end or is_stopped(ids):
                    reason = FinishReason.STOP
                elif count == len(rows[row].uniforms):
                    reason = FinishReason.LENGTH
                else:
                    continue
                ended.add(row)
                yield FinishedSample(row=row, ids=ids, tokens=count, finish_reason=reason)
            if len(ended) == len(alive):
                return
            if len(ended) >= len(alive) * _ENDED_SHARE:
                places = [place for place, row in enumerate(alive) if row not in ended]
                batch.keep(places)
                alive = [alive[place] for place in places]
                tokens = [tokens[place] for place in places]
                ended = set()
            batch.advance(tokens)


@contextmanager
def _explained_shortage(prompts: int, rows: int) -> Iterator[None]:
    """A full device as a UserError that says which option to lower."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise UserError(
            f"teacher.batch_prompts: the device's memory cannot hold {prompts} prompts with {rows} "
            "samples at a time; choose a smaller number"
        ) from None


class _Batch:
    """The model's state for the rows in play: cache, attention mask [R, T], next logits [R, V]."""

    @torch.inference_mode()
    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], rows: Sequence[int]) -> None:
        self._model = model
        self._options = frozenset(inspect.signature(model.forward).parameters)
        longest = max(len(ids) for ids in prompts)
        ids_BT = torch.zeros(len(prompts), longest, dtype=torch.long)  # left-padded
        mask_BT = torch.zeros_like(ids_BT)
        for row, ids in enumerate(prompts):
            ids_BT[row, longest - len(ids) :] = torch.tensor(ids)
            mask_BT[row, longest - len(ids) :] = 1
        index = torch.tensor(rows, device=model.device)
        self._mask_RT = mask_BT.to(model.device)
        self._positions_R = mask_BT.sum(-1).to(model.device)
        self._cache = DynamicCache(config=model.config)
        for number, layer in enumerate(self._cache.layers):
            if type(layer) is DynamicLayer:
                self._cache.layers[number] = _RoomyLayer()  # type: ignore[no-untyped-call]
        positions_BT = (self._mask_RT.cumsum(-1) - 1).clamp(min=0)
        logits_BV = self._forward(ids_BT.to(model.device), positions_BT)
        self._cache.batch_select_indices(index)
        self._mask_RT = self._mask_RT[index]
        self._positions_R = self._positions_R[index]
        self.logits_RV = logits_BV[index]

    @torch.inference_mode()
    def keep(self, places: Sequence[int]) -> None:
        """Drop every row whose place is not named."""
        index = torch.tensor(places, device=self._mask_RT.device)
        self._cache.batch_select_indices(index)
        self._mask_RT = self._mask_RT[index]
        self._positions_R = self._positions_R[index]

    @torch.inference_mode()
    def advance(self, tokens: Sequence[int]) -> None:
        """Feed one token [R] to each row."""
        ids_R1 = torch.tensor(tokens, device=self._mask_RT.device)[:, None]
        self._mask_RT = torch.cat([self._mask_RT, self._mask_RT.new_ones(len(tokens), 1)], dim=1)
        self.logits_RV = self._forward(ids_R1, self._positions_R[:, None])
        self._positions_R = self._positions_R + 1

    def _forward(self, ids_RT: torch.Tensor, positions_RT: torch.Tensor) -> torch.Tensor:
        """Logits after the last token, [R, V] in float32."""
        options: dict[str, Any] = {"position_ids": positions_RT, "logits_to_keep": 1}
        output = self._model(
            input_ids=ids_RT,
            attention_mask=self._mask_RT,
            past_key_values=self._cache,
            use_cache=True,
            **{name: value for name, value in options.items() if name in self._options},
        )
        last: torch.Tensor = output.logits[:, -1].float()
        return last


class _RoomyLayer(DynamicLayer):
    """Keys and values [R, heads, T, size] with room to grow.

    The layer it replaces copies all of them at every token: a fifth of the time of the tiny teacher
    at 44 tokens a sample, and more the longer the samples are.
    """

    _room: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the states of new tokens; the result is a view of all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if self._room is None or end > self._room[0].shape[-2]:
            self._room = (
                _with_room(self.keys, key_states, end),
                _with_room(self.values, value_states, end),
            )
        self._room[0][..., start:end, :] = key_states
        self._room[1][..., start:end, :] = value_states
        self._show(end)
        keys_and_values: Any = self.keys, self.values
        return keys_and_values  # type: ignore[no-any-return]

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Only keep the rows of `indices`."""
        if self._room is not None:
            self._room = (self._room[0][indices], self._room[1][indices])
            self._show(self.get_seq_length())

    def _show(self, end: int) -> None:
        assert self._room is not None
        self.keys, self.values = (room[..., :end, :] for room in self._room)


def _with_room(old: torch.Tensor | None, states: torch.Tensor, end: int) -> torch.Tensor:
    rows, heads, _, size = states.shape
    room = states.new_empty(rows, heads, end + _ROOM, size)
    if old is not None and old.numel():
        room[..., : old.shape[-2], :] = old
    return room


@torch.inference_mode()
def _draw(
    logits_RV: torch.Tensor, uniforms: Sequence[float], temperature: float, top_p: float
) -> list[int]:
    """One token a row: the inverse of the cumulative distribution at the row's uniform number.

    Sums are in float64, so that noise moves a boundary by no more than a probability's own noise.
    """
    top_R1 = logits_RV.amax(-1, keepdim=True)
    if not bool(torch.isfinite(top_R1).all()):
        raise UserError("teacher.path: the model's logits are not finite; its weights are broken")
    if temperature == 0:
        greedy: list[int] = logits_RV.argmax(-1).tolist()
        return greedy
    probabilities_RV = torch.softmax((logits_RV - top_R1) / temperature, dim=-1)
    if top_p < 1:
        probabilities_RV = _nucleus(probabilities_RV, top_p)
    cumulative_RV = probabilities_RV.cumsum(-1, dtype=torch.float64)
    mass_R1 = cumulative_RV[:, -1:]
    uniforms_R1 = torch.tensor(uniforms, dtype=torch.float64, device=logits_RV.device)[:, None]
    # The first token whose cumulative mass exceeds the target; below `mass` such a token exists and
    # has mass of its own.
    target_R1 = torch.minimum(uniforms_R1 * mass_R1, mass_R1.nextafter(torch.zeros_like(mass_R1)))
    tokens: list[int] = torch.searchsorted(cumulative_RV, target_R1, right=True)[:, 0].tolist()
    return tokens


def _nucleus(probabilities_RV: torch.Tensor, top_p: float) -> torch.Tensor:
    """Zero all but the smallest set of tokens whose mass reaches `top_p` (Holtzman et al. 2020)."""
    sorted_RV, order_RV = probabilities_RV.sort(dim=-1, descending=True, stable=True)
    before_RV = sorted_RV.cumsum(-1, dtype=torch.float64) - sorted_RV
    kept_RV = sorted_RV.masked_fill(before_RV >= top_p, 0.0)
    return torch.zeros_like(probabilities_RV).scatter(-1, order_RV, kept_RV)
