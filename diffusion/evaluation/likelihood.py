"""Log-likelihoods of answers under a masked-diffusion model, estimated by Monte Carlo.

In: a model, a prompt and an answer as ids. Out: an estimate in nats, and its standard error. What
is estimated is the bound that such a model is trained on, not log p itself (LLaDA, Nie et al. 2025,
Eq. 6 and Algorithm 3): with l masks among the L tokens of the answer, l uniform from 1 to L, the
expectation of L / l times the log-probabilities of the masked tokens. The prompt is never masked.

Axes: S samples, T tokens of a row, L tokens of the answer, R masked positions.
"""

import hashlib
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import combinations
from math import comb, sqrt
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from diffusion.data.layout import Ids
from diffusion.models.network.denoiser import Dlm
from diffusion.settings import Precision
from support.errors import UserError

GROUP = 16  # samples whose numbers of masks are spread evenly, as in LLaDA's get_log_likelihood
Masks = NDArray[np.bool_]


class Likelihood(NamedTuple):
    """An estimate in nats; `error` is its standard error, 0 if the bound was computed exactly.

    `is_greedy`: the model writes this answer if it commits the likeliest token at each step.
    """

    value: float
    error: float
    is_greedy: bool


def check_samples(samples: int) -> None:
    """Raise ValueError unless there are at least two whole groups, whose spread is the error."""
    if samples < 2 * GROUP or samples % GROUP:
        least = 2 * GROUP
        raise ValueError(f"mc_samples: {samples} is not a multiple of {GROUP}, or under {least}")


