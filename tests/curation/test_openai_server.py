"""The served teacher against a real HTTP server that misbehaves: nothing lost, nothing made up."""

import asyncio
import dataclasses
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from curation.sampling.journal import read
from curation.sampling.service import Progress, Shard, no_shortfall, run
from curation.teachers import Request, SampleBudget, SampleOutcome
from curation.teachers.openai.load_limit import START, UNKNOWN
from curation.teachers.openai.wire import BadReplyError, Choice, ServerSampling, choices
from curation.teachers.openai_server import OpenAIServer, build
from schemas.records import FinishReason, Trace
from support.errors import ShortError, UserError
from tests.curation.served_runs import Closed, P, by_prompt, prompt, sample, shards, usable
from tests.servers.loopback import Behaviour, Loopback


@pytest.fixture(scope="module")
def loopback() -> Iterator[Loopback]:
    with Loopback() as server:
        yield server


@pytest.fixture
def server(loopback: Loopback) -> Loopback:
    """A well-behaved server with an empty log."""
    if not loopback.is_alive:
        loopback.restart(Behaviour())
    loopback.set(Behaviour())
    loopback.forget()
    return loopback


def made(server: Loopback, **options: Any) -> OpenAIServer:
    return build(
        **{
            "model": "loop",
            "endpoints": (server.url,),
            "seeds": True,
            "in_flight": 8,
            "patience_seconds": 60.0,
            **options,
        }
    )


def assert_whole(end: Progress, closed: Closed, count: int = 90) -> None:
    assert (end.done, end.failures, end.short) == (count, 0, 0)
    assert len(closed.all) == count == len({trace.key for trace in closed.all})
    assert not closed.failures


@pytest.fixture(scope="module")
def undisturbed(loopback: Loopback, tmp_path_factory: pytest.TempPathFactory) -> list[Trace]:
    loopback.set(Behaviour())
    return sample(made(loopback), tmp_path_factory.mktemp("undisturbed"))[1].all


def test_every_sample_is_asked_once_and_carries_what_shaped_it(
    server: Loopback, tmp_path: Path
) -> None:
    end, closed = sample(made(server, revision="abc", top_p=0.9), tmp_path)
    assert_whole(end, closed)
    assert len(server.served()) == 90 and max(one.in_flight for one in server.served()) <= 8
    trace = closed.all[4]
    assert (trace.teacher, trace.revision, trace.index) == ("loop", "abc", 1)
    assert (trace.temperature, trace.top_p, trace.max_tokens) == (1.0, 0.9, 330)
    assert trace.finish_reason is FinishReason.STOP and trace.hint is None
    assert trace.prompt_tokens and trace.completion_tokens and trace.text
    seeds = {one.seed for one in server.served()}
    assert len(seeds) == 90 and None not in seeds
    by_prompt = {
        t.prompt_id: sorted(x.seed or 0 for x in closed.all if x.prompt_id == t.prompt_id)
        for t in closed.all
    }
    firsts = sorted(seeds[0] for seeds in by_prompt.values())
    assert all(seeds == [seeds[0] + j for j in range(P)] for seeds in by_prompt.values())
    assert all(b - a >= P for a, b in pairwise(firsts))


