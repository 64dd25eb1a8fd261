"""Token counts by words equal those of the tokenizer, and are refused where they might not."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from curation.canvases import word_counts
from curation.canvases.word_counts import WordCounts
from support.paths import ROOT

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
WHOLE = pre_tokenizers.ByteLevel(add_prefix_space=False)
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def split(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), BYTES])


def trained(
    pre: pre_tokenizers.PreTokenizer, normalizer: normalizers.Normalizer | None = None
) -> Tokenizer:
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = BpeTrainer(
        vocab_size=400,
        special_tokens=["<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = ["Ann has 3 apples and she's buying 4 more", "the answer is 12.5, they'll say"]
    tokenizer.train_from_iterator(texts * 5, trainer)
    return tokenizer


SUPPORTED = {
    "bundled": Tokenizer.from_file(str(ROOT / "tiny/teacher/tokenizer.json")),
    "gpt2": trained(WHOLE),
    "llama3": trained(split(LLAMA3), normalizers.NFC()),
}


@given(
    st.lists(
        st.text(st.characters(max_codepoint=127), max_size=30)
        | st.text(" \n\r\t\v\f\x1c1a'sS.", max_size=12)
        | st.sampled_from(["Ann's 3 apples", "they'LL  say\n\n 12.5 ", "a" * 100, "<|im_end|>x"])
    )
)
@example(["it's  the \r\n\r\n answer \t", "it's the", "\x00\x1f\x7f"])
def test_words_count_as_the_tokenizer_does(texts: list[str]) -> None:
    for tokenizer in SUPPORTED.values():
        words = WordCounts.of(tokenizer)
        assert words is not None
        for text in (*texts, *texts):  # new words, and known ones
            count = words.count(text)
            wanted = len(tokenizer.encode(text, add_special_tokens=False))
            assert count is None or count == wanted


@pytest.mark.parametrize("name", SUPPORTED)
def test_what_the_words_cannot_tell_is_left_to_the_tokenizer(name: str) -> None:
    words = WordCounts.of(SUPPORTED[name])
    assert words is not None
    assert words.count("Ann has 3 apples") is not None
    assert words.count("Ann a <|im_end|> b") is None  # an added token splits a text first
    assert words.count("caf\u00e9") is None
    assert words.count("a" * 100) is None  # no word is that long, and it is not remembered


def test_words_are_forgotten_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_counts, "MOST_WORDS", 5)
    words = WordCounts.of(SUPPORTED["gpt2"])
    assert words is not None
    for number in range(20):
        text = f"Ann has {number} apples"
        assert words.count(text) == len(SUPPORTED["gpt2"].encode(text))
        assert len(words._known) <= 5 + 4


@pytest.mark.parametrize(
    "tokenizer",
    [
        trained(pre_tokenizers.ByteLevel(add_prefix_space=True)),
        trained(WHOLE, normalizers.Lowercase()),
        trained(pre_tokenizers.Sequence([pre_tokenizers.Digits(), WHOLE])),
        trained(split(r"^\p{L}+|\s+|\S")),
        trained(split(r"\p{Lu}?\p{Ll}+|\s+|\S")),
        trained(split(r"\p{N}{1,3}+|\s+|\S")),
        trained(split(r"(\p{L}+)|\s+|\S")),
    ],
    ids=["prefix", "lower", "digits", "anchor", "property", "interval", "group"],
)
def test_other_splittings_are_not_repeated(tokenizer: Tokenizer) -> None:
    assert WordCounts.of(tokenizer) is None


def test_a_pattern_with_gaps_counts_nothing() -> None:
    words = WordCounts.of(trained(split(r"\p{L}+")))
    assert words is not None
    assert words.count("Ann has") is None
