"""What goes wrong in a long run, tool by tool: an outage, a kill, samples that are cut off.

`python -m benchmarks.peer_faults [TOOL …]`: all tools, or those named (which are only printed).
500 prompts x 4 samples from a loopback server that answers in 0.25 to 0.75 s, 200 samples at once,
each tool with its own rules for what fails, in a process of its own (`benchmarks/peers/*_run.py`).
The interpreters of the peers are named in POLYTRACE_DISTILABEL_PYTHON, POLYTRACE_CURATOR_PYTHON and
POLYTRACE_DATATROVE_PYTHON; without one its lines have no value. About ten minutes.
"""

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.clients import Work
from benchmarks.lines import Line, report
from benchmarks.peers import PeerError
from benchmarks.peers.compare import missing, variable
from benchmarks.peers.process import Ended, PeerProcess
from tests.servers.loopback import Behaviour, Loopback, Served

WORK = Work(prompts=500, in_flight=200, grouped=False)
STEADY = Behaviour(latency_s=0.25, jitter_s=0.5)
OUTAGE_SECONDS = 60.0
LIMIT_SECONDS = 120.0  # of a run, the outage apart; it takes six without faults
_LOOK_SECONDS = 0.05
_NOTHING = "it was killed at its limit, or handed nothing over"

# Figures by name; None where there is nothing to count.
Found = Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """Who is tried; `more` are arguments of its script after the four that all have."""

    name: str
    more: tuple[str, ...] = ()
    samples_of_text: int = WORK.samples  # 1 where every sample is a prompt of its own

    @property
    def python(self) -> str | None:
        """Its interpreter."""
        return sys.executable if self.name == "polytrace" else os.environ.get(variable(self.name))


