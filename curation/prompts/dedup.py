"""Which prompts are the same problem: ids, a normal form, and one streaming pass over all sources.

    text ─► prompt_id (exact)    text ─► normalise ─► 64-bit key ─► SeenPrompts ─► Duplicate | None

The normal form forgets case, white space, invisible characters, prose punctuation, `$` and LaTeX
spacing, and keeps every operator and bracket: `3-5` and `3+5` stay two problems. So do `f(2)` and
`f'(2)`, `.5` and `5`, `n!` and `n`; quotation marks, possessives and exclamations are forgotten.
Keeping primes and factorials parts no two copies: of 10,742 real prompts (GSM8K, MATH, recorded)
the same 310 repeats are found, whether they are kept or forgotten. `SeenPrompts` holds hashes only,
about 34 bytes a prompt. The first of several equal prompts is kept, whatever the later ones say.
"""

import re
import unicodedata
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import xxhash

from scorers.similarity import INVISIBLE

EXACT = "duplicate_exact"
NORMALISED = "duplicate_normalised"
CONFLICTING = "duplicate_conflicting_gold"

_ID_BYTES = 10
_NO_ENTRY = 0
_FIRST_SLOTS = 1 << 10

_SIGNS = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
        **dict.fromkeys("\u00b4\u02bc\u2018\u2019\u2032", "'"),
        "\u2033": "''",
        "\u2034": "'''",
        **{c: f"^{d}" for d, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
        **{c: f"_{d}" for d, c in enumerate("₀₁₂₃₄₅₆₇₈₉")},
        "\u00d7": " times ",
        "\u00f7": " div ",
        "\u22c5": " cdot ",
        "\u00b7": " cdot ",
        "\u2264": " le ",
        "\u2265": " ge ",
        "\u2260": " ne ",
        "\u03c0": " pi ",
        "\u00b0": " circ ",
    }
)
"""One spelling for signs that NFKC leaves apart or would flatten (such as x² to x2)."""

