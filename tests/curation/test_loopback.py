"""The misbehaving server: what the tests of faults and the benchmarks of sampling rely on."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.servers.loopback import Behaviour, Loopback
from tests.servers.loopback.behaviour import behaviour_of
from tests.servers.loopback.text import share


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any  # JSON, or text where it is none


def call(
    server: Loopback, path: str, body: object = None, *, key: str | None = None, wait: float = 10
) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=wait)
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    try:
        data = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, data, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    try:
        return Reply(answer.status, dict(answer.getheaders()), json.loads(text))
    except ValueError:
        return Reply(answer.status, dict(answer.getheaders()), text)


def chat(server: Loopback, prompt: str = "What is 1 + 1?", wait: float = 10, **more: Any) -> Reply:
    body = {"model": "loop", "messages": [{"role": "user", "content": prompt}], **more}
    return call(server, "/v1/chat/completions", body, wait=wait)


def texts(reply: Reply) -> list[str]:
    assert reply.status == 200
    return [choice["message"]["content"] for choice in reply.body["choices"]]


@pytest.fixture(scope="module")
def running() -> Iterator[Loopback]:
    with Loopback() as server:
        yield server


@pytest.fixture
def server(running: Loopback) -> Loopback:
    running.set(Behaviour())
    running.forget()
    return running


def test_a_behaviour_survives_json_and_an_unknown_field_is_refused(server: Loopback) -> None:
    behaviour = Behaviour(latency_s=0.5, models=("a", "b"), die_substring="x", max_running=3)
    assert behaviour_of(behaviour.json()) == behaviour
    assert call(server, "/control", {"latencies": 1}).status == 400


def test_texts_depend_on_messages_and_seed_plus_sibling(server: Loopback) -> None:
    four = texts(chat(server, n=4, seed=10))
    assert len(set(four)) == 4
    assert texts(chat(server, n=2, seed=12)) == four[2:]
    assert texts(chat(server, "another", n=1, seed=10)) != four[:1]
    assert len({*texts(chat(server, n=2)), *texts(chat(server, n=2))}) == 4  # no seed: drawn anew
    assert len(set(texts(chat(server, n=2, temperature=0)))) == 1
    assert all("The answer is " in text.splitlines()[-1] for text in four)
    assert 380 < len(four[0]) < 480


def test_the_answer_is_mostly_the_gold_that_the_prompt_names(server: Loopback) -> None:
    many = texts(chat(server, "What is 8 + 9? [gold 17]", n=100, seed=0))
    right = sum(text.endswith("The answer is 17") for text in many)
    assert 60 < right < 95


def test_plain_completions_and_the_shape_of_an_answer(server: Loopback) -> None:
    body = {"model": "loop", "prompt": "1 + 1 =", "n": 2, "seed": 1, "top_p": 0.5, "unheard_of": 1}
    plain = call(server, "/v1/completions", body).body
    assert plain["object"] == "text_completion"
    assert [choice["index"] for choice in plain["choices"]] == [0, 1]
    assert all("The answer is" in choice["text"] for choice in plain["choices"])
    answer = chat(server, seed=1).body
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 90
    assert answer["choices"][0]["finish_reason"] == "stop"
    server.set(Behaviour(models=("m",), root="org/m"))
    (card,) = call(server, "/v1/models").body["data"]
    assert (card["id"], card["root"], card["owned_by"]) == ("m", "org/m", "vllm")
    assert chat(server).body["error"]["type"] == "NotFoundError"


def test_shares_hit_samples_and_reasoning_moves_the_text(server: Loopback) -> None:
    server.set(Behaviour(length_share=0.3, empty_text_share=0.2))
    choices = chat(server, n=100, seed=0).body["choices"]
    assert 15 <= sum(choice["finish_reason"] == "length" for choice in choices) <= 45
    assert 8 <= sum(not choice["message"]["content"] for choice in choices) <= 35
    server.set(Behaviour(duplicate_share=1.0))
    assert len(set(texts(chat(server, n=5, seed=0)))) == 1
    server.set(Behaviour(reasoning="reasoning_content"))
    message = chat(server, seed=0).body["choices"][0]["message"]
    assert message["content"] is None and "The answer is" in message["reasoning_content"]


def test_the_next_requests_fail_as_told_one_by_one(server: Loopback) -> None:
    server.set(Behaviour(fail_next=2, fail_status=429, retry_after="3", malformed_next=1))
    assert [chat(server).headers.get("Retry-After") for _ in range(2)] == ["3", "3"]
    assert isinstance(chat(server).body, str)
    assert chat(server).status == 200
    server.set(Behaviour(empty_next=1, fewer_next=1, abort_next=1))
    assert chat(server, n=3).body["choices"] == []
    assert len(chat(server, n=3).body["choices"]) == 2
    assert {one["finish_reason"] for one in chat(server, n=3).body["choices"]} == {"abort"}
    assert len(texts(chat(server, n=3))) == 3
    assert [one.status for one in server.served()] == [429, 429, *[200] * 6]


def test_resets_and_hangs_give_no_answer(server: Loopback) -> None:
    server.set(Behaviour(reset_next=1, hang_next=1))
    with pytest.raises(ConnectionResetError):
        chat(server)
    with pytest.raises(TimeoutError):
        chat(server, wait=0.3)
    chat(server)
    reset, hung, fine = server.served()
    assert reset.status is None and hung.status is None and fine.status == 200
    assert hung.ended is not None and 0.2 < hung.ended - hung.arrived < 5
    assert fine.in_flight == 1  # the hung one ended as its client went away


def test_prompts_that_are_refused(server: Loopback) -> None:
    server.set(Behaviour(context_limit=400, refuse_substring="bad", poison_substring="ill"))
    error = chat(server, "x" * 401).body["error"]
    assert (error["code"], error["type"], error["param"]) == (
        400,
        "BadRequestError",
        "input_tokens",
    )
    assert error["message"].startswith("This model's maximum context length is 100 tokens.")
    assert "context" not in chat(server, "a bad one").body["error"]["message"]
    assert chat(server, "ill").status == chat(server, "ill").status == 500
    assert chat(server, "good").status == 200


def test_an_outage_darkens_everything_and_passes(server: Loopback) -> None:
    server.set(Behaviour(outage_s=0.5, health=200))
    began = time.monotonic()
    assert call(server, "/health").status == chat(server).status == 503
    assert call(server, "/v1/models").status == call(server, "/metrics").status == 503
    while call(server, "/health").status == 503:
        time.sleep(0.05)
    assert time.monotonic() - began > 0.4
    assert chat(server).status == 200
    server.set(Behaviour(status=503, health=500))
    assert (chat(server).status, call(server, "/health").status) == (503, 500)


def test_the_engine_runs_so_many_and_says_so(server: Loopback) -> None:
    server.set(Behaviour(latency_s=0.5, max_running=4))
    threads = [threading.Thread(target=chat, args=(server,), kwargs={"n": 2}) for _ in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 5
    while 'running{engine="0",model_name="loop"} 4.0' not in call(server, "/metrics").body:
        assert time.monotonic() < deadline
    page = call(server, "/metrics").body
    assert 'vllm:num_requests_waiting{engine="0",model_name="loop"}' in page
    assert 'vllm:kv_cache_usage_perc{engine="0",model_name="loop"} 0.5' in page
    for thread in threads:
        thread.join()
    served = server.served()
    assert max(one.ended or 0 for one in served) - served[0].arrived > 0.99  # twice four sequences
    server.set(Behaviour(metrics=False))
    assert call(server, "/metrics").status == 404


def test_latency_jitter_and_tail_depend_on_the_request(server: Loopback) -> None:
    server.set(Behaviour(latency_s=0.02, jitter_s=0.05, tail_share=0.2, tail_s=0.2))
    for seed in range(20):
        chat(server, seed=seed)
    served = server.served()
    took = [(one.ended or 0) - one.arrived for one in served]
    tail = [share("tail", bytes.fromhex(one.digest)) < 0.2 for one in served]
    assert 1 <= sum(tail) <= 9
    assert all(
        seconds > (0.219 if slow else 0.019) for seconds, slow in zip(took, tail, strict=True)
    )
    assert min(took) < 0.2


def test_killed_frozen_and_restarted_it_remembers_what_it_was_asked() -> None:
    with Loopback(Behaviour(die_substring="die", latency_s=0.01, fail_next=5)) as server:
        url = server.url
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            chat(server, "die")
        deadline = time.monotonic() + 5
        while server.is_alive:
            assert time.monotonic() < deadline
        with pytest.raises(ConnectionRefusedError):
            chat(server)
        server.restart()
        assert server.url == url
        assert chat(server, "live").status == 200  # the counters are spent
        server.pause()
        with pytest.raises(TimeoutError):
            chat(server, wait=0.3)
        server.resume()
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            chat(server, "die too")
        assert [one.prompt for one in server.served()][:2] == ["die", "live"]
        assert server.served()[0].ended is None and server.served()[1].status == 200
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


def test_a_key_is_asked_for() -> None:
    with Loopback(require_key="secret") as server:
        assert call(server, "/v1/models").status == 401
        assert call(server, "/v1/models", key="secret").status == 200
        assert chat(server).status == 401
        assert call(server, "/health").status == 200
