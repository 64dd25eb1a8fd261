"""The batch teacher against a real server of the protocol: nothing lost, nothing sent twice."""

import asyncio
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.sampling.service import Progress, Shard, no_shortfall
from curation.teachers import Shortfall, openai_server, recorded
from curation.teachers.openai.batch import api as batch_api
from curation.teachers.openai.batch import known, request_queue, stream
from curation.teachers.openai.batch.lines import custom_id, samples_of
from curation.teachers.openai.client import UnavailableError
from curation.teachers.openai_batch import OpenAIBatch, build
from schemas.recipe import Part
from schemas.records import FinishReason, Recorded
from support.errors import ShortError, UserError
from tests.curation.served_runs import Closed, P, by_batches, by_prompt, prompt, shards, usable
from tests.curation.served_runs import sample as sampled
from tests.forked import begin
from tests.servers.batches import BatchServer
from tests.servers.loopback import Behaviour, Loopback


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchServer]:
    monkeypatch.setattr(known, "POLL_SECONDS", (0.005, 0.02))
    monkeypatch.setattr(batch_api, "_PAUSE", (0.01, 0.05))
    folder = tmp_path / "server"
    folder.mkdir()
    with BatchServer(folder) as started:
        yield started


def sample(
    teacher: Any,
    folder: Path,
    parts: Iterable[Shard] | None = None,
    shortfall: Shortfall = no_shortfall,
) -> tuple[Progress, Closed]:
    """Two shards, unless others are given; the server has its files beside the journals."""
    return sampled(teacher, folder / "journals", parts or shards(2), shortfall)


def made(server: BatchServer, **options: Any) -> OpenAIBatch:
    mine: dict[str, Any] = {
        "model": "loop",
        "endpoints": server.url,
        "seeds": True,
        "patience_seconds": 5.0,
    }
    return build(**{**mine, **options})


def assert_whole(end: Progress, closed: Closed, count: int = 60) -> None:
    assert (end.done, end.failures, end.short) == (count, 0, 0)
    assert len(closed.all) == count == len({trace.key for trace in closed.all})


def once(server: BatchServer) -> bool:
    """Whether no request was submitted twice."""
    return set(server.asked().values()) == {1}


@given(st.integers(0, 40), st.sets(st.integers(0, 130), max_size=40))
def test_the_name_of_a_request_holds_its_samples(first: int, more: set[int]) -> None:
    indices = sorted({first} | {first + one for one in more})
    name = custom_id("0123456789abcdef", indices)
    assert samples_of(name) == ("0123456789abcdef", tuple(i - first for i in indices))
    assert len(name) <= 64


@pytest.mark.parametrize("name", ["", "request-1", "0123456789abcdef", "0123456789abcdef-g"])
def test_names_of_others_are_not_ours(name: str) -> None:
    assert samples_of(name) is None


def test_samples_come_in_batches_and_are_those_of_a_server(
    server: BatchServer, tmp_path: Path
) -> None:
    end, closed = sample(made(server, in_flight=80), tmp_path)
    assert_whole(end, closed)
    assert len(server.batches) == 3 and once(server)  # each of about a quarter of 80 samples
    with Loopback() as loopback:
        other = openai_server.build(model="loop", endpoints=loopback.url, seeds=True)
        assert sample(other, tmp_path / "other")[1].all == closed.all  # keys as well
    again = sample(made(server), tmp_path)
    assert again[0].reused == 60 and again[1].all == closed.all and len(server.batches) == 3


def test_one_request_with_n(server: BatchServer, tmp_path: Path) -> None:
    end, closed = sample(made(server, requests="group", api="completions"), tmp_path)
    assert_whole(end, closed)
    assert len(server.bodies) == 20 and {body["n"] for body in server.bodies} == {3}


def test_files_stay_below_the_limits(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_queue, "MOST_REQUESTS", 25)
    monkeypatch.setattr(request_queue, "MOST_BYTES", 5_000)
    long = [Shard(index=9, prompts=[prompt("long " * 1000)])]
    end, closed = sample(made(server), tmp_path, shards(2) + long)
    assert (end.done, end.failures, end.short) == (60, 3, 0)
    assert {failure.reason for failure in closed.failures} == {"context_length"}
    sizes = [(server.folder / one.input_file).stat().st_size for one in server.batches]
    assert max(sizes) <= 5_000 and max(one.total for one in server.batches) <= 25


