"""Our release as other people's trainers read it: TRL itself, the others by what they read.

TRL 1.16 (in the index): `SFTTrainer`, through the Python of docs/interchange.md.

github.com/pixeli99/NAP at eba0f41804a01a0e5c601ec2a9558e3bf88bc704 (`src/trainer/sft_dataset.py`):
pandas reads Parquet files and joins their frames; the columns named by `data.prompt_key` and
`data.response_key` are taken, a `prompt` that is a string becomes one user turn of the chat
template, and `response` with the end token behind it follows. It can also hand the frame to
`datasets`. `src/trainer/fsdp_sft_trainer.py` registers the markers as special tokens.

github.com/ZHZisZZ/dllm at ca176752fbceec49c6b4777a2c18ae88e4eb10ed (`dllm/data/utils.py`,
`dllm/utils/data.py`, `examples/llada/sft.py`): `load_dataset` reads a folder; the chat template is
applied to `messages`, and to all but the last of them as the prompt; the splits are `train` and
`test`; no other column is looked at.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from curation.release.writer import split_of
from schemas import canvas
from tests.curation import samples

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "interchange.md").read_text()
ROWS = 40
IN_TRAIN = sum(split_of(samples.prompt(i).id, 0.25) == "train" for i in range(ROWS))
A_STEP = "max_steps=1, per_device_train_batch_size=2, use_cpu=True, report_to='none', "


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, tiny_teacher: Path) -> Iterator[Path]:
    """The release of a finished run, in a working directory where the page's paths are right."""
    folder = tmp_path_factory.mktemp("work")
    samples.write_run(folder / "runs" / "demo", samples.corpus(ROWS))
    (folder / "tiny").mkdir()
    (folder / "tiny" / "teacher").symlink_to(tiny_teacher)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        yield Path("runs/demo/release")


@pytest.fixture(scope="module")
def tokenizer(tiny_teacher: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_teacher)


@pytest.fixture(scope="module")
def train(release: Path) -> Any:
    return datasets.load_dataset(str(release))["train"]


