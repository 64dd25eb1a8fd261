r"""Token counts of ASCII texts as sums over their words, many times faster than tokenising them.

A byte-level tokenizer first splits a text into words by a pattern, and the tokens of a word depend
on the word alone. So the tokenizer is asked once for each word, and later texts look it up. That
holds for ASCII texts without added tokens in them, under tokenizers whose pattern `re` can repeat:
those of GPT-2, Llama 3 and Qwen, among others. All else is left to the tokenizer itself.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Self

from tokenizers import Tokenizer

MOST_WORDS = 1 << 16  # that are remembered: about 10 MB
LONGEST_WORD = 64  # characters

# The pattern of `ByteLevel(use_regex=True)`, which tokenizer.json does not spell out.
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# What these do to an ASCII text: nothing.
_IDENTITIES = (None, {"type": "NFC"}, {"type": "NFD"}, {"type": "NFKC"}, {"type": "NFKD"})
# An escape with its property, the beginning or end of a class: `\p{L}`, `\s`, "[^", "]".
_PART = re.compile(r"\\(?:[pP]\{[^{}]*\}|.)|\[\^?|\]", re.DOTALL)
_LETTERS = {r"\p{L}": "a-zA-Z", r"\p{N}": "0-9"}
_SAME_ESCAPES = frozenset((r"\s", r"\S", r"\r", r"\n"))  # alike in Oniguruma and `re.ASCII`
# What the two engines read differently: anchors, look-behind, repeated intervals, sets of sets.
_READ_DIFFERENTLY = re.compile(r"[\^$.]|\(\?(?!i:|!|:)|\}\+|&&|\[:")


class WordCounts:
    """Counts under one tokenizer, for the texts that it can; safe for several threads."""

    def __init__(self, tokenizer: Tokenizer, pattern: re.Pattern[str]) -> None:
        self._tokenizer, self._pattern = tokenizer, pattern
        added = tokenizer.get_added_tokens_decoder().values()
        self._added = tuple(token.content for token in added)
        self._known: dict[str, int] = {}

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self | None:
        """None where the tokenizer splits texts in a way that `re` cannot repeat."""
        pattern = _word_pattern(json.loads(tokenizer.to_str()))
        return None if pattern is None else cls(tokenizer, pattern)

    def count(self, text: str) -> int | None:
        """The number of tokens of `text`; None where the tokenizer itself must be asked."""
        if not text.isascii() or any(map(text.__contains__, self._added)):
            return None
        words = self._pattern.findall(text)
        if "".join(words) != text:  # the pattern leaves something out
            return None
        try:
            return sum(map(self._known.__getitem__, words))
        except KeyError:
            return self._learn(words)

    def _learn(self, words: Sequence[str]) -> int | None:
        """`count` of a text with these words, some of which are new."""
        if len(self._known) > MOST_WORDS:
            self._known = {}  # another one, because other threads may read the former
        known = self._known
        new = [word for word in dict.fromkeys(words) if word not in known]
        if any(len(w) > LONGEST_WORD or self._pattern.findall(w) != [w] for w in new):
            return None
        encodings = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
        known.update(zip(new, map(len, encodings), strict=True))
        return sum(map(known.__getitem__, words))


def _word_pattern(spec: dict[str, Any]) -> re.Pattern[str] | None:
    """The pattern of a tokenizer's words in ASCII texts; `spec` is its tokenizer.json."""
    if spec["normalizer"] not in _IDENTITIES or spec["model"].get("dropout"):
        return None
    match spec["pre_tokenizer"]:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}:
            return _translated(_GPT2)
        case {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": str(pattern)},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        }:
            return _translated(pattern)
    return None


def _translated(pattern: str) -> re.Pattern[str] | None:
    """A pattern of Oniguruma for ASCII texts in `re`; None where it may mean something else."""
    in_class = unknown = False

    def part(match: re.Match[str]) -> str:
        nonlocal in_class, unknown
        found = match[0]
        if found[0] != "\\":
            unknown = unknown or (found != "]" and in_class)  # a class within a class
            in_class = found != "]"
            return found
        if found in _LETTERS:
            return _LETTERS[found] if in_class else f"[{_LETTERS[found]}]"
        unknown = unknown or found not in _SAME_ESCAPES
        return found

    translated = _PART.sub(part, pattern)
    if unknown or _READ_DIFFERENTLY.search(_PART.sub("", pattern)):
        return None
    try:
        found = re.compile(translated, re.ASCII)
    except re.error:
        return None
    return None if found.groups else found  # `findall` gives groups where there are some
