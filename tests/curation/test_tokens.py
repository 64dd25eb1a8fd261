"""Token counts, special tokens, and directories that are none."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from curation.canvases import token_counter
from curation.canvases.token_counter import TokenCounter
from support.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def test_the_widest_tokenizer_counts(coarse: Path, fine: Path) -> None:
    text = "Ann has 3 apples"
    alone = TokenCounter([str(coarse)]).count(text)
    assert 1 < alone < len(text)
    assert TokenCounter([str(coarse), str(fine)]).count(text) == len(text)
    assert TokenCounter([str(fine), str(coarse)]).count(text) == len(text)


def test_saved_truncation_and_padding_do_not_change_a_count(fine: Path) -> None:
    saved = Tokenizer.from_file(str(fine / "tokenizer.json"))
    assert len(saved.encode("123456").ids) == 100
    assert TokenCounter([str(fine)]).counts(["123456", "", "\u00e9"]) == [6, 0, 2]


def test_added_special_tokens_are_not_counted(
    coarse: Path, save_tokenizer: Callable[[Tokenizer], Path]
) -> None:
    tokenizer = Tokenizer.from_file(str(coarse / "tokenizer.json"))
    plain = len(tokenizer.encode("apples").ids)
    tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A <|im_end|>",
        special_tokens=[("<|endoftext|>", 0), ("<|im_end|>", 1)],
    )
    assert len(tokenizer.encode("apples").ids) == plain + 2
    assert TokenCounter([str(save_tokenizer(tokenizer))]).count("apples") == plain


@given(st.lists(st.text(max_size=20) | st.just("a\ud800b"), max_size=5))
@example([])
@example(["\ud800", "\x00", "\ufeff"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_batch_counts_as_each_text_alone(coarse: Path, fine: Path, texts: list[str]) -> None:
    counter = TokenCounter([str(coarse), str(fine)])
    counts = counter.counts(texts)
    assert counts == [counter.count(text) for text in texts]
    assert counts == [len(text.encode("utf-8", "replace")) for text in texts]  # fine: bytes
    for first in (texts, texts[:2], ()):  # counted ahead, or not
        ahead = counter.ahead(first)
        assert ahead.counts([*texts, *texts]) == [*counts, *counts]
        assert ahead.special("a <|im_end|>") == "<|im_end|>"


def test_batches_are_bounded_and_lose_nothing(
    coarse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = TokenCounter([str(coarse)])
    texts = ["12 pens", "", "a" * 50, *map(str, range(40)), "the end"]
    whole = counter.counts(texts)
    sizes = []
    plain = counter._batch

    def noted(batch: Sequence[str]) -> list[int]:
        sizes.append(sum(map(len, batch)) if len(batch) > 1 else 0)
        return plain(batch)

    monkeypatch.setattr(token_counter, "BATCH_CHARACTERS", 20)
    monkeypatch.setattr(counter, "_batch", noted)
    assert counter.counts(texts) == whole
    assert len(sizes) > 4 and max(sizes) <= 20


@pytest.mark.parametrize(
    ("text", "special"),
    [
        ("so 7<|im_end|> and <s>", "<|im_end|>"),
        ("<s> before <|im_end|>", "<s>"),
        ("<s>x is the longer one", "<s>x"),
        ("<|im_end", None),
        ("< s > and <|im_ end|>", None),
        ("", None),
    ],
)
def test_the_first_special_token(coarse: Path, fine: Path, text: str, special: str | None) -> None:
    assert TokenCounter([str(coarse), str(fine)]).special(text) == special


def test_special_tokens_that_only_the_config_declares(
    coarse: Path, save_tokenizer: Callable[[Tokenizer], Path]
) -> None:
    folder = save_tokenizer(Tokenizer.from_file(str(coarse / "tokenizer.json")))
    tokens = {"1": {"content": "<|mask|>", "special": True}, "2": {"content": "Ann"}}
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({"added_tokens_decoder": tokens}))
    counter = TokenCounter([str(folder)])
    assert counter.special("Ann has <|mask|>") == "<|mask|>"
    for damaged in ("{", "[]", '{"added_tokens_decoder": {"1": 5}}', '{"added_tokens_decoder": 3}'):
        file.write_text(damaged)
        assert TokenCounter([str(folder)]).special("Ann has <|mask|>") is None


def test_a_directory_without_tokenizer_json_goes_through_transformers(
    coarse: Path, tmp_path: Path
) -> None:
    model = json.loads((coarse / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (tmp_path / "merges.txt").write_text(merges, encoding="utf-8")
    config = {"tokenizer_class": "GPT2Tokenizer", "model_max_length": 4}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    text = "Ann has 3 apples and buys 4 more"
    counter = TokenCounter([str(tmp_path)])
    assert counter.count(text) == TokenCounter([str(coarse)]).count(text)
    assert counter.special("a<|endoftext|>") == "<|endoftext|>"


def one_line(tokenizers: list[str]) -> str:
    with pytest.raises(UserError) as caught:
        TokenCounter(tokenizers)
    message = str(caught.value)
    assert message.startswith("canvas.tokenizer: ")
    assert "\n" not in message
    return message


def test_what_is_no_tokenizer_is_the_users_mistake(tmp_path: Path, coarse: Path) -> None:
    assert "name at least one" in one_line([])
    missing = tmp_path / "missing"
    assert f"{missing}: no such directory" in one_line([str(coarse), str(missing)])
    assert "a/b/c: no such directory" in one_line(["a/b/c"])
    file = tmp_path / "file"
    file.write_text("")
    assert "is a file" in one_line([str(file)])
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"{empty}: a directory without a tokenizer" in one_line([str(empty)])
    for damaged in ("", "{", '{"model": 3}'):
        (empty / "tokenizer.json").write_text(damaged)
        assert "damaged tokenizer.json" in one_line([str(empty)])


@pytest.mark.slow
def test_an_unknown_hub_id_is_the_users_mistake() -> None:
    code = (
        "from curation.canvases.token_counter import TokenCounter\n"
        "try:\n    TokenCounter(['nobody/nothing'])\n"
        "except ValueError as error:\n    print(type(error).__name__, error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"HF_HUB_OFFLINE": "1", "PATH": "", "HF_HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = (
        "UserError canvas.tokenizer: nobody/nothing: neither a directory here nor a tokenizer"
    )
    assert run.stdout.startswith(expected)
    assert run.stdout.count("\n") == 1


def test_the_fingerprint_follows_the_tokenizers(coarse: Path, fine: Path) -> None:
    one, both = TokenCounter([str(coarse)]), TokenCounter([str(coarse), str(fine)])
    assert one.fingerprint() == TokenCounter([str(coarse)]).fingerprint()
    assert one.fingerprint() != both.fingerprint()


def test_the_bundled_teacher_is_found_from_any_folder(
    tiny_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (tiny_teacher / "tokenizer.json").is_file():
        pytest.skip("tiny/teacher has not been trained yet")
    monkeypatch.chdir(tmp_path)
    counter = TokenCounter(["tiny/teacher"])
    assert counter.count("3 + 4 = 7") > 0
    assert counter.special("7<|im_end|>") == "<|im_end|>"
