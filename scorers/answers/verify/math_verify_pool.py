"""math-verify in worker processes (`worker_pool.py`).

In: questions (answer and gold, both as math-verify reads them). Out: a grade for each, in their
order; TIMEOUT for a question whose worker was killed or died.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from schemas.records import Grade
from scorers.answers.verify.worker_pool import LOST, WorkerPool

WORKER = Path(__file__).with_name("_math_verify_worker.py")
# A worker's verdict is None where one of the two could not be read, or not all of it.
_GRADES = {True: Grade.CORRECT, False: Grade.WRONG, None: Grade.UNPARSED, LOST: Grade.TIMEOUT}


class Question(NamedTuple):
    """What math-verify compares; both texts are bounded by the caller."""

    answer: str
    gold: str


class MathVerifyPool:
    """Up to `limit` workers; not safe for several threads at once (the caller holds a lock)."""

    def __init__(self, limit: int, timeout_seconds: float) -> None:
        self.workers = WorkerPool(WORKER, limit, timeout_seconds)

    def ask(self, questions: Sequence[Question]) -> list[Grade]:
        """One grade a question, in order. RuntimeError if workers cannot be started at all."""
        return [_GRADES[verdict] for verdict in self.workers.ask(questions)]

    def close(self) -> None:
        """Kill all workers; they hold no state, and start again with the next question."""
        self.workers.close()
