"""lm_eval itself asks the bundled model: its texts are the decoder's, its prompts are ours."""

import dataclasses
import importlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dill  # type: ignore[import-untyped]
import pytest
import yaml

from diffusion.data.layout import Form, encode_prompt
from diffusion.decoding import Measure, Rule
from diffusion.decoding.decode import Request, Sampling, decode
from diffusion.decoding.kv_cache import CachedPositions, CacheSettings
from diffusion.decoding.rules.ar_order import ArOrder
from diffusion.decoding.rules.p2 import PathPlanning
from diffusion.decoding.rules.parallel_forced import ParallelForced
from diffusion.evaluation.answers import answers, layout_for
from diffusion.evaluation.likelihood import log_likelihood
from diffusion.models import load_model
from diffusion.settings import Precision
from support.errors import UserError
from support.paths import ROOT
from tests.diffusion.checkpoints import make
from tests.diffusion.layouts import BLOCK, BLOCK_CAUSAL

lm_eval = pytest.importorskip("lm_eval", reason="lm_eval is missing: pip install -e .[harness]")
harness = importlib.import_module("diffusion.lm_eval_model.model")
instance = importlib.import_module("lm_eval.api.instance")
tasks = importlib.import_module("lm_eval.tasks")

PAGE = (ROOT / "docs" / "evaluation.md").read_text()
COUNT = 5
AR = "path=tiny/dlm,rule=ar_order,form=long_cot,masks=56,steps=56,precision=float32"
NAP = (
    "path=tiny/dlm,rule=parallel_forced,summary=joint,paths=2,masks=44,summary_tokens=8,steps=9,"
    "precision=float32"
)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    lines = (ROOT / "tiny/prompts/test.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines[:COUNT]]


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]) -> Any:
    """Tasks over a local file: one asks for text, `few` with an example, one for likelihoods."""
    folder = tmp_path_factory.mktemp("tasks")
    file = folder / "problems.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = yaml.safe_load(code("yaml", PAGE)) | {
        "dataset_kwargs": {"data_files": {"test": str(file)}, "cache_dir": str(folder / "cache")}
    }
    few = task | {"task": "few", "num_fewshot": 1, "fewshot_split": "test"}
    choice = {
        key: task[key] for key in ("dataset_path", "dataset_kwargs", "test_split", "doc_to_text")
    } | {
        "task": "choice",
        "output_type": "multiple_choice",
        "doc_to_choice": ["1", "2"],
        "doc_to_target": 0,
    }
    for one in (task, few, choice):
        (folder / f"{one['task']}.yaml").write_text(yaml.safe_dump(one))
    return tasks.TaskManager(include_path=str(folder), include_defaults=False)


@pytest.fixture(scope="module")
def model() -> Any:
    return harness.Polytrace.create_from_arg_string(AR, {"batch_size": 2})


def code(language: str, page: str) -> str:
    """The block of a language that has to do with lm_eval; of commands, the one that runs it."""
    section = page[page.index("## In lm-evaluation-harness") :]
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return next(one for one in blocks if not one.startswith("pip install"))


def run(model: Any, manager: Any, task: str = "tiny_problems", **options: Any) -> Any:
    """What lm_eval's own function returns."""
    return lm_eval.simple_evaluate(
        model=model, tasks=[task], task_manager=manager, bootstrap_iters=0, **options
    )


def texts(results: Any, task: str = "tiny_problems") -> list[str]:
    samples = sorted(results["samples"][task], key=lambda sample: int(sample["doc_id"]))
    return [sample["resps"][0][0] for sample in samples]


def prompts(results: Any, task: str = "tiny_problems") -> list[str]:
    samples = sorted(results["samples"][task], key=lambda sample: int(sample["doc_id"]))
    return [sample["arguments"][0][0] for sample in samples]


def asked(context: str, **generation: Any) -> Any:
    return instance.Instance(
        request_type="generate_until", doc={}, arguments=(context, generation), idx=0
    )


def decoded(model: Any, layout: Any, rule: Rule, questions: Sequence[str], steps: int) -> list[str]:
    """The last slot's texts, straight from the loop."""
    tokenizer = model.dlm.tokenizer
    requests = [Request("", encode_prompt(tokenizer, question)) for question in questions]
    made = decode(model.dlm, layout, requests, rule, steps=steps, sampling=Sampling())
    return [tokenizer.decode(layout.contents(row.ids_C)[-1]) for row in made]