@pytest.mark.parametrize("requests", ["single", "group"])
def test_unusable_siblings_are_topped_up_by_a_later_batch(
    server: BatchServer, tmp_path: Path, requests: str
) -> None:
    server.behaviour = Behaviour(length_share=0.2, empty_text_share=0.1)
    end, closed = sample(made(server, requests=requests, top_up=4), tmp_path, shortfall=usable)
    assert end.failures == 0 and 60 < end.done <= 20 * (P + 4)
    assert len(server.batches) > 1 and once(server)
    assert all(
        not usable(prompt("x"), traces) or len(traces) == P + 4 for traces in by_prompt(closed.all)
    )


def stopped(server: BatchServer, folder: Path, in_flight: int, ending: signal.Signals) -> str:
    """Start a run in a process, end it once its batches are at work, and return what it said."""
    server.hold = True
    child = begin(by_batches, server.url, folder / "journals", in_flight, output=folder / "errors")
    while sum(one.total for one in server.batches) < 60 or server.batches[-1].looks < 2:
        assert child.is_alive()
        time.sleep(0.02)
    assert child.pid is not None
    os.kill(child.pid, ending)
    child.join(30)
    assert child.exitcode == (-ending if ending == signal.SIGKILL else 128 + ending)
    assert {one.status for one in server.batches} <= {"validating", "in_progress"}
    server.hold = False
    return (folder / "errors").read_text()


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_build_that_was_stopped_fetches_its_batches(
    server: BatchServer, tmp_path: Path, ending: signal.Signals
) -> None:
    said = stopped(server, tmp_path, 80, ending)
    if ending == signal.SIGINT:
        assert f"3 batches go on at {server.url}; the same command fetches what" in said
    server.page = 2
    assert_whole(*sample(made(server), tmp_path))
    assert len(server.batches) == 3 and once(server)


def test_a_batch_that_ran_on_serves_prompts_that_are_read_later(
    server: BatchServer, tmp_path: Path
) -> None:
    """The run that goes on reads fewer prompts at a time than the batch holds."""
    stopped(server, tmp_path, 240, signal.SIGKILL)
    assert_whole(*sample(made(server, in_flight=12), tmp_path))
    assert len(server.batches) == 1


@pytest.mark.slow
def test_a_build_that_is_killed_again_and_again_sends_nothing_twice(
    server: BatchServer, tmp_path: Path
) -> None:
    """At any moment: while a file goes up, a batch is made, results come down or are journaled."""
    server.slow_seconds = 0.02  # so that a kill meets every kind of call
    for tenths in range(1, 9):
        begun = server.calls.total()
        child = begin(by_batches, server.url, tmp_path / "journals", 40)
        while server.calls.total() == begun and child.is_alive():
            time.sleep(0.01)
        time.sleep(tenths / 20)
        child.kill()
        child.join()
    server.slow_seconds = 0
    assert_whole(*sample(made(server), tmp_path))
    assert once(server) and sum(one.total for one in server.batches) == 60


def test_what_was_delivered_while_nobody_looked_is_taken(
    server: BatchServer, tmp_path: Path
) -> None:
    """The run directory is lost, and requests ask for other samples than the new run would."""
    _, first = sample(made(server, requests="group"), tmp_path / "lost")
    end, closed = sample(made(server, requests="single"), tmp_path)
    assert_whole(end, closed)
    assert closed.all == first.all and len(server.batches) == 1
    more = sample(made(server), tmp_path / "more", shards(3))
    assert more[0].done == 90 and once(server) and server.batches[-1].total == 30


@pytest.mark.parametrize("status", ["expired", "cancelled"])
def test_half_a_batch_is_taken_and_the_rest_is_short(
    server: BatchServer, tmp_path: Path, status: str
) -> None:
    server.end = status
    end, closed = sample(made(server), tmp_path)
    assert (end.done, end.failures, end.short) == (30, 30, 30)
    assert {(f.reason, f.retryable) for f in closed.failures} == {(f"batch_{status}", True)}
    server.end = "completed"
    assert_whole(*sample(made(server), tmp_path))
    assert [one.total for one in server.batches] == [60, 30]


def test_a_batch_that_failed_is_named_with_the_servers_words(
    server: BatchServer, tmp_path: Path
) -> None:
    server.end = "failed"
    with pytest.raises(UserError, match=r"failed batch batch_0 .*: This line is bad\. \(line 2\)"):
        sample(made(server), tmp_path)
    server.end = "completed"
    assert_whole(*sample(made(server), tmp_path))


