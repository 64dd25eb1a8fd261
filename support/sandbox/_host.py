"""The process from which guests are started; run by path, never imported by the project.

It closes itself off once (no network, a file system that holds Python's library alone, no
privilege), and then starts a fresh process for each request, which starts the guests. What a guest
holds in memory was therefore never in this process, so no guest finds the texts of another one.

A request is a frame (4 bytes of length, then JSON) with the limits and the lengths of the guests'
payloads, which follow it. The reply is a frame with one object a guest.
"""

import ctypes
import json
import os
import platform
import random
import resource
import select
import signal
import socket
import sys
import time
import types
from contextlib import suppress
from typing import Any

NOBODY = 65534
NEW_NS, NEW_UTS, NEW_IPC, NEW_USER = 0x20000, 0x4000000, 0x8000000, 0x10000000
NEW_PID, NEW_NET = 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
SET_PDEATHSIG, SET_DUMPABLE, SET_SECCOMP, SET_NO_NEW_PRIVS = 1, 4, 22, 38
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
CHUNK = 1 << 16
OWN_PROCESSES = 2  # of a guest's namespace: the one that made it, and its init
# What a guest may not call, by machine: it would reach the network, other namespaces, or memory
# that no limit counts. pivot_root, clone and clone3 come first.
CALLS: dict[str, tuple[int, list[int]]] = {
    "x86_64": (
        0xC000003E,
        [
            *(155, 56, 435, 41, 101, 272, 308, 165, 166, 29, 319),
            321,
            323,
            425,
            298,
            250,
            248,
            249,
            310,
            311,
            161,
        ],
    ),
    "aarch64": (
        0xC00000B7,
        [
            *(41, 220, 435, 198, 117, 97, 268, 40, 39, 194, 279),
            280,
            282,
            425,
            241,
            219,
            217,
            218,
            270,
            271,
            51,
        ],
    ),
}
_LIBC = ctypes.CDLL(None, use_errno=True)


def _checked(name: str, *values: Any) -> None:
    words = [ctypes.c_ulong(v) if isinstance(v, int) else v for v in values]
    if getattr(_LIBC, name)(*words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    names = [text.encode() or None for text in (source, target, kind)]
    _checked("mount", *names, flags, data.encode() or None)


def _map_users(proc: int, inside: int, user: int, group: int) -> None:
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{inside} {user} 1"),
        ("gid_map", f"{inside} {group} 1"),
    ):
        fd = os.open(f"self/{name}", os.O_WRONLY, dir_fd=proc)
        os.write(fd, text.encode())
        os.close(fd)


def _show(path: str, more: int = 0) -> None:
    """Bind a path of the old root, read-only; a symbolic link stays one."""
    old = "/old" + path
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.islink(old):
        os.symlink(os.readlink(old), path)
        return
    if os.path.isdir(old):
        os.makedirs(path, exist_ok=True)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    _mount(old, path, "", BIND | REC)
    # The flags that the mount has already must stay.
    has = os.statvfs(path).f_flag
    flags = has & (NOSUID | NODEV | 8 | 1024 | 2048) | ((has & 4096) << 9)
    _mount("", path, "", REMOUNT | BIND | RDONLY | NOSUID | flags | more)


def _close_off() -> int:
    """No network, no file but Python's, no privilege; a descriptor of /proc for what follows."""
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    user, group = os.geteuid(), os.getegid()
    others = NEW_NS | NEW_NET | NEW_IPC | NEW_UTS
    _checked("unshare", others if user == 0 else others | NEW_USER)
    if user != 0:
        _map_users(proc, NOBODY, user, group)
    _mount("", "/", "", REC | PRIVATE)
    _mount("tmpfs", "/tmp", "tmpfs", NOSUID | NODEV, "size=1m,mode=755")
    os.mkdir("/tmp/old")
    _checked("syscall", CALLS[platform.machine()][1][0], b"/tmp", b"/tmp/old")
    os.chdir("/")
    own = os.path.dirname(os.path.dirname(os.path.realpath(os.__file__)))
    for path in dict.fromkeys((own, *LIBRARIES)):
        if os.path.exists("/old" + path) and not os.path.exists(path):
            _show(path, NODEV)
    for path in DEVICES:
        _show(path)
    os.mkdir("/tmp")
    _checked("umount2", b"/old", 2)  # MNT_DETACH
    os.rmdir("/old")
    _mount("", "/", "", REMOUNT | BIND | RDONLY | NOSUID | NODEV)
    if user == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        _checked("prctl", SET_DUMPABLE, 1, 0, 0, 0)  # else /proc/self belongs to root
    return proc