def scored(model: Any, questions: Sequence[str]) -> list[str]:
    """The texts that are graded, straight from the decoder."""
    requests = [Request("", encode_prompt(model.dlm.tokenizer, one)) for one in questions]
    made = answers(
        *(model.dlm, model.layout, requests, model.rule),
        steps=56,
        sampling=Sampling(),
        precision=Precision.FLOAT32,
        where="",
    )
    return [one.scored for one in made]


@pytest.mark.slow
def test_results_are_those_of_the_decoder(
    model: Any, manager: Any, rows: list[dict[str, str]]
) -> None:
    results = run("polytrace", manager, model_args=AR, batch_size=2)
    layout = layout_for(model.dlm, Form.LONG_COT, paths=1, masks=56, summary_tokens=0)
    assert (layout.headers, layout.slots) == (((),), (56,))
    expected = decoded(model, layout, ArOrder(), [row["question"] for row in rows], steps=56)
    expected = [text.partition("\n\n")[0] for text in expected]  # the task's stop string
    assert texts(results) == expected
    said = [re.search(r"The answer is (-?[0-9]+)", text) for text in expected]
    right = [
        found is not None and found[1] == row["answer"]
        for found, row in zip(said, rows, strict=True)
    ]
    assert sum(right) > 0, "a test in which nothing is right tests no score"
    assert results["results"]["tiny_problems"]["exact_match,answer"] == sum(right) / COUNT
    assert results["config"]["polytrace"]["masks"] == 56
    assert results["config"]["polytrace"]["rule"] == "ArOrder()"


def test_settings_and_rules_are_those_of_a_recipe() -> None:
    """Tokens are joined by "+"; the options of a rule stand beside those of the model."""
    args = (
        "path=tiny/dlm,rule=p2,eta=1.5,confidence=margin,form=long_cot,masks=20,steps=5,"
        "precision=float32,guidance=0.5,suppress=7+0,defer=<|endoftext|>,top_p=0.9,tempered=True"
    )
    made = harness.Polytrace.create_from_arg_string(args, {"batch_size": 2})
    assert made.rule == PathPlanning(eta=1.5, confidence=Measure.MARGIN)
    wanted: dict[str, Any] = {
        "guidance": 0.5,
        "suppress": (7, 0),
        "defer": ("<|endoftext|>",),
        "top_p": 0.9,
    }
    assert made.options.sampling == Sampling(tempered=True, **wanted)
    assert wanted.items() <= made.get_model_info()["polytrace"].items()


def test_of_a_canvas_the_summary_is_returned(manager: Any, rows: list[dict[str, str]]) -> None:
    made = harness.Polytrace.create_from_arg_string(NAP)
    layout = layout_for(made.dlm, Form.CANVAS, paths=2, masks=44, summary_tokens=8)
    assert layout.slots == (18, 18, 8) == made.layout.slots
    rule = ParallelForced(summary=made.rule.summary)
    assert made.rule == rule
    assert rule != ParallelForced()
    expected = decoded(made, layout, rule, [row["question"] for row in rows], steps=9)
    assert texts(run(made, manager)) == expected


@pytest.mark.slow
def test_the_chat_template_is_applied_once(model: Any, manager: Any) -> None:
    turn = "<|im_start|>assistant"
    plain, rendered = run(model, manager), run(model, manager, apply_chat_template=True)
    assert not any(turn in prompt for prompt in prompts(plain))
    assert all(prompt.count(turn) == 1 for prompt in prompts(rendered))
    for context, prompt in zip(prompts(plain), prompts(rendered), strict=True):
        assert list(model._encode(prompt)) == list(model._encode(context))
    assert texts(rendered) == texts(plain)