@pytest.mark.parametrize(
    ("errors", "code", "message"),
    [
        (None, "", "no reason given"),
        ({"object": "list", "data": []}, "", "no reason given"),
        ({"data": [{"code": "c", "message": "Bad.", "line": None}]}, "c", "Bad."),
        ({"data": [{"code": "c", "message": "Bad.", "line": 7}]}, "c", "Bad. (line 7)"),
        (["Bad."], "", "Bad."),
    ],
)
def test_errors_are_read_in_the_forms_that_servers_give_them(
    errors: object, code: str, message: str
) -> None:
    state = batch_api._state({"id": "b", "status": "failed", "errors": errors})
    assert (state.error_code, state.error, state.is_over) == (code, message, True)


@pytest.mark.parametrize("row", [{}, {"id": "b"}, None, {"id": "b", "status": "x", "errors": 3}])
def test_an_answer_that_describes_no_batch_is_none(row: object) -> None:
    with pytest.raises(UnavailableError):
        batch_api._state(row)


def test_a_server_that_takes_fewer_batches_gets_them_in_turn(
    server: BatchServer, tmp_path: Path
) -> None:
    server.failure = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached."}
    server.most_batches = 1
    assert_whole(*sample(made(server, in_flight=80), tmp_path))
    assert "failed" in {one.status for one in server.batches} and once(server)


def test_a_server_that_takes_no_batch_of_this_size_ends_short(
    server: BatchServer, tmp_path: Path
) -> None:
    server.failure = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached."}
    server.most_batches = 0
    with pytest.raises(ShortError, match=r"teacher\.in_flight: .* limit reached.*lower"):
        sample(made(server), tmp_path)


def test_each_request_has_an_error_of_its_own(server: BatchServer, tmp_path: Path) -> None:
    server.refused = {
        "0 + 1": (400, "This model's maximum context length is 9 tokens."),
        "0 + 2": (400, "The prompt was refused."),
    }
    server.faults["0 + 3"] = 1  # once: the next batch has it
    server.faults["0 + 4"] = 1_000
    end, closed = sample(made(server), tmp_path)
    assert (end.done, end.failures, end.short) == (51, 9, 3)
    ids = {prompt(f"What is 0 + {n}?").id: n for n in range(10)}
    found = {(ids[f.prompt_id], f.reason, f.retryable) for f in closed.failures}
    assert found == {
        (1, "context_length", False),
        (2, "refused_by_server", False),
        (4, "server_error", True),
    }
    assert len(server.batches) == stream.ATTEMPTS
    server.faults.clear()
    end, _ = sample(made(server), tmp_path)
    assert (end.done, end.short) == (54, 0)


def test_a_server_that_refuses_every_request_refuses_the_recipe(
    server: BatchServer, tmp_path: Path
) -> None:
    server.refused = {"What": (400, "Unknown parameter")}
    with pytest.raises(UserError, match="taken no request of batch batch_0: HTTP 400: Unknown"):
        sample(made(server), tmp_path)
    server.refused = {}  # mended outside of the recipe: the refusals of before do not count
    assert_whole(*sample(made(server), tmp_path))


def test_a_key_that_is_refused_within_a_batch_ends_the_run(
    server: BatchServer, tmp_path: Path
) -> None:
    server.refused = {"0 + 1": (403, "No access to this model.")}
    with pytest.raises(UserError, match=r"teacher\.api_key_env: .*403: No access"):
        sample(made(server), tmp_path)


def test_a_server_that_wants_another_field_gets_it_in_the_next_batch(
    server: BatchServer, tmp_path: Path
) -> None:
    server.refused_fields = ("max_tokens",)
    assert_whole(*sample(made(server), tmp_path))
    assert [one.total for one in server.batches] == [60, 60]
    assert {"max_completion_tokens" in body for body in server.bodies[60:]} == {True}
    more = sample(made(server), tmp_path / "more", shards(3))  # learned for good
    assert more[0].done == 90 and len(server.batches) == 3


def test_a_creation_without_a_reply_is_not_made_twice(server: BatchServer, tmp_path: Path) -> None:
    server.silent_creations = 1
    assert_whole(*sample(made(server), tmp_path))
    assert len(server.batches) == 1


def test_calls_are_made_again_while_the_server_is_busy(server: BatchServer, tmp_path: Path) -> None:
    server.busy_next = 2
    assert_whole(*sample(made(server), tmp_path))
    server.busy_next = 10_000
    with pytest.raises(ShortError, match="does not answer: too many requests"):
        sample(made(server, patience_seconds=0.05), tmp_path / "more", shards(3))