def run_page(heading: str) -> dict[str, Any]:
    """Runs the Python under a heading of the page, with one step where it trains; its names."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    (code,) = re.findall(r"^```python\n(.*?)^```$", section, re.M | re.S)
    assert sum(bool(line) for line in code.splitlines()) <= 13
    names: dict[str, Any] = {}
    exec(code.replace('SFTConfig("out", ', f'SFTConfig("out", {A_STEP}'), names)
    return names


def final_loss(trainer: Any) -> float:
    assert trainer.state.global_step == 1
    (loss,) = [entry["train_loss"] for entry in trainer.state.log_history if "train_loss" in entry]
    return float(loss)


def prepared(rows: Any, **settings: Any) -> Any:
    """The rows as TRL tokenises them."""
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    args = SFTConfig("out", use_cpu=True, report_to="none", **settings)
    return SFTTrainer("tiny/teacher", args, train_dataset=rows).train_dataset


@pytest.mark.slow
def test_trl_trains_on_whole_canvases_in_the_chat_template(train: Any, tokenizer: Any) -> None:
    trainer = run_page("TRL: canvases")["trainer"]
    assert math.isfinite(final_loss(trainer))
    assert len(trainer.train_dataset) == len(train) == IN_TRAIN
    for row, seen in zip(train, trainer.train_dataset, strict=True):
        text = tokenizer.decode(seen["input_ids"])
        assert text == tokenizer.apply_chat_template(row["messages"], tokenize=False)
        _, answer = text.split("<|im_start|>assistant\n")
        assert answer == f"{row['response']}<|im_end|>\n"
        assert "<think 1>\n" in answer
        assert "\n</summary>" in answer
        assert seen["labels"] == seen["input_ids"], "the prompt is learnt too"


def test_trl_trains_on_the_long_cot_with_the_loss_on_the_answer(train: Any, tokenizer: Any) -> None:
    trainer = run_page("TRL: the long-CoT form")["trainer"]
    assert math.isfinite(final_loss(trainer))
    for row, seen in zip(train, trainer.train_dataset, strict=True):
        learnt = [token for token in seen["labels"] if token != -100]
        assert tokenizer.decode(learnt) == f"{row['long_cot']}<|im_end|>\n"
        chat = [row["messages"][0], {"role": "assistant", "content": row["long_cot"]}]
        text = tokenizer.apply_chat_template(chat, tokenize=False)
        assert tokenizer.decode(seen["input_ids"]) == text


def test_trl_uses_no_template_for_a_renamed_long_cot(train: Any, tokenizer: Any) -> None:
    rows = train.select_columns(["prompt", "long_cot"]).rename_column("long_cot", "completion")
    for row, seen in zip(train, prepared(rows, max_length=None), strict=True):
        text = f"{row['prompt']}{row['long_cot']}<|im_end|>"
        assert tokenizer.decode(seen["input_ids"]) == text


def test_trl_cannot_read_the_release_with_all_its_columns(train: Any) -> None:
    with pytest.raises(KeyError, match="completion"):
        prepared(train, max_length=None)


def test_trl_cuts_the_summary_off_where_the_length_is_short(
    train: Any, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    from trl.trainer.sft_config import SFTConfig

    assert SFTConfig("out", use_cpu=True).max_length == 1024
    rows = train.select_columns(["messages"])
    long, short = prepared(rows, max_length=2048), prepared(rows, max_length=64)
    assert len(long) == len(short) == len(train)
    for whole, cut in zip(long, short, strict=True):
        assert tokenizer.decode(whole["input_ids"]).endswith("\n</summary><|im_end|>\n")
        assert cut["input_ids"] == whole["input_ids"][:64]
        assert "</summary>" not in tokenizer.decode(cut["input_ids"])
    assert not [r for r in caplog.records if r.name.startswith("trl")], "nothing is said"


def test_the_nap_trainer_finds_both_texts_in_every_file(release: Path, tokenizer: Any) -> None:
    run_page("NAP trainer")
    files = sorted((release / "data").glob("*.parquet"))
    assert len([file for file in files if file.name.startswith("train-")]) == 2
    joined = [Path("nap_train.parquet"), Path("nap_validation.parquet")]
    for file in (*files, *joined):
        table = pq.read_table(file)
        frame = pd.read_parquet(file)
        for name in ("prompt", "response"):
            assert table.schema.field(name).type == pa.string()
            assert table.column(name).null_count == 0
            assert all(type(text) is str and text for text in frame[name])
            assert list(frame[name]) == table.column(name).to_pylist()
    frame = pd.concat([pd.read_parquet(file) for file in files])
    assert len(frame) == ROWS == sum(len(pd.read_parquet(file)) for file in joined)
    again = datasets.Dataset.from_pandas(frame)
    for i, row in enumerate(again):
        assert (row["prompt"], row["response"]) == tuple(frame.iloc[i][["prompt", "response"]])
        user = [{"role": "user", "content": frame.iloc[i]["prompt"]}]
        opened = tokenizer.apply_chat_template(user, tokenize=False, add_generation_prompt=True)
        chat = tokenizer.apply_chat_template(row["messages"], tokenize=False)
        assert opened + row["response"] + tokenizer.eos_token == chat.rstrip("\n"), "as in a chat"


def test_dllm_finds_two_turns_in_every_row(release: Path, tokenizer: Any) -> None:
    run_page("dLLM")
    whole = datasets.load_dataset(str(release))
    data = datasets.load_dataset("dllm_data")
    assert set(data) == {"train", "test"}
    for split, former in (("train", "train"), ("test", "validation")):
        assert data[split].column_names == ["messages"]
        assert data[split]["messages"][:] == whole[former]["messages"][:]
    for split in whole.values():
        assert "messages" in split.column_names
        for row in split:
            assert [sorted(turn) for turn in row["messages"]] == [["content", "role"]] * 2
            assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
            assert [turn["content"] for turn in row["messages"]] == [row["prompt"], row["response"]]
            assert row["response"] == row["response"].strip(), "some templates trim"
            ids = tokenizer.apply_chat_template(row["messages"])["input_ids"]
            opening = tokenizer.apply_chat_template(
                row["messages"][:-1], add_generation_prompt=True
            )["input_ids"]
            assert ids[: len(opening)] == opening
            assert tokenizer.decode(ids[len(opening) :]) == f"{row['response']}<|im_end|>\n"


def test_skipping_special_tokens_keeps_the_frame_and_the_summary(
    train: Any, tokenizer: Any
) -> None:
    assert not canvas.MARKER.search("".join(tokenizer.all_special_tokens))
    for row in train:
        ids = tokenizer(row["response"] + tokenizer.eos_token)["input_ids"]
        text = tokenizer.decode(ids, skip_special_tokens=True)
        assert text == row["response"]
        assert canvas.parse(text).summary == row["summary"]


def test_markers_that_a_trainer_made_special_are_skipped(train: Any, tiny_teacher: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_teacher)
    response = train[0]["response"]
    tokenizer.add_special_tokens({"extra_special_tokens": canvas.MARKER.findall(response)})
    ids = tokenizer(response)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=False) == response
    bare = str(tokenizer.decode(ids, skip_special_tokens=True))
    assert not canvas.MARKER.search(bare)
    assert train[0]["summary"] in bare


def test_a_template_that_drops_thinking_keeps_the_canvas(train: Any, tokenizer: Any) -> None:
    """Templates of reasoning models drop what stands before `</think>`; ours has a number."""
    template = "{{ messages[-1].content.split('</think>')[-1] }}"
    for row in train:
        text = tokenizer.apply_chat_template(
            row["messages"], chat_template=template, tokenize=False
        )
        assert text == row["response"]
