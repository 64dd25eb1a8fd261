"""What isolates programs on this machine: tried with a program, not taken from a name.

Namespaces that we make ourselves come first, because they start a program fastest. bubblewrap and
nsjail may be allowed to make namespaces where we are not. The weak isolation is only limits,
an empty directory and, on Linux, seccomp.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing

from support.sandbox import NAMESPACES, Guest, Isolation, Limits, Sandbox, SandboxError

PYTHON = (os.path.realpath(sys.executable), "-s", "-P", "-S")
WEAK = Isolation("resource limits", PYTHON, is_weak=True)
LIMITS = Limits(cpu_seconds=5, memory_bytes=256 << 20, wall_seconds=30, disk_bytes=1 << 20)
# It tries what no program may do, and prints the names of what worked.
PROBE = """
import json, os, socket, time
path, pids, memory, disk = json.loads(input())
def works(act):
    try:
        act()
    except BaseException:
        return False
    return True
def fill():
    for k in range(3):
        with open(str(k), "w") as file:
            file.write("x" * (disk - 1))
def start():
    for k in range(32):
        if not os.fork():
            time.sleep(1)
            os._exit(0)
reached = works(lambda: [os.kill(pid, 0) for pid in pids])
tried = {
    "the network": lambda: socket.socket().close(),
    "files of this user": lambda: open(path).close(),
    "memory": lambda: bytearray(2 * memory),
    "the number of processes": start,
    "disk space (each file is limited, not their sum)": fill,
}
found = [name for name, act in tried.items() if works(act)]
if reached:
    found.append("other processes of this user")
    if works(os.setsid):
        found.append("processes that a program leaves behind")
print(json.dumps(found))
"""


def find(*, allow_weak: bool) -> Isolation:
    """The first isolation that enforces everything; else, if allowed, the weak one.

    Raises SandboxError with what each of the others said.
    """
    said = []
    for isolation in candidates():
        try:
            lacks = lacking(isolation)
        except SandboxError as error:
            said.append(f"{isolation.name}: {error}")
            continue
        if not lacks:
            return isolation
        said.append(f"{isolation.name}: not enforced: {', '.join(lacks)}")
    if allow_weak:
        return WEAK._replace(lacks=lacking(WEAK))
    missing = [name for name in ("bwrap", "nsjail") if shutil.which(name) is None]
    raise SandboxError("; ".join([*said, *(f"{name}: not installed" for name in missing)]))


def lacking(isolation: Isolation) -> tuple[str, ...]:
    """What the isolation does not enforce; SandboxError where no program can be started in it."""
    with closing(Sandbox(isolation)) as sandbox, tempfile.NamedTemporaryFile() as file:
        given = [file.name, [os.getpid(), os.getppid()], LIMITS.memory_bytes, LIMITS.disk_bytes]
        (ran,) = sandbox.run([Guest(PROBE, json.dumps(given))], LIMITS)
    try:
        return tuple(json.loads(ran.output))
    except ValueError:
        raise SandboxError("no program can be started in it") from None


def candidates() -> Iterator[Isolation]:
    """The isolations that enforce everything, where they work; only those that are installed."""
    yield NAMESPACES
    library = os.path.dirname(os.path.dirname(os.path.realpath(os.__file__)))
    paths = (library, PYTHON[0], "/lib", "/lib64", "/usr/lib", "/usr/lib64")
    shown = [path for path in dict.fromkeys(paths) if os.path.exists(path)]
    if bwrap := shutil.which("bwrap"):
        yield Isolation(
            "bubblewrap and seccomp",
            (
                *(bwrap, "--unshare-all", "--die-with-parent", "--new-session"),
                *("--cap-drop", "ALL", "--dev", "/dev"),
                *(word for path in shown for word in ("--ro-bind", path, path)),
                *("--size", "{disk}", "--tmpfs", "/tmp", "--chdir", "/tmp", *PYTHON),
            ),
        )
    if nsjail := shutil.which("nsjail"):
        yield Isolation(
            "nsjail and seccomp",
            (
                *(nsjail, "--mode", "o", "--really_quiet", "--disable_proc", "--cwd", "/tmp"),
                *("--time_limit", "0", "--rlimit_as", "inf", "--rlimit_fsize", "inf"),
                *("--rlimit_cpu", "inf", "--rlimit_nofile", "256"),
                *("--pass_fd", "3", "--pass_fd", "4", "--pass_fd", "5"),
                *(word for path in (*shown, "/dev/null") for word in ("--bindmount_ro", path)),
                *("--mount", "none:/tmp:tmpfs:size={disk}", "--", *PYTHON),
            ),
        )