@torch.no_grad()
def log_likelihood(
    dlm: Dlm,
    prompt: Ids,
    answer: Ids,
    *,
    samples: int,
    seed: int,
    batch: int,
    precision: Precision,
) -> Likelihood:
    """The log-likelihood of `answer` behind `prompt`, from `samples` forward passes of a row.

    If there are no more ways to mask the answer than samples, all are taken: the bound is then
    exact. Otherwise they are drawn by `seed` and the ids alone, so that an estimate does not depend
    on other requests. `batch` rows are computed at once.
    """
    check_samples(samples)
    if not len(answer):
        return Likelihood(0.0, 0.0, True)
    row = _Row(dlm, prompt, answer, batch, precision)
    greedy = row.is_greedy()
    length = len(answer)
    if length < samples.bit_length() and 2**length - 1 <= samples:
        masks_SL, weights_S = every_mask(length)
        return Likelihood(-float(weights_S @ row.nats(masks_SL)), 0.0, greedy)
    rng = np.random.default_rng(_seed(seed, prompt, answer))
    masks_SL = np.concatenate([drawn_masks(length, rng) for _ in range(samples // GROUP)])
    scaled_S = row.nats(masks_SL) * (length / masks_SL.sum(1))
    groups = -scaled_S.reshape(-1, GROUP).mean(1)
    error = float(groups.std(ddof=1)) / sqrt(len(groups))
    return Likelihood(float(groups.mean()), error, greedy)


def every_mask(length: int) -> tuple[Masks, NDArray[np.float64]]:
    """Every way to mask at least one of L tokens [S, L], and its weight in the bound [S].

    l masks have the probability 1 / (L * (L over l)) and count L / l times.
    """
    masks, weights = [], []
    for count in range(1, length + 1):
        for chosen in combinations(range(length), count):
            masks.append(np.isin(np.arange(length), chosen))
            weights.append(1 / (count * comb(length, count)))
    return np.array(masks), np.array(weights)


def drawn_masks(length: int, rng: np.random.Generator) -> Masks:
    """A group of random masks [GROUP, L].

    The number of masks of each is uniform from 1 to L; those of a group are a random number and
    what lies at even distances from it, modulo L.
    """
    first = int(rng.integers(length))
    masks_SL = np.zeros((GROUP, length), dtype=np.bool_)
    for number, mask_L in enumerate(masks_SL):
        count = (first + number * length // GROUP) % length + 1
        mask_L[rng.permutation(length)[:count]] = True
    return masks_SL


def _seed(seed: int, prompt: Ids, answer: Ids) -> list[int]:
    digest = hashlib.sha256()
    for ids in (prompt, answer):
        digest.update(len(ids).to_bytes(8, "big") + np.asarray(ids, dtype="<i8").tobytes())
    return [seed % (1 << 64), int.from_bytes(digest.digest()[:8], "big")]  # none below 0


class _Row(NamedTuple):
    """A prompt and an answer, of which some tokens are masked and predicted."""

    dlm: Dlm
    prompt: Ids
    answer: Ids
    batch: int
    precision: Precision

    def nats(self, masks_SL: Masks) -> NDArray[np.float64]:
        """The summed cross-entropy of the masked tokens of each sample [S], in nats."""
        parts = [self._nats(some_sL) for some_sL in _cut(masks_SL, self.batch)]
        return np.concatenate(parts)

    def is_greedy(self) -> bool:
        """Whether one token a step, the most confident first, gives the answer (LLaDA's check).

        It ends at the first token that differs.
        """
        mask_L = np.ones(len(self.answer), dtype=np.bool_)
        head = self.dlm.denoiser.net.get_output_embeddings()
        bias_V = getattr(head, "bias", None)
        while mask_L.any():
            ids_ST, positions_R, at_R = self._masked(mask_L[None])
            with self._autocast():
                features_RH = self.dlm.denoiser.features(ids_ST, positions_R, None)
                logits_RV = torch.nn.functional.linear(
                    features_RH.to(head.weight.dtype), head.weight, bias_V
                )
            logits_RV = logits_RV.float()
            logits_RV[:, self.dlm.mask_id] = -torch.inf  # as in decoding: never a prediction
            best_R, token_R = logits_RV.softmax(-1).max(-1)
            chosen = int(best_R.argmax())
            at = int(at_R[chosen])
            if int(token_R[chosen]) != int(self.answer[at]):
                return False
            mask_L[at] = False
        return True

    def _nats(self, masks_sL: Masks) -> NDArray[np.float64]:
        ids_ST, positions_R, at_R = self._masked(masks_sL)
        targets_R = torch.as_tensor(self.answer[at_R].astype(np.int64), device=ids_ST.device)
        with self._autocast():
            found = self.dlm.denoiser(
                ids_ST, positions_R, targets_R, torch.ones_like(targets_R, dtype=torch.float32)
            )
        nats_R = found.nats_R.double().cpu().numpy()
        if not np.isfinite(nats_R).all():
            raise UserError(
                f"{self.dlm.folder}: a likelihood is no finite number; look at the model's "
                "config.json, or take precision=float32"
            )
        sums_S = np.zeros(len(masks_sL))
        np.add.at(sums_S, np.nonzero(masks_sL)[0], nats_R)
        return sums_S

    def _masked(self, masks_SL: Masks) -> tuple[torch.Tensor, torch.Tensor, NDArray[np.intp]]:
        """Rows with masks [S, T], the flat positions of the masks [R], their places in L [R]."""
        whole_T = np.concatenate([self.prompt, self.answer]).astype(np.int64)
        ids_ST = np.tile(whole_T, (len(masks_SL), 1))
        ids_ST[:, len(self.prompt) :][masks_SL] = self.dlm.mask_id
        row_R, at_R = np.nonzero(masks_SL)
        positions_R = row_R * len(whole_T) + len(self.prompt) + at_R
        device = self.dlm.denoiser.net.device
        return (
            torch.as_tensor(ids_ST, device=device),
            torch.as_tensor(positions_R, device=device),
            at_R,
        )

    def _autocast(self) -> torch.autocast | nullcontext[None]:
        if self.precision is not Precision.BFLOAT16:
            return nullcontext()
        return torch.autocast(self.dlm.denoiser.net.device.type, torch.bfloat16)


def _cut(masks_SL: Masks, size: int) -> Iterator[Masks]:
    return (masks_SL[start : start + size] for start in range(0, len(masks_SL), size))
