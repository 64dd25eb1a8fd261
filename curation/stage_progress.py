"""The progress bars of a build: one a stage, on standard error."""

from collections import deque
from collections.abc import Callable, Iterable
from threading import Lock
from typing import NamedTuple

from schemas.records import Stage
from support.display.progress import Progress, Work

UNITS = {
    Stage.PROMPTS: "rows",
    Stage.TRACES: "traces",
    Stage.GRADED: "traces",
    Stage.CANVASES: "prompts",
    Stage.SUMMARIES: "summaries",
    Stage.SCORED: "canvases",
    Stage.RELEASE: "canvases",
}


class ProgressState(NamedTuple):
    """What a bar showed last: `total` is 0 where it is not known."""

    done: int = 0
    total: int = 0
    note: str = ""


class StageProgress:
    """One progress bar a stage on standard error, shared by the threads of a build."""

    def __init__(self, *, shown: bool = True) -> None:
        self._shown = shown
        self._bars: dict[Stage, Progress] = {}
        self._moved: dict[Stage, ProgressState] = {}
        self._work: dict[Stage, Work] = {}
        self._lock = Lock()

    def add(
        self,
        stage: Stage,
        done: int = 0,
        *,
        more: int = 0,
        note: str = "",
        work: Work | None = None,
    ) -> None:
        """Move a stage's bar by `done`; `more` lengthens it, `note` stands behind it.

        Where units differ in size, `work` adds the sizes of those that are done and those that are
        left now, and the time that is left follows them.
        """
        if not self._shown:
            return
        with self._lock:
            if stage not in self._bars:
                self._bars[stage] = Progress(f"{stage:>9}", UNITS[stage])
            if work is not None:
                before = self._work.get(stage, Work(0, 0))
                work = Work(before.done + work.done, before.left + work.left)
                self._work[stage] = work
            self._bars[stage].update(done, more=more, note=note, work=work)
            last = self._moved.get(stage, ProgressState())
            self._moved[stage] = ProgressState(
                last.done + done, last.total + more, note or last.note
            )

    def add_sized(
        self, stage: Stage, sizes: Iterable[int], *, note: str = ""
    ) -> Callable[[int], None]:
        """Lengthen a stage's bar by units of these sizes; call the result with units done."""
        waiting = deque(sizes)
        self.add(stage, more=len(waiting), note=note, work=Work(0, sum(waiting)))

        def done(units: int) -> None:
            size = sum(waiting.popleft() for _ in range(units))
            self.add(stage, units, work=Work(size, -size))

        return done

    def states(self) -> dict[Stage, ProgressState]:
        """Where every bar stands that was moved, also after its end."""
        with self._lock:
            return dict(self._moved)

    def end(self, *stages: Stage) -> None:
        """Leave the bars of `stages` on the screen as they are."""
        with self._lock:
            for stage in stages:
                if stage in self._bars:
                    self._bars.pop(stage).close()
