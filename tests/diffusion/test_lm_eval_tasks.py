"""The tasks of docs/tasks.md run in lm_eval as they stand there, with problems of the same form."""

import importlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.paths import ROOT

lm_eval = pytest.importorskip("lm_eval", reason="lm_eval is missing: pip install -e .[harness]")
harness = importlib.import_module("diffusion.lm_eval_model.model")
tasks = importlib.import_module("lm_eval.tasks")

PAGE = (ROOT / "docs" / "tasks.md").read_text()
MODEL = "path=tiny/dlm,rule=confidence,form=long_cot,precision=float32"
BENCH = "dataset/parallel_bench/data/output/test/waiting_line"
PEOPLE = ("Ada Quist", "Bo Larsen", "Cy Moreau", "Di Novak")


def section(name: str) -> dict[str, str]:
    """The blocks of code of a section, by language."""
    text = PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))


def manager(folder: Path, module: str, name: str, changes: Mapping[str, str]) -> Any:
    """lm_eval's tasks in a folder that holds a section's two files."""
    blocks = section(name)
    text = blocks["yaml"]
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (folder / f"{module}.py").write_text(blocks["python"])
    (folder / "task.yaml").write_text(text)
    return tasks.TaskManager(include_path=str(folder), include_defaults=False)


def run(manager: Any, task: str, args: str, **more: Any) -> tuple[Any, list[Any]]:
    """The results of a task, and its samples in order."""
    found = lm_eval.simple_evaluate(
        model="polytrace",
        model_args=f"{MODEL},{args}",
        batch_size=8,
        tasks=[task],
        task_manager=manager,
        bootstrap_iters=0,
        **more,
    )
    samples = sorted(found["samples"][task], key=lambda one: int(one["doc_id"]))
    return found["results"][task], samples


def local(data: Sequence[Mapping[str, Any]], name: str, folder: Path) -> dict[str, str]:
    """What a task's file says of its data, and the same for rows that are written here."""
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in data))
    where = {"data_files": {"test": str(file)}, "cache_dir": str(folder / "cache")}
    return {f"{{data_files: {{test: {name}}}}}": json.dumps(where)}


def line_of(people: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{one}"' for one in people) + "]"


