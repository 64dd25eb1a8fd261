"""Small real tokenizers, trained on the spot, and an S3 server on loopback."""

from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.servers.s3 import S3Server

TEXTS = (
    "Ann has 3 apples and buys 4 more, so she has 3 + 4 = 7 apples.",
    "Each box holds 12 pens. 5 * 12 = 60 pens. The final answer is 60",
    "First subtract: 50 - 18 = 32. Then halve it: 32 / 2 = 16. The answer is 16.",
) * 4


def train(vocabulary: int, specials: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def save_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Tokenizer], Path]:
    """Writes a tokenizer as a model directory."""

    def save(tokenizer: Tokenizer) -> Path:
        folder = tmp_path_factory.mktemp("tokenizer")
        tokenizer.save(str(folder / "tokenizer.json"))
        return folder

    return save


@pytest.fixture(scope="session")
def coarse(save_tokenizer: Callable[[Tokenizer], Path]) -> Path:
    """A byte-level BPE tokenizer with merges."""
    return save_tokenizer(train(360, ["<|endoftext|>", "<|im_end|>"]))


@pytest.fixture(scope="session")
def fine(save_tokenizer: Callable[[Tokenizer], Path]) -> Path:
    """One token a byte; saved with truncation, padding and added special tokens."""
    tokenizer = train(256, ["<s>", "<s>x"])
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=100)
    return save_tokenizer(tokenizer)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3Server]:
    with S3Server() as started:
        yield started


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The server, with an empty bucket, as the environment names it."""
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    yield s3_server
    s3_server.clear()
