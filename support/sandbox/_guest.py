"""A guest: it reads its program, gives up what it may not have, and runs the program.

The host either calls `run_under_init` in a process that has namespaces already, or starts this text
as a program of its own, inside of what isolates it. It imports Python's library alone.
"""

import ctypes
import json
import os
import platform
import random
import resource
import signal
import sys
import tempfile
import types
from typing import Any

CHUNK = 1 << 16
SET_PDEATHSIG, SET_DUMPABLE, SET_SECCOMP, SET_NO_NEW_PRIVS = 1, 4, 22, 38
REFUSE, NO_SUCH_CALL, KILL, ALLOW = 0x50001, 0x50026, 0x80000000, 0x7FFF0000
OF_NAMESPACES, THREAD = 0x7E020000, 0x10000  # flags of clone
# Of a program's own user namespace: bubblewrap's two, the init, and the one that makes the init.
OWN_PROCESSES = 2
OUTPUT, LINK, READY, REPORT = 1, 3, 4, 5  # descriptors, where this text is a program
# Calls by machine: its name for seccomp; clone and clone3; what no program may call, because it
# would reach the network, other namespaces, or memory that no limit counts (pivot_root comes
# first); prlimit64; and what also ends or disturbs other processes where none are hidden.
CALLS: dict[str, tuple[int, tuple[int, int], tuple[int, ...], int, tuple[int, ...]]] = {
    "x86_64": (
        0xC000003E,
        (56, 435),
        (
            *(155, 41, 101, 272, 308, 165, 166, 29, 319, 321, 323, 425, 298, 250, 248, 249, 310),
            *(311, 161),
        ),
        302,
        (57, 58, 62, 109, 112, 129, 200, 234, 297, 424),
    ),
    "aarch64": (
        0xC00000B7,
        (220, 435),
        (
            *(41, 198, 117, 97, 268, 40, 39, 194, 279, 280, 282, 425, 241, 219, 217, 218, 270),
            *(271, 51),
        ),
        261,
        (129, 130, 131, 138, 154, 157, 240, 424),
    ),
}
_LIBC = ctypes.CDLL(None, use_errno=True)


