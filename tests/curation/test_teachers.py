"""The teachers: recorded traces as they stand; sampling that is right, repeatable and honest."""

import asyncio
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from curation.sampling.service import FinishedShard, Shard, no_shortfall, run
from curation.teachers import (
    Failure,
    Request,
    SampleBudget,
    SampleOutcome,
    Teacher,
    recorded,
    transformers_local,
)
from curation.teachers._part import take
from schemas.recipe import Part
from schemas.records import FinishReason, Prompt, Recorded, Trace
from support import plugins
from support.errors import UserError

TEMPLATE = "{% for m in messages %}<u>{{ m['content'] }}</u>{% endfor %}<a>"
PROBLEMS = (
    "2 + 2?",
    "What is seven times six, exactly?",
    "x",
    "Zoë has 3 apples; how many?",
    "9-5",
)


def prompt(text: str, *traces: Recorded) -> Prompt:
    return Prompt(
        id=f"id {text}", text=text, gold="1", source="s", row=1, license="l", recorded=traces
    )


PROMPTS = [prompt(text) for text in PROBLEMS]


def requests(prompts: Sequence[Prompt], total: int, missing: Sequence[int] | None = None) -> Any:
    wanted = tuple(range(total)) if missing is None else tuple(missing)
    return [
        Request(
            prompt=one,
            shard=0,
            position=at,
            wanted=SampleBudget(total, total),
            missing=wanted,
            keys=tuple(f"{one.id} {n}" for n in range(total)),
        )
        for at, one in enumerate(prompts)
    ]


def outcomes(teacher: Teacher, wishes: Iterable[Request]) -> list[SampleOutcome]:
    async def collect() -> list[SampleOutcome]:
        return [outcome async for outcome in teacher.sample(wishes, no_shortfall)]

    return asyncio.run(collect())


def traces(teacher: Teacher, wishes: Iterable[Request]) -> dict[tuple[str, int], Trace]:
    found = outcomes(teacher, wishes)
    assert all(isinstance(one, Trace) for one in found)
    return {(one.prompt_id, one.index): one for one in found if isinstance(one, Trace)}


# --- recorded ------------------------------------------------------------------------------------


def test_recorded_traces_come_as_they_stand() -> None:
    one = prompt(
        "q",
        Recorded(text="a <think>", model="gpt", correct=True, finish_reason=FinishReason.LENGTH),
        Recorded(text=""),
    )
    teacher = recorded.build()
    assert teacher.wanted(one, samples=5) == (2, 2)
    assert teacher.wanted(prompt("p"), samples=5) == (0, 0)
    first, second = outcomes(teacher, requests([one], 2))
    assert isinstance(first, Trace) and isinstance(second, Trace)
    assert (first.text, first.teacher, first.recorded_correct) == ("a <think>", "gpt", True)
    assert first.finish_reason is FinishReason.LENGTH and first.temperature is first.seed is None
    assert (second.text, second.teacher, second.index) == ("", "recorded", 1)
    assert [first.key, second.key] == ["id q 0", "id q 1"]  # the request's: worked out once
    assert outcomes(teacher, requests([one], 2, missing=[1])) == [second]


def test_recorded_traces_need_no_journal_and_sampled_ones_do(tmp_path: Path) -> None:
    one = prompt("q", Recorded(text="a"), Recorded(text="b"))
    closed: list[Trace] = []
    served = Part.model_validate({"kind": "transformers_local", "path": "tiny/teacher"})
    assert not recorded.build(top_up=served).is_record
    end = run(
        recorded.build(),
        [Shard(index=0, prompts=[one])],
        samples=2,
        folder=tmp_path,
        have=lambda index: (),
        close=lambda shard: closed.extend(shard.traces),
    )
    assert (end.done, [trace.text for trace in closed]) == (2, ["a", "b"])
    assert list(tmp_path.iterdir()) == []


