"""The similarity of two traces. In: texts. Out: a number in [0, 1], or the matrix of a group.

Texts are compared after `normalise`, so that case, invisible characters and insignificant
whitespace do not count. The measure is the normalised Indel similarity, 2·LCS / (|a| + |b|) over
characters. It costs |a|·|b| / 64 word operations (3 µs for two GSM8K solutions, 20 ms at 32,000
characters), so pairs above `EXACT_CELLS` are compared by the Dice overlap of their character
8-grams instead: linear in length, and a little below the exact value for near-duplicates (0.96 for
0.995).

Measured on the 7,914 pairs of GSM8K's four-sample groups: the median is 0.57, 5 % lie above 0.82,
and from 0.9 (1.6 %) on nearly every pair is one solution in other words or with another number.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Indel

EXACT_CELLS = 1_000_000_000  # |a|·|b| up to which the LCS is computed: at most about 20 ms
GRAM = 8  # characters of a shingle above it; 4 would give two unrelated 500,000s 0.8, 8 gives 0.4

# Unicode's Default_Ignorable_Code_Point without the Hangul and Khmer fillers: soft hyphen, joiners,
# zero-width and direction marks, variation selectors, byte-order mark, tags. No reader sees them.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
_IDLE_SPACE = re.compile(r" (?:(?!\w)|(?<!\w ))")  # a space first: found several times faster


def normalise(text: str) -> str:
    """The text as it is compared: composed, case-folded, without insignificant whitespace.

    Whitespace counts only between two word characters: "3 * 4 = 12" equals "3*4=12", "1 2" is not
    "12". Compatibility forms stay apart ("10²" is not "102").
    """
    if not text.isascii():
        text = INVISIBLE.sub("", text)
        text = unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())
    return _IDLE_SPACE.sub("", " ".join(text.split())).casefold()


def similarity(a: str, b: str) -> float:
    """Similarity of two texts in [0, 1]; symmetric; 1.0 exactly where they are equal normalised."""
    return _similarity(normalise(a), normalise(b))


def matrix(texts: Sequence[str]) -> NDArray[np.float64]:
    """Pairwise similarities [K, K] of K texts, each normalised once; the diagonal is 1."""
    normal = [normalise(text) for text in texts]
    similarity_KK = np.ones((len(normal), len(normal)))
    for i, a in enumerate(normal):
        for j in range(i):
            similarity_KK[i, j] = similarity_KK[j, i] = _similarity(a, normal[j])
    return similarity_KK


def _similarity(a: str, b: str) -> float:
    if a == b:
        return 1.0
    if len(a) * len(b) <= EXACT_CELLS:
        return Indel.normalized_similarity(a, b)
    # Different texts may hold the same shingles: only equal texts are 1.
    return min(_overlap(_shingles(a), _shingles(b)), float(np.nextafter(1.0, 0.0)))


def _shingles(text: str) -> Counter[str]:
    return Counter(text[i : i + GRAM] for i in range(max(1, len(text) - GRAM + 1)))


def _overlap(a: Counter[str], b: Counter[str]) -> float:
    """Dice overlap of two multisets."""
    return 2 * (a & b).total() / (a.total() + b.total())