def _forbid_calls() -> None:
    """A seccomp filter; see CALLS."""
    machine, (_, clone, clone3, *_) = CALLS[platform.machine()]
    denied = [CALLS[platform.machine()][1][0], *CALLS[platform.machine()][1][3:]]
    load, equal, above, has, end = 0x20, 0x15, 0x35, 0x45, 0x06
    refuse = (end, 0, 0, 0x50001)  # EPERM
    steps = [(load, 0, 0, 4), (equal, 1, 0, machine), (end, 0, 0, 0x80000000), (load, 0, 0, 0)]
    steps += [(above, 0, 1, 0x40000000), refuse]  # the x32 calls
    for number in denied:
        steps += [(equal, 0, 1, number), refuse]
    steps += [(equal, 0, 1, clone3), (end, 0, 0, 0x50026)]  # ENOSYS: the C library takes clone
    steps += [(equal, 0, 3, clone), (load, 0, 0, 16), (has, 0, 1, 0x7E020000), refuse]
    steps += [(end, 0, 0, 0x7FFF0000)]

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
    _checked("prctl", SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _checked("prctl", SET_SECCOMP, 2, ctypes.byref(program), 0, 0)


def _restrict(limits: dict[str, Any]) -> None:
    """Limits of the process, no capability, fewer system calls."""
    seconds = max(1, int(-(-limits["cpu_seconds"] // 1)))
    for number, value in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["disk_bytes"]),
        (resource.RLIMIT_NPROC, limits["processes"] + OWN_PROCESSES),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        # SIGXCPU says why it ended; a program that does not mind it is killed a second later.
        hard = value + 1 if number == resource.RLIMIT_CPU else value
        resource.setrlimit(number, (value, hard))
    _checked("capset", (ctypes.c_uint * 2)(0x20080522, 0), (ctypes.c_uint * 6)())
    _forbid_calls()


def _read(count: int) -> bytes:
    """So many bytes of standard input, and not one more."""
    parts = bytearray()
    while len(parts) < count:
        part = os.read(0, min(CHUNK, count - len(parts)))
        if not part:
            os._exit(0)  # the project ended
        parts += part
    return bytes(parts)


def _guest(length: int, output: int, ready: int, link: int, limits: dict[str, Any]) -> None:
    """Read the payload and run it as `__main__`; the link is descriptor 3."""
    payload = json.loads(_read(length))
    os.write(ready, b"r")
    data = os.memfd_create("input")
    view = memoryview(payload["input"].encode("utf-8", "surrogateescape"))
    while view:
        view = view[os.write(data, view) :]
    os.lseek(data, 0, os.SEEK_SET)
    moved = [os.dup2(fd, 100 + k) for k, fd in enumerate((data, output, link)) if fd >= 0]
    for target, fd in zip((0, 1, 3), moved, strict=False):
        os.dup2(fd, target)
    os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
    os.closerange(4 if link >= 0 else 3, 4096)
    os.chdir("/tmp")
    os.environ.clear()
    os.environ.update(HOME="/tmp", LANG="C.UTF-8")
    os.umask(0o77)
    _restrict(limits)
    random.seed(0)
    sys.argv = ["program.py"]
    for name, text in payload["modules"]:
        sys.modules[name] = types.ModuleType(name)
        exec(compile(text, f"{name}.py", "exec"), vars(sys.modules[name]))
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    exec(compile(payload["text"], "program.py", "exec"), module.__dict__)


def _start(
    length: int, links: list[int], limits: dict[str, Any], proc: int
) -> tuple[int, int, int, int] | None:
    """A guest in namespaces of its own: the init's id, its output, its report, its maker's id.

    None in the guest itself, which goes on to run its program.
    """
    output, theirs = os.pipe()
    report, told = os.pipe()
    ready, read = os.pipe()
    pids, pid = os.pipe()
    if maker := os.fork():
        for fd in (theirs, told, read, pid):
            os.close(fd)
        init = int(os.read(pids, 20) or 0)
        os.read(ready, 1)  # the payload was taken from standard input, or the guest is gone
        os.close(pids)
        os.close(ready)
        return init, output, report, maker
    try:
        for fd in (output, report, ready, pids):
            os.close(fd)
        user, group = os.geteuid(), os.getegid()
        _checked("unshare", NEW_USER | NEW_NS | NEW_PID)
        _map_users(proc, NOBODY, user, group)
        size = limits["disk_bytes"]
        _mount("tmpfs", "/tmp", "tmpfs", NOSUID | NODEV, f"size={size},nr_inodes=1000,mode=700")
        if init := os.fork():
            os.write(pid, str(init).encode())
            for fd in (theirs, told, read, pid, *links):  # else the other one would see no end
                os.close(fd)
            os.waitpid(init, 0)
            os._exit(0)
        os.setsid()  # else kill(0, …) would reach the processes of the host's group
        _checked("prctl", SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _checked("prctl", SET_DUMPABLE, 0, 0, 0, 0)
        if child := os.fork():
            for fd in (theirs, read, *links):
                os.close(fd)
            _, status = os.waitpid(child, 0)
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            facts = [os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime]
            os.write(told, json.dumps(facts).encode())
            os._exit(0)  # the kernel ends all that is left in the namespace
    except BaseException:
        os._exit(1)
    _guest(length, theirs, read, links[0] if links else -1, limits)
    return None


def _watch(guests: list[tuple[int, int, int, int]], limits: dict[str, Any]) -> list[dict[str, Any]]:
    """Wait until the first guest ended, end the others, and collect what they left.

    Their limit of wall-clock time is one for all.
    """
    deadline = time.monotonic() + limits["wall_seconds"]
    texts = [bytearray() for _ in guests]
    cut = [""] * len(guests)
    open_fds = {guest[1]: k for k, guest in enumerate(guests)}
    ended = guests[0][2]
    while True:
        left = deadline - time.monotonic()
        ready, _, _ = select.select([*open_fds, ended], [], [], max(0.0, left))
        if left <= 0:
            cut = ["time"] * len(guests)
            break
        for fd in [fd for fd in ready if fd != ended]:
            part, k = os.read(fd, CHUNK), open_fds[fd]
            texts[k] += part
            if len(texts[k]) > limits["output_bytes"]:
                cut[k] = "output"
            if not part:
                del open_fds[fd]
        if any(cut) or (ended in ready and not [fd for fd in ready if fd != ended]):
            break
    replies = []
    for (init, _, report, maker), text, why in zip(guests, texts, cut, strict=True):
        # One that was killed for its time says so a moment after its link was closed.
        select.select([report], [], [], 0.0 if why else 0.5)
        if init:
            with suppress(ProcessLookupError):  # it ended by itself
                os.kill(init, signal.SIGKILL)
        os.waitpid(maker, 0)
        facts = json.loads(os.read(report, 200) or b"null")
        if not init or (facts is None and report == ended):
            why = why or "host"  # it could not be started
        facts = facts or [-signal.SIGKILL, 0.0]
        output = bytes(text).decode("utf-8", "surrogateescape")
        replies.append({"status": facts[0], "cpu": facts[1], "cut": why, "output": output})
    return replies


def _serve(proc: int) -> None:
    """Answer one request; returns in a guest only, when its program has ended."""
    request = json.loads(_read(int.from_bytes(_read(4), "big")))
    limits, lengths = request["limits"], request["lengths"]
    ends = list(socket.socketpair()) if len(lengths) == 2 else []
    guests: list[tuple[int, int, int, int]] = []
    # The last one reads first and is started first: it never holds the payload of the first one.
    for k in reversed(range(len(lengths))):
        links = [end.fileno() for end in (*ends[k:], *ends[:k])]  # its own end first
        guest = _start(lengths[k], links, limits, proc)
        if guest is None:
            return
        guests.insert(0, guest)
    for end in ends:
        end.close()
    reply = json.dumps(_watch(guests, limits)).encode()
    data = memoryview(len(reply).to_bytes(4, "big") + reply)
    while data:
        data = data[os.write(1, data) :]
    os._exit(0)


def main() -> None:
    """Serve requests until standard input ends."""
    try:
        proc = _close_off()
    except OSError as error:
        os.write(1, json.dumps(str(error)).encode() + b"\n")
        return
    os.write(1, b'""\n')
    while True:
        select.select([0], [], [])
        if child := os.fork():
            if os.waitpid(child, 0)[1]:
                return  # no reply was written: the caller starts another host
            continue
        return _serve(proc)


if __name__ == "__main__":
    main()
