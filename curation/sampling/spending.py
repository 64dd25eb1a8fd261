"""What a teacher and a judge have spent, and what the recipe's budget leaves them.

Journals keep every sample and every reply of a judge that was ever paid for, so the journals of a
run say what it has cost: those of former settings and of earlier runs are in them, and recorded
traces cost nothing.

Tokens are counted as in `curation/release/token_usage.py`: a prompt once for each of its traces.
Where one request asks for several samples, servers charge its prompt once, so that the sum is too
high rather than too low. Where a server does not say how many tokens a sample has, it counts as
`max_tokens`, the most that it can have, and a prompt whose tokens it does not tell as nothing.
"""

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import reduce
from pathlib import Path
from threading import Lock
from typing import NamedTuple, Self

from curation.sampling import journal
from schemas.budget import Budget, Price
from schemas.outcome import Spending
from schemas.records import Stage, Trace
from support.errors import ShortError

REPLIES = "replies"  # the folder of a judge's replies, in that of the graded traces
BEGAN = f"{Stage.TRACES}/sampling-began"  # an empty file whose time of change says when
SAMPLED = (Stage.TRACES, Stage.SUMMARIES)  # the stages that ask the teacher
SPENT = "budget_spent"  # the reason of samples that were not asked for
_LINE = re.compile(
    rb'"max_tokens":(?P<most>\d+|null).*'
    rb'"prompt_tokens":(?P<prompt>\d+|null),"completion_tokens":(?P<completion>\d+|null)'
)  # within a text every quotation mark has a backslash

_SIGN = b'"prompt_id":""'  # of the line that says that a judge's server has answered before
_Counts = tuple[int | None, int | None, int | None]


class Tokens(NamedTuple):
    """Tokens that a model has read and written."""

    prompt: int = 0
    completion: int = 0

    def plus(self, other: Self) -> "Tokens":
        """The sum of both."""
        return Tokens(self.prompt + other.prompt, self.completion + other.completion)


NOTHING = Tokens()


def sum_of(several: Iterable[Tokens]) -> Tokens:
    """The sum of all."""
    return reduce(Tokens.plus, several, NOTHING)


def tokens_of(trace: Trace) -> Tokens:
    """What a trace cost; nothing where it is recorded."""
    return _tokens(trace.max_tokens, trace.prompt_tokens, trace.completion_tokens)


def is_uncounted(trace: Trace) -> bool:
    """Whether a trace was sampled, and nobody knows how many tokens it has."""
    return trace.max_tokens is not None and trace.completion_tokens is None


def tokens_of_run(run: Path) -> Tokens:
    """What all samples in the journals of a run have cost, damaged lines included."""
    return sum_of(_tokens(*counts) for counts in _counts(_samples_of(run)))


def judge_tokens_of_run(run: Path) -> Tokens:
    """What all replies of judges that a run has kept have cost."""
    replies = sorted((run / Stage.GRADED / REPLIES).glob("*.jsonl"))
    return sum_of(_tokens(*counts) for counts in _counts(replies, but=_SIGN))


def spending(run: Path, price: Price | None) -> Spending:
    """What a run has cost so far."""
    tokens, uncounted, judged = NOTHING, 0, judge_tokens_of_run(run)
    for most, prompt, completion in _counts(_samples_of(run)):
        tokens = tokens.plus(_tokens(most, prompt, completion))
        uncounted += most is not None and completion is None
    return Spending(
        prompt_tokens=tokens.prompt,
        completion_tokens=tokens.completion,
        judge_prompt_tokens=judged.prompt,
        judge_completion_tokens=judged.completion,
        uncounted=uncounted,
        money=price.of(*tokens) + price.of_judge(*judged) if price is not None else None,
    )


class BudgetSpentError(ShortError):
    """A judge was to be asked, and the budget is spent."""


