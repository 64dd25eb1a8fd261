"""Grade programs: the last fenced block of Python in a trace must pass the tests of its prompt.

`{kind: code, timeout_seconds: 5}`. Programs run in a sandbox (`support/sandbox`). A program that
reads standard input is judged by what it printed; asserts run in a second sandbox, which calls the
program's functions in the first one (`programs/_peer.py`), so that a program never sees what is
expected of it.
"""

import hashlib
import json
import os
import secrets
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, Literal

from pydantic import Field

from curation.graders import Grader, Submission
from curation.graders.programs.extraction import is_program, parsed, program_of
from curation.graders.programs.tests_of import Tests, tests_of
from curation.sampling.replies import Replies
from schemas.records import FinishReason, Grade, GradedTrace, Prompt, Trace
from scorers.answers.grade import Answer
from support.errors import UserError
from support.sandbox import Guest, Isolation, Limits, Ran, Sandbox, SandboxError
from support.sandbox.isolation import find

VERSION = 2
"""Bumped by hand where a verdict may change."""
_PROGRAMS = Path(__file__).parent / "programs"
PEER = (_PROGRAMS / "_peer.py").read_text(encoding="utf-8")
PEER_MODULES = tuple(
    (f"curation.graders.programs.{name}", (_PROGRAMS / f"{name}.py").read_text(encoding="utf-8"))
    for name in ("_plain", "_handle")
)
WALL_FACTOR, WALL_MORE = 6.0, 10.0  # the limit is processor time; this is the backstop
MOST_WORKERS = 8


def build(
    timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 5,
    memory_mb: Annotated[int, Field(ge=256, le=65536)] = 1024,
    language: Literal["python"] = "python",
    allow_weak_sandbox: bool = False,
) -> Grader:
    """The grader; `timeout_seconds` of processor time and `memory_mb` of memory a submission.

    `allow_weak_sandbox` runs programs where not everything can be enforced; `warning` says what.
    """
    try:
        isolation = find(allow_weak=allow_weak_sandbox)
    except SandboxError as error:
        raise UserError(
            f"grader.kind: code needs a sandbox, and this machine has none ({error}); use Linux "
            "where unprivileged user namespaces are allowed (in Docker: --security-opt "
            "seccomp=unconfined), install bubblewrap, grade elsewhere and use grader.kind=label, "
            "or set grader.allow_weak_sandbox=true if you trust the programs"
        ) from None
    return CodeGrader(timeout_seconds, memory_mb, isolation)