def test_a_local_teacher_writes_for_groups_that_lack_something_alone(
    tiny_teacher: Path, tmp_path: Path
) -> None:
    full = prompt("What is 2 + 3?", *(Recorded(text=f"So {n}: 5") for n in range(3)))
    short = prompt("What is 2 + 4?", Recorded(text="So: 6"))
    served = {"kind": "transformers_local", "path": str(tiny_teacher), "max_tokens": 8}
    closed: list[Trace] = []
    end = run(
        recorded.build(top_up=Part.model_validate(served)),
        [Shard(index=0, prompts=[full, short])],
        samples=3,
        folder=tmp_path,
        have=lambda index: (),
        close=lambda shard: closed.extend(shard.traces),
        shortfall=lambda one, traces: max(0, 3 - len(traces)),
    )
    by = Counter((trace.prompt_id, trace.teacher) for trace in closed)
    assert by == {(full.id, "recorded"): 3, (short.id, "recorded"): 1, (short.id, "teacher"): 3}
    assert (end.done, end.failures) == (7, 0)


def test_a_changed_record_has_another_key() -> None:
    one = Recorded(text="a", model="m", correct=None)
    variants = [
        one,
        replace(one, text="b"),
        replace(one, model=None),
        replace(one, correct=False),
        replace(one, finish_reason=FinishReason.STOP),
    ]
    keys = {recorded.build(part=part).key(prompt("q", v), 0) for v in variants for part in PARTS}
    assert len(keys) == 10


PARTS: tuple[Any, ...] = ("full", "after_think")


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("<think>\nhm\n</think>\n\nThe answer is 4. \n", "The answer is 4."),
        ("hm</think>4", "4"),
        ("<think>a</think>b<think>c</think> d", "d"),
        ("<think>cut off while thin", ""),
        ("<think>a</think>b<think>c", "b<think>c"),
        ("", ""),
        ("done</think>", ""),
    ],
)
def test_after_think_never_keeps_the_thinking(text: str, after: str) -> None:
    taken = take(text, "after_think", FinishReason.STOP)
    assert taken.text == after
    is_there = "</think>" in text
    assert taken.finish_reason is (
        FinishReason.STOP if is_there else FinishReason.NO_END_OF_THINKING
    )
    assert take(text, "full", FinishReason.LENGTH) == (text, FinishReason.LENGTH)


@given(st.text(), st.text())
def test_after_think_is_what_follows(thinking: str, answer: str) -> None:
    if "</think>" not in answer:
        taken = take(f"{thinking}</think>{answer}", "after_think", FinishReason.UNKNOWN)
        assert taken == (answer.strip(), FinishReason.UNKNOWN)


# --- transformers_local --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama over bytes: ids 0 to 255, end tokens 256 and 257, special 258."""
    folder = tmp_path_factory.mktemp("models") / "random-lm"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<end>",
        additional_special_tokens=["<end2>", "<mid>"],
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=259,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        initializer_range=0.25,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():  # end tokens are rare in a random model: make them a little likelier
        model.lm_head.weight[256:] *= 2
    model.generation_config.eos_token_id = fast.convert_tokens_to_ids(["<end>", "<end2>"])
    model.save_pretrained(folder)
    return folder


def build(path: Path, **options: Any) -> transformers_local.LocalTeacher:
    return transformers_local.build(str(path), **{"max_tokens": 24, **options})


@pytest.fixture(scope="module")
def reference(lm: Path) -> tuple[Any, Any]:
    """Model and tokenizer as transformers loads them."""
    return LlamaForCausalLM.from_pretrained(lm), PreTrainedTokenizerFast.from_pretrained(lm)


def test_greedy_equals_generate(lm: Path, reference: tuple[Any, Any]) -> None:
    model, tokenizer = reference
    found = traces(build(lm, temperature=0.0), requests(PROMPTS, 1))
    for one in PROMPTS:
        text = f"<u>{one.text}</u><a>"
        ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
        out = model.generate(ids, max_new_tokens=24, do_sample=False)[0, ids.shape[1] :].tolist()
        trace = found[one.id, 0]
        is_ended = out[-1] in tokenizer.convert_tokens_to_ids(["<end>", "<end2>"])
        assert trace.text == tokenizer.decode(out[:-1] if is_ended else out)
        assert trace.completion_tokens == len(out) and trace.prompt_tokens == ids.shape[1]
        assert trace.finish_reason is (FinishReason.STOP if is_ended else FinishReason.LENGTH)


