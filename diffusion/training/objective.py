"""The masked-diffusion objective (Eq. 1, Li et al. 2026; METHOD section 4). Pure.

`loss = 1/B sum_b 1/L_b sum_masked CE / p_b`: B instances of the whole optimiser step, L_b answer
tokens of instance b with its fill, p_b the probability with which each of them was masked. Ratios
and masks are functions of (seed, step, number of the instance in the step) alone: the same on any
number of processes and after a restart, and never twice the same.

Axes: B instances of a step, L answer tokens of one.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.settings import StructuredMasking

EPSILON = 1e-3


def generator(*names: object) -> torch.Generator:
    """A random generator whose seed is a hash of `names`."""
    text = " ".join(map(str, names))
    digest = hashlib.blake2b(text.encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def mask_probabilities(count: int, seed: int, step: int) -> Tensor:
    """Each p, [B] float64: t stratified over the step, `p = (1 - eps) t + eps`, in random order."""
    draw = generator(seed, "ratio", step)
    place_B = torch.randperm(count, generator=draw)
    within_B = torch.rand(count, generator=draw, dtype=torch.float64)
    return (1 - EPSILON) * (place_B + within_B) / count + EPSILON


def structured_probabilities(
    ratio: float, slots: Sequence[int], masking: StructuredMasking
) -> NDArray[np.float64]:
    """The probability of each answer token of a canvas, [L]; the last slot is the summary.

    Source: `q_sample` of the public NAP code with its `structure_cfg`.
    """
    r = masking.r_max * ratio
    parts = [r * (1 + masking.kappa_paths * np.linspace(0, 1, size)) for size in slots[:-1]]
    summary = r * (1 + masking.kappa_summary * np.linspace(0, 1, slots[-1]))
    parts.append(np.ones_like(summary) if 1 - ratio < masking.alpha else summary)
    return np.minimum(1.0, np.concatenate(parts))


def draw_mask(
    tokens: int,
    probability: float | NDArray[np.float64],
    seed: int,
    step: int,
    instance: int,
) -> Tensor:
    """Which of an instance's answer tokens are masked, [L] bool; one probability, or one each."""
    # torch's CPU generator keeps 32 bits of its seed, of which 300,000 masks would share some.
    digest = hashlib.blake2b(f"{seed} mask {step} {instance}".encode(), digest_size=16).digest()
    draw = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "big")))
    return torch.from_numpy(draw.random(tokens) < probability)


def draw_order(paths: int, seed: int, step: int, instance: int) -> list[int]:
    """A random order of the paths of an instance, numbered from 0."""
    order: list[int] = torch.randperm(
        paths, generator=generator(seed, "paths", step, instance)
    ).tolist()
    return order


def token_weight(probability: float, tokens: int, instances: int) -> float:
    """Weight of each masked token's cross-entropy: `1 / (B L_b p_b)`, p as it was used."""
    return 1.0 / (instances * tokens * probability)