_LATEX_SPACE = re.compile(
    r"\\(?:[,;:!> ]|\\|[()\[\]]|(?:quad|qquad|displaystyle|left|right|limits|text|textrm"
    r"|textbf|mathrm|mbox|operatorname)(?![a-z]))"
)
_LATEX_VARIANT = re.compile(r"\\(?:[dt](?=frac(?![a-z]))|(?:leq|geq|neq)(?![a-z]))")
_VARIANTS = {"\\leq": "\\le", "\\geq": "\\ge", "\\neq": "\\ne"}
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_LEADING_POINT = re.compile(r"(?<![\w.])\.(?=\d)")
_WORD_JOINT = re.compile(r"(?<=[a-z]{2})-(?=[a-z]{2})")
# An exclamation: behind a word of three letters or more and before no operator, as in all real
# prompts. Any other is a factorial.
_EXCLAMATION = re.compile(r"(?<![^\W\d_])(?<!\\)([^\W\d_]{3,})!+(?!!|\s*[-+*/=^<>_}\\])")
# A prime, not a possessive: behind one or two letters (f', AB'), a LaTeX letter, a figure or a
# closing bracket, unless it ends a quotation that opens just before ('f').
_PRIME = re.compile(
    r"((?<!(?<!\w)[`'])(?:(?<![^\W\d_])[a-z\u03b1-\u03c9]{1,2}|(?<!\d)\d+(?='+(?![^\W\d_])))"
    r"|\\[a-z]+|[)\]}])('+)"
)
_LATEX_PRIME = re.compile(r"\^\s*(?:\{\s*(?:\\prime\s*)+\}|\\prime(?![a-z]))")
_LONE_BRACES = re.compile(r"(?<!\\)\{\s*([^\W_]+)\s*\}")
_WIDE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"  # scripts that set no spaces
_TOKEN = re.compile(
    rf"\d+(?:\.\d+)?|[{_WIDE}]|[^\W\d_{_WIDE}]+|[^\s\w$.,;:?'\"`~\\\u201c\u201d\u2026]|_"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """A prompt that was seen before: the reason slug, and where its first copy stands.

    `has_other_traces`: it comes with traces, and they are not those of the first copy.
    """

    reason: str
    source: int
    row: int
    has_other_traces: bool = False


def prompt_id(text: str) -> str:
    """The id of a prompt: 20 hex digits over its NFC text, the same in every run and source."""
    data = unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")
    return blake2b(data, digest_size=_ID_BYTES).hexdigest()


@lru_cache(maxsize=4)  # decontamination and de-duplication ask for the same text in turn
def tokens(text: str) -> tuple[str, ...]:
    """The tokens of the normal form: words, numbers, single operators and brackets."""
    seen = text if text.isascii() else INVISIBLE.sub("", text)
    plain = unicodedata.normalize("NFKC", seen.translate(_SIGNS)).casefold().replace("\u2044", "/")
    if "\\" in plain:
        plain = _LATEX_PRIME.sub(lambda match: "'" * match[0].count("p"), plain)
        plain = _LATEX_VARIANT.sub(lambda match: _VARIANTS.get(match[0], "\\"), plain)
        plain = _LATEX_SPACE.sub(" ", plain)
    plain = _WORD_JOINT.sub(" ", _LEADING_POINT.sub("0.", _THOUSANDS.sub("", plain)))
    if "!" in plain:
        plain = _EXCLAMATION.sub(r"\1 ", plain)
    if "'" in plain:
        plain = _PRIME.sub(lambda match: match[1] + "\u2032" * len(match[2]), plain)
    if "{" in plain:  # twice: a group may hold another, as in ^{\text{th}}
        plain = _LONE_BRACES.sub(r" \1 ", _LONE_BRACES.sub(r" \1 ", plain))
    return tuple(_TOKEN.findall(plain))


def normalise(text: str) -> str:
    """The normal form: equal for two prompts that differ in nothing that matters."""
    return " ".join(tokens(text))


def key_of(form: str) -> int:
    """The 64-bit key of a normal form."""
    return xxhash.xxh3_64_intdigest(form.encode("utf-8", "surrogatepass"))


class SeenPrompts:
    """The prompts kept so far, as hashes.

    An open-addressing table of entry numbers over five packed columns. A prompt takes 8 bytes for
    the key of its normal form, 8 for source and row, 4 each for short hashes of its exact text and
    its gold, 2 for one of its traces, and 4 bytes times the table's slack. That two different forms
    have one key happens once in 10^5 corpora of 10^7 prompts.
    """

    def __init__(self) -> None:
        self._slots = array("I", bytes(4 * _FIRST_SLOTS))  # entry number + 1, or _NO_ENTRY
        self._keys = array("Q")
        self._places = array("Q")
        self._texts = array("I")
        self._golds = array("I")
        self._traces = array("H")

    def __len__(self) -> int:
        return len(self._keys)

    def nbytes(self) -> int:
        """Bytes held, without the arrays' own slack."""
        columns = (self._slots, self._keys, self._places, self._texts, self._golds, self._traces)
        return sum(len(column) * column.itemsize for column in columns)

    def add(
        self, text: str, gold: str, source: int, row: int, traces: Sequence[str] = ()
    ) -> Duplicate | None:
        """Keep a prompt, or say which one it repeats; `source` is a number below 2^16."""
        key, exact = key_of(normalise(text)), _short(prompt_id(text))
        answer, held = _short(normal_answer(gold)), _short("\0".join(traces)) & 0xFFFF
        slot = self._find(key)
        entry = self._slots[slot]
        if entry != _NO_ENTRY:
            place = self._places[entry - 1]
            reason = EXACT if self._texts[entry - 1] == exact else NORMALISED
            if self._golds[entry - 1] != answer:
                reason = CONFLICTING
            return Duplicate(
                reason=reason,
                source=place >> 48,
                row=place & ((1 << 48) - 1),
                has_other_traces=bool(traces) and self._traces[entry - 1] != held,
            )
        self._keys.append(key)
        self._places.append(source << 48 | row)
        self._texts.append(exact)
        self._golds.append(answer)
        self._traces.append(held)
        self._slots[slot] = len(self._keys)
        if 4 * len(self._keys) > 3 * len(self._slots):
            self._grow()
        return None

    def _find(self, key: int) -> int:
        """The slot of a key, or the free slot where it belongs (linear probing)."""
        mask = len(self._slots) - 1
        slot = key & mask
        while (entry := self._slots[slot]) != _NO_ENTRY and self._keys[entry - 1] != key:
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        self._slots = array("I", bytes(4 * 2 * len(self._slots)))
        for number, key in enumerate(self._keys, 1):
            self._slots[self._find(key)] = number


def normal_answer(gold: str) -> str:
    """A gold in normal form; 18 and 18.0 are one answer."""
    plain = (t.rstrip("0").removesuffix(".") if "." in t else t for t in tokens(gold))
    return " ".join(plain) or gold


def _short(text: str) -> int:
    return xxhash.xxh32_intdigest(text.encode("utf-8", "surrogatepass"))