def test_a_trace_says_how_it_was_made(lm: Path) -> None:
    teacher = build(lm, temperature=0.7, top_p=0.9, seed=3)
    trace = traces(teacher, requests(PROMPTS[:1], 2))[PROMPTS[0].id, 1]
    assert (trace.teacher, trace.revision) == ("random-lm", teacher.revision)
    assert (trace.temperature, trace.top_p, trace.max_tokens) == (0.7, 0.9, 24)
    assert trace.key == teacher.key(PROMPTS[0], 1) and trace.hint is None
    assert trace.seed is not None and 0 <= trace.seed < 2**63


def test_samples_do_not_depend_on_their_neighbours(lm: Path) -> None:
    teacher = build(lm)
    together = traces(teacher, requests(PROMPTS, 8))
    alone = {k: t for one in PROMPTS for k, t in traces(teacher, requests([one], 8)).items()}
    assert together.keys() == alone.keys()
    same = sum(together[key].text == alone[key].text for key in alone)
    assert same >= 0.95 * len(alone)  # the rest: noise of a batch near a boundary
    assert len({t.text for t in together.values()}) > 0.9 * len(together)
    reasons = Counter(t.finish_reason for t in together.values())
    assert reasons[FinishReason.STOP] > 3 and reasons[FinishReason.LENGTH] > 3


def test_a_block_gives_the_same_bytes_whatever_is_missing(lm: Path) -> None:
    whole = traces(build(lm, batch_prompts=3), requests(PROMPTS, 4))
    wishes = requests(PROMPTS, 4, missing=[])
    wishes[1] = replace(wishes[1], missing=(2,))
    wishes[4] = replace(wishes[4], missing=(0, 3))
    teacher = build(lm, batch_prompts=3)
    again = traces(teacher, iter(wishes))
    keys = [(PROMPTS[1].id, 2), (PROMPTS[4].id, 0), (PROMPTS[4].id, 3)]
    assert again == {key: whole[key] for key in keys}


def test_nothing_missing_loads_nothing_and_blocks_are_read_one_at_a_time(lm: Path) -> None:
    teacher = build(lm, batch_prompts=2)
    assert outcomes(teacher, requests(PROMPTS, 4, missing=[])) == []
    assert "_model" not in vars(teacher)
    read: list[int] = []

    def lazily() -> Iterable[Request]:
        for request in requests(PROMPTS, 1):
            read.append(request.position)
            yield request

    async def first() -> None:
        async for _ in teacher.sample(lazily(), no_shortfall):
            break

    asyncio.run(first())
    assert read == [0, 1]


def test_first_tokens_follow_the_softmax(lm: Path, reference: tuple[Any, Any]) -> None:
    """Pearson's chi-square of 4,000 first tokens against the model's own probabilities."""
    model, tokenizer = reference
    ids = torch.tensor([tokenizer.encode("<u>2 + 2?</u><a>", add_special_tokens=False)])
    for temperature, top_p in ((1.0, 1.0), (0.5, 1.0), (1.0, 0.6)):
        p = torch.softmax(model(ids).logits[0, -1].detach().double() / temperature, -1)
        order = p.argsort(descending=True)
        kept = order[: int((p[order].cumsum(0) < top_p).sum()) + 1]
        p = torch.zeros_like(p).index_put((kept,), p[kept] / p[kept].sum())
        teacher = build(lm, max_tokens=1, temperature=temperature, top_p=top_p)
        counts = _first_tokens(teacher, 4000)
        expected = {i: 4000 * float(p[i]) for i in range(len(p))}
        assert all(expected[token] > 0 for token in counts)
        common = [i for i, e in expected.items() if e >= 5]
        rest = 4000 - sum(expected[i] for i in common)
        observed_rest = 4000 - sum(counts[i] for i in common)
        chi2 = sum((counts[i] - expected[i]) ** 2 / expected[i] for i in common)
        chi2 += (observed_rest - rest) ** 2 / max(rest, 1)
        freedom = len(common)
        assert chi2 < freedom + 4 * math.sqrt(2 * freedom) + 4, (temperature, top_p, chi2, freedom)


