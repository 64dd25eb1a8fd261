"""The figures of the paper (Tables 1 to 5, Li et al. 2026), to compare with ours.

Accuracies are percentages, as printed. A base model's name here is what `base` says in a recipe.
"""

from collections.abc import Mapping
from typing import NamedTuple

from diffusion.decoding import Order
from diffusion.evaluation.settings import Training

LLADA, DREAM = "LLaDA-8B", "Dream-7B"
BASES = (LLADA, DREAM)
BENCHMARK = "gsm8k"  # of Tables 1, 2, 4 and 5
BASE, LONG_COT, NAP = Training.BASE, Training.LONG_COT, Training.NAP


class Pair(NamedTuple):
    """A system of Table 1."""

    arness: float
    accuracy: float


TABLE_1: Mapping[tuple[str, Order], Pair] = {
    (LLADA, Order.AR): Pair(1.00, 71.9),
    (LLADA, Order.AO): Pair(0.73, 51.9),
    (LLADA, Order.FAST): Pair(0.87, 51.6),
    (DREAM, Order.AR): Pair(1.00, 78.2),
    (DREAM, Order.AO): Pair(0.92, 78.2),
    (DREAM, Order.FAST): Pair(0.94, 78.1),
}

# Fast-dLLM's row has figures under AR order, too.
TABLE_1_FAST_AR: Mapping[str, Pair] = {LLADA: Pair(1.00, 71.9), DREAM: Pair(1.00, 78.3)}

TABLE_2: Mapping[tuple[str, Training], float] = {
    (LLADA, BASE): 0.73,
    (LLADA, LONG_COT): 0.81,
    (DREAM, BASE): 0.92,
    (DREAM, LONG_COT): 0.93,
}

# Base, Long-CoT, NAP by benchmark and steps.
_TABLE_3 = {
    LLADA: {
        "gsm8k": {
            256: (46.4, 54.1, 56.1),
            336: (54.4, 60.9, 63.3),
            512: (62.0, 82.0, 82.6),
            1024: (66.5, 83.5, 84.1),
        },
        "math500": {
            256: (17.8, 21.4, 26.6),
            336: (20.6, 26.6, 35.4),
            512: (28.0, 41.2, 43.0),
            1024: (30.4, 45.0, 47.0),
        },
        "gpqa": {336: (12.5, 15.4, 19.0), 512: (18.8, 21.2, 25.9), 1024: (20.8, 23.0, 28.6)},
    },
    DREAM: {
        "gsm8k": {
            256: (35.0, 46.5, 60.9),
            336: (49.4, 56.9, 70.9),
            512: (58.5, 66.8, 79.2),
            1024: (68.9, 78.0, 83.6),
        },
        "math500": {
            256: (8.8, 16.2, 23.8),
            336: (11.4, 25.6, 31.4),
            512: (20.8, 40.0, 43.0),
            1024: (35.0, 47.4, 49.6),
        },
        "gpqa": {336: (5.8, 7.3, 10.5), 512: (14.7, 19.4, 22.5), 1024: (26.1, 28.6, 29.5)},
    },
}
TABLE_3: Mapping[tuple[str, str, int, Training], float] = {
    (base, benchmark, steps, training): accuracy
    for base, benchmarks in _TABLE_3.items()
    for benchmark, rows in benchmarks.items()
    for steps, accuracies in rows.items()
    for training, accuracy in zip((BASE, LONG_COT, NAP), accuracies, strict=True)
}

TABLE_4: Mapping[tuple[str, Training, Order, int], float] = {
    (DREAM, training, order, steps): accuracy
    for (training, order), accuracies in {
        (BASE, Order.AO): (35.0, 58.5, 68.9),
        (BASE, Order.FORCED): (31.0, 52.6, 60.2),
        (NAP, Order.AO): (57.4, 78.9, 85.1),
        (NAP, Order.FORCED): (60.9, 79.2, 83.6),
    }.items()
    for steps, accuracy in zip((256, 512, 1024), accuracies, strict=True)
}

TABLE_5: Mapping[tuple[str, int], float] = {
    (DREAM, 1): 75.4,
    (DREAM, 2): 78.9,
    (DREAM, 3): 83.6,
    (LLADA, 1): 79.4,
    (LLADA, 2): 82.6,
    (LLADA, 3): 84.1,
}
