"""Hostile programs: none gets out of the sandbox, and nothing is left of them."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.sandbox import Guest, Limits, Ran, Sandbox, SandboxError

LIMITS = Limits(cpu_seconds=1, memory_bytes=512 << 20, wall_seconds=3)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox()
    try:
        made.start()
    except SandboxError as error:
        pytest.skip(f"no sandbox: {error}")
    yield made
    made.close()


def run(sandbox: Sandbox, text: str, given: str = "", limits: Limits = LIMITS) -> Ran:
    (ran,) = sandbox.run([Guest(text, given)], limits)
    # A run after it works: what ran before has broken nothing.
    (after,) = sandbox.run([Guest("print(7)")], LIMITS)
    assert (after.status, after.output) == (0, "7\n")
    return ran


def test_a_program_reads_its_input_and_prints(sandbox: Sandbox) -> None:
    ran = run(sandbox, "print(1 + int(input()))\nraise SystemExit(3)", "41\n")
    assert (ran.status, ran.output, ran.cut) == (3, "42\n", "")


def test_time_memory_disk_output_and_processes_end(sandbox: Sandbox) -> None:
    assert run(sandbox, "while True: pass").status == -signal.SIGXCPU
    stubborn = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    assert run(sandbox, stubborn).status == -signal.SIGKILL
    short = Limits(cpu_seconds=1, memory_bytes=512 << 20, wall_seconds=0.5)
    assert run(sandbox, "import time; time.sleep(100)", limits=short).cut == "time"
    assert run(sandbox, "x = bytearray(10 << 30)").status == 1
    assert run(sandbox, "while True: print('x' * 10 ** 6)").cut == "output"
    fill = "for k in range(10 ** 6):\n    open(str(k), 'w').write('x' * 10 ** 6)"
    assert run(sandbox, fill).status == 1
    forks = "import os, time\nfor k in range(1000):\n    if not os.fork(): time.sleep(60)"
    assert run(sandbox, forks).status == 1
    bomb = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    assert run(sandbox, bomb, limits=short).cut == "time"


def test_crashes_are_statuses(sandbox: Sandbox) -> None:
    assert run(sandbox, "import ctypes; ctypes.string_at(0)").status == -11
    deep = "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(n): return f(n + 1) + 1\nf(0)"
    assert run(sandbox, deep).status != 0


def test_no_network_and_no_secret_and_no_file_of_ours(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ran = run(sandbox, f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)")
        assert ran.status == 1
    (tmp_path / "secret").write_text("s3cret")
    monkeypatch.setenv("SANDBOX_SECRET", "s3cret")
    for path in (tmp_path / "secret", Path("/etc/passwd"), Path(f"/proc/{os.getpid()}/environ")):
        assert run(sandbox, f"print(open({str(path)!r}).read())").status == 1
    assert "s3cret" not in run(sandbox, "import os; print(dict(os.environ))").output
    assert run(sandbox, f"open({str(tmp_path / 'new')!r}, 'w')").status == 1
    assert not (tmp_path / "new").exists()
    assert run(sandbox, "import os; print(os.listdir('.'))").output == "[]\n"


def test_it_gets_no_privilege_back(sandbox: Sandbox) -> None:
    calls = "import ctypes\nlibc = ctypes.CDLL(None)\n"
    for call in ("unshare(0x10000000)", "ptrace(0, 0, 0, 0)", "setuid(0)"):
        assert run(sandbox, f"{calls}print(libc.{call})").output == "-1\n", call


def test_it_kills_itself_at_most(sandbox: Sandbox) -> None:
    kill = (
        "import os\n"
        "for pid in (1, os.getppid(), 0, -1, *range(2, 40)):\n"
        "    try: os.kill(pid, 9)\n"
        "    except OSError: pass\n"
    )
    run(sandbox, kill)


def test_a_daemon_ends_with_its_program(sandbox: Sandbox) -> None:
    mark = f"guest{os.getpid()}"
    rename = f"import ctypes; ctypes.CDLL(None).prctl(15, b'{mark}', 0, 0, 0)"
    daemon = (
        f"import os, time\nif not os.fork():\n    os.setsid()\n    if not os.fork():\n"
        f"        {rename}\n        time.sleep(100)\n    os._exit(0)\ntime.sleep(0.2)\n"
    )
    assert run(sandbox, daemon).status == 0
    names = []
    for file in Path("/proc").glob("[0-9]*/comm"):
        try:
            names.append(file.read_text().strip())
        except OSError:
            continue
    assert mark[:15] not in names


def test_equal_programs_do_the_same(sandbox: Sandbox) -> None:
    text = "import random\nprint(random.random(), list({'a', 'b', 'c', 'd'}))"
    other = Sandbox()
    try:
        assert run(sandbox, text).output == run(other, text).output
    finally:
        other.close()


def test_two_guests_talk_and_end_with_the_first(sandbox: Sandbox) -> None:
    first = "import os\nos.write(3, b'hi')\nprint(os.read(3, 9))"
    second = "import os, time\nos.write(3, os.read(3, 9)[::-1])\ntime.sleep(100)"
    started = time.monotonic()
    one, two = sandbox.run([Guest(first), Guest(second)], LIMITS)
    assert one.output == "b'ih'\n"
    assert two.status == -9
    assert time.monotonic() - started < 100