def _first_tokens(teacher: transformers_local.LocalTeacher, samples: int) -> Counter[int]:
    from curation.teachers.local.decode import PendingSample, sample

    one, model = PROMPTS[0], teacher._model
    ids = model.encode(one.text)
    rows = [
        PendingSample(prompt=0, uniforms=teacher._uniforms(one, n, len(ids)))
        for n in range(samples)
    ]
    drawn = sample(
        model.model,
        [ids],
        rows,
        temperature=teacher.temperature,
        top_p=teacher.top_p,
        end_ids=frozenset(),
        is_stopped=lambda ids: False,
    )
    return Counter(one.ids[0] for one in drawn)


def test_stop_strings_end_a_trace_and_are_cut_off(lm: Path) -> None:
    free = traces(build(lm), requests(PROMPTS, 8))
    texts = [t.text for t in free.values()]
    pairs = (text[at : at + 2] for text in texts for at in range(2, len(text) - 2))
    stop = (next(pair for pair in pairs if pair.isascii()), "e", "o", "1", "9")
    found = traces(build(lm, stop=stop), requests(PROMPTS, 8))
    hits = 0
    for key, trace in found.items():
        ends = [at for at in (free[key].text.find(s) for s in stop) if at >= 0]
        if not ends:
            assert trace.text == free[key].text
            continue
        hits += 1
        assert trace.text == free[key].text[: min(ends)]
        assert trace.finish_reason is FinishReason.STOP
        assert (trace.completion_tokens or 0) <= (free[key].completion_tokens or 0)
    assert len(found) > hits >= 3


def test_a_stop_string_of_several_bytes_is_found(lm: Path) -> None:
    model = build(lm)._model
    stopped = model.stop_test(["é\n", "Question:"])
    ids = model.tokenizer.encode("cafés, café\n and Question:", add_special_tokens=False)
    ends = [n for n in range(1, len(ids) + 1) if stopped(ids[:n])]
    assert model.tokenizer.decode(ids[: ends[0]]) == "cafés, café\n"
    assert ends[-1] == len(ids)


def test_text_is_decoded_without_loss_and_special_tokens_stay_visible(lm: Path) -> None:
    model = build(lm)._model
    mid = model.tokenizer.convert_tokens_to_ids("<mid>")
    for text in (" two  spaces , kept .\n\n", "naïve \u2028 \U0001f600", "", "don 't"):
        ids = model.tokenizer.encode(text, add_special_tokens=False)
        assert model.decode(ids, before=65) == text
        assert model.decode([*ids, mid, *ids], before=65) == f"{text}<mid>{text}"
    assert model.end_ids == set(model.tokenizer.convert_tokens_to_ids(["<end>", "<end2>"]))


def test_prompts_that_cannot_be_asked_are_failures(lm: Path) -> None:
    bad = [prompt("long " * 40), prompt("half a pair \ud800"), prompt("2 + 2?")]
    found = outcomes(build(lm), requests(bad, 2))
    failed = [one for one in found if isinstance(one, Failure)]
    assert [(f.prompt_id, f.index, f.reason, f.retryable) for f in failed] == [
        (bad[0].id, 0, "prompt_too_long", False),
        (bad[0].id, 1, "prompt_too_long", False),
        (bad[1].id, 0, "prompt_not_encodable", False),
        (bad[1].id, 1, "prompt_not_encodable", False),
    ]
    assert "context of 128" in failed[0].detail
    assert sum(isinstance(one, Trace) for one in found) == 2
    only = outcomes(build(lm), requests(bad[:1], 1))
    assert [type(one) for one in only] == [Failure]


