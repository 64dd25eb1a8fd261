"""What a real vLLM server answers, one reply at a time: both APIs, `n`, refusals, stops, metrics.

In-process, through the sampling service, on the server that all these tests share.
"""

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pytest

from benchmarks.real_vllm import NAME, RealVLLM
from curation.prompts.dedup import prompt_id
from curation.sampling.service import FinishedShard, Progress, Shard, run
from curation.teachers import Failure
from curation.teachers.openai import load_limit
from curation.teachers.openai_server import OpenAIServer, build
from schemas.records import FinishReason, Prompt, Trace
from scorers.revision import directory_revision
from support.errors import UserError
from support.paths import ROOT

pytestmark = pytest.mark.vllm

P = 3
TEMPLATE = "<|im_start|>user\n{problem}<|im_end|>\n<|im_start|>assistant\n"
END = "<|im_end|>"


def prompts(count: int) -> list[Prompt]:
    with (ROOT / "tiny/prompts/demo.jsonl").open() as lines:
        rows = [json.loads(line) for line in islice(lines, count)]
    return [prompt(row["question"], row["answer"]) for row in rows]


def prompt(text: str, gold: str = "1") -> Prompt:
    return Prompt(id=prompt_id(text), text=text, gold=gold, source="s", row=1, license="l")


def teacher(server: RealVLLM, **options: Any) -> OpenAIServer:
    usual = {"model": NAME, "endpoints": (server.url,), "max_tokens": 72, "patience_seconds": 60.0}
    return build(**{**usual, **options})


class Sampled:
    """All that came of some prompts; `notes` is what the progress bar said on the way."""

    def __init__(self, teacher: OpenAIServer, folder: Path, asked: Sequence[Prompt]) -> None:
        self.traces: list[Trace] = []
        self.failures: list[Failure] = []
        self.notes: set[str] = set()

        def close(shard: FinishedShard) -> None:
            self.traces += shard.traces
            self.failures += shard.failures

        def look(progress: Progress) -> None:
            self.notes.add(teacher.note)

        self.end = run(
            teacher,
            [Shard(index=0, prompts=asked)],
            samples=P,
            folder=folder,
            have=lambda index: (),
            close=close,
            progress=look,
        )

    def most_in_flight(self) -> int:
        return max(int(note.split()[0]) for note in self.notes)


@pytest.mark.parametrize("api", ["chat", "completions"])
@pytest.mark.parametrize("requests", ["single", "group"])
def test_both_apis_and_one_request_for_one_or_all(
    vllm_server: RealVLLM,
    tmp_path: Path,
    api: Literal["chat", "completions"],
    requests: Literal["single", "group"],
) -> None:
    template = {"chat": "{problem}", "completions": TEMPLATE}[api]
    before = vllm_server.answered()
    made = teacher(vllm_server, api=api, requests=requests, prompt=template)
    found = Sampled(made, tmp_path, prompts(16))
    assert (found.end.done, found.end.failures) == (16 * P, 0)
    assert vllm_server.answered() - before == 16 * P  # vLLM counts every sample of an `n`
    solved = 0
    for trace in found.traces:
        assert trace.text and END not in trace.text  # a token in its midst is the model's, and kept
        assert trace.finish_reason in (FinishReason.STOP, FinishReason.LENGTH)
        assert trace.prompt_tokens and trace.prompt_tokens > 10
        assert trace.completion_tokens and 0 < trace.completion_tokens <= 72
        solved += "The answer is" in trace.text
    assert solved > 8 * P  # it was asked as it was trained, also through plain completions
    same = {t.prompt_tokens for t in found.traces if t.prompt_id == prompts(1)[0].id}
    assert len(same) == 1
    texts = {(trace.prompt_id, trace.text) for trace in found.traces}
    assert len(texts) > 16 * P / 2  # siblings differ


def test_seeds_give_the_same_text_again(vllm_server: RealVLLM, tmp_path: Path) -> None:
    """One at a time: this engine dies where seeded prompts share a step that is full."""
    made = teacher(vllm_server, seeds=True, in_flight=1)
    one = Sampled(made, tmp_path / "one", prompts(2)).traces
    other = Sampled(made, tmp_path / "other", prompts(2)).traces
    assert [t.text for t in one] == [t.text for t in other]
    assert len({t.seed for t in one}) == 2 * P and len({t.text for t in one}) > 2


def test_a_prompt_beyond_the_context_is_refused(vllm_server: RealVLLM, tmp_path: Path) -> None:
    long = prompt("long " * 1200)
    few = prompts(4)
    found = Sampled(teacher(vllm_server), tmp_path, [few[0], long, *few[1:]])
    assert (found.end.done, found.end.failures, found.end.short) == (4 * P, P, 0)
    for failure in found.failures:
        assert (failure.prompt_id, failure.reason) == (long.id, "context_length")
        assert not failure.retryable and "maximum context length is 1024" in failure.detail


@pytest.mark.parametrize("requests", ["single", "group"])
def test_stop_strings_end_a_trace(
    vllm_server: RealVLLM, tmp_path: Path, requests: Literal["single", "group"]
) -> None:
    made = teacher(vllm_server, stop=("The answer",), requests=requests)
    found = Sampled(made, tmp_path, prompts(6))
    assert found.end.done == 6 * P
    assert all("The answer" not in trace.text for trace in found.traces)
    assert {trace.finish_reason for trace in found.traces} == {FinishReason.STOP}


def test_a_trace_that_is_cut_says_so(vllm_server: RealVLLM, tmp_path: Path) -> None:
    found = Sampled(teacher(vllm_server, max_tokens=4), tmp_path, prompts(6))
    assert {trace.finish_reason for trace in found.traces} == {FinishReason.LENGTH}
    assert {trace.completion_tokens for trace in found.traces} == {4}


def test_the_model_and_its_revision(vllm_server: RealVLLM, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"serves '{NAME}', not 'other'"):
        Sampled(teacher(vllm_server, model="other"), tmp_path, prompts(1))
    revision = directory_revision(ROOT / "tiny" / "teacher")
    found = Sampled(teacher(vllm_server, revision=revision), tmp_path, prompts(1))
    assert {trace.revision for trace in found.traces} == {revision}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"extra": {"min_p": 7}}, "min_p"),
    ],
)
def test_an_option_that_the_server_refuses_is_the_recipes_fault(
    vllm_server: RealVLLM, tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=rf"has taken no request so far: HTTP 400: .*{says}"):
        Sampled(teacher(vllm_server, **options), tmp_path, prompts(3))


def test_the_limit_is_found_from_the_metrics(vllm_server: RealVLLM, tmp_path: Path) -> None:
    load = load_limit.parse(vllm_server.metrics())
    assert load is not None and (load.running, load.waiting) == (0, 0)
    assert "vllm:kv_cache_usage_perc" in vllm_server.metrics()
    found = Sampled(teacher(vllm_server), tmp_path, prompts(160))
    assert (found.end.done, found.end.failures) == (160 * P, 0)
    assert found.most_in_flight() > load_limit.UNKNOWN  # its scheduler runs 128, so 64 are too few