def write_bench(folder: Path, answers: Sequence[Any], task: str) -> None:
    """Problems in ParallelBench's form: a prompt, and rows with one example each."""
    home = folder / BENCH
    home.mkdir(parents=True, exist_ok=True)
    prompt = "The line:\\n{context}\nAda has 4 boxes of 5 pens. How many pens are there?"
    settings = {f"waiting_line/{task}": {"prompt": prompt, "metric": "-"}}
    (home / "task_config.yaml").write_text(yaml.safe_dump(settings))
    example = {"input": {"context": line_of(PEOPLE[2:])}, "answer": answers[-1], "metadata": {}}
    rows = [
        {
            "input": {"context": line_of(PEOPLE[: 2 + n]), "icl_examples": [example]},
            "answer": answer,
        }
        for n, answer in enumerate(answers)
    ]
    (home / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("task", ["copy", "shuffle"])
def test_waiting_lines_of_parallel_bench(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the model writes to the first problem is made its answer; that of the second is not."""
    monkeypatch.setenv("PARALLEL_BENCH", str(tmp_path))
    right: Any = line_of(PEOPLE[:2])
    wrong: Any = line_of(PEOPLE[:3])
    if task == "shuffle":
        right, wrong = (
            {"input": list(PEOPLE[:n]), "example": line_of(PEOPLE[n - 1 :: -1])} for n in (2, 3)
        )
    write_bench(tmp_path, [right, wrong], task)
    here = manager(tmp_path, "parallel_bench", "ParallelBench", {"copy": task})
    options: Any = {"args": "masks=16,steps=4,fill=last", "apply_chat_template": True}
    results, samples = run(here, f"waiting_line_{task}", **options)
    assert results["score,none"] == 0
    first = samples[0]["arguments"][0][0]
    example, asked = line_of(PEOPLE[2:]), line_of(PEOPLE[:2])
    assert first.count("<|im_start|>user") == 2 and first.count("assistant") == 2
    assert first.index(f"line:\n{example}") < first.index(samples[1]["target"])
    assert first.index(samples[1]["target"]) < first.index(f"line:\n{asked}")
    if task == "copy":
        text = samples[0]["resps"][0][0]
        said = [one.strip('" ') for one in text.split(",") if one.strip()]
        assert said and "[" not in text, text
        write_bench(tmp_path, [line_of(said), wrong], task)
        results, _ = run(
            manager(tmp_path, "parallel_bench", "ParallelBench", {}),
            **options,
            task="waiting_line_copy",
        )
        assert results["score,none"] == 0.5


def functions(name: str) -> dict[str, Any]:
    """What a section's Python defines."""
    found: dict[str, Any] = {}
    exec(section(name)["python"], found)
    return found


def test_lists_are_scored_as_their_tasks_want(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLEL_BENCH", "clone")
    score = functions("ParallelBench")["score"]
    a, b, c = PEOPLE[:3]
    copy = {"answer": json.dumps(line_of((a, b)))}
    shuffle = {"answer": json.dumps({"input": [a, b, c], "example": line_of((b, a, c))})}
    for doc, text, expected in (
        (copy, line_of((a, b)), 1),
        (copy, f"Here it is: {line_of((b, a))} or rather {line_of((a, b))}.", 1),
        (copy, f"[{a}, {b}]", 1),
        (copy, line_of((b, a)), 0),
        (copy, line_of((a,)), 0),
        (copy, "", 0),
        (shuffle, line_of((b, a, c)), 1),
        (shuffle, line_of((c, b, a)), 1),
        (shuffle, line_of((a, b, c)), 0),
        (shuffle, line_of((a, a, c)), 0),
        (shuffle, line_of((b, a)), 0),
    ):
        assert score(doc, [text]) == {"score": expected}, (doc, text)


def test_programs_in_the_form_of_humaneval(tmp_path: Path) -> None:
    """The first problem takes any text as a string; the second wants an expression."""
    problems = [
        {
            "prompt": 'def said():\n    return """',
            "test": '"""\n\n\ndef check(candidate):\n    assert isinstance(candidate(), str)',
            "entry_point": "said",
            "canonical_solution": "Yes.",
        },
        {
            "prompt": "def add(a, b):\n    return",
            "test": "def check(candidate):\n    assert candidate(2, 3) == 5",
            "entry_point": "add",
            "canonical_solution": " a + b",
        },
    ]
    changes = local(problems, "humaneval.jsonl", tmp_path)
    results, samples = run(
        manager(tmp_path, "programs", "HumanEval", changes), "programs", "masks=16,steps=4"
    )
    assert [one["pass@1"] for one in samples] == [1, 0]
    assert results["pass@1,none"] == 0.5
    assert problems[1]["prompt"] in samples[1]["arguments"][0][0]


def test_programs_are_run_in_the_sandbox() -> None:
    score = functions("HumanEval")["score"]
    doc = {
        "prompt": "def add(a, b):\n    return",
        "test": "def check(candidate):\n    assert candidate(2, 3) == 5",
        "entry_point": "add",
    }
    for text, expected in (
        (" a + b", 1),
        ("```python\n a + b\n```\nIt adds.", 1),
        (" a - b", 0),
        (" exit()", 0),
        (f" open({str(ROOT / 'README.md')!r}) and a + b", 0),
    ):
        assert score(doc, [text]) == {"pass@1": expected}, text


@pytest.mark.parametrize(
    "reply",
    [
        "    return a + b\nprint(add(1, 2)",
        "    return a + b\n\ndef unfinished(",
        "```python\ndef add(a, b):\n    return a + b\n```",
        "Here:\n```python\nimport math\n\ndef add(a, b):\n    return a + b\n```\nIt adds.",
        "import math\n\ndef add(a, b):\n    return a + b",
    ],
)
def test_the_rest_of_a_function_and_the_whole_of_it_are_right(reply: str) -> None:
    doc = {
        "prompt": 'def add(a, b):\n    """Add."""\n',
        "test": "def check(candidate):\n    assert candidate(2, 3) == 5",
        "entry_point": "add",
    }
    task = yaml.safe_load(section("HumanEval")["yaml"].replace("!function ", ""))
    text = harness.cut(reply, task["generation_kwargs"]["until"])
    assert functions("HumanEval")["score"](doc, [text]) == {"pass@1": 1}


def test_a_contest_in_the_form_of_aime(tmp_path: Path) -> None:
    """Two samples of each problem; the share of right ones is the mean."""
    lines = (ROOT / "tiny/prompts/test.jsonl").read_text().splitlines()[:5]
    rows = [json.loads(line) for line in lines]
    problems = [{"Problem": row["question"], "Answer": int(row["answer"])} for row in rows]
    changes = local(problems, "aime.jsonl", tmp_path)
    results, samples = run(
        manager(tmp_path, "contest", "AIME", changes),
        "contest",
        "masks=56,steps=14,temperature=0.6",
    )
    texts = [one["resps"][0] for one in samples]
    assert all(len(some) == 2 for some in texts)
    assert any(first != second for first, second in texts)
    right = [
        re.findall("[0-9]+", text)[-1:] == [row["answer"]]
        for row, some in zip(rows, texts, strict=True)
        for text in some
    ]
    assert 0 < sum(right) < len(right), texts
    assert results["accuracy,samples"] == pytest.approx(sum(right) / len(right)), texts
