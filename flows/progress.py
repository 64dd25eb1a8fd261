"""The progress of a build: a meter that the flow moves, and the artifact that shows it in the UI.

In: stages that have ended, in full or for one shard. Out: a progress artifact of the flow run. A
separate thread writes it, so that no task waits for Prefect's server, and nothing fails if the
server cannot be reached.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from threading import Event, Lock, Thread
from typing import cast
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from curation.stage_progress import StageProgress
from schemas.records import Stage

SECONDS = 3.0  # between two updates
PATIENCE = 20.0  # seconds that a build waits at its end for the last one
_SAMPLING = (Stage.TRACES, Stage.SUMMARIES)  # sampled over all shards at once: bars show how far


class Meter:
    """The shares of the stages that are done; any thread may move it."""

    def __init__(self, stages: Sequence[Stage], bars: StageProgress) -> None:
        self._shares = dict.fromkeys(stages, 0.0)
        self._bars = bars
        self._lock = Lock()

    def add(self, stage: Stage, share: float = 1.0) -> None:
        """A share of a stage has ended."""
        with self._lock:
            self._shares[stage] = min(1.0, self._shares[stage] + share)

    def percent(self) -> float:
        """The mean over the stages: a share of stages, not of time."""
        states = self._bars.states()
        with self._lock:
            shares = dict(self._shares)
        for stage in _SAMPLING:
            if stage in shares and stage in states and states[stage].total:
                sampled = states[stage].done / states[stage].total
                shares[stage] = max(shares[stage], min(1.0, sampled))
        return 100 * sum(shares.values()) / len(shares)

    def note(self) -> str:
        """What was done in this build, stage by stage."""
        parts = []
        for stage, (done, total, note) in self._bars.states().items():
            of = f" of {total:,}" if total else ""
            parts.append(f"{stage} {done:,}{of}" + (f" ({note})" if note else ""))
        return "; ".join(parts) or "nothing to do yet"


@contextmanager
def show_in_ui(key: str, meter: Meter) -> Iterator[None]:
    """Show the meter in the UI while the body runs; it shows 100 if the body succeeds."""
    artifact, over = _Artifact(key), Event()
    is_done = False

    def keep_current() -> None:
        artifact.write(meter.percent(), meter.note())
        while not over.wait(SECONDS):
            artifact.write(meter.percent(), meter.note())
        percent, state = (100.0, "done") if is_done else (meter.percent(), "stopped")
        artifact.write(percent, f"{state}: {meter.note()}")

    # In a copy of this context, which names the flow run that the artifact belongs to.
    thread = Thread(target=copy_context().run, args=(keep_current,), name="progress", daemon=True)
    thread.start()
    try:
        yield
        is_done = True
    finally:
        over.set()
        thread.join(PATIENCE)


class _Artifact:
    """A progress artifact that never decreases, and whose failures are reported once."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._id: UUID | None = None
        self._percent = 0.0
        self._has_failed = False

    def write(self, percent: float, note: str) -> None:
        self._percent = max(self._percent, percent)
        try:
            if self._id is None:
                id_ = create_progress_artifact(self._percent, self._key, note)
                self._id = cast(UUID, id_)  # a coroutine only in asynchronous flows
            else:
                update_progress_artifact(self._id, self._percent, note)
        except Exception as error:  # of any kind: it must not end the build
            if not self._has_failed:
                get_run_logger().warning(
                    "progress is not shown: %s: %s", type(error).__name__, error
                )
            self._has_failed = True
