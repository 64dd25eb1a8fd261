"""Progress on standard error: a bar on a terminal, a line every 15 seconds in a log.

Every long piece of work uses it: stages of a build, training, evaluation and scoring.
"""

import sys
import time
from typing import Self

from tqdm import tqdm

SECONDS = 15.0  # between two lines of a log


class Progress:
    """How far one piece of work is; `unit` is a plural, as in `rows`.

    Without a terminal nothing is written before 15 seconds have passed, and the state once more at
    the end. Threads that share it take turns. `shown=False` writes nothing.
    """

    def __init__(
        self,
        title: str,
        unit: str,
        *,
        total: int | None = None,
        done: int = 0,
        shown: bool = True,
    ) -> None:
        self._title, self._unit, self._total = title, unit, total
        self._done = self._start = done
        self._note = ""
        self._began = self._written = time.monotonic()
        self._is_log = shown and not sys.stderr.isatty()
        self._is_logged = True  # there is nothing to log yet
        self._bar: tqdm[None] | None = None
        if shown and not self._is_log:
            self._bar = tqdm(
                desc=title,
                unit=f" {unit}",
                total=total,
                initial=done,
                smoothing=0,  # of all that was done: the last pass alone may have been a short one
                dynamic_ncols=True,
                file=sys.stderr,
            )

    @property
    def seconds(self) -> float:
        """Since the work began."""
        return time.monotonic() - self._began

    def update(self, done: int = 1, /, *, more: int = 0, kept: int = 0, note: str = "") -> None:
        """Count `done` more units, and `kept` ones that had been done before.

        `more` adds to the total, `note` is shown after the figures. The time that is left is
        estimated from what was done now: `kept` units took none.
        """
        self._done += done + kept
        self._start += kept
        self._note = note or self._note
        if more:
            self._total = (self._total or 0) + more
        if self._bar is not None:
            self._bar.total = self._total
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            if kept:  # tqdm takes its speed from what lies behind `initial`
                self._bar.initial += kept
                self._bar.n += kept
                self._bar.last_print_n += kept
            self._bar.update(done)
        self._is_logged = False
        if self._is_log and time.monotonic() - self._written >= SECONDS:
            self._log()

    def write(self, line: str) -> None:
        """Write a line of its own, above the bar."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        elif self._is_log:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Show the last state; the work has ended or broken off."""
        if self._bar is not None:
            self._bar.close()
        elif self._is_log and not self._is_logged:
            self._log(is_over=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _log(self, *, is_over: bool = False) -> None:
        self._written, self._is_logged = time.monotonic(), True
        print(self._line(is_over), file=sys.stderr, flush=True)

    def _line(self, is_over: bool) -> str:
        """Such as `scored: 147 of 308 canvases in 0:32, about 0:35 left`."""
        seconds, new = self.seconds, self._done - self._start
        of = "" if self._total is None else f" of {self._total:,}"
        left = 0 if self._total is None or is_over else self._total - self._done
        about = f", about {_clock(seconds * left / new)} left" if left > 0 and new > 0 else ""
        note = f", {self._note}" if self._note else ""
        return f"{self._title}: {self._done:,}{of} {self._unit} in {_clock(seconds)}{about}{note}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
