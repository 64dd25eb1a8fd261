"""The books of one shard in flight: what is wanted, what has been paid for, what is missing.

Flow in: a shard's prompts, the traces of its Parquet, its journal; flows out: missing samples, and
in the end all traces in order. Samples are found by key, so traces of other settings never count.

    NNNNN.jsonl        the journal of an open shard
    NNNNN.jsonl.done   the same file once the shard is durable elsewhere

No journal is ever deleted: a shard that is opened again (more samples, other settings) renames its
journal back and goes on appending, so that the traces of former settings stay and are found again.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from curation.journal import Journal
from curation.teachers import Failure, Teacher
from schemas.durable import sync_folder
from schemas.errors import DamagedError
from schemas.records import Prompt, Trace

Sample = tuple[str, int]
"""A wanted sample: the prompt's id, and the number of the sample within the prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A piece of the corpus: its number and its prompts, in order."""

    index: int
    prompts: Sequence[Prompt]


@dataclass(slots=True, kw_only=True)
class Ledger:
    """The books of a shard; `keys` holds every wanted sample in order.

    `reused` traces were there when the shard was opened; `damaged` journal lines were skipped.
    """

    shard: Shard
    keys: dict[Sample, str]
    missing: set[Sample]
    journal: Journal
    reused: int
    damaged: int
    _traces: dict[str, Trace]
    _failures: dict[Sample, Failure] = field(default_factory=dict)

    def missing_of(self, prompt: Prompt, wanted: int) -> tuple[int, ...]:
        """The samples of a prompt that are not yet paid for."""
        return tuple(index for index in range(wanted) if (prompt.id, index) in self.missing)

    def enter(self, outcome: Trace | Failure) -> None:
        """Take an outcome for a missing sample; ValueError for a trace under a wrong key."""
        sample = (outcome.prompt_id, outcome.index)
        if isinstance(outcome, Failure):
            self._failures[sample] = outcome
        elif outcome.key == self.keys[sample]:
            self.journal.append(outcome)
            self._traces[outcome.key] = outcome
        else:
            raise ValueError(
                f"the trace for {sample} has key {outcome.key}, not {self.keys[sample]}"
            )
        self.missing.remove(sample)

    def traces(self) -> list[Trace]:
        """All traces of the shard, by position of the prompt and number of the sample."""
        return [self._traces[key] for key in self.keys.values() if key in self._traces]

    def failures(self) -> list[Failure]:
        """All failures, in the same order."""
        return [self._failures[sample] for sample in self.keys if sample in self._failures]

    def set_aside(self) -> None:
        """Mark the journal as done, unless another run may still deliver a failed sample."""
        self.journal.close()
        is_short = any(failure.retryable for failure in self._failures.values())
        if not is_short and self.journal.path.exists():
            os.replace(self.journal.path, _done(self.journal.path))
            sync_folder(self.journal.path.parent)


def open_ledger(
    shard: Shard, teacher: Teacher, samples: int, folder: Path, have: Sequence[Trace]
) -> Ledger:
    """Open a shard's books; `have` are the traces of its Parquet.

    Raises ValueError for a prompt id that comes twice, DamagedError for two journals.
    """
    wanted = [
        ((prompt.id, index), teacher.key(prompt, index))
        for prompt in shard.prompts
        for index in range(teacher.wanted(prompt, samples))
    ]
    keys = dict(wanted)
    if len(keys) < len(wanted):
        raise ValueError(f"shard {shard.index}: a prompt id comes twice")
    expected = frozenset(keys.values())
    found = {trace.key: trace for trace in have if trace.key in expected}
    journal = Journal(folder / f"{shard.index:05}.jsonl")
    damaged = 0
    if len(found) < len(expected):
        _reopen(journal.path)
        reading = journal.load()
        damaged = reading.damaged
        for trace in reading.traces:
            if trace.key in expected:
                found.setdefault(trace.key, trace)
    return Ledger(
        shard=shard,
        keys=keys,
        missing={sample for sample, key in keys.items() if key not in found},
        journal=journal,
        reused=len(found),
        damaged=damaged,
        _traces=found,
    )


def _done(journal: Path) -> Path:
    return journal.with_name(journal.name + ".done")


def _reopen(journal: Path) -> None:
    """Bring back the journal of a shard that was closed before."""
    done = _done(journal)
    if not done.exists():
        return
    if journal.exists():
        raise DamagedError(f"{done}: lies beside {journal.name}; append the one to the other")
    os.replace(done, journal)