def test_examples_are_turns_in_the_template_alone(model: Any, manager: Any) -> None:
    plain = run(model, manager, "few", limit=2)
    turns = run(model, manager, "few", limit=2, apply_chat_template=True)
    of_plain, of_turns = prompts(plain, "few")[0], prompts(turns, "few")[0]
    assert of_turns.count("<|im_start|>user") == 2
    tokenizer = model.dlm.tokenizer
    assert tokenizer.decode(model._encode(of_turns)) == of_turns
    assert tokenizer.decode(model._encode(of_plain)).count("<|im_start|>user") == 1
    assert tokenizer.decode(model._encode(of_plain)).count("The answer is") == 0
    opened = model.apply_chat_template(
        [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Answer:"}],
        add_generation_prompt=False,
    )
    assert opened.endswith("<|im_start|>assistant\nAnswer:")
    assert tokenizer.decode(model._encode(opened)) == opened


def test_lm_evals_cache_of_prompts_keeps_the_mark(
    model: Any, manager: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lm_eval.caching.cache.PATH", str(tmp_path))
    options: Any = {"limit": 1, "apply_chat_template": True, "cache_requests": True}
    first = run(model, manager, **options)
    assert list(tmp_path.iterdir())
    again = run(model, manager, **options)
    assert isinstance(prompts(again)[0], harness.Rendered)
    assert texts(again) == texts(first)
    assert isinstance(dill.loads(dill.dumps(harness.Rendered("x"))), harness.Rendered)


def test_texts_end_before_a_stop_string(model: Any, rows: list[dict[str, str]]) -> None:
    question = rows[1]["question"]
    whole, one, several, none = model.generate_until(
        [
            asked(question),
            asked(question, until=" of"),
            asked(question, until=["zzz", "\n", " "]),
            asked(question, until=["zzz", ""]),
        ],
        disable_tqdm=True,
    )
    assert " " in whole
    assert whole == none
    assert one == whole.partition(" of")[0]
    assert several == whole.replace("\n", " ").partition(" ")[0]
    assert harness.cut("a, b. c", ["c", ". "]) == "a, b"
    assert harness.cut("a", None) == "a"


def test_samples_differ_between_repeats_and_not_between_runs() -> None:
    made = harness.Polytrace(
        path="tiny/dlm",
        rule="random_order",
        form="long_cot",
        masks=12,
        temperature=1.0,
        precision="float32",
        batch_size="3",
    )
    questions = [asked(text, do_sample=True, temperature=1.0) for text in ("Why?", "How?", "Why?")]
    first = made.generate_until(questions, disable_tqdm=True)
    assert first[0] != first[2]
    assert made.generate_until(questions[:1], disable_tqdm=True) == first[:1]
    with pytest.raises(UserError, match=r"samples at temperature 0\.7; add temperature=0\.7"):
        made.generate_until([asked("Why?", do_sample=True, temperature=0.7)])
    greedy = asked("Why?", do_sample=False, temperature=0.7)
    assert made.generate_until([greedy], disable_tqdm=True) == first[:1]


@pytest.mark.parametrize("kind", ["a2d-qwen3", "llada_moe", "sdar", "fast_dllm_v2", "llada2"])
def test_every_family_answers(kind: str, tmp_path: Path) -> None:
    options = f"path={make(kind, tmp_path)},form=long_cot,masks=12,steps=4,precision=float32"
    made = harness.Polytrace.create_from_arg_string(f"{options},rule=blockwise,block={BLOCK}")
    assert len(made.generate_until([asked("What is 2 + 3?"), asked("Why?")], True)) == 2
    if kind in BLOCK_CAUSAL:
        wrong = harness.Polytrace.create_from_arg_string(f"{options},rule=confidence")
        with pytest.raises(UserError, match=r"^model_args\.rule: this model is decoded in blocks"):
            wrong.generate_until([asked("Why?")], True)


def test_what_has_no_effect_is_said(model: Any, caplog: pytest.LogCaptureFixture) -> None:
    model.generate_until([asked("Why?", until=["\n"], max_gen_toks=8, top_p=1)], disable_tqdm=True)
    assert "max_gen_toks, top_p: without effect" in caplog.text


def test_multiple_choice_has_estimates_and_says_so(
    model: Any, manager: Any, rows: list[dict[str, str]]
) -> None:
    results = run(model, manager, "choice")
    samples = sorted(results["samples"]["choice"], key=lambda sample: int(sample["doc_id"]))
    for sample, row in zip(samples, rows, strict=True):
        for choice, (value, is_greedy) in zip(("1", "2"), sample["filtered_resps"], strict=True):
            prompt, answer = model._encode_pair(row["question"], f" {choice}")
            expected = log_likelihood(
                model.dlm,
                prompt,
                answer,
                samples=128,
                seed=0,
                batch=2,
                precision=Precision.FLOAT32,
            )
            assert (value, is_greedy) == (expected.value, expected.is_greedy)
    said = results["config"]["likelihoods"]
    assert said["what"].startswith("Monte-Carlo estimates") and said["samples"] == 128
    assert said["requests"] == 2 * COUNT and said["choices"] == COUNT
    assert 0 <= said["mean_standard_error"] <= said["largest_standard_error"]


def test_loglikelihood_tells_what_the_model_would_write(model: Any) -> None:
    """The prompt is raw: no chat template stands in it."""
    prompt, answer = model._encode_pair("What is 2 + 3? ", "The answer is 5")
    tokenizer = model.dlm.tokenizer
    assert tokenizer.decode(prompt) == "What is 2 + 3?"
    assert tokenizer.decode(answer) == " The answer is 5"
    asked_for = instance.Instance(
        request_type="loglikelihood", doc={}, arguments=("What is 2 + 3? ", "5"), idx=0
    )
    [(value, is_greedy)] = model.loglikelihood([asked_for], disable_tqdm=True)
    assert value < 0 and is_greedy in (True, False)


def test_likelihoods_that_are_not_offered(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"loglikelihood_rolling.* is not offered"):
        model.loglikelihood_rolling([])
    long = instance.Instance(
        request_type="loglikelihood", doc={}, arguments=("Why? " * 500, "5"), idx=0
    )
    with pytest.raises(UserError, match=r"row of [0-9]+ tokens, and the model sees 1024"):
        model.loglikelihood([long], disable_tqdm=True)
    monkeypatch.setattr(model.dlm.denoiser, "block", 4, raising=False)
    with pytest.raises(UserError, match="block-causal, and none are offered"):
        model.loglikelihood([long], disable_tqdm=True)


def test_a_cache_is_that_of_a_recipe(rows: list[dict[str, str]]) -> None:
    args = "path=tiny/dlm,rule=blockwise,block=8,form=long_cot,masks=32,steps=16,precision=float32"
    made = harness.Polytrace.create_from_arg_string(
        f"{args},cache=dual,cache_refresh=2", {"batch_size": 2}
    )
    caching = CacheSettings(kind=CachedPositions.DUAL, refresh=2)
    assert made.options.caching == caching
    questions = [row["question"] for row in rows[:2]]
    requests = [Request("", encode_prompt(made.dlm.tokenizer, one)) for one in questions]
    expected = answers(
        *(made.dlm, made.layout, requests, made.rule),
        steps=16,
        sampling=Sampling(),
        precision=Precision.FLOAT32,
        where="",
        caching=caching,
    )
    found = made.generate_until([asked(one) for one in questions], disable_tqdm=True)
    assert found == [one.scored for one in expected]
    assert made.get_model_info()["polytrace"]["cache"] == "dual"


def test_a_family_that_keeps_nothing_is_refused(model: Any, tmp_path: Path) -> None:
    made = harness.Polytrace.create_from_arg_string(AR)
    made.options = dataclasses.replace(model.options, cache=CachedPositions.PROMPT)
    made.dlm = load_model(str(make("masked_lm", tmp_path)))
    with pytest.raises(UserError, match=r"model_args\.cache: a model of the family masked_lm"):
        made.generate_until([asked("Why?")], disable_tqdm=True)


CODE = r"""
task: code
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}, cache_dir: CACHE}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
repeats: 2
generation_kwargs: {until: ["\nclass", "\ndef"], max_gen_toks: 64, do_sample: false}
metric_list:
  - {metric: !function code_utils.pass_at_k, aggregation: mean, higher_is_better: true, k: [1]}
filter_list:
  - name: create_test
    filter:
      - {function: custom, filter_fn: !function code_utils.build_predictions}
"""
CODE_UTILS = """
def pass_at_k(references, predictions, k=None):
    [candidates], [reference] = predictions, references
    assert len(candidates) == 2 and k in (1, [1])
    return {"pass@1": sum(f"is {reference}" in one for one in candidates) / 2}


def build_predictions(resps, docs):
    return [[doc["question"] + one for one in some] for some, doc in zip(resps, docs)]
"""


@pytest.mark.slow
def test_a_task_in_the_form_of_lm_evals_humaneval_runs(
    model: Any, tmp_path: Path, rows: list[dict[str, str]]
) -> None:
    """Functions beside the task make programs of texts and count passes."""
    file = tmp_path / "problems.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = CODE.replace("FILE", str(file)).replace("CACHE", str(tmp_path / "cache"))
    (tmp_path / "code.yaml").write_text(made)
    (tmp_path / "code_utils.py").write_text(CODE_UTILS)
    here = tasks.TaskManager(include_path=str(tmp_path), include_defaults=False)
    passed = run(model, here, "code", confirm_run_unsafe_code=True)
    right = [
        f"is {row['answer']}" in text
        for row, text in zip(rows, scored(model, [row["question"] for row in rows]), strict=True)
    ]
    assert sum(right) > 0
    assert passed["results"]["code"]["pass@1,create_test"] == sum(right) / COUNT


def test_lm_evals_own_models_are_still_there() -> None:
    registry = importlib.import_module("lm_eval.api.registry")
    assert registry.get_model("polytrace") is harness.Polytrace
    assert "hf" in registry.MODEL_REGISTRY


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("rule=ar_order", "model_args: path: missing; add it"),
        ("path=tiny/dlm", "model_args: rule: missing; add it"),
        ("path=tiny/dlm,rule=ar_ordre", "no rule 'ar_ordre'; did you mean 'ar_order'"),
        ("path=tiny/dlm,rule=ar_order,mask=4", "mask: no option; did you mean 'masks'"),
        ("path=tiny/dlm,rule=blockwise,blok=4", "blok: no option; did you mean 'block'"),
        ("path=tiny/dlm,rule=blockwise,block=0", r"model_args\.block: 0 is under 1"),
        ("path=tiny/dlm,rule=ar_order,form=cot", "form is 'cot'; give 'canvas' or 'long_cot'"),
        ("path=tiny/dlm,rule=ar_order,masks=40,paths=9", "masks: 40 leave nothing for 9 paths"),
        ("path=tiny/dlm,rule=ar_order,steps=0", "steps: 0 is not at least 1"),
        ("path=tiny/dlm,rule=fast_dllm,steps=4", "steps: fast_dllm takes as many as it needs"),
        (
            "path=tiny/dlm,rule=ar_order,batch_size=auto",
            "batch_size is 'auto'; give a whole",
        ),
        ("path=tiny/dlm,rule=ar_order,device=abacus", r"model_args\.device: 'abacus'"),
        (
            "path=tiny/dlm,rule=ar_order,temperature=-1",
            "temperature: -1.0 is not a number of at least 0",
        ),
        ("path=tiny/dlm,rule=ar_order,cache=dual", r"model_args\.cache: dual is of rules with"),
        ("path=tiny/dlm,rule=ar_order,cache=al", "cache is 'al'; give"),
        ("path=tiny/dlm,rule=ar_order,cache_refresh=2", "cache_refresh: there is no cache"),
        ("path=tiny/dlm,rule=ar_order,cache=prompt,cache_refresh=-1", "refresh: -1 is under 0"),
        ("path=tiny/dlm,rule=ar_order,mc_samples=40", "mc_samples: 40 is not a multiple of 16"),
    ],
)
def test_mistakes_are_named(args: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        harness.Polytrace.create_from_arg_string(args)


def test_a_row_that_the_model_cannot_see_is_refused(model: Any) -> None:
    with pytest.raises(UserError, match=r"model_args: .* the model sees 1024; lower masks"):
        model.generate_until([asked("Why? " * 500)], disable_tqdm=True)


def test_a_template_that_is_not_there_is_refused(model: Any, manager: Any) -> None:
    with pytest.raises(UserError, match="give no name"):
        model.chat_template("tool_use")
    template, model.dlm.tokenizer.chat_template = model.dlm.tokenizer.chat_template, None
    try:
        with pytest.raises(UserError, match="tiny/dlm has no chat template; leave it out"):
            run(model, manager, apply_chat_template=True)
    finally:
        model.dlm.tokenizer.chat_template = template


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the page's commands are right."""
    (tmp_path / "tiny").symlink_to(ROOT / "tiny")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "tiny_problems.yaml").write_text(code("yaml", PAGE))
    return tmp_path


