"""Supervised servers: real processes that die, hang and are killed; nothing is left of any."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from curation.vllm_servers import launch, server
from curation.vllm_servers.servers import HealthTimeouts, Servers, launch_specs
from schemas.recipe import Recipe, validate_recipe
from schemas.serve import Serve
from scorers.answers.grade import GradePool
from support.errors import ShortError, UserError
from support.network import free_port, is_healthy

ROOT = Path(__file__).resolve().parents[2]
FAKE = Path(__file__).with_name("fake_server.py")
TIMEOUTS = HealthTimeouts(look=0.05, health=0.1, answer=0.5, unhealthy=3.0, backoff=0.05, grace=0.5)
PATIENCE = 60.0  # until a test that waits for an outcome gives up


@dataclass(frozen=True)
class Bench:
    """An interpreter that takes the fake server for vLLM, and the files of one test."""

    folder: Path

    @property
    def python(self) -> str:
        return str(self.folder / "python")

    @property
    def grandchildren(self) -> Path:
        return self.folder / "grandchildren"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def pids(self, name: str) -> list[int]:
        path = self.folder / name
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def spec(self, *args: str, **more: Any) -> Serve:
        given = ("--lives", str(self.folder / "lives"), *args)
        return Serve(python=self.python, args=given, **more)

    def servers(self, *args: str, gpus: tuple[str, ...] = (), **more: Any) -> Servers:
        spec = self.spec(*args, **more)
        return Servers(spec, "org/model", "name", self.logs, gpus=gpus, timeouts=TIMEOUTS)

    def parent(self, grades: bool = False) -> str:
        """A script that starts a server and then waits."""
        return PARENT.format(
            root=str(ROOT), folder=str(self.folder), python=self.python, grades=grades
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    module = tmp_path / "site" / "vllm" / "entrypoints" / "openai"
    module.mkdir(parents=True)
    shutil.copy(FAKE, module / "api_server.py")
    wrapper = tmp_path / "python"
    site = tmp_path / "site"
    wrapper.write_text(f'#!/bin/sh\nPYTHONPATH="{site}" exec "{sys.executable}" "$@"\n')
    wrapper.chmod(0o755)
    return Bench(tmp_path)


def call(url: str, path: str, method: str = "GET") -> Any:
    where = urlsplit(url)
    assert where.hostname is not None
    connection = HTTPConnection(where.hostname, where.port or 80, timeout=10)
    try:
        connection.request(method, path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def facts(url: str) -> Any:
    """`/facts` of the server at a base URL; None while nobody answers."""
    try:
        return call(url, "/facts")
    except OSError:
        return None


def wait_for(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Whether the process lives; a zombie that nobody reaps does not count."""
    stat = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(stat.stdout.strip()) and not stat.stdout.strip().startswith("Z")


def parent_of(pid: int) -> int:
    found = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True)
    return int(found.stdout)


