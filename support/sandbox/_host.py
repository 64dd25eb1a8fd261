"""The process from which guests are started; a program of its own, never imported by the project.

Where it makes namespaces, it closes itself off once (`_namespaces.py`). Then it starts a fresh
process for each request, which starts the guests. What a guest holds in memory was therefore never
in this process, so no guest finds the texts of another one.

A request is a frame (4 bytes of length, then JSON) with the limits and the lengths of the guests'
payloads, which follow it. The reply is a frame with one object a guest.
"""

import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from support.sandbox import _guest
from support.sandbox._guest import CHUNK, LINK, OUTPUT, READY, REPORT, read
from support.sandbox._namespaces import close_off, enter


class Way(NamedTuple):
    """How guests are started.

    `command` starts a guest's Python, `{disk}` in it being filled in; it is empty where guests are
    forked into namespaces, for which `proc` is a descriptor of /proc.
    """

    command: Sequence[str]
    is_weak: bool
    proc: int


class Started(NamedTuple):
    """A guest: the process whose end ends it, its output, its report, and whom to wait for."""

    init: int
    output: int
    report: int
    maker: int
    folder: str  # a directory to remove; empty where it goes with the guest


def _start(length: int, links: list[int], limits: dict[str, Any], way: Way) -> Started | None:
    """Start a guest; None in the guest itself, when its program has ended."""
    output, theirs = os.pipe()
    report, told = os.pipe()
    ready, read_payload = os.pipe()
    pids, pid = os.pipe()
    folder = tempfile.mkdtemp() if way.is_weak else ""
    limits = {**limits, "weak": way.is_weak, "folder": folder or "/tmp", "linked": bool(links)}
    if maker := os.fork():
        for fd in (theirs, told, read_payload, pid):
            os.close(fd)
        init = maker if way.command else int(os.read(pids, 20) or 0)
        os.read(ready, 1)  # the payload was taken from standard input, or the guest is gone
        os.close(pids)
        os.close(ready)
        return Started(init, output, report, maker, folder)
    try:
        for fd in (output, report, ready, pids):
            os.close(fd)
        if way.command:
            os.close(pid)
            link = links[0] if links else -1
            _replace_by(way, [theirs, link, read_payload, told], length, limits)
        enter(way.proc, limits["disk_bytes"])
        if init := os.fork():
            os.write(pid, str(init).encode())
            for fd in (theirs, told, read_payload, pid, *links):  # else no end would be seen
                os.close(fd)
            os.waitpid(init, 0)
            os._exit(0)
        os.setsid()  # else kill(0, …) would reach the processes of the host's group
        for fd in (pid, *links[1:]):
            os.close(fd)
    except BaseException:
        os._exit(1)
    link = links[0] if links else -1
    _guest.run_under_init(length, theirs, read_payload, link, told, limits)
    return None


def _replace_by(way: Way, fds: list[int], length: int, limits: dict[str, Any]) -> None:
    """Become the command, with the descriptors that `_guest.py` expects."""
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    moved = [os.dup2(null if fd < 0 else fd, 100 + k) for k, fd in enumerate(fds)]
    for target, fd in zip((OUTPUT, LINK, READY, REPORT), moved, strict=True):
        os.dup2(fd, target)
    os.dup2(null, 2)
    os.closerange(REPORT + 1, 4096)
    command = [word.format(disk=limits["disk_bytes"]) for word in way.command]
    with open(_guest.__file__, encoding="utf-8") as file:
        text = file.read()
    os.execve(command[0], [*command, "-c", text, json.dumps([length, limits])], dict(os.environ))


def _watch(guests: list[Started], limits: dict[str, Any]) -> list[dict[str, Any]]:
    """Wait until the first guest ended, end the others, and collect what they left.

    Their limit of wall-clock time is one for all.
    """
    deadline = time.monotonic() + limits["wall_seconds"]
    texts = [bytearray() for _ in guests]
    cut = [""] * len(guests)
    open_fds = {guest.output: k for k, guest in enumerate(guests)}
    ended = guests[0].report
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
    for (init, _, report, maker, folder), text, why in zip(guests, texts, cut, strict=True):
        # One that was killed for its time says so a moment after its link was closed.
        select.select([report], [], [], 0.0 if why else 0.5)
        if init:
            with suppress(ProcessLookupError):  # it ended by itself
                os.kill(init, signal.SIGKILL)
            if folder:  # no namespace ends what it started
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(init, signal.SIGKILL)
        os.waitpid(maker, 0)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        facts = json.loads(os.read(report, 200) or b"null")
        if not init or (facts is None and report == ended):
            why = why or "host"  # it could not be started
        facts = facts or [-signal.SIGKILL, 0.0]
        output = bytes(text).decode("utf-8", "surrogateescape")
        replies.append({"status": facts[0], "cpu": facts[1], "cut": why, "output": output})
    return replies


def _serve(way: Way) -> None:
    """Answer one request; returns in a guest only, when its program has ended."""
    request = json.loads(read(int.from_bytes(read(4), "big")))
    limits, lengths = request["limits"], request["lengths"]
    ends = list(socket.socketpair()) if len(lengths) == 2 else []
    guests: list[Started] = []
    # The last one reads first and is started first: it never holds the payload of the first one.
    for k in reversed(range(len(lengths))):
        links = [end.fileno() for end in (*ends[k:], *ends[:k])]  # its own end first
        guest = _start(lengths[k], links, limits, way)
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
    """Serve requests until standard input ends; the argument says how guests are started."""
    command, is_weak = json.loads(sys.argv[1])
    try:
        proc = -1 if command else close_off()
    except (OSError, KeyError) as error:
        os.write(1, json.dumps(str(error)).encode() + b"\n")
        return
    os.write(1, b'""\n')
    while True:
        select.select([0], [], [])
        if child := os.fork():
            if os.waitpid(child, 0)[1]:
                return  # no reply was written: the caller starts another host
            continue
        return _serve(Way(command, is_weak, proc))
