"""Keep evaluation problems out of the corpus: an index that finds evaluation prompts in texts.

There are two rules, on the normal form of `dedup.py`:

- `contaminated_exact`: the normal forms are equal.
- `contaminated_ngram`: the prompt and ONE evaluation prompt share 8-grams (runs of 8 words), and
  the shared ones are at least a third of the distinct 8-grams of either prompt. If a text contains
  an evaluation prompt, all 8-grams of the evaluation prompt are shared; if it is a part of one, all
  of its own are. Drawings (`[asy]…[/asy]`) are left out, because their commands repeat across
  problems. An evaluation prompt of fewer than 8 words (13 of MATH-500) has no 8-gram; it is found
  where its whole normal form, of 3 tokens or more, stands inside the text.

Why a third, and not any single 8-gram? Rows found on whole sets, by each rule:

    rows, searched for evaluation prompts of    exact   share ≥ 1/3   any 8-gram
    GSM8K train (7,473) / GSM8K test                0             3           94
    MATH train (1,000) / MATH-500                   0            16           96
    recorded traces (450) / both                  305             4           14

Of the 23 rows found by their share, 19 are the same problem with other numbers or words ("arrange
the letters of the word MADAM / ELLIPSE") and 4 have a long answer format in common. All others have
a share of 0.31 or less, and share usual phrases ("express your answer as a common fraction"). To
reject every shared 8-gram would cost one row in ten of MATH, and find no further copy.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import xxhash

from curation.prompts.dedup import key_of, normalise, tokens
from curation.sources import Source
from schemas.facts import Decontamination
from support.errors import UserError

EXACT = "contaminated_exact"
NGRAM = "contaminated_ngram"

NGRAM_WORDS = 8
MIN_SHARE = 1 / 3
MIN_SHORT_TOKENS = 3
"""An evaluation prompt of fewer tokens is found only where a prompt equals it."""

# One that is not closed matches to the end of the text, so that the search ends there.
_DRAWING = re.compile(r"\[asy\].*?(?:(?P<close>\[/asy\])|\Z)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contamination:
    """A contaminated text: the reason slug, and a sentence that names evaluation set and row."""

    reason: str
    detail: str


class EvaluationIndex:
    """The prompts of evaluation sets; `find` says whether a text repeats one of them."""

    def __init__(self, *, ngram: int = NGRAM_WORDS, min_share: float = MIN_SHARE) -> None:
        if ngram < 1:
            raise UserError(f"ngram is {ngram}; give at least 1")
        if not 0 <= min_share <= 1:
            raise UserError(f"min_share is {min_share}; give a value from 0 to 1")
        self._ngram = ngram
        self._min_share = min_share
        self._places: list[tuple[str, int]] = []  # evaluation prompt -> set, row
        self._found: Counter[tuple[str, str]] = Counter()  # set, reason
        self._sizes: list[int] = []  # evaluation prompt -> distinct n-grams
        self._exact: dict[int, int] = {}
        self._grams: dict[int, list[int]] = {}
        self._short: dict[tuple[str, ...], list[tuple[tuple[str, ...], int]]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def add(self, text: str, source: str, row: int) -> None:
        """Index one evaluation prompt; `source` and `row` go into the details of hits."""
        number = len(self._places)
        form = tokens(text)
        grams = self._grams_of(text)
        self._places.append((source, row))
        self._sizes.append(len(grams))
        self._exact.setdefault(key_of(" ".join(form)), number)
        for gram in grams:
            self._grams.setdefault(gram, []).append(number)
        if not grams and len(form) >= MIN_SHORT_TOKENS:
            self._short.setdefault(form[:2], []).append((form, number))

    def find(self, text: str) -> Contamination | None:
        """The evaluation prompt that a text repeats, or None."""
        equal = self._exact.get(key_of(normalise(text)))
        if equal is not None:
            return self._hit(EXACT, equal, "equal to {}")
        grams = self._grams_of(text)
        closest = self._largest_share(grams)
        if closest is not None and closest[0] >= self._min_share:
            _, shared, number = closest
            sizes = f"of {len(grams)} here and {self._sizes[number]} there"
            what = f"shares {shared} {self._ngram}-grams with {{}} ({sizes})"
            return self._hit(NGRAM, number, what)
        inside = self._short_inside(tokens(text))
        return None if inside is None else self._hit(NGRAM, inside, "holds the whole of {}")

    def counts(self) -> tuple[Decontamination, ...]:
        """How many texts `find` has found in each evaluation set, in the order of `add`."""
        rows = Counter(source for source, _ in self._places)
        return tuple(
            Decontamination(
                label=source,
                rows=count,
                exact=self._found[source, EXACT],
                ngram=self._found[source, NGRAM],
            )
            for source, count in rows.items()
        )

    def _hit(self, reason: str, number: int, detail: str) -> Contamination:
        source, row = self._places[number]
        self._found[source, reason] += 1
        return Contamination(
            reason=reason, detail=detail.format(f"row {row} of evaluation set {source}")
        )

    def _largest_share(self, grams: frozenset[int]) -> tuple[float, int, int] | None:
        """(share, n-grams shared, number) of the closest prompt, the first among equals."""
        known = grams & self._grams.keys()
        shared = Counter(number for gram in known for number in self._grams[gram])
        scored = (
            (max(count / self._sizes[number], count / len(grams)), count, number)
            for number, count in shared.items()
        )
        return max(scored, key=lambda one: (one[0], one[1], -one[2]), default=None)

    def _short_inside(self, form: tuple[str, ...]) -> int | None:
        """The first of the prompts too short for an n-gram whose normal form stands in `form`."""
        for at in range(len(form) - 1):
            for short, number in self._short.get(form[at : at + 2], ()):
                if form[at : at + len(short)] == short:
                    return number
        return None

    def _grams_of(self, text: str) -> frozenset[int]:
        """The distinct n-grams of a text; drawings count only where there is little else."""
        words = _words(without_drawings(text)) if "[" in text else _words(text)
        if len(words) < self._ngram and "[" in text:
            words = _words(text)
        return _hashed(words, self._ngram)


def without_drawings(text: str) -> str:
    """The text without its `[asy]…[/asy]`."""
    return _DRAWING.sub(lambda match: " " if match["close"] else match[0], text)


def build_index(evaluation: Sequence[Source]) -> EvaluationIndex:
    """The index of all prompts of evaluation sets; their golds do not matter.

    Raises UserError at a row without a readable prompt: skipping it would let that problem pass.
    """
    index = EvaluationIndex()
    for source in evaluation:
        for row in source.rows(traces=False):
            if not row.text:
                raise UserError(
                    f"evaluation set {source.label}, row {row.number}: {row.reason}: {row.detail}; "
                    "mend or remove the row, or its problem could not be kept out"
                )
            index.add(row.text, source.label, row.number)
    return index


def _words(text: str) -> list[str]:
    """Words and numbers of the normal form, without operators and brackets."""
    return [token for token in tokens(text) if token[0].isalnum()]


def _hashed(words: list[str], size: int) -> frozenset[int]:
    """The distinct runs of `size` words as 64-bit keys: slices of one string, joined once."""
    coded = [word.encode("utf-8", "surrogatepass") for word in words]
    line = b" ".join(coded)
    starts = list(accumulate((len(word) + 1 for word in coded), initial=0))
    digest = xxhash.xxh3_64_intdigest
    return frozenset(
        [digest(line[start : end - 1]) for start, end in zip(starts, starts[size:], strict=False)]
    )