def test_a_server_starts_answers_and_is_gone_after_close(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    servers = bench.servers("--grandchild", str(bench.grandchildren), "--healthy-after", "0.3")
    (url,) = servers.start()
    seen = facts(url)
    assert url.startswith("http://127.0.0.1:") and url.endswith("/v1")
    port = str(urlsplit(url).port)
    assert seen["argv"][:8] == [
        *("--model", "org/model", "--served-model-name", "name"),
        *("--host", "127.0.0.1", "--port", port),
    ]
    assert seen["ignores"] == []
    assert seen["devices"] == os.environ.get("CUDA_VISIBLE_DEVICES")
    assert os.getsid(seen["pid"]) != os.getsid(0)
    pids = [seen["pid"], parent_of(seen["pid"]), *bench.pids("grandchildren")]
    assert len(pids) == 3 and all(map(is_running, pids))
    assert servers.failure is None
    servers.close()
    assert not any(map(is_running, pids))
    servers.close()
    assert servers.failure is None
    first, last = capfd.readouterr().err.splitlines()
    assert first.startswith("starting 1 vLLM server of org/model; log ")
    assert last.startswith("ready after ") and url in last


def test_an_exception_ends_it(bench: Bench) -> None:
    with pytest.raises(ZeroDivisionError), bench.servers() as servers:
        servers.start()
        raise ZeroDivisionError
    assert not is_running(bench.pids("lives")[0])


PARENT = """
import os, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background ignore it
sys.path.insert(0, {root!r})
from curation.vllm_servers.servers import HealthTimeouts, Servers
from schemas.serve import Serve

folder = Path({folder!r})
args = ("--grandchild", str(folder / "grandchildren"))
spec = Serve(python={python!r}, args=args)
timeouts = HealthTimeouts(look=0.05, grace=0.5)
with Servers(spec, "m", "m", folder / "logs", gpus=(), timeouts=timeouts) as servers:
    (url,) = servers.start()
    worker = 0
    if {grades}:
        from scorers.answers.grade import GradePool
        pool = GradePool(workers=1)
        pool.grade([("\\\\boxed{{\\\\sqrt{{16}}}}", "4")])
        worker = pool._pool.workers._workers[0].process.pid
    forked = os.fork()
    if forked == 0:
        time.sleep(300)
        os._exit(0)
    print(url, forked, worker, flush=True)
    time.sleep(300)
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_outlives_the_parent(bench: Bench, ending: signal.Signals) -> None:
    """The parent has a forked child that keeps all its files open, and once a grading worker."""
    script = bench.parent(grades=ending is signal.SIGKILL)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    url, forked, worker = parent.stdout.readline().split()
    try:
        server = facts(url)["pid"]
        pids = [server, parent_of(server), *bench.pids("grandchildren")]
        pids += [int(worker)] if int(worker) else []
        assert all(map(is_running, pids)) and len(pids) >= 3
        parent.send_signal(ending)
        parent.wait(PATIENCE)
        wait_for(lambda: not any(map(is_running, pids)))
        assert is_running(int(forked))
    finally:
        os.kill(int(forked), signal.SIGKILL)
        parent.kill()
        parent.stdout.close()


def test_ctrl_c_in_the_terminal_reaches_the_parent_alone(bench: Bench) -> None:
    """SIGINT to the whole foreground group: the server gets SIGTERM instead."""
    script = bench.parent()
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout is not None
    server = facts(parent.stdout.readline().split()[0])["pid"]
    pids = [server, parent_of(server), *bench.pids("grandchildren")]
    assert all(os.getpgid(pid) != parent.pid for pid in pids)
    os.killpg(parent.pid, signal.SIGINT)
    parent.wait(PATIENCE)
    parent.stdout.close()
    assert not any(map(is_running, pids))
    assert "KeyboardInterrupt" not in (bench.logs / "server-0.log").read_text()


def test_ctrl_c_while_it_starts(bench: Bench) -> None:
    script = bench.parent()
    script = script.replace("args = (", 'args = ("--healthy-after", "300", ')
    parent = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    wait_for(lambda: bench.pids("grandchildren"))
    parent.send_signal(signal.SIGINT)
    parent.wait(PATIENCE)
    assert not is_running(bench.pids("grandchildren")[0])


def test_a_killed_supervisor_leaves_nothing_and_the_server_comes_back(bench: Bench) -> None:
    with bench.servers("--grandchild", str(bench.grandchildren)) as servers:
        (url,) = servers.start()
        before = facts(url)["pid"]
        old = [before, parent_of(before), *bench.pids("grandchildren")]
        os.kill(parent_of(before), signal.SIGKILL)
        wait_for(lambda: not any(map(is_running, old)))
        wait_for(lambda: facts(url))
        assert facts(url)["pid"] != before


def test_who_kills_by_the_servers_name_hits_no_supervisor(bench: Bench) -> None:
    """`pkill -9 -f vllm` does not match vLLM's engine: the supervisor must be left to end that."""
    with bench.servers("--grandchild", str(bench.grandchildren), restarts=0) as servers:
        server = facts(servers.start()[0])["pid"]
        assert b"vllm" not in Path(f"/proc/{parent_of(server)}/cmdline").read_bytes()
        os.kill(server, signal.SIGKILL)
        wait_for(lambda: not is_running(bench.pids("grandchildren")[0]))


def test_a_dead_server_comes_back_at_its_port_so_often_and_no_more(bench: Bench) -> None:
    with bench.servers("--grandchild", str(bench.grandchildren), restarts=2) as servers:
        (url,) = servers.start()
        for life in (1, 2, 3):
            wait_for(lambda: facts(url))
            assert len(bench.pids("lives")) == life
            wait_for(lambda: is_healthy("127.0.0.1", urlsplit(url).port or 0, 5))
            assert servers.failure is None
            os.kill(facts(url)["pid"], signal.SIGKILL)
            wait_for(lambda n=life: not is_running(bench.pids("lives")[n - 1]))  # type: ignore[misc]
        wait_for(lambda: servers.failure)
        assert servers.failure is not None and "\n" not in servers.failure
        assert "was ended by signal 9" in servers.failure
        assert "serve.restarts" in servers.failure and url in servers.failure
        assert not any(map(is_running, bench.pids("lives") + bench.pids("grandchildren")))
        assert len(bench.pids("lives")) == 3


def test_a_long_life_forgets_the_restarts_before_it(bench: Bench) -> None:
    timeouts = replace(TIMEOUTS, steady=0.0)
    with Servers(
        bench.spec(restarts=1), "m", "m", bench.logs, gpus=(), timeouts=timeouts
    ) as servers:
        (url,) = servers.start()
        for life in (1, 2, 3):
            wait_for(lambda: facts(url))
            os.kill(facts(url)["pid"], signal.SIGKILL)
            wait_for(lambda n=life: len(bench.pids("lives")) > n)  # type: ignore[misc]
        assert servers.failure is None


@pytest.mark.parametrize("illness", ["/hang", "/sick"])
def test_a_server_that_lives_without_health_is_started_again(bench: Bench, illness: str) -> None:
    with bench.servers() as servers:
        (url,) = servers.start()
        sick = facts(url)["pid"]
        call(url, illness, "POST")
        wait_for(lambda: not is_running(sick))
        wait_for(lambda: facts(url))
        assert facts(url)["pid"] != sick
        assert servers.failure is None


def test_a_short_illness_is_no_reason(bench: Bench) -> None:
    timeouts = HealthTimeouts(look=0.05, health=0.05, answer=0.5, unhealthy=300.0)
    with Servers(bench.spec(), "m", "m", bench.logs, gpus=(), timeouts=timeouts) as servers:
        (url,) = servers.start()
        call(url, "/sick", "POST")
        wait_for(lambda: (bench.logs / "server-0.log").read_text().count(" 503 ") >= 3)
        call(url, "/well", "POST")
        assert len(bench.pids("lives")) == 1


def test_a_server_that_never_answers_is_the_users_to_mend(bench: Bench) -> None:
    with bench.servers("--dead-after", "0", "--healthy-after=0") as servers:
        with pytest.raises(UserError) as caught:
            servers.start()
        text = str(caught.value)
    assert "\n" not in text
    assert f"{bench.python} -m vllm.entrypoints.openai.api_server --model org/model" in text
    assert "ended with status 3" in text and str(bench.logs / "server-0.log") in text
    assert "ValueError: no room for 9 GiB | " in text and "initialization failed" in text
    assert len(bench.pids("lives")) == 1


def test_restarts_that_never_answer_are_bounded_too(bench: Bench) -> None:
    args = ("--deaf-after", "1")
    with bench.servers(*args, restarts=1, start_seconds=2) as servers:
        (url,) = servers.start()
        os.kill(facts(url)["pid"], signal.SIGKILL)
        wait_for(lambda: servers.failure)
        assert "did not answer within 2 s" in str(servers.failure)
    assert len(bench.pids("lives")) == 2


def test_a_start_that_takes_too_long(bench: Bench) -> None:
    grandchild = ("--grandchild", str(bench.grandchildren))
    with pytest.raises(ShortError, match=r"^serve\.start_seconds: .* did not answer within 1 s"):
        bench.servers("--healthy-after", "300", *grandchild, start_seconds=1).start()
    assert not any(map(is_running, bench.pids("lives") + bench.pids("grandchildren")))


def test_no_vllm_says_what_to_install(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    servers = Servers(
        Serve(python=str(bare)), "m", "m", tmp_path / "logs", gpus=(), timeouts=TIMEOUTS
    )
    with pytest.raises(UserError, match=r"has no vLLM; run `.*python -m pip install vllm`"):
        servers.start()


def test_no_interpreter_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^serve\.python: '/no/python' is no program"):
        Servers(Serve(python="/no/python"), "m", "m", tmp_path, gpus=())


def test_two_servers_have_ports_and_gpus_of_their_own(bench: Bench) -> None:
    with bench.servers(gpus=("4", "5", "GPU-6", "7", "8"), gpus_per_server=2) as servers:
        urls = servers.start()
        seen = [facts(url) for url in urls]
        assert [one["devices"] for one in seen] == ["4,5", "GPU-6,7"]
        assert all("--tensor-parallel-size" in one["argv"] for one in seen)
        assert len(set(urls)) == 2
    assert {path.name for path in bench.logs.iterdir()} == {"server-0.log", "server-1.log"}
    assert not any(is_running(one["pid"]) for one in seen)


def test_a_port_that_was_taken_meanwhile(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        stolen = iter([other.getsockname()[1]])
        monkeypatch.setattr(
            server, "free_port", lambda *asked: next(stolen, None) or free_port(*asked)
        )
        with bench.servers() as servers:
            (url,) = servers.start()
            assert urlsplit(url).port != other.getsockname()[1]
            assert facts(url)["pid"] == bench.pids("lives")[1]


def test_a_server_cannot_be_started_once_closing_began(bench: Bench) -> None:
    servers = bench.servers()
    servers.close()
    with pytest.raises(ShortError, match="closed"):
        servers.start()
    assert bench.pids("lives") == []


@pytest.mark.parametrize(
    ("more", "gpus", "says"),
    [
        (
            {"gpus_per_server": 4},
            ("0", "1"),
            "serve.gpus_per_server: 4 GPUs are wanted, but 2",
        ),
        ({"servers": 3}, ("0", "1"), "serve.servers: 3 GPUs are wanted, but 2"),
        ({"host": "no such host"}, (), "serve.host: 'no such host'"),
        ({"host": "192.0.2.1"}, (), "serve.host: cannot listen at '192.0.2.1'"),
    ],
)
def test_what_is_not_there(
    tmp_path: Path, more: dict[str, Any], gpus: tuple[str, ...], says: str
) -> None:
    with pytest.raises(UserError) as caught:
        Servers(Serve(**more), "m", "m", tmp_path, gpus=gpus)
    assert says in str(caught.value)


def test_servers_without_a_gpu_name_none(tmp_path: Path) -> None:
    assert [p.environment for p in launch_specs(Serve(), "m", "n", tmp_path, ())] == [{}]
    two = launch_specs(Serve(servers=2), "m", "n", tmp_path, ())
    assert [(p.number, p.environment, p.args) for p in two] == [(0, {}, ()), (1, {}, ())]


@pytest.mark.parametrize(
    ("chosen", "names"),
    [("2,3", ("2", "3")), ("", ()), ("-1", ()), ("0,-1,1", ("0",)), ("GPU-ab, 1", ("GPU-ab", "1"))],
)
def test_cuda_visible_devices_is_respected(chosen: str, names: tuple[str, ...]) -> None:
    assert launch.visible_gpus({"CUDA_VISIBLE_DEVICES": chosen}) == names


def test_urls_reach_servers_that_listen_everywhere() -> None:
    assert launch.base_url("0.0.0.0", 5) == "http://127.0.0.1:5/v1"
    assert launch.base_url("::", 5) == "http://[::1]:5/v1"
    assert launch.base_url("node7", 5) == "http://node7:5/v1"


def test_a_grading_worker_holds_no_pipe_of_a_server(bench: Bench) -> None:
    """Workers started while a server runs inherit none of its files."""
    with bench.servers() as servers, GradePool(workers=1) as pool:
        servers.start()
        pool.grade([(r"\boxed{\sqrt{16}}", "4")])
        worker = pool._pool.workers._workers[0].process.pid
        process = servers._servers[0]._process
        assert process is not None
        pipe = os.readlink(f"/proc/self/fd/{process._control.fileno()}")
        held = {os.readlink(path) for path in Path(f"/proc/{worker}/fd").iterdir()}
        assert pipe.startswith("pipe:") and pipe not in held


BASE = {"name": "x", "source": {"kind": "jsonl", "path": "a"}, "teacher": {"kind": "recorded"}}


def recipe(**serve: object) -> Recipe:
    return validate_recipe({**BASE, "serve": serve}, "r.yaml")


def test_where_a_model_is_served_shapes_no_corpus() -> None:
    plain = validate_recipe(BASE, "r.yaml")
    assert plain.serve is None
    assert plain.digest() == recipe(servers=2, args=["--max-model-len", 4096]).digest()
    spec = recipe(args=["--max-model-len", 4096, "--gpu-memory-utilization=0.9"]).serve
    assert spec is not None
    assert spec.args == ("--max-model-len", "4096", "--gpu-memory-utilization=0.9")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"args": ["--port", "80"]}, "serve: args: --port does not belong here"),
        ({"args": ["--api_key=abc"]}, "set VLLM_API_KEY in the environment"),
        ({"args": ["--x", None]}, "serve.args.1"),
        ({"args": "--x"}, "serve.args"),
        ({"modl": "m"}, "serve.modl: unknown field; did you mean 'model'?"),
        ({"servers": 0}, "serve.servers"),
        ({"restarts": -1}, "serve.restarts"),
        ({"start_seconds": 0}, "serve.start_seconds"),
    ],
)
def test_mistakes_are_named(given: dict[str, object], says: str) -> None:
    with pytest.raises(UserError) as caught:
        recipe(**given)
    assert says in str(caught.value)
    assert "abc" not in str(caught.value)


def test_the_usual_patience() -> None:
    assert server.HealthTimeouts().unhealthy == 60.0
    assert Serve().host == "127.0.0.1" and Serve().restarts == 5