class Allowance:
    """What a budget leaves to spend, for teacher and judge together; safe to use from any thread.

    `is_spent` stays true once it is. `before` and `judged` are the tokens of earlier runs. The
    hours begin with the first look of any process of the build: `run` is its directory, where that
    is recorded; None for one process alone.
    """

    def __init__(
        self,
        budget: Budget,
        price: Price | None,
        before: Tokens,
        judged: Tokens = NOTHING,
        run: Path | None = None,
    ) -> None:
        self._budget, self._price = budget, price
        self._run = run if budget.hours is not None else None
        self._taken = self._expected = before
        self._judged = self._expected_judged = judged
        self._lock = Lock()
        self._began: float | None = None
        self.is_spent = bool(self._reached())

    def add(self, trace: Trace) -> None:
        """Count a trace that has come."""
        with self._lock:
            self._taken = self._taken.plus(tokens_of(trace))
        self.look()

    def add_reply(self, reply: Trace) -> None:
        """Count a reply of the judge."""
        with self._lock:
            self._judged = self._judged.plus(tokens_of(reply))
        self.look()

    def expect_reply(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count a reply that will be kept; `add_reply` counts it once more, as `add` does."""
        with self._lock:
            self._expected_judged = self._expected_judged.plus(
                Tokens(prompt_tokens, completion_tokens)
            )
        self.look()

    def expect(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count a sample whose trace will come; `add` counts it once more, but not in the sum."""
        with self._lock:
            self._expected = self._expected.plus(Tokens(prompt_tokens, completion_tokens))
        self.look()

    def look(self) -> None:
        """See whether the budget is spent by now; the first look begins the hours."""
        self._began = self._began or _began(self._run)
        self.is_spent = self.is_spent or bool(self._reached())

    def sentence(self) -> str:
        """What was spent of what, and what to do."""
        return (
            f"the budget is spent ({', '.join(self._reached())}); everything that came is kept; "
            f"run the same command with a larger budget to go on"
        )

    def _reached(self) -> list[str]:
        """Each limit that is reached, in words."""
        budget, price, reached = self._budget, self._price, []
        tokens = max(self._taken, self._expected, key=lambda each: each.completion)
        judged = max(self._judged, self._expected_judged, key=lambda each: each.completion)
        written = tokens.completion + judged.completion
        if budget.tokens is not None and written >= budget.tokens:
            of_all = f"{written:,} of {budget.tokens:,} tokens"
            reached.append(f"budget.tokens: {of_all} are written, earlier runs included")
        if budget.money is not None and price is not None:
            money = price.of(*tokens) + price.of_judge(*judged)
            if money >= budget.money:
                paid = f"{price.amount(money)} of {price.amount(budget.money)}"
                reached.append(f"budget.money: {paid}, earlier runs included")
        hours = (time.time() - self._began) / 3600 if self._began is not None else 0.0
        if budget.hours is not None and hours >= budget.hours:
            reached.append(f"budget.hours: {hours:.2f} of {budget.hours:g} hours of sampling")
        return reached


def begin_anew(run: Path) -> None:
    """Forget when the last build of a run began to sample; call it while no other one runs."""
    (run / BEGAN).unlink(missing_ok=True)


def _began(run: Path | None) -> float:
    """When a build began to sample, in seconds since the epoch: the first caller says now."""
    if run is None:
        return time.time()
    record = run / BEGAN
    record.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        record.touch(exist_ok=False)
    return record.stat().st_mtime


def _samples_of(run: Path) -> Iterator[Path]:
    for stage in SAMPLED:
        yield from sorted((run / stage).glob("[0-9]*.jsonl*"))


def _counts(journals: Iterable[Path], but: bytes | None = None) -> Iterator[_Counts]:
    """`max_tokens`, and the tokens read and written, of every sample or reply in journals.

    Lines that hold `but` are left out.
    """
    for path in journals:
        for line in journal.lines(path):
            if (match := _LINE.search(line)) and not (but and but in line):
                most, prompt, completion = map(_number, match.groups())
                yield most, prompt, completion


def _tokens(most: int | None, prompt: int | None, completion: int | None) -> Tokens:
    return Tokens(prompt or 0, (most or 0) if completion is None else completion)


def _number(digits: bytes) -> int | None:
    return None if digits == b"null" else int(digits)
