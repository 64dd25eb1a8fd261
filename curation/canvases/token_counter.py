"""Token counts under every tokenizer of the recipe. In: texts. Out: lengths, special tokens.

One corpus may train several models, so the length of a text is that of its longest tokenisation. A
special token that a text spells out ("<|im_end|>") would be read as that token by every trainer:
`special` finds it, so that the trace can be rejected. Counts never include added special tokens.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from pathlib import Path

from tokenizers import Tokenizer

from curation.canvases.word_counts import WordCounts
from support.capacity import raise_if_out_of_memory
from support.errors import UserError, first_line
from support.files import read_json
from support.paths import locate

_HUB_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?", re.ASCII)
_FIELD = "canvas.tokenizer"
BATCH_CHARACTERS = 1 << 18  # the tokenizer needs about a hundred bytes for each token


class TokenCounter:
    """Counts tokens under all tokenizers at once.

    Args:
        tokenizers: model directories (with a `tokenizer.json`, or whatever transformers can turn
            into a fast tokenizer) or hub ids.

    Raises:
        UserError: one of them is no tokenizer.
    """

    def __init__(self, tokenizers: Sequence[str]) -> None:
        if not tokenizers:
            raise UserError(f"{_FIELD}: empty; name at least one tokenizer")
        # Shards are processed in parallel. Threads within a batch would wait for one another, and a
        # shard would take a fifth more processor time. A value that the user has set is kept.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self._tokenizers = [_load(name) for name in tokenizers]
        self._words = [WordCounts.of(tokenizer) for tokenizer in self._tokenizers]
        texts = {text for name in tokenizers for text in _config_specials(locate(name))}
        for tokenizer in self._tokenizers:
            added = tokenizer.get_added_tokens_decoder().values()
            texts.update(token.content for token in added if token.special)
        # Longest first: "<|end|>>" must not be reported as "<|end|>".
        ordered = sorted(filter(None, texts), key=lambda text: (-len(text), text))
        self._special = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def count(self, text: str) -> int:
        """The number of tokens of `text` under the tokenizer that needs most."""
        return self.counts([text])[0]

    def counts(self, texts: Sequence[str]) -> list[int]:
        """`count` of each text, batch by batch: other threads run while a batch is tokenised."""
        return [count for batch in _batches(texts) for count in self._batch(batch)]

    def ahead(self, texts: Iterable[str]) -> "TokenCounter":
        """A counter that knows the counts of these texts, and counts others when asked."""
        return _Ahead(self, texts)

    def special(self, text: str) -> str | None:
        """The first special token of any tokenizer that is spelt out in `text`."""
        match = self._special.search(text) if self._special else None
        return match.group() if match else None

    def fingerprint(self) -> str:
        """16 hex digits that change whenever a count may change."""
        digest = hashlib.blake2b(digest_size=8)
        for tokenizer in self._tokenizers:
            digest.update(tokenizer.to_str().encode())
        digest.update((self._special.pattern if self._special else "").encode())
        return digest.hexdigest()

    def _batch(self, texts: Sequence[str]) -> list[int]:
        batch = [_encodable(text) for text in texts]
        lengths = map(_lengths, self._tokenizers, self._words, repeat(batch))
        return [max(counts) for counts in zip(*lengths, strict=True)]


class _Ahead(TokenCounter):
    def __init__(self, counter: TokenCounter, texts: Iterable[str]) -> None:
        self._tokenizers, self._words = counter._tokenizers, counter._words
        self._special = counter._special
        distinct = list(dict.fromkeys(texts))
        self._known = dict(zip(distinct, counter.counts(distinct), strict=True))

    def counts(self, texts: Sequence[str]) -> list[int]:
        others = iter(super().counts([text for text in texts if text not in self._known]))
        return [self._known[text] if text in self._known else next(others) for text in texts]


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in batches of at most BATCH_CHARACTERS, or of one text."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        if batch and characters + len(text) > BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += len(text)
    if batch:
        yield batch


def _lengths(tokenizer: Tokenizer, words: WordCounts | None, texts: Sequence[str]) -> list[int]:
    """The number of tokens of each text, by its words where they tell."""
    counts = [words.count(text) if words else None for text in texts]
    left = [text for text, count in zip(texts, counts, strict=True) if count is None]
    encodings = iter(tokenizer.encode_batch_fast(left, add_special_tokens=False) if left else ())
    return [len(next(encodings)) if count is None else count for count in counts]


def _encodable(text: str) -> str:
    """The text with lone surrogates replaced: tokenizers take UTF-8 only."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _load(name: str) -> Tokenizer:
    """One tokenizer, without the truncation and padding that may have been saved with it."""
    folder = Path(locate(name))
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{_FIELD}: {name}: is a file; give the model's directory")
    if not folder.exists() and not _HUB_ID.fullmatch(name):
        raise UserError(f"{_FIELD}: {name}: no such directory, and no hub id (owner/name)")
    file = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(file)) if file.is_file() else _from_transformers(folder)
    except Exception as error:  # the loaders raise bare Exception, OSError, KeyError and others
        raise_if_out_of_memory(error)
        if file.is_file():
            problem = "damaged tokenizer.json"
        elif folder.is_dir():
            problem = "a directory without a tokenizer that can be read"
        else:
            problem = "neither a directory here nor a tokenizer on the hub"
        raise UserError(f"{_FIELD}: {name}: {problem}: {first_line(error)}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _from_transformers(folder: Path) -> Tokenizer:
    from transformers import AutoTokenizer

    # The default of trust_remote_code asks on the terminal whether to run the model's code.
    loaded = AutoTokenizer.from_pretrained(
        str(folder), local_files_only=folder.is_dir(), trust_remote_code=False
    )
    backend = getattr(loaded, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise ValueError("it has no fast form; save one as tokenizer.json")
    return Tokenizer.from_str(backend.to_str())


def _config_specials(directory: str) -> Iterator[str]:
    """Special tokens that only tokenizer_config.json declares (older model directories)."""
    try:
        config = read_json(Path(directory, "tokenizer_config.json"))
        declared = config.get("added_tokens_decoder", {}).values()
        yield from (token["content"] for token in declared if token.get("special"))
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return  # this file is optional
