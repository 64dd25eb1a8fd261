"""Worker processes that answer questions and can be killed without harm.

In: questions, as plain data. Out: a reply to each, in their order; LOST for a question whose worker
was killed for taking too long, or died. If another one killed the worker, as Linux does where the
machine's memory runs out, the question may be innocent, and is asked once more.

Each worker is a fresh interpreter that speaks JSON lines: no fork (the caller may have threads), no
re-import of the caller's `__main__`, no pickle. It is run with the seconds of processor time that a
question may take, writes "ready", and answers each line by one line. Workers start when the first
question comes. They have a session of their own, so that Ctrl-C reaches the caller alone, which
then ends them; they end with the caller when it is killed.
"""

import json
import os
import selectors
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any, Final

from support.processes import DEVNULL, PIPE, Child, TimeoutExpired

START_SECONDS = 120.0  # to import sympy on a busy machine
WALL_FACTOR = 6.0  # the limit is processor time; this much wall-clock time is the backstop
QUESTIONS_PER_WORKER = 64  # fewer are not worth the start of another worker
QUESTIONS_BEFORE_RENEWAL = 5000  # bounds what the caches of a worker hold
STARTS = 3
END_SECONDS = 5.0  # from the end of a worker's output to the end of its process


class Lost(Enum):
    """The place of a reply that never came."""

    LOST = "lost"


LOST: Final = Lost.LOST


class _Worker:
    """One process with at most one question in flight."""

    def __init__(self, script: Path, timeout_seconds: float) -> None:
        self.process = Child[bytes](
            [sys.executable, "-P", str(script), str(timeout_seconds)],
            grace=0.0,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            bufsize=0,
        )
        self.wall_seconds = timeout_seconds * WALL_FACTOR
        self.deadline = time.monotonic() + START_SECONDS
        self.ready = False
        self.question: int | None = None
        self.asked = 0
        self._received = b""

    def fileno(self) -> int:
        """The pipe of replies, for the selector."""
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def ask(self, index: int, question: object) -> None:
        """Send a question. A worker that is dead already shows it at its other pipe."""
        assert self.process.stdin is not None
        self.question, self.asked = index, self.asked + 1
        self.deadline = time.monotonic() + self.wall_seconds
        data = memoryview((json.dumps(question) + "\n").encode("ascii"))
        try:
            while data:
                data = data[self.process.stdin.write(data) :]
        except BrokenPipeError:
            return

    def read(self) -> bytes | None:
        """A whole line, b"" for none yet, None at the end of the output. Called when readable."""
        received = os.read(self.fileno(), 1 << 16)
        self._received += received
        if not received:
            return None
        if not self._received.endswith(b"\n"):
            return b""
        line, self._received = self._received, b""
        return line

    def kill(self) -> None:
        """SIGKILL, and reap."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


class WorkerPool:
    """Up to `limit` workers that run `script`; not safe for several threads at once.

    The caller holds a lock. A question of more than 64 KiB is written while its worker reads it.
    """

    def __init__(self, script: Path, limit: int, timeout_seconds: float) -> None:
        self._script = script
        self._limit = limit
        self._timeout_seconds = timeout_seconds
        self._workers: list[_Worker] = []
        self._failed_starts = 0

    def ask(self, questions: Sequence[object]) -> list[Any]:
        """One reply a question, in order; LOST where the worker was killed or died.

        Raises RuntimeError if workers cannot be started at all.
        """
        replies: list[Any] = [LOST] * len(questions)
        waiting = deque(range(len(questions)))
        asked_again: set[int] = set()
        try:
            while waiting or any(worker.question is not None for worker in self._workers):
                self._start(len(waiting))
                for worker in self._workers:
                    if waiting and worker.ready and worker.question is None:
                        index = waiting.popleft()
                        worker.ask(index, questions[index])
                for worker in self._wait():
                    unanswered = self._receive(worker, replies)
                    if unanswered is not None and unanswered not in asked_again:
                        asked_again.add(unanswered)
                        waiting.append(unanswered)
                self._kill_overdue()
        except BaseException:  # Ctrl-C as well: no question may be left in flight
            self.close()
            raise
        return replies

    def close(self) -> None:
        """Kill all workers; they hold no state, and start again with the next question."""
        while self._workers:
            self._workers.pop().kill()

    def _start(self, waiting: int) -> None:
        """As many workers as the waiting questions are worth; some may still be starting."""
        wanted = min(self._limit, -(-waiting // QUESTIONS_PER_WORKER))
        while len(self._workers) < wanted:
            self._workers.append(_Worker(self._script, self._timeout_seconds))

    def _wait(self) -> list[_Worker]:
        """The workers with something to read, after at most the time to the next deadline."""
        with selectors.DefaultSelector() as selector:
            busy = [w for w in self._workers if not w.ready or w.question is not None]
            for worker in busy:
                selector.register(worker, selectors.EVENT_READ, worker)
            left = min((worker.deadline for worker in busy), default=0.0) - time.monotonic()
            return [key.data for key, _ in selector.select(max(left, 0.0))]

    def _receive(self, worker: _Worker, replies: list[Any]) -> int | None:
        """Take what a worker wrote; the question that it had if another one killed it."""
        line = worker.read()
        if line == b"":
            return None
        if line is None:
            with suppress(TimeoutExpired):  # how it ended, before it is killed below
                worker.process.wait(END_SECONDS)
            self._lose(worker)
            return worker.question if worker.process.returncode == -signal.SIGKILL else None
        if not worker.ready:
            worker.ready, self._failed_starts = True, 0
        else:
            assert worker.question is not None
            (replies[worker.question],) = json.loads(line)
            worker.question = None
            if worker.asked >= QUESTIONS_BEFORE_RENEWAL:
                self._workers.remove(worker)
                worker.kill()
        return None

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            if (not worker.ready or worker.question is not None) and worker.deadline < now:
                self._lose(worker)

    def _lose(self, worker: _Worker) -> None:
        """Drop a dead or overdue worker; its question keeps the reply LOST."""
        self._workers.remove(worker)
        worker.kill()
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                status = worker.process.returncode
                raise RuntimeError(
                    f"the worker {self._script.stem} does not start (exit status {status}); "
                    f"`{sys.executable} -P {self._script} 5` shows why"
                )
