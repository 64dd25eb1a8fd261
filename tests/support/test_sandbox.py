"""Hostile programs: none gets out of the sandbox, and nothing is left of them."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.sandbox import Guest, Isolation, Limits, Ran, Sandbox, SandboxError
from support.sandbox import isolation as isolations

LIMITS = Limits(cpu_seconds=1, memory_bytes=512 << 20, wall_seconds=60)


@pytest.fixture(scope="module", params=["user namespaces", "bubblewrap", "nsjail"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """One in each isolation that is installed here and works."""
    for isolation in isolations.candidates():
        if isolation.name.startswith(request.param):
            break
    else:
        pytest.skip(f"no {request.param} here")
    try:
        lacks = isolations.lacking(isolation)
    except SandboxError as error:
        pytest.skip(f"no sandbox: {error}")
    # The kernel does not count the processes of root, which bubblewrap does not change to another.
    if lacks == ("the number of processes",) and os.geteuid() == 0:
        isolation = isolation._replace(lacks=lacks)
    else:
        assert lacks == ()
    made = Sandbox(isolation)
    yield made
    made.close()


@pytest.fixture(scope="module")
def weak() -> Iterator[Sandbox]:
    made = Sandbox(isolations.WEAK)
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
    if sandbox._isolation.lacks:
        return
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
    for call in ("unshare(0x10000000)", "ptrace(0, 0, 0, 0)", "setuid(1)"):
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
    other = Sandbox(sandbox._isolation)
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


def test_nothing_is_left_to_the_program_after_it(sandbox: Sandbox) -> None:
    make = "import ctypes\nprint(ctypes.CDLL(None).msgget(77, 0o1600) >= 0)"
    find = "import ctypes\nprint(ctypes.CDLL(None).msgget(77, 0) >= 0)"
    assert run(sandbox, make).output == "True\n"
    assert run(sandbox, find).output == "False\n"


SOCKETS = """
import socket
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, 17):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            print(socket.socket(family, kind))
        except OSError:
            pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
def test_what_the_weak_isolation_enforces(weak: Sandbox, tmp_path: Path) -> None:
    assert run(weak, "print(1 + int(input()))", "41").output == "42\n"
    assert run(weak, SOCKETS).output == ""
    assert run(weak, "while True: pass").status == -signal.SIGXCPU
    assert run(weak, "x = bytearray(10 << 30)").status == 1
    assert run(weak, "while True: print('x' * 10 ** 6)").cut == "output"
    assert run(
        weak, "import os; print(dict(os.environ).keys() - {'HOME', 'TMPDIR', 'LANG'})"
    ).output in (
        "set()\n",
        "{'LC_CTYPE'}\n",
    )
    assert run(weak, "import os; print(os.listdir('.'))").output == "[]\n"
    for refused in (
        "os.fork()",
        "os.kill(os.getppid(), 0)",
        f"os.kill({os.getpid()}, 0)",
        "os.kill(-1, 0)",
        "os.setsid()",
        f"resource.prlimit({os.getpid()}, resource.RLIMIT_NOFILE)",
    ):
        assert run(weak, f"import os, resource\n{refused}").status == 1, refused
    thread = "import threading\none = threading.Thread(target=print, args=(7,))\none.start()"
    assert run(weak, thread).output == "7\n"
    short = Limits(cpu_seconds=1, memory_bytes=512 << 20, wall_seconds=0.5)
    sleep = "import ctypes, time\nctypes.CDLL(None).prctl(1, 0, 0, 0, 0)\ntime.sleep(100)"
    assert run(weak, sleep, limits=short).cut == "time"


def test_the_weak_isolation_leaves_no_file(
    weak: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run(weak, "import os\nopen('a', 'w').write('x')\nprint(os.getcwd())")
    assert ran.status == 0 and not Path(ran.output.strip()).exists()


def test_what_is_not_enforced_is_named(weak: Sandbox) -> None:
    assert "files of this user" in isolations.lacking(isolations.WEAK)


def test_without_a_strong_isolation_the_reasons_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Isolation("bubblewrap and seccomp", ("/bin/false",))
    monkeypatch.setattr(isolations, "candidates", lambda: iter([broken, isolations.WEAK]))
    with pytest.raises(SandboxError, match=r"bubblewrap .*: no program .*not enforced: files of"):
        isolations.find(allow_weak=False)
    assert isolations.find(allow_weak=True).is_weak