def test_a_server_without_metadata_is_not_paid(server: BatchServer, tmp_path: Path) -> None:
    server.keeps_metadata = False
    with pytest.raises(UserError, match=r"teacher\.kind: .* keeps no metadata"):
        sample(made(server), tmp_path)
    assert [one.status for one in server.batches] == ["cancelled"]


def test_a_server_without_batches_is_named(tmp_path: Path) -> None:
    with Loopback() as loopback:
        teacher = build(model="loop", endpoints=loopback.url)
        with pytest.raises(UserError, match=r"/batches answers 404: the server has no batch API"):
            sample(teacher, tmp_path)
        with pytest.raises(UserError, match="no batch API"):
            asyncio.run(teacher.reach())


def test_a_key_is_sent_and_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(known, "POLL_SECONDS", (0.005, 0.02))
    folder = tmp_path / "server"
    folder.mkdir()
    with BatchServer(folder, key="very-secret") as guarded:
        monkeypatch.setenv("BATCH_KEY", "very-wrong")
        with pytest.raises(UserError, match=r"teacher\.api_key_env") as caught:
            sample(made(guarded, api_key_env="BATCH_KEY"), tmp_path)
        assert "very" not in str(caught.value)
        monkeypatch.setenv("BATCH_KEY", "very-secret")
        asyncio.run(made(guarded, api_key_env="BATCH_KEY").reach())
        assert_whole(*sample(made(guarded, api_key_env="BATCH_KEY"), tmp_path))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not any(b"very-secret" in path.read_bytes() for path in files)
    assert "very" not in capsys.readouterr().err


def test_a_key_that_a_reply_repeats_is_not_repeated(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCH_KEY", "very-secret")
    server.refused = {"0 + 1": (400, "Headers: Bearer very-secret")}
    _, closed = sample(made(server, api_key_env="BATCH_KEY"), tmp_path)
    assert {f.detail for f in closed.failures} == {"HTTP 400: Headers: Bearer ***"}


def test_results_that_the_server_has_no_more_are_asked_for_again(
    server: BatchServer, tmp_path: Path
) -> None:
    sample(made(server), tmp_path / "lost")
    (server.folder / str(server.batches[0].output_file)).unlink()
    assert_whole(*sample(made(server), tmp_path))
    assert len(server.batches) == 2


def test_a_running_batch_without_its_file_is_not_paid_again(
    server: BatchServer, tmp_path: Path
) -> None:
    stopped(server, tmp_path, 240, signal.SIGKILL)
    (server.folder / server.batches[0].input_file).unlink()
    with pytest.raises(ShortError, match=r"lacks /files/file-1/content.*wait until that batch"):
        sample(made(server), tmp_path)
    assert len(server.batches) == 1


def test_recorded_groups_are_topped_up_by_a_batch(server: BatchServer, tmp_path: Path) -> None:
    spec = {"kind": "openai_batch", "model": "loop", "endpoints": server.url, "seeds": True}
    had = Recorded(text="A solution.", finish_reason=FinishReason.STOP)
    prompts = [replace(prompt(f"{n} recorded?"), recorded=(had,) * (n % 2)) for n in range(4)]
    teacher = recorded.build(top_up=Part.model_validate(spec))
    _, closed = sample(teacher, tmp_path, [Shard(index=0, prompts=prompts)], usable)
    written = [t.teacher for t in closed.all]
    assert written.count("loop") == 3 + 2 + 3 + 2 and written.count("recorded") == 2
    assert len(server.batches) == 1 and once(server)


def test_half_a_character_is_refused_not_sent(server: BatchServer, tmp_path: Path) -> None:
    parts = [Shard(index=0, prompts=[prompt("\ud800 + 1?"), prompt("2 + 2?")])]
    end, closed = sample(made(server), tmp_path, parts)
    assert (end.done, end.failures, end.short) == (3, 3, 0)
    assert {f.reason for f in closed.failures} == {"prompt_not_encodable"}


def test_nothing_missing_asks_nobody(server: BatchServer, tmp_path: Path) -> None:
    sample(made(server), tmp_path)
    server.calls.clear()
    end, _ = sample(made(server), tmp_path)
    assert end.reused == 60 and not server.calls


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"endpoints": ("http://a", "http://b")}, r"teacher\.endpoints: must be one address"),
        ({"in_flight": 0}, r"teacher\.in_flight"),
        ({"api": "completions", "tokens_field": "max_completion_tokens"}, r"teacher\.tokens_field"),
        ({"extra": {"n": 2}}, r"teacher\.extra\.n"),
        ({"api_key_env": "sk-secret"}, r"teacher\.api_key_env"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(**{"model": "m", **options})