def test_the_context_ends_a_trace_with_the_label_length(lm: Path) -> None:
    one = prompt("y" * 100)  # 110 tokens with the template
    found = traces(build(lm, max_tokens=330), requests([one], 8))
    longest = max(t.completion_tokens or 0 for t in found.values())
    assert longest == 128 - (found[one.id, 0].prompt_tokens or 0)
    assert FinishReason.LENGTH in {t.finish_reason for t in found.values()}


def test_raw_text_where_there_is_no_template(lm: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(lm, base)
    (base / "chat_template.jinja").unlink()
    teacher = build(base, prompt="Question: {problem}\nAnswer:")
    trace = traces(teacher, requests(PROMPTS[:1], 1))[PROMPTS[0].id, 0]
    assert trace.prompt_tokens == len("Question: 2 + 2?\nAnswer:")
    assert teacher._model.encode("") != []


def test_a_template_that_prints_the_date_or_fails(lm: Path, tmp_path: Path) -> None:
    dated, broken = tmp_path / "dated", tmp_path / "broken"
    shutil.copytree(lm, dated)
    shutil.copytree(lm, broken)
    (dated / "chat_template.jinja").write_text("{{ strftime_now('%Y-%m-%d') }}")
    assert build(dated)._model._chat("x") == "2025-01-01"
    (broken / "chat_template.jinja").write_text("{{ raise_exception('no system prompt') }}")
    with pytest.raises(UserError, match="chat template fails: no system prompt"):
        outcomes(build(broken), requests(PROMPTS, 1))


def test_every_option_that_shapes_a_trace_changes_the_key(lm: Path, tmp_path: Path) -> None:
    changed = tmp_path / "random-lm"
    shutil.copytree(lm, changed)
    (changed / "chat_template.jinja").write_text(TEMPLATE + " ")
    renamed = tmp_path / "renamed"
    shutil.copytree(lm, renamed)
    teachers = [
        build(lm),
        build(changed),
        build(renamed),
        *(
            build(lm, **option)
            for option in (
                {"temperature": 0.9},
                {"top_p": 0.9},
                {"max_tokens": 25},
                {"stop": ("\n",)},
                {"prompt": "Q: {problem}"},
                {"part": "after_think"},
                {"seed": 1},
            )
        ),
    ]
    keys = [teacher.key(one, n) for teacher in teachers for one in PROMPTS[:2] for n in (0, 1)]
    assert len(set(keys)) == len(keys) == 40
    assert build(lm, batch_prompts=1, device="cpu").key(PROMPTS[0], 0) == keys[0]
    seeds = {t.sample_seed(one, n) for t in teachers[-2:] for one in PROMPTS for n in (0, 1)}
    assert len(seeds) == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "teacher.temperature: -0.1 is negative"),
        ({"temperature": math.nan}, "teacher.temperature: nan"),
        ({"top_p": 0.0}, "teacher.top_p: 0.0 is not in"),
        ({"max_tokens": 0}, "teacher.max_tokens: 0"),
        ({"batch_prompts": 0}, "teacher.batch_prompts: 0"),
        ({"stop": ("a", "")}, "teacher.stop: an empty stop string"),
        ({"prompt": "Solve it."}, "teacher.prompt: 'Solve it.' lacks {problem}"),
    ],
)
def test_options_that_make_no_sense(lm: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build(lm, **options)
    assert str(caught.value).startswith(message)


def test_a_directory_that_is_none_or_holds_no_model(lm: Path, tmp_path: Path) -> None:
    def message(path: Path) -> str:
        with pytest.raises(UserError) as caught:
            outcomes(build(path), requests(PROMPTS, 1))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no such directory" in message(tmp_path / "nowhere")
    assert "no such directory" in message(lm / "config.json")
    assert "no config.json" in message(tmp_path)
    for name, pattern, said in (
        ("no-weights", "*.safetensors", "holds no safetensors"),
        ("no-tokenizer", "tokenizer*", "holds no tokenizer"),
    ):
        shutil.copytree(lm, tmp_path / name)
        for file in (tmp_path / name).glob(pattern):
            file.unlink()
        assert said in message(tmp_path / name)
    for name, damage in (("model.safetensors", b"\x10\0\0"), ("tokenizer.json", b"{}")):
        shutil.copytree(lm, tmp_path / f"bad {name}")
        (tmp_path / f"bad {name}" / name).write_bytes(damage)
        assert "cannot load the model: " in message(tmp_path / f"bad {name}")
    shutil.copytree(lm, tmp_path / "deeper")
    config = json.loads((lm / "config.json").read_text())
    config["num_hidden_layers"] = 3
    (tmp_path / "deeper" / "config.json").write_text(json.dumps(config))
    assert "the weights lack model.layers.2" in message(tmp_path / "deeper")


def test_weights_that_are_broken_make_no_trace(lm: Path, tmp_path: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(lm)
    with torch.no_grad():
        model.lm_head.weight.fill_(math.nan)
    shutil.copytree(lm, tmp_path / "nan")
    model.save_pretrained(tmp_path / "nan")
    for temperature in (0.0, 1.0):
        with pytest.raises(UserError, match="not finite"):
            outcomes(build(tmp_path / "nan", temperature=temperature), requests(PROMPTS, 1))


def test_a_recipe_builds_both(lm: Path) -> None:
    options = {"path": str(lm), "temperature": 0, "stop": ["\n"]}
    local = plugins.build("curation.teachers", "transformers_local", options, "teacher")
    assert local.name == "random-lm"
    record = plugins.build("curation.teachers", "recorded", {"part": "after_think"}, "teacher")
    assert record.name == "recorded"
    with pytest.raises(UserError, match=r"teacher\.part"):
        plugins.build("curation.teachers", "recorded", {"part": "before"}, "teacher")


def test_the_tiny_teacher_solves_something(tiny_teacher: Path) -> None:
    if not (tiny_teacher / "model.safetensors").is_file():
        pytest.skip("the tiny teacher has not been trained yet")
    one = prompt("Tom has 3 apples and buys 4 more. How many apples has he?")
    found = traces(build(tiny_teacher, max_tokens=200), requests([one], 8))
    assert len({t.text for t in found.values()}) >= 3
    assert all(t.finish_reason is FinishReason.STOP for t in found.values())


# --- kill -9 -------------------------------------------------------------------------------------


def _sample_all(model: Path, folder: Path, die_after: int) -> dict[int, tuple[Trace, ...]]:
    """Three shards of five prompts, four samples each; the process kills itself on request."""
    closed: dict[int, tuple[Trace, ...]] = {}

    def close(shard: FinishedShard) -> None:
        assert not shard.failures
        closed[shard.index] = tuple(shard.traces)

    def progress(now: Any) -> None:
        if now.done == die_after:
            os.kill(os.getpid(), signal.SIGKILL)

    run(
        build(model, batch_prompts=2),
        [Shard(index=n, prompts=[prompt(f"{n} {p.text}") for p in PROMPTS]) for n in range(3)],
        samples=4,
        folder=folder,
        have=lambda index: (),
        close=close,
        progress=progress,
    )
    return closed


KILLED = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("teachers_test", sys.argv[1])
test = importlib.util.module_from_spec(spec)
sys.modules["teachers_test"] = test
spec.loader.exec_module(test)
test._sample_all(Path(sys.argv[2]), Path(sys.argv[3]), 33)
"""


@pytest.mark.slow
def test_kill_9_and_resume_gives_the_same_traces(lm: Path, tmp_path: Path) -> None:
    uninterrupted = _sample_all(lm, tmp_path / "a", die_after=-1)
    code = [sys.executable, "-c", KILLED, __file__, str(lm), str(tmp_path / "b")]
    root = Path(__file__).resolve().parents[2]
    threads = str(torch.get_num_threads())
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": threads}
    assert subprocess.run(code, cwd=root, env=env, timeout=120).returncode == -signal.SIGKILL
    assert (tmp_path / "b" / "00000.jsonl.done").is_file()
    resumed = _sample_all(lm, tmp_path / "b", die_after=-1)
    assert resumed == uninterrupted
    assert sum(len(found) for found in resumed.values()) == 60