class CodeGrader(Grader):
    """Grades in as many sandboxes as there are cores; keeps every verdict that it has found."""

    def __init__(self, timeout_seconds: int, memory_mb: int, isolation: Isolation) -> None:
        self._isolation = isolation
        self._seconds = timeout_seconds
        self._memory = memory_mb << 20
        self._workers = min(MOST_WORKERS, _cores())
        self._sandboxes: SimpleQueue[Sandbox] = SimpleQueue()
        for _ in range(self._workers):
            self._sandboxes.put(Sandbox(isolation))
        self._replies: Replies | None = None

    def keep(self, replies: Replies) -> None:
        """Look for earlier verdicts in `replies`, and add new ones."""
        self._replies = replies

    @property
    def warning(self) -> str:
        """What is not enforced on this machine, as a sentence; empty if everything is."""
        if not self._isolation.is_weak:
            return ""
        lacks = ", ".join(self._isolation.lacks)
        return f"Programs ran in a weak sandbox, which does not protect {lacks or 'the kernel'}."

    def grade(self, submissions: Sequence[Submission]) -> list[Answer]:
        """Run each program once: equal programs of a prompt have one verdict."""
        programs = [program_of(trace.text) for _, trace in submissions]
        work: dict[str, tuple[str, Prompt]] = {}
        keys: list[str] = []
        for (prompt, _), program in zip(submissions, programs, strict=True):
            key = self._key(program.text, prompt) if program else ""
            keys.append(key)
            if program:
                work[key] = (program.text, prompt)
        grades = self._grades(work)
        return [
            Answer(grade=grades[key], answer=program.text, end=program.end)
            if program
            else Answer(grade=Grade.UNPARSED, answer=None, end=len(trace.text))
            for key, program, (_, trace) in zip(keys, programs, submissions, strict=True)
        ]

    def fault(self, prompt: Prompt) -> str:
        """No tests, tests that no program can fail or be asked by, or that the gold fails.

        A gold that takes too long is no fault: how fast it is depends on the machine.
        """
        if not prompt.tests:
            return "there are no tests for the grader code"
        tests, gold = tests_of(prompt), prompt.gold
        if tests.fault:
            return tests.fault
        is_script = bool(tests.pairs) and "(" in gold and parsed(gold) is not None
        if not is_program(gold) and not is_script:
            return ""
        key = self._key(gold, prompt)
        if self._grades({key: (gold, prompt)})[key] is not Grade.WRONG:
            return ""
        return "the gold is a program that does not pass the tests; one of the two is wrong"

    def final_answer(self, prompt: Prompt, correct: Sequence[GradedTrace]) -> str:
        """The gold where it is a whole program, else the shortest correct one."""
        if prompt.gold and parsed(prompt.gold) is not None:
            return prompt.gold
        programs = [one.answer for one in correct if one.answer]
        return min(programs, key=lambda text: (len(text), text), default="")

    def fingerprint(self) -> object:
        """The version of this grader."""
        return VERSION

    def close(self) -> None:
        """End the sandboxes; those that run end with their run."""
        for _ in range(self._sandboxes.qsize()):
            sandbox = self._sandboxes.get()
            sandbox.close()
            self._sandboxes.put(sandbox)

    def _grades(self, work: Mapping[str, tuple[str, Prompt]]) -> dict[str, Grade]:
        """The verdicts of programs by their keys; those that are kept are not run again."""
        found = self._replies.find(work.keys()) if self._replies else {}
        grades = {key: Grade(json.loads(kept.text)["grade"]) for key, kept in found.items()}
        missing = [key for key in work if key not in grades]
        with ThreadPoolExecutor(self._workers) as pool:
            verdicts = list(pool.map(lambda key: self._judge(*work[key]), missing))
        grades.update(zip(missing, verdicts, strict=True))
        if self._replies and missing:
            self._replies.add(_reply(key, work[key][1].id, grades[key]) for key in missing)
        return grades

    def _key(self, program: str, prompt: Prompt) -> str:
        facts = [VERSION, self._seconds, self._memory, program]
        facts += [prompt.tests, prompt.text, prompt.gold]
        facts += ["weak"] if self._isolation.is_weak else []  # its verdicts count there alone
        text = json.dumps(facts).encode()
        return hashlib.blake2b(text, digest_size=16).hexdigest()

    def _judge(self, program: str, prompt: Prompt) -> Grade:
        if parsed(program) is None:
            return Grade.WRONG  # a syntax error
        tests = tests_of(prompt)
        if tests.fault:
            return Grade.UNPARSED
        sandbox = self._sandboxes.get()
        try:
            judge = self._by_output if tests.pairs else self._by_asserts
            return judge(sandbox, program, tests)
        finally:
            self._sandboxes.put(sandbox)

    def _by_output(self, sandbox: Sandbox, program: str, tests: Tests) -> Grade:
        used = 0.0
        for given, wanted in tests.pairs:
            limits = self._limits(self._seconds - used)
            (ran,) = sandbox.run([Guest(program, given)], limits)
            used += ran.cpu_seconds
            if _is_late(ran, limits) or used > self._seconds:
                return Grade.TIMEOUT
            if ran.status != 0 or ran.cut or _lines(ran.output) != _lines(wanted):
                return Grade.WRONG
        return Grade.CORRECT

    def _by_asserts(self, sandbox: Sandbox, program: str, tests: Tests) -> Grade:
        passed = secrets.token_hex(16)
        request = {**tests._asdict(), "passed": passed}
        limits = self._limits(self._seconds)
        asserts, ran = sandbox.run(
            [
                Guest(PEER, json.dumps(request), PEER_MODULES),
                Guest(PEER, json.dumps({"program": program}), PEER_MODULES),
            ],
            limits,
        )
        if asserts.output == passed and asserts.status == 0 and not asserts.cut and not ran.cut:
            return Grade.CORRECT
        is_late = _is_late(asserts, limits) or _is_late(ran, limits)
        return Grade.TIMEOUT if is_late else Grade.WRONG

    def _limits(self, seconds: float) -> Limits:
        return Limits(
            cpu_seconds=max(seconds, 0.1),
            memory_bytes=self._memory,
            wall_seconds=WALL_MORE + WALL_FACTOR * seconds,
        )


def _cores() -> int:
    """Those of this process; macOS does not tell them apart."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _is_late(ran: Ran, limits: Limits) -> bool:
    """Whether a time limit ended it, or what runs it died."""
    is_killed = ran.status == -signal.SIGKILL and ran.cpu_seconds >= limits.cpu_seconds
    return ran.cut in ("time", "host") or ran.status == -signal.SIGXCPU or is_killed


def _lines(text: str) -> list[str]:
    """Lines without trailing white space; empty ones at the end do not count."""
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _reply(key: str, prompt_id: str, grade: Grade) -> Trace:
    return Trace(
        prompt_id=prompt_id,
        index=0,
        key=key,
        text=json.dumps({"grade": grade}),
        teacher="grader",
        revision="code",
        temperature=None,
        top_p=None,
        max_tokens=None,
        seed=None,
        hint=None,
        finish_reason=FinishReason.UNKNOWN,
        prompt_tokens=None,
        completion_tokens=None,
    )
