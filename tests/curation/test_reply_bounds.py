"""A server that sends without end, or nests without end, costs its samples and no memory."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from curation.publish import fsspec_folder
from curation.sampling.service import Shard
from curation.teachers.openai import endpoints
from curation.teachers.openai.batch.lines import result_of
from curation.teachers.openai.batch.result_file import BatchFile
from curation.teachers.openai.client import Connection, UnavailableError, error_message
from curation.teachers.openai.wire import BadReplyError, choices
from curation.teachers.openai_server import OpenAIServer, build
from scorers.weights import weight_files
from support.errors import ShortError, UserError
from support.files import read_json
from tests.curation.hostile_server import DEPTH, hostile
from tests.curation.served_runs import P, prompt, sample
from tests.forked import begin

MOST_MB = 200  # that 64 replies without end may take above what the process had


def made(url: str, **options: Any) -> OpenAIServer:
    return build(
        **{"model": "m", "endpoints": url, "in_flight": 8, "patience_seconds": 15.0, **options}
    )


def one_shard(*texts: str) -> list[Shard]:
    return [Shard(index=0, prompts=[prompt(text) for text in texts])]


@pytest.mark.parametrize(
    ("kind", "reason", "detail"),
    [
        ("ENDLESS", "reply_too_large", r"answers with more than 1\.\d+ MB"),
        ("BOMB", "reply_too_large", r"answers with more than 1\.\d+ MB"),
        ("SIZE 1", "reply_too_large", r"answers with more than 1\.\d+ MB"),
        ("NESTED", "server_error", r"no JSON: .*choices"),
        (
            "NESTED ERROR",
            "server_error",
            r"HTTP 500: (an error whose JSON is nested too deep|\[\[)",
        ),
    ],
)
def test_a_reply_that_holds_too_much_fails_its_sample_alone(
    tmp_path: Path, kind: str, reason: str, detail: str
) -> None:
    """It is asked for again a few times, and again by the next run."""
    good = [f"What is 1 + {n}?" for n in range(20)]
    with hostile() as url:
        end, closed = sample(made(url), tmp_path, one_shard(*good, f"{kind}"))
        assert (end.done, end.failures, end.short) == (20 * P, P, P)
    assert {failure.reason for failure in closed.failures} == {reason}
    for failure in closed.failures:
        assert failure.retryable and re.search(detail, failure.detail)
        assert len(failure.detail) <= 300


def test_a_reply_that_is_as_long_as_it_may_be_passes(tmp_path: Path) -> None:
    with hostile() as url:
        end, closed = sample(made(url), tmp_path, one_shard("SIZE 0"))
    assert (end.done, end.failures) == (P, 0)
    assert {trace.text for trace in closed.all} == {"4"}


def high_water(name: str) -> int:
    """A figure of /proc/self/status in MB."""
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) >> 10


def sample_measured(url: str, kind: str, folder: Path) -> None:
    """Sample 64 such replies at once, in a process of its own; `peak` holds MB that this took."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins now
    before = high_water("VmRSS")
    try:
        sample(
            made(url, in_flight=64, patience_seconds=3.0),
            folder,
            one_shard(*(f"{n} {kind}" for n in range(64))),
        )
    except ShortError as error:
        (folder / "error").write_text(str(error))
    (folder / "peak").write_text(str(high_water("VmHWM") - before))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
@pytest.mark.parametrize("kind", ["ENDLESS", "BOMB"])
def test_64_replies_without_end_take_little_memory(tmp_path: Path, kind: str) -> None:
    with hostile() as url:
        process = begin(sample_measured, url, kind, tmp_path, output=tmp_path / "said")
        process.join(120)
        process.kill()
        process.join()
    peak = int((tmp_path / "peak").read_text())
    print(f"{kind}: {peak} MB")
    assert peak < MOST_MB, (tmp_path / "said").read_text()
    assert re.search(r"more than 1\.\d+ MB", (tmp_path / "error").read_text())