def shell(args: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *args],
        cwd=cwd,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "HF_HOME": str(cwd / "hub"),
            "HF_HUB_OFFLINE": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_the_documented_command_runs(folder: Path) -> None:
    python, *args = shlex.split(code("bash", PAGE).replace("\\\n", " "))
    assert python == "python"
    done = shell([*args, "--limit", "2"], folder)
    assert done.returncode == 0, done.stderr
    assert "|tiny_problems|" in done.stdout.replace(" ", "")
    results = json.loads(next((folder / "results").rglob("results_*.json")).read_text())
    assert results["config"]["model"] == "polytrace"
    assert results["config"]["polytrace"]["batch_size"] == 50
    assert results["results"]["tiny_problems"]["sample_len"] == 2
    assert len(next((folder / "results").rglob("samples_*.jsonl")).read_text().splitlines()) == 2


@pytest.mark.slow
def test_a_mistake_is_one_line_and_exit_code_2(folder: Path) -> None:
    call = ["-m", "diffusion.lm_eval_model", "--model", "polytrace", "--include_path", "tasks"]
    args = ["--tasks", "tiny_problems", "--model_args", "path=tiny/dlm,rule=ar_ordre"]
    done = shell([*call, *args], folder)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("polytrace: model_args.rule.kind: no rule 'ar_o")
    assert "Traceback" not in done.stderr


def test_without_lm_eval_the_command_says_so(tmp_path: Path) -> None:
    done = shell(["-S", "-m", "diffusion.lm_eval_model"], tmp_path)  # no installed package is seen
    assert done.returncode == 2
    assert done.stderr.startswith(
        'polytrace: lm_eval is not installed; pip install -e ".[harness]" in the checkout'
    )