def checked(name: str, *values: Any) -> None:
    """Call a function of the C library; OSError where its result is not 0."""
    words = [ctypes.c_ulong(v) if isinstance(v, int) else v for v in values]
    if getattr(_LIBC, name)(*words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def read(count: int) -> bytes:
    """So many bytes of standard input, and not one more."""
    parts = bytearray()
    while len(parts) < count:
        part = os.read(0, min(CHUNK, count - len(parts)))
        if not part:
            os._exit(0)  # the project ended
        parts += part
    return bytes(parts)


def run_under_init(
    length: int, output: int, ready: int, link: int, report: int, limits: dict[str, Any]
) -> None:
    """Run the program in a child, wait for it and report how it ended.

    Returns in the child only, when the program has ended. `link` is -1 where there is none.
    """
    if sys.platform == "linux":
        checked("prctl", SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        checked("prctl", SET_DUMPABLE, 0, 0, 0, 0)
    if child := os.fork():
        for fd in (output, ready, link):
            if fd >= 0:
                os.close(fd)
        _, status = os.waitpid(child, 0)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        facts = [os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime]
        os.write(report, json.dumps(facts).encode())
        os._exit(0)  # the kernel ends all that is left in the namespace
    if sys.platform == "linux":
        checked("prctl", SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    payload = json.loads(read(length))
    os.write(ready, b"r")
    _place(payload["input"], output, link)
    os.chdir(limits["folder"])
    os.environ.clear()
    os.environ.update(HOME=limits["folder"], TMPDIR=limits["folder"], LANG="C.UTF-8")
    os.umask(0o77)
    _restrict(limits)
    _run(payload)


def _place(text: str, output: int, link: int) -> None:
    """Give the descriptors 0, 1 and 3 to the input, the output and the link; close all others."""
    data = os.memfd_create("input") if hasattr(os, "memfd_create") else _file()
    view = memoryview(text.encode("utf-8", "surrogateescape"))
    while view:
        view = view[os.write(data, view) :]
    os.lseek(data, 0, os.SEEK_SET)
    moved = [os.dup2(fd, 100 + k) for k, fd in enumerate((data, output, link)) if fd >= 0]
    for target, fd in zip((0, 1, 3), moved, strict=False):
        os.dup2(fd, target)
    os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
    os.closerange(4 if link >= 0 else 3, 4096)


def _file() -> int:
    fd, path = tempfile.mkstemp()
    os.unlink(path)
    return fd


def _restrict(limits: dict[str, Any]) -> None:
    """Limits of the process, no capability, fewer system calls."""
    seconds, weak = max(1, int(-(-limits["cpu_seconds"] // 1))), limits["weak"]
    values = [
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["disk_bytes"]),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ]
    if not weak:
        values.append((resource.RLIMIT_NPROC, limits["processes"] + OWN_PROCESSES))
    for number, value in values:
        # SIGXCPU says why it ended; a program that does not mind it is killed a second later.
        hard = value + 1 if number == resource.RLIMIT_CPU else value
        resource.setrlimit(number, (value, hard))
    try:
        checked("capset", (ctypes.c_uint * 2)(0x20080522, 0), (ctypes.c_uint * 6)())
        _forbid_calls(weak)
    except (OSError, AttributeError, KeyError):
        if not weak:
            raise
        # Without namespaces the limit counts all processes of this user: the program starts none.
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def _forbid_calls(weak: bool) -> None:
    """A seccomp filter (see CALLS); where no namespace hides them, no other process is reached."""
    machine, (clone, clone3), denied, prlimit, others = CALLS[platform.machine()]
    load, equal, above, has, end = 0x20, 0x15, 0x35, 0x45, 0x06
    refuse, first = (end, 0, 0, REFUSE), (load, 0, 0, 16)  # the first argument of the call
    steps = [(load, 0, 0, 4), (equal, 1, 0, machine), (end, 0, 0, KILL), (load, 0, 0, 0)]
    steps += [(above, 0, 1, 0x40000000), refuse]  # the x32 calls
    for number in (*denied, *(others if weak else ())):
        steps += [(equal, 0, 1, number), refuse]
    steps += [(equal, 0, 1, clone3), (end, 0, 0, NO_SUCH_CALL)]  # the C library takes clone
    if weak:
        steps += [(equal, 0, 4, prlimit), first, (equal, 0, 1, 0), (end, 0, 0, ALLOW), refuse]
        steps += [(equal, 0, 4, clone), first, (has, 0, 1, THREAD), (end, 0, 0, ALLOW), refuse]
    steps += [(equal, 0, 3, clone), first, (has, 0, 1, OF_NAMESPACES), refuse]
    steps += [(end, 0, 0, ALLOW)]

    class Step(ctypes.Structure):
        _fields_ = (
            ("code", ctypes.c_ushort),
            ("yes", ctypes.c_ubyte),
            ("no", ctypes.c_ubyte),
            ("value", ctypes.c_uint),
        )

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.POINTER(Step)))

    program = Program(len(steps), (Step * len(steps))(*(Step(*step) for step in steps)))
    checked("prctl", SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    checked("prctl", SET_SECCOMP, 2, ctypes.byref(program), 0, 0)


def _run(payload: dict[str, Any]) -> None:
    """Run the program as `__main__`."""
    random.seed(0)
    sys.argv = ["program.py"]
    for name, text in payload["modules"]:
        sys.modules[name] = types.ModuleType(name)
        exec(compile(text, f"{name}.py", "exec"), vars(sys.modules[name]))
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    exec(compile(payload["text"], "program.py", "exec"), module.__dict__)


if __name__ == "__main__":
    _length, _limits = json.loads(sys.argv[1])
    run_under_init(_length, OUTPUT, READY, LINK if _limits["linked"] else -1, REPORT, _limits)