def test_long_replies_share_one_bound_and_all_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty of a megabyte, where three fit: they wait for each other, and none is lost."""
    from curation.teachers.openai.reply_body import MB, ReplyMemory

    free: list[int] = []

    class Watched(ReplyMemory):
        async def take(self, size: int) -> None:
            await super().take(size)
            free.append(self._free)

    monkeypatch.setattr(endpoints, "ReplyMemory", lambda: Watched(4 * MB))
    with hostile() as url:
        texts = [f"{n} SIZE 0" for n in range(14)]
        end, _ = sample(made(url, in_flight=40), tmp_path, one_shard(*texts))
    assert (end.done, end.failures) == (14 * P, 0)
    assert len(free) == 14 * P and min(free) >= 0 and max(free) < 4 * MB


def test_memory_is_handed_out_in_order_and_given_back() -> None:
    from curation.teachers.openai.reply_body import ReplyMemory

    async def run() -> list[str]:
        memory, order = ReplyMemory(10), []

        async def hold(name: str, size: int) -> None:
            await memory.take(size)
            order.append(name)

        await memory.take(6)
        tasks = [asyncio.create_task(hold(*one)) for one in (("a", 6), ("b", 2), ("c", 4))]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        assert order == []  # b and c would fit, but a came first
        memory.give_back(6)
        await asyncio.sleep(0)
        assert order == ["a", "c"]
        memory.give_back(10)
        await memory.take(10)
        return order

    assert asyncio.run(run()) == ["a", "c"]


def test_what_a_reply_may_hold_follows_what_was_asked_for() -> None:
    from curation.teachers.openai.reply_body import FIXED, SHARED, most_bytes

    def most(samples: int = 1, request: int = 0, tokens: int = 1000, **extra: Any) -> int:
        return most_bytes(max_tokens=tokens, samples=samples, request=request, extra=extra)

    plain = most() - FIXED
    assert plain == 256_000 and most(samples=4) - FIXED == 4 * plain
    assert most(request=1000) > most()
    assert most(logprobs=True) - most() == 2 * 512_000
    assert most(logprobs=True, top_logprobs=20) - most() == 21 * 512_000
    assert most(logprobs=5) == most(logprobs=True, top_logprobs=5)
    assert most(logprobs=False) == most() == most(logprobs="?")
    assert most(prompt_logprobs=1, request=100) > most(request=100) + 100_000
    assert most(max_completion_tokens=2000) == most(tokens=2000)
    assert most(logprobs=-1) == SHARED == most(tokens=10**9)


NESTED = "[" * DEPTH
SHALLOW = "[" * 1000 + "]" * 1000  # deep enough for what shows it, and no JSON parser refuses it


@pytest.mark.parametrize("nested", [NESTED, SHALLOW, '{"a":' * DEPTH], ids=["deep", "shallow", "{"])
@pytest.mark.parametrize(
    "reply",
    [
        "%s",
        '{"choices": %s}',
        '{"choices": [%s]}',
        '{"choices": [{"index": %s}]}',
        '{"choices": [{"finish_reason": %s}]}',
        '{"choices": [{"finish_reason": "stop", "message": %s}]}',
        '{"choices": [{"finish_reason": "stop", "message": {"content": %s}}]}',
    ],
)
def test_nested_json_is_no_reply(reply: str, nested: str) -> None:
    with pytest.raises(BadReplyError):
        choices((reply % nested).encode(), 1, "full")


def test_nested_json_in_errors_and_batches() -> None:
    assert error_message(f'{{"error": {SHALLOW}}}'.encode()).startswith("an error whose JSON is")
    line = '{"custom_id": "a", "response": {"status_code": 500, "body": %s}}'
    assert "nested too deep" in result_of((line % SHALLOW).encode()).message
    with pytest.raises(ValueError, match="nested too deep"):
        result_of((line % NESTED).encode())


@pytest.mark.parametrize(
    "models",
    [
        NESTED.encode(),
        f'{{"data": [{{"id": "m", "root": {SHALLOW}, "revision": {SHALLOW}}}]}}'.encode(),
        f'{{"data": [{{"id": {SHALLOW}}}]}}'.encode(),
    ],
    ids=["deep", "root", "id"],
)
def test_a_list_of_models_that_is_nested_is_no_list(tmp_path: Path, models: bytes) -> None:
    with hostile(models) as url:
        end, _ = sample(made(url), tmp_path, one_shard("1 + 1?"))
    assert (end.done, end.failures) == (P, 0)


def test_a_message_names_a_few_of_many_models(tmp_path: Path) -> None:
    rows = [{"id": f"{'x' * 5000}{n}"} for n in range(1000)]
    with (
        hostile(json.dumps({"data": rows}).encode()) as url,
        pytest.raises(UserError, match=r"serves 'xx.*980 more, not 'm'") as caught,
    ):
        sample(made(url), tmp_path, one_shard("1 + 1?"))
    assert len(str(caught.value)) < 5000


def test_a_list_of_models_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (
        hostile(b" " * (17 * 10**6)) as url,
        pytest.raises(ShortError, match=r"answers with more than 16 MB"),
    ):
        sample(made(url, patience_seconds=1.0), tmp_path, one_shard("1 + 1?"))


def test_files_of_a_model_that_hold_too_much(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors.index.json"
    file.write_text('{"weight_map": ' + NESTED)
    with pytest.raises(UserError, match="cannot be read: its JSON is nested too deep"):
        weight_files(tmp_path)
    file.write_text('{"weight_map": {"a": "model.safetensors"}}')
    assert weight_files(tmp_path) == [tmp_path / "model.safetensors"]
    with pytest.raises(ValueError, match="it holds more than 40 bytes"):
        read_json(file, most=40)


def test_the_index_of_a_published_folder_is_read_up_to_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bounded/polytrace.json", b" " * 2000)
    monkeypatch.setattr(fsspec_folder, "MOST_INDEX", 1000)
    folder = fsspec_folder._Folder("memory://bounded", print)
    with pytest.raises(UserError, match="is damaged, or of another program"):
        folder._index()


class Given(Connection):
    """A connection that downloads what it is given."""

    data = b""

    async def download(self, path: str, file: BinaryIO, most: int = 0) -> None:
        if len(self.data) > most:
            raise UnavailableError(f"{path} is longer than it may be")
        file.write(self.data)


def test_a_line_of_a_batch_that_has_no_end_fails_its_request_alone() -> None:
    def line(name: str, size: int) -> bytes:
        body = f'{{"a": "{size * "a"}"}}'
        text = f'{{"custom_id": "{name}", "response": {{"status_code": 200, "body": {body}}}}}\n'
        return text.encode()

    given = Given(None, "http://host/v1")  # type: ignore[arg-type]
    Given.data = line("a-1", 10) + line("b-1", 200_000) + b"[" * 300_000 + b"\n" + line("c-1", 10)
    lines = BatchFile(given, most_line=100_000)
    asyncio.run(lines.add("/files/f/content", 6))
    assert list(lines) == ["a-1", "b-1", "c-1"]
    results = {name: lines.result(name) for name in lines}
    assert [one.status for one in results.values() if one is not None] == [200, 0, 200]
    too_long = results["b-1"]
    assert too_long is not None and too_long.message == "its reply holds more than 0.1 MB"
    with pytest.raises(UnavailableError, match="is longer than it may be"):
        asyncio.run(lines.add("/files/f/content", 5))
    assert list(lines) == ["a-1", "b-1", "c-1"]
    lines.close()
