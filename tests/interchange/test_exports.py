"""Exports as the trainers that can be installed read them, and the Python of docs/export.md."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from transformers import AutoTokenizer

from curation.export import export
from tests.curation import samples

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "export.md").read_text()
STUDENT = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of exports, in a working directory where the page's paths are right."""
    folder = tmp_path_factory.mktemp("work")
    samples.write_run(folder / "run", samples.corpus(40))
    for kind in ("parathinker", "dpo"):
        export(folder / "run", kind, folder / "exports" / kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        yield Path("exports")


def test_the_page_makes_token_ids_for_parathinker(exports: Path, tiny_teacher: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    assert STUDENT in code
    names: dict[str, Any] = {}
    exec(code.replace(STUDENT, str(tiny_teacher)), names)
    tokenizer = names["tokenizer"]
    markers = [f"<think{n}>" for n in range(1, 9)] + ["<summary>"]
    opening = tokenizer.convert_tokens_to_ids(markers)
    first = opening[0]  # the bundled tokenizer has the summary's marker already
    assert opening[:8] == [first + 2 * n for n in range(8)], "as its collator counts them"
    data = datasets.load_from_disk("tokens")
    texts = datasets.load_dataset(str(exports / "parathinker"))
    assert {split: len(data[split]) for split in data} == {s: len(texts[s]) for s in texts}
    for row, text in zip(data["train"], texts["train"], strict=True):
        found = [opening.index(one) for one in row["input_ids"] if one in opening]
        assert found == [8, 0, 1, 2, 8], "the prompt's summary, the paths, the summary"
        learnt = [one for one in row["labels"] if one != -100]
        assert tokenizer.decode(learnt) == text["response"] + tokenizer.eos_token
        assert len(row["labels"]) == len(row["input_ids"]) == len(row["attention_mask"])


@pytest.mark.slow
def test_trl_trains_on_pairs(exports: Path, tiny_teacher: Path) -> None:
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    rows = datasets.load_dataset(str(exports / "dpo"))["train"]
    args = DPOConfig(
        "out", max_steps=1, per_device_train_batch_size=2, use_cpu=True, report_to="none"
    )
    assert args.max_length == 1024
    trainer = DPOTrainer(str(tiny_teacher), args=args, train_dataset=rows)
    trainer.train()
    (loss,) = [e["train_loss"] for e in trainer.state.log_history if "train_loss" in e]
    assert math.isfinite(loss)
    tokenizer = AutoTokenizer.from_pretrained(tiny_teacher)
    trained: Any = trainer.train_dataset
    for row, seen in zip(rows, trained, strict=True):
        for side in ("chosen", "rejected"):
            (ids,) = [seen[name] for name in (f"{side}_ids", f"{side}_input_ids") if name in seen]
            assert row[side][0]["content"] in tokenizer.decode(ids)