TOOLS = (
    Tool(name="polytrace", more=(str(WORK.in_flight), "single", str(WORK.slot_tokens), "keep")),
    Tool(name="distilabel", more=(str(WORK.in_flight // WORK.samples),)),  # 50, as its default
    Tool(name="curator", more=("keep",), samples_of_text=1),
    Tool(name="datatrove"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A tool, a server and a folder that outlives a run."""

    tool: Tool
    server: Loopback
    folder: Path
    work: Work = WORK

    @property
    def wanted(self) -> int:
        """Samples."""
        return self.work.prompts * self.work.samples

    def start(self) -> PeerProcess:
        """Run the tool's script; the second time in the same folder."""
        script = Path(__file__).parent / "peers" / f"{self.tool.name}_run.py"
        numbers = (str(self.work.prompts), str(self.work.samples))
        assert self.tool.python is not None
        command = (self.tool.python, str(script), self.server.url, *numbers, str(self.folder))
        return PeerProcess((*command, *self.tool.more), self.folder)

    def answered(self, process: PeerProcess, samples: int) -> None:
        """Wait until so many samples are answered; PeerError where that does not come."""
        until = time.monotonic() + LIMIT_SECONDS
        while sum(answers(self.server.served()).values()) < samples:
            if not process.is_running or time.monotonic() > until:
                end = process.end(0)
                raise PeerError(f"ended with {end.status} before the fault: {end.error}")
            time.sleep(_LOOK_SECONDS)

    def missing(self, end: Ended, *, whole: bool = False) -> int:
        """Samples that a run has not handed over; `whole` counts none that is cut off."""
        cut_off = end.said.get("cut", 0) if whole else 0
        return max(0, self.wanted - int(end.said.get("samples", 0) - cut_off))


def main() -> None:
    """Measure and print."""
    names = sys.argv[1:] or [tool.name for tool in TOOLS]
    if unknown := sorted(set(names) - {tool.name for tool in TOOLS}):
        sys.exit(f"no tool {', '.join(unknown)}; there are {', '.join(t.name for t in TOOLS)}")
    lines = [line for tool in TOOLS if tool.name in names for line in measure(tool)]
    if sys.argv[1:]:
        print("".join(json.dumps(asdict(line)) + "\n" for line in lines), end="")
    else:
        report("peer_faults", *lines)


def measure(tool: Tool) -> Iterator[Line]:
    """The lines of a tool."""
    for fault, figures in FIGURES.items():
        found: Found = {}
        reason = None if tool.python else missing(tool.name)
        if tool.python:
            with Loopback(STEADY) as server, tempfile.TemporaryDirectory(prefix="peer-") as folder:
                try:
                    found = fault(Trial(tool=tool, server=server, folder=Path(folder)))
                except (PeerError, OSError) as error:
                    reason = str(error)
        for figure, unit in figures.items():
            value = found.get(figure)
            yield Line(
                name=f"{tool.name}_{fault.__name__}_{figure}",
                value=value if value is None else round(value, 1),
                unit=unit,
                better="lower",
                n=int(value is not None),
                reason=(reason or _NOTHING) if value is None else None,
            )


def outage(trial: Trial, seconds: float = OUTAGE_SECONDS) -> Found:
    """Once a third is answered, the server says 503 to everything for a minute.

    Where a run ends short, the same command runs again when the server is well.
    """
    process = trial.start()
    trial.answered(process, trial.wanted // 3)
    trial.server.set(replace(STEADY, outage_s=seconds))
    over = time.monotonic() + seconds
    end = process.end(LIMIT_SECONDS + seconds)
    again, lost = end, trial.missing(end)
    if lost:
        time.sleep(max(0.0, over - time.monotonic()))
        again = trial.start().end(LIMIT_SECONDS)
    return {
        "exit": end.status,
        "s": end.seconds,
        "missing": lost,
        "missing_unsaid": lost if end.status == 0 else 0,
        "again_exit": again.status,
        "again_missing": trial.missing(again),
    }


def killed(trial: Trial) -> Found:
    """Once half is answered, all its processes get SIGKILL; then the same command runs again."""
    process = trial.start()
    trial.answered(process, trial.wanted // 2)
    process.end(0)
    time.sleep(1.0)  # the server has seen that it is gone
    before = trial.server.served()
    end = trial.start().end(LIMIT_SECONDS)
    after = trial.server.served()[len(before) :]
    return {
        "exit": end.status,
        "s": end.seconds,
        "missing": trial.missing(end),
        "answered": sum(answers(before).values()),
        "sent_again": sent_again(before, after, trial.tool.samples_of_text),
    }


def cut(trial: Trial) -> Found:
    """A fifth of the samples ends by length, in the middle of the text."""
    trial.server.set(replace(STEADY, length_share=0.2))
    end = trial.start().end(LIMIT_SECONDS)
    asked = sum(one.n for one in trial.server.served() if one.prompt)
    return {
        "exit": end.status,
        "s": end.seconds,
        "handed_over": end.said.get("cut"),
        "unmarked": end.said["cut"] - end.said["marked"] if end.said else None,
        "whole_missing": trial.missing(end, whole=True),
        "more": asked - trial.wanted,
    }


def answers(served: Sequence[Served]) -> Counter[str]:
    """Samples answered, by prompt; curator asks for its rate limits with an empty one first."""
    found: Counter[str] = Counter()
    for one in served:
        if one.status == 200 and one.prompt:
            found[one.prompt] += one.n
    return found


def sent_again(before: Sequence[Served], after: Sequence[Served], samples: int) -> int:
    """Samples of a second run that the first had answers to, where so many of a text are wanted."""
    had, got = answers(before), answers(after)
    return sum(min(had[text], max(0, had[text] + got[text] - samples)) for text in had)


FIGURES: dict[Callable[[Trial], Found], dict[str, str]] = {
    outage: {
        "exit": "exit status",
        "s": "seconds with start-up",
        "missing": "samples of 2000 not handed over",
        "missing_unsaid": "samples of 2000 not handed over, exit status 0",
        "again_exit": "exit status of the same command run again",
        "again_missing": "samples of 2000 not handed over then",
    },
    killed: {
        "exit": "exit status of the second run",
        "s": "seconds of the second run",
        "missing": "samples of 2000 not handed over by the second run",
        "answered": "samples answered before the kill",
        "sent_again": "samples of those asked for again",
    },
    cut: {
        "exit": "exit status",
        "s": "seconds with start-up",
        "handed_over": "samples handed over that are cut off",
        "unmarked": "samples of those that are not marked",
        "whole_missing": "samples of 2000 not handed over whole",
        "more": "samples asked for beyond 2000",
    },
}


if __name__ == "__main__":
    main()