FAULTS = {
    "resets": Behaviour(reset_next=14),
    "hangs": Behaviour(hang_next=3),
    "500 bursts": Behaviour(fail_next=15),
    "malformed": Behaviour(malformed_next=10),
    "empty choices": Behaviour(empty_next=10),
    "broken off": Behaviour(abort_next=5),
    "429": Behaviour(fail_next=10, fail_status=429, retry_after="0.3"),
    "outage": Behaviour(outage_s=3.0),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_no_sample_and_makes_none_up(
    server: Loopback, tmp_path: Path, undisturbed: list[Trace], fault: str
) -> None:
    server.set(FAULTS[fault])
    end, closed = sample(made(server, timeout_seconds=1.5), tmp_path)
    assert_whole(end, closed)
    assert closed.all == undisturbed


def test_an_empty_place_at_the_start_is_waited_for_and_then_named(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    teacher = build(model="loop", endpoints=(url,), patience_seconds=1.0)
    with pytest.raises(ShortError, match="cannot be reached after 1 s") as caught:
        sample(teacher, tmp_path)
    assert f"{url} cannot be reached after 1 s: connection refused" in str(caught.value)
    assert "start the server" in str(caught.value)
    assert caught.value.exit_code == 3


def test_to_reach_the_servers_is_to_ask_each_once(server: Loopback) -> None:
    """One that is well is enough, and no sample is asked for."""
    nobody = "http://127.0.0.1:9/v1"
    asyncio.run(made(server, endpoints=(nobody, server.url)).reach())
    assert server.served() == []
    with pytest.raises(ShortError, match=f"{nobody} .and 1 more. cannot be reached: connection"):
        asyncio.run(made(server, endpoints=(nobody, "http://127.0.0.1:11/v1")).reach())


def test_a_server_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    with Loopback() as late:
        late.kill()
        timer = threading.Timer(1.0, late.restart)
        timer.start()
        end, closed = sample(made(late), tmp_path)
        timer.join()
        assert_whole(end, closed)


def test_nothing_missing_asks_nobody(server: Loopback, tmp_path: Path) -> None:
    sample(made(server), tmp_path)
    server.forget()
    gone = build(model="loop", endpoints=("http://127.0.0.1:9/v1",), seeds=True)
    end, closed = sample(gone, tmp_path)
    assert_whole(end, closed)
    assert end.reused == 90 and server.served() == []


@pytest.mark.parametrize(
    ("options", "behaviour", "message"),
    [
        ({"model": "other"}, Behaviour(), r"teacher\.model: .* serves 'loop', not 'other'"),
        (
            {"revision": "1234"},
            Behaviour(root="/models/m/snapshots/" + "ab" * 20),
            r"teacher\.revision: .* serves revision abab",
        ),
        ({}, Behaviour(refuse_substring="What"), "taken no request so far: HTTP 400"),
        ({"endpoints": ()}, Behaviour(), r"teacher\.endpoints: none"),
        ({"api_key_env": "NO_SUCH_VARIABLE"}, Behaviour(), "environment has no NO_SUCH_VARIABLE"),
    ],
)
def test_mistakes_are_named_and_buy_nothing(
    server: Loopback,
    tmp_path: Path,
    options: dict[str, Any],
    behaviour: Behaviour,
    message: str,
) -> None:
    server.set(behaviour)
    with pytest.raises(UserError, match=message):
        sample(made(server, **options), tmp_path)
    assert not any(one.status == 200 for one in server.served())


def test_a_revision_that_the_server_confirms(server: Loopback, tmp_path: Path) -> None:
    server.set(Behaviour(root="/models/m/snapshots/" + "ab" * 20))
    end, closed = sample(made(server, revision="abab"), tmp_path)
    assert_whole(end, closed)


def test_a_key_is_sent_and_shown_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Loopback(require_key="very-secret") as guarded:
        with pytest.raises(UserError, match=r"teacher\.api_key_env"):
            sample(made(guarded), tmp_path)
        monkeypatch.setenv("LOOP_KEY", "very-wrong")
        with pytest.raises(UserError, match=r"teacher\.api_key_env") as caught:
            sample(made(guarded, api_key_env="LOOP_KEY"), tmp_path)
        assert "very" not in str(caught.value)
        monkeypatch.setenv("LOOP_KEY", "very-secret")
        assert_whole(*sample(made(guarded, api_key_env="LOOP_KEY"), tmp_path))
    assert not any(b"very-secret" in path.read_bytes() for path in tmp_path.iterdir())


def test_a_prompt_beyond_the_context_is_rejected_and_never_asked_again(
    server: Loopback, tmp_path: Path
) -> None:
    server.set(Behaviour(context_limit=100))
    long = prompt("long " * 40)
    parts = [Shard(index=0, prompts=[prompt("1 + 1?"), long, prompt("2 + 2?")])]
    end, closed = sample(made(server), tmp_path, parts)
    assert (end.done, end.failures, end.short) == (6, 3, 0)
    assert {(f.prompt_id, f.reason, f.retryable) for f in closed.failures} == {
        (long.id, "context_length", False)
    }
    assert "maximum context length" in closed.failures[0].detail
    asked = Counter(one.prompt[:5] for one in server.served())
    assert asked["long "] <= P
    server.forget()
    again = sample(made(server), tmp_path, parts)[1]  # its Parquet is gone: the journal knows
    assert server.served() == [] and again.failures == closed.failures


def test_one_prompt_that_is_refused_is_rejected_and_the_others_are_had(
    server: Loopback, tmp_path: Path
) -> None:
    server.set(Behaviour(refuse_substring="What is 1 + 4"))
    end, closed = sample(made(server), tmp_path)
    assert (end.done, end.failures, end.short) == (87, 3, 0)
    assert {f.reason for f in closed.failures} == {"refused_by_server"}
    only = [Shard(index=0, prompts=[prompt("What is 1 + 4?")])]
    with pytest.raises(UserError, match="taken no request so far: HTTP 400"):
        sample(made(server), tmp_path / "only", only)  # no other answer to compare with


def test_half_a_character_is_refused_not_sent(server: Loopback, tmp_path: Path) -> None:
    parts = [Shard(index=0, prompts=[prompt("half \ud800"), prompt("2 + 2?")])]
    end, closed = sample(made(server), tmp_path, parts)
    assert (end.done, end.failures, end.short) == (3, 3, 0)
    assert {f.reason for f in closed.failures} == {"prompt_not_encodable"}


def test_a_poisonous_prompt_is_given_up_and_stays_open(server: Loopback, tmp_path: Path) -> None:
    server.set(Behaviour(poison_substring="What is 1 + 4"))
    end, closed = sample(made(server, patience_seconds=15.0), tmp_path)
    assert (end.done, end.failures, end.short) == (87, 3, 3)
    assert {(f.reason, f.retryable) for f in closed.failures} == {("server_error", True)}
    server.set(Behaviour())
    server.forget()
    assert_whole(*sample(made(server), tmp_path))
    assert len(server.served()) == 3


def test_a_server_that_only_fails_ends_short_and_keeps_all(
    server: Loopback, tmp_path: Path
) -> None:
    teacher = made(server, patience_seconds=2.0)
    server.set(Behaviour(latency_s=0.05))
    timer = threading.Timer(0.3, lambda: server.set(Behaviour(status=503)))
    timer.start()
    with pytest.raises(ShortError, match="is gone after 2 s: HTTP 503"):
        sample(teacher, tmp_path)
    timer.join()
    kept = sum(len(read(path).traces) for path in tmp_path.glob("*.jsonl*"))
    assert 0 < kept == sum(one.status == 200 for one in server.served())
    server.set(Behaviour())
    server.forget()
    end, closed = sample(teacher, tmp_path)
    assert_whole(end, closed)
    assert len(server.served()) == 90 - kept


def test_a_server_that_is_killed_and_comes_back(
    server: Loopback, tmp_path: Path, undisturbed: list[Trace]
) -> None:
    server.set(Behaviour(latency_s=0.05))

    def kill_and_restart() -> None:
        time.sleep(0.25)
        server.kill()
        time.sleep(1.0)
        server.restart()

    thread = threading.Thread(target=kill_and_restart)
    thread.start()
    end, closed = sample(made(server), tmp_path)
    thread.join()
    assert_whole(end, closed)
    assert closed.all == undisturbed
    answered = Counter(one.digest for one in server.served() if one.status == 200)
    assert len(answered) == 90 and max(answered.values()) == 1  # nothing was paid for twice


def test_a_server_that_freezes_is_left_by_the_timeout(server: Loopback, tmp_path: Path) -> None:
    server.set(Behaviour(latency_s=0.05))
    timers = [threading.Timer(0.2, server.pause), threading.Timer(2.5, server.resume)]
    for timer in timers:
        timer.start()
    end, closed = sample(made(server, timeout_seconds=1.0), tmp_path)
    for timer in timers:
        timer.join()
    assert_whole(end, closed)


def test_one_of_two_endpoints_dies_and_the_other_goes_on(
    server: Loopback, tmp_path: Path, undisturbed: list[Trace]
) -> None:
    server.set(Behaviour(latency_s=0.05))
    with Loopback(Behaviour(latency_s=0.05)) as other:
        timer = threading.Timer(0.2, other.kill)
        timer.start()
        end, closed = sample(made(server, endpoints=(server.url, other.url)), tmp_path)
        timer.join()
        assert_whole(end, closed)
        assert closed.all == undisturbed
        assert other.served() and len(server.served()) > len(other.served())


def test_the_faster_endpoint_gets_more(server: Loopback, tmp_path: Path) -> None:
    server.set(Behaviour(latency_s=0.02))
    with Loopback(Behaviour(latency_s=0.2)) as slow:
        teacher = made(server, endpoints=(server.url, slow.url), in_flight=4)
        assert_whole(*sample(teacher, tmp_path))
        assert len(server.served()) > 3 * len(slow.served()) > 0


def test_one_request_for_all_samples_of_a_prompt(
    server: Loopback, tmp_path: Path, undisturbed: list[Trace]
) -> None:
    server.set(Behaviour(fewer_next=5))
    end, closed = sample(made(server, requests="group"), tmp_path)
    assert_whole(end, closed)
    assert [t.text for t in closed.all] == [
        t.text for t in undisturbed
    ]  # seed + i is the sibling's
    asked = Counter(one.n for one in server.served())
    assert asked == {3: 30, 1: 5}
    assert {t.completion_tokens for t in closed.all if t.index == 0} - {None} == set()


def test_hints_differ_by_path_and_are_recorded(server: Loopback, tmp_path: Path) -> None:
    hints = ("Work backwards.", "Use algebra.")
    teacher = made(server, hints=hints, prompt="Solve: {problem} {hint}", requests="group")
    end, closed = sample(teacher, tmp_path, shards(1))
    assert_whole(end, closed, 30)
    assert [t.hint for t in closed.all[:3]] == [hints[0], hints[1], hints[0]]
    asked = {one.prompt for one in server.served()}
    assert "Solve: What is 0 + 3? Use algebra." in asked and len(asked) == 20


@pytest.mark.parametrize("api", ["chat", "completions"])
@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_thinking_that_stands_apart_is_read(
    server: Loopback, tmp_path: Path, field: Any, api: str
) -> None:
    server.set(Behaviour(reasoning=field, reasoning_only=True))
    only = sample(made(server, api=api), tmp_path / "only", shards(1))[1].all
    assert all("The answer is" in trace.text for trace in only)
    cut = sample(made(server, api=api, part="after_think"), tmp_path / "cut", shards(1))[1].all
    assert {trace.text for trace in cut} == ({""} if api == "chat" else {t.text for t in cut})
    server.set(Behaviour(reasoning=field, reasoning_only=False))
    after = sample(made(server, part="after_think"), tmp_path / "after", shards(1))[1].all
    assert all(t.text.startswith("The answer is") for t in after)


@pytest.mark.parametrize("requests", ["single", "group"])
def test_unusable_siblings_are_topped_up_within_bounds(
    server: Loopback, tmp_path: Path, requests: str
) -> None:
    server.set(Behaviour(length_share=0.2, empty_text_share=0.1, duplicate_share=0.1))
    teacher = made(server, top_up=4, requests=requests)
    end, closed = sample(teacher, tmp_path, shortfall=usable)
    assert end.failures == 0 and 90 < end.done <= 30 * (P + 4) and end.wanted == end.done
    for traces in by_prompt(closed.all):
        assert [t.index for t in traces] == list(range(len(traces)))
        enough = not usable(prompt("x"), traces)
        assert enough or len(traces) == P + 4
        assert usable(prompt("x"), traces[:-1]) or len(traces) == P  # not one more than needed
    server.forget()
    again = sample(teacher, tmp_path, shortfall=usable)
    assert again[1].all == closed.all and server.served() == []


def test_recorded_groups_are_topped_up_by_a_server(server: Loopback, tmp_path: Path) -> None:
    from curation.teachers import recorded
    from schemas.recipe import Part
    from schemas.records import Recorded

    def had(n: int) -> tuple[Recorded, ...]:
        return tuple(
            Recorded(text=f"Solution {i}.", finish_reason=FinishReason.STOP) for i in range(n)
        )

    prompts = [dataclasses.replace(prompt(f"{n} recorded?"), recorded=had(n)) for n in range(5)]
    spec = Part.model_validate(
        {"kind": "openai_server", "model": "loop", "endpoints": [server.url], "seeds": True}
    )
    teacher = recorded.build(top_up=spec)
    closed = Closed()
    end = run(
        teacher,
        [Shard(index=0, prompts=prompts)],
        samples=P,
        folder=tmp_path,
        have=lambda index: (),
        close=closed.close,
        shortfall=usable,
    )
    by_prompt = [[t.teacher for t in closed.all if t.prompt_id == p.id] for p in prompts]
    ours = ["recorded"]
    assert by_prompt == [["loop"] * 3, ours + ["loop"] * 2, ours * 2 + ["loop"], ours * 3, ours * 4]
    assert (end.done, end.failures) == (16, 0) and len(server.served()) == 6


def test_concurrency_is_found_from_the_metrics(server: Loopback, tmp_path: Path) -> None:
    server.set(Behaviour(latency_s=0.3, max_running=100))
    parts = shards(count=2, size=400)
    end, _ = sample(made(server, in_flight=None), tmp_path, parts)
    assert end.done == 2400
    flights = [one.in_flight for one in server.served()]
    # It begins with as much as vLLM runs by default, which is too much here. On a busy machine the
    # first metrics may come before the first requests wait, and the limit then grows once.
    assert 100 < max(flights) <= START + START // 2
    settled = sorted(flights[1200:2200])
    # All run, a few wait; on a busy machine the metrics come late. The rule: test_load.py.
    assert 70 <= settled[len(settled) // 2] <= 200


def test_the_gauges_of_sglang_steer_as_well(server: Loopback, tmp_path: Path) -> None:
    server.set(Behaviour(latency_s=0.3, max_running=100, gauges="sglang"))
    end, _ = sample(made(server, in_flight=None), tmp_path, shards(count=2, size=200))
    assert end.done == 1200
    assert max(one.in_flight for one in server.served()) > 3 * UNKNOWN  # its gauges were read


def test_without_metrics_it_says_so_and_grows_slowly(
    server: Loopback, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.set(Behaviour(latency_s=0.02, metrics=False))
    end, _ = sample(made(server, in_flight=None), tmp_path, shards(2, 200))
    assert end.done == 1200
    flights = [one.in_flight for one in server.served()]
    # On a busy machine a reply may come before the last of the first requests is sent.
    assert UNKNOWN - 16 <= max(flights[:UNKNOWN]) <= UNKNOWN
    assert UNKNOWN < max(flights) <= UNKNOWN + 1200 // UNKNOWN
    assert capsys.readouterr().err.count("teacher.in_flight sets a number") == 1


@pytest.mark.parametrize("n", [1, 3])
def test_a_server_with_a_hard_limit_is_found_out(server: Loopback, tmp_path: Path, n: int) -> None:
    """So many at once and no more: nothing is lost or charged, and few requests are refused."""
    server.set(Behaviour(latency_s=0.01, metrics=False, most_at_once=8, retry_after="0.05"))
    teacher = made(server, in_flight=None, requests="group" if n == 3 else "single")
    end, closed = sample(teacher, tmp_path, shards(1, 200))
    assert_whole(end, closed, 600)
    served = server.served()
    assert Counter(one.status for one in served)[200] == 600 // n
    begun = served[len(served) // 3 :]
    refused = sum(one.status == 429 for one in begun)
    assert refused <= 0.2 * len(begun)  # without this rule: seven of eight
    held = sorted(one.in_flight for one in begun)
    assert 3 <= held[len(held) // 2] <= 9  # near the eight that it takes


def test_a_server_with_a_hard_rate_is_found_out(server: Loopback, tmp_path: Path) -> None:
    server.set(Behaviour(latency_s=0.1, metrics=False, most_a_second=200, retry_after="0.05"))
    end, closed = sample(made(server, in_flight=None), tmp_path, shards(1, 200))
    assert_whole(end, closed, 600)
    statuses = Counter(one.status for one in server.served())
    assert statuses[200] == 600 and 0 < statuses[429] <= 200


def test_a_limit_set_by_hand_is_kept(server: Loopback, tmp_path: Path) -> None:
    server.set(Behaviour(latency_s=0.02, metrics=False, fail_next=4, fail_status=429))
    assert_whole(*sample(made(server, in_flight=8), tmp_path))
    last = [one.in_flight for one in server.served()][-40:]
    assert max(last) == 8


@pytest.mark.parametrize("requests", ["single", "group"])
def test_a_server_that_wants_another_field_gets_it(
    server: Loopback, tmp_path: Path, undisturbed: list[Trace], requests: str
) -> None:
    """As OpenAI's newer models: nothing is charged to a prompt, and the server is asked once."""
    server.set(Behaviour(refused_fields=("max_tokens", "top_p"), latency_s=0.02))
    end, closed = sample(made(server, requests=requests), tmp_path)
    assert_whole(end, closed)
    assert [t.text for t in closed.all] == [t.text for t in undisturbed]
    served = server.served()
    refused = [one for one in served if one.status != 200]
    assert {one.status for one in refused} == {400}
    assert len(refused) <= 2 * 8  # those that were under way as it was learned
    assert "max_completion_tokens" in served[-1].fields
    assert not {"max_tokens", "top_p"} & set(served[-1].fields)


def test_the_field_that_a_recipe_names_is_the_only_one(server: Loopback, tmp_path: Path) -> None:
    server.set(Behaviour(refused_fields=("max_tokens",)))
    with pytest.raises(UserError, match="Use 'max_completion_tokens' instead"):
        sample(made(server, tokens_field="max_tokens"), tmp_path)
    server.forget()
    named = made(server, tokens_field="max_completion_tokens")
    assert_whole(*sample(named, tmp_path))
    assert {one.status for one in server.served()} == {200}


def test_a_prompt_that_was_refused_last_time_does_not_stop_the_rest(
    server: Loopback, tmp_path: Path
) -> None:
    one, other = prompt("What is 1 + 1?"), prompt("What is 2 + 2?")
    sample(made(server), tmp_path, [Shard(index=0, prompts=[one])])
    server.set(Behaviour(refuse_substring="2 + 2"))
    end, closed = sample(made(server, top_up=0), tmp_path, [Shard(index=0, prompts=[one, other])])
    assert (end.done, end.failures, end.short) == (3, 3, 0)
    assert {f.reason for f in closed.failures} == {"refused_by_server"}


class Redirecting(BaseHTTPRequestHandler):
    """Sends every request somewhere else."""

    target = ""

    def do_POST(self) -> None:
        self._send(307)

    def do_GET(self) -> None:
        self._send(404)

    def _send(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Location", self.target + self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_a_server_cannot_send_us_elsewhere(server: Loopback, tmp_path: Path) -> None:
    Redirecting.target = server.url.removesuffix("/v1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Redirecting) as elsewhere:
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{elsewhere.server_port}/v1"
        with pytest.raises(UserError, match="answers 307"):
            sample(made(server, endpoints=(url,)), tmp_path)
        elsewhere.shutdown()
    assert server.served() == []


def test_two_runs_at_once_are_no_concern_of_the_keys(server: Loopback) -> None:
    one, other = made(server), made(server, endpoints=("http://elsewhere:1/v1",))
    p = prompt("1 + 1?")
    assert one.key(p, 0) == other.key(p, 0) != one.key(p, 1)
    different: list[dict[str, Any]] = [
        {"model": "m"}, {"revision": "r"}, {"temperature": 0.5}, {"top_p": 0.5}, {"stop": ("a",)},
        {"max_tokens": 5}, {"system": "s"}, {"prompt": "a {problem}"}, {"hints": ("h",)},
        {"part": "after_think"}, {"seeds": False}, {"seed": 1}, {"api": "completions"},
        {"extra": {"min_p": 0.1}},
    ]  # fmt: skip
    keys = {made(server, **options).key(p, 0) for options in different}
    assert len(keys | {one.key(p, 0)}) == len(different) + 1
    unsent = made(server, seeds=False).key(p, 0)
    assert made(server, seeds=False, seed=1).key(p, 0) == unsent  # a seed that is not sent


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, r"teacher\.temperature: must be 0"),
        ({"top_p": 0.0}, r"teacher\.top_p"),
        ({"prompt": "Solve it."}, r"teacher\.prompt: must be with \{problem\}"),
        ({"prompt": "{problem} {hint}"}, r"teacher\.hints"),
        ({"stop": ("",)}, r"teacher\.stop"),
        ({"top_up": -1}, r"teacher\.top_up"),
        ({"in_flight": 0}, r"teacher\.in_flight"),
        ({"extra": {"n": 2}}, r"teacher\.extra\.n"),
        ({"requests": "group", "temperature": 0.0}, r"teacher\.requests: must be single"),
        ({"endpoints": ("localhost:8000",)}, r"teacher\.endpoints: 'localhost:8000' is no address"),
        ({"endpoints": ("ftp://host",)}, r"teacher\.endpoints"),
        ({"endpoints": ("http://host:port",)}, r"teacher\.endpoints"),
        ({"endpoints": ("http://a..b:8000/v1",)}, r"teacher\.endpoints: 'http://a\.\.b"),
        ({"endpoints": (f"http://{'a' * 70}/v1",)}, r"teacher\.endpoints"),
        (
            {"endpoints": ("http://sk-key@host/v1",)},
            r"teacher\.endpoints: an address holds no name",
        ),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(**{"model": "m", **options})


def test_a_server_that_takes_more_gets_more(server: Loopback, tmp_path: Path) -> None:
    server.set(Behaviour(latency_s=0.4, max_running=600))
    end, _ = sample(made(server, in_flight=None), tmp_path, shards(count=2, size=600))
    assert end.done == 3600
    assert max(one.in_flight for one in server.served()) > 400


def test_what_came_before_the_end_is_kept(server: Loopback, tmp_path: Path) -> None:
    """All that the server answered is journaled, also what was not looked at when the run ended."""
    server.set(Behaviour(latency_s=0.1))
    timer = threading.Timer(0.35, lambda: server.set(Behaviour(status=401)))
    timer.start()
    with pytest.raises(UserError, match="answers 401"):
        sample(made(server, in_flight=30), tmp_path, shards(count=20))
    timer.join()
    kept = sum(len(read(path).traces) for path in tmp_path.glob("*.jsonl*"))
    answered = sum(one.status == 200 for one in server.served())
    assert answered - 30 < kept <= answered and kept > 0  # those on their way are lost with it


def test_what_has_come_is_kept_before_it_is_looked_at(server: Loopback) -> None:
    kept: list[Trace] = []

    async def take_one() -> SampleOutcome:
        teacher, one = made(server, seeds=False), prompt("1 + 1?")
        keys = tuple(teacher.key(one, index) for index in range(8))
        request = Request(
            prompt=one,
            shard=0,
            position=0,
            wanted=SampleBudget(8, 8),
            missing=tuple(range(8)),
            keys=keys,
            keep=kept.extend,
        )
        async with aclosing(teacher.sample([request], no_shortfall)) as outcomes:  # type: ignore[type-var]
            first = await anext(outcomes)
            for _ in range(200):
                await asyncio.sleep(0.05)
                if len(kept) == 8:
                    break
        return first

    first = asyncio.run(take_one())
    assert first in kept and sorted(trace.index for trace in kept) == list(range(8))


@pytest.mark.parametrize(
    ("status", "error"), [(402, ShortError), (307, UserError), (202, ShortError), (418, ShortError)]
)
def test_what_the_server_says_of_itself_is_no_prompts_fault(
    server: Loopback, tmp_path: Path, status: int, error: type[Exception]
) -> None:
    server.set(Behaviour(latency_s=0.03))
    timer = threading.Timer(0.15, lambda: server.set(Behaviour(status=status)))
    timer.start()
    with pytest.raises(error, match=str(status)):
        sample(made(server, patience_seconds=2.0), tmp_path, shards(count=20))
    timer.join()
    server.set(Behaviour())
    end, closed = sample(made(server), tmp_path, shards(count=20))
    assert_whole(end, closed, 600)  # nobody was refused for good
    assert end.reused > 0


def test_a_server_that_suddenly_refuses_everything_refuses_no_prompt(
    server: Loopback, tmp_path: Path
) -> None:
    server.set(Behaviour(latency_s=0.03))
    timer = threading.Timer(0.15, lambda: server.set(Behaviour(refuse_substring="What")))
    timer.start()
    with pytest.raises(UserError, match="has taken no request: HTTP 400"):
        sample(made(server), tmp_path, shards(count=20))
    timer.join()
    server.set(Behaviour())
    assert_whole(*sample(made(server), tmp_path, shards(count=20)), 600)


def test_answers_asked_for_before_the_refusals_clear_no_refusal(
    server: Loopback, tmp_path: Path
) -> None:
    """Slow answers come in between the refusals, though the server had changed its mind."""
    server.set(Behaviour(latency_s=0.2, jitter_s=0.5))

    def change() -> None:
        while not server.served():
            time.sleep(0.01)
        server.set(Behaviour(refuse_substring="What"))

    thread = threading.Thread(target=change)
    thread.start()
    with pytest.raises(UserError, match="has taken no request: HTTP 400"):
        sample(made(server, in_flight=30), tmp_path, shards(count=20))
    thread.join()
    server.set(Behaviour())
    assert_whole(*sample(made(server), tmp_path, shards(count=20)), 600)


@pytest.mark.parametrize("retry_after", [None, "0", "-5", "86400", "nan", "soon"])
def test_a_server_that_is_only_busy_ends_the_run_short(
    server: Loopback, tmp_path: Path, retry_after: str | None
) -> None:
    server.set(Behaviour(status=429, retry_after=retry_after))
    with pytest.raises(ShortError, match="nothing but 429"):
        sample(made(server, patience_seconds=1.5), tmp_path)
    assert len(server.served()) < 200


def test_a_missing_middle_sibling_gets_its_own_seed() -> None:
    sampling = made_sampling(seeds=True)
    one = prompt("1 + 1?")
    assert sampling.batches(one, [0, 2]) == [(0,), (2,)]
    reply = b'{"choices": [{"index": 0, "finish_reason": "stop", "text": "a"}, '
    broken = b'{"index": 1, "finish_reason": "abort", "text": "b"}, '
    last = (
        b'{"index": 2, "finish_reason": "stop", "text": "c"}], "usage": {"completion_tokens": 9}}'
    )
    found = choices(reply + broken + last, 3, "full")
    assert [(c.number, c.text, c.tokens) for c in found] == [(0, "a", None), (2, "c", None)]
    with pytest.raises(BadReplyError, match="broken off"):
        choices(reply.replace(b"stop", b"abort")[:-2] + b"]}", 1, "full")


def made_sampling(**options: Any) -> ServerSampling:
    return build(**{"model": "m", **options})._sampling


def test_a_reply_with_half_a_character_is_kept_as_it_is() -> None:
    reply = b'{"choices": [{"index": 0, "finish_reason": "stop", "text": "\\ud800 1"}]}'
    assert choices(reply, 1, "full")[0].text == "\ud800 1"


@pytest.mark.parametrize("key", ["a\nb", "a\x00b"])
def test_a_key_that_no_header_carries(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    if "\x00" not in key:
        monkeypatch.setenv("LOOP_KEY", key)
        with pytest.raises(UserError, match="LOOP_KEY holds a character"):
            sample(made(server, api_key_env="LOOP_KEY"), tmp_path)
    with pytest.raises(UserError, match="is no name of an environment variable") as caught:
        sample(made(server, api_key_env=f"sk-{key}"), tmp_path)
    assert key not in str(caught.value)
    monkeypatch.setenv("LOOP_KEY", "good\n")  # as files of secrets end
    assert_whole(*sample(made(server, api_key_env="LOOP_KEY"), tmp_path))


class Echoing(Redirecting):
    """Answers 400 with everything that was sent."""

    def do_POST(self) -> None:
        said = f"bad headers: {self.headers['Authorization']}".encode()
        self.send_response(400)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)


def test_a_key_that_a_server_repeats_is_not_repeated(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOP_KEY", "very-secret")
    with ThreadingHTTPServer(("127.0.0.1", 0), Echoing) as echoing:
        threading.Thread(target=echoing.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{echoing.server_port}"
        with pytest.raises(UserError, match=r"bad headers: Bearer \*\*\*"):
            sample(made(server, endpoints=(url,), api_key_env="LOOP_KEY"), tmp_path)
        echoing.shutdown()


def test_a_prompt_that_cannot_be_sent_is_no_trial(server: Loopback, tmp_path: Path) -> None:
    """An outage in the middle, and the next prompt in line holds half a surrogate pair."""
    bad = [prompt(f"half {n} \ud800") for n in range(20)]
    mixed = [p for pair in zip(shards(1, 20)[0].prompts, bad, strict=True) for p in pair]
    server.set(Behaviour(latency_s=0.03, fail_next=8))
    end, _ = sample(made(server, in_flight=4), tmp_path, [Shard(index=0, prompts=mixed)])
    assert (end.done, end.failures, end.short) == (60, 60, 0)


@pytest.mark.parametrize("part", ["full", "after_think"])
def test_a_reply_that_holds_null_says_so(part: Any) -> None:
    """Of null content, and of thinking without an end: no reason is given that is not true."""

    def one(message: dict[str, object], finish: str = "stop") -> Choice:
        reply = {"choices": [{"index": 0, "finish_reason": finish, "message": message}]}
        (choice,) = choices(json.dumps(reply).encode(), 1, part)
        return choice

    null = one({"content": None}, "tool_calls")
    assert (null.text, null.finish_reason) == ("", FinishReason.NO_CONTENT)
    thought = one({"content": None, "reasoning": "hm "}, "length")
    full = ("hm", FinishReason.LENGTH)
    assert thought[1:3] == (full if part == "full" else ("", FinishReason.NO_CONTENT))
    cut = one({"content": "<think>hm"}, "length")
    full = ("<think>hm", FinishReason.LENGTH)
    assert cut[1:3] == (full if part == "full" else ("", FinishReason.NO_END_OF_THINKING))
    assert one({"content": ""})[1:3] == ("", {"full": FinishReason.STOP}.get(part, cut[2]))
    whole = one({"content": "4", "reasoning": "hm"})
    assert whole.text == ("hm\n\n4" if part == "full" else "4")
