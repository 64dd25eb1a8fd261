"""The state of one shard in flight: the samples that are wanted, that exist, and that are missing.

It is built from the shard's prompts, the traces that exist elsewhere, and its journal. Samples are
found by key, so traces of other settings never count.

    NNNNN.jsonl        the journal of an open shard
    NNNNN.jsonl.done   the same file once the shard is durable elsewhere

No journal is ever deleted: a shard that is opened again (more samples, other settings) renames its
journal back and goes on appending, so that the traces of former settings stay and are found again.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from curation.sampling import journal
from curation.sampling.journal import Journal, Refusal
from curation.teachers import Failure, Request, SampleBudget, SampleOutcome, Skipped, Teacher
from schemas.records import Prompt, Trace
from support.errors import DamagedError
from support.files import fsync

Sample = tuple[str, int]
"""A wanted sample: the prompt's id, and the number of the sample within the prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A piece of the corpus: its number and its prompts, in order."""

    index: int
    prompts: Sequence[Prompt]


@dataclass(slots=True, kw_only=True)
class ShardState:
    """The state of a shard; `keys` holds every sample that may be wanted, in order.

    `spares` are the missing samples that are wanted only where others are unusable. `reused` traces
    existed when the shard was opened; `damaged` journal lines were skipped; `held` counts the
    characters of the traces in memory. Where the teacher `is_record`, the journal is only read.
    """

    index: int
    keys: dict[Sample, str]
    missing: set[Sample]
    spares: frozenset[Sample]
    journal: Journal
    is_record: bool
    reused: int
    damaged: int
    held: int
    _traces: dict[str, Trace]
    _failures: dict[Sample, Failure]
    is_spilled: bool = False
    _kept: set[str] = field(default_factory=set)  # keys of traces that `enter` need not journal

    def request(
        self,
        prompt: Prompt,
        position: int,
        wanted: SampleBudget,
        *,
        recorded: int = 0,
        in_rounds: bool = False,
    ) -> Request:
        """The request to a teacher for one prompt."""
        samples = [(prompt.id, index) for index in range(wanted.maximum)]
        keys = tuple(self.keys[sample] for sample in samples)
        have = (self._traces.get(key) for key in keys)
        refusals = (self._failures.get(sample) for sample in samples)
        return Request(
            prompt=prompt,
            shard=self.index,
            position=position,
            wanted=wanted,
            missing=tuple(sample[1] for sample in samples if sample in self.missing),
            keys=keys,
            have=tuple(trace for trace in have if trace is not None),
            refusal=next((refusal for refusal in refusals if refusal is not None), None),
            recorded=recorded,
            in_rounds=in_rounds,
            keep=self.keep,
        )

    def keep(self, traces: Sequence[Trace]) -> None:
        """Journal traces that have come, before they are entered; those of no sample are left out.

        Raises OSError where the disk fails.
        """
        if self.is_record:
            return
        fresh = [t for t in traces if self.keys.get((t.prompt_id, t.index)) == t.key]
        self._kept.update(trace.key for trace in fresh)
        self.journal.append(*fresh)

    def enter(self, outcome: SampleOutcome) -> None:
        """Take an outcome for a missing sample.

        Raises ValueError for a trace under a wrong key, and for a firm sample that was left out.
        """
        sample = (outcome.prompt_id, outcome.index)
        key = self.keys[sample]
        if isinstance(outcome, Skipped) and sample not in self.spares:
            raise ValueError(f"the teacher left out {sample}, which is wanted in any case")
        if isinstance(outcome, Failure):
            self._failures[sample] = outcome
            if not outcome.retryable:
                self.journal.append(Refusal(key, outcome))
        elif isinstance(outcome, Trace):
            if outcome.key != key:
                raise ValueError(f"the trace for {sample} has key {outcome.key}, not {key}")
            if key in self._kept:
                self._kept.remove(key)
            elif not self.is_record:
                self.journal.append(outcome)
            self._traces[key] = outcome
            self.held += len(outcome.text)
        self.missing.remove(sample)

    def spill(self) -> None:
        """Let go of the traces: the journal has them, and `traces` brings them back."""
        self._traces = {}
        self.held = 0
        self.is_spilled = True

    def traces(self, have: Sequence[Trace]) -> list[Trace]:
        """All traces of the shard, by position of the prompt and number of the sample.

        `have` are those that lie outside the journal; they are looked at only after a spill.
        """
        traces = self._traces
        if self.is_spilled:
            spilled = [*have, *journal.read(self.journal.path).traces]
            traces = {trace.key: trace for trace in spilled} | traces
        return [traces[key] for key in self.keys.values() if key in traces]

    def failures(self) -> list[Failure]:
        """All failures, in the same order."""
        return [self._failures[sample] for sample in self.keys if sample in self._failures]

    def set_aside(self) -> None:
        """Mark the journal as done, unless another run may still deliver a failed sample."""
        self.journal.close()
        is_short = any(failure.retryable for failure in self._failures.values())
        if not is_short and self.journal.path.exists():
            os.replace(self.journal.path, _done(self.journal.path))
            fsync(self.journal.path.parent)


def open_shard_state(
    shard: Shard,
    wanted: Sequence[SampleBudget],
    teacher: Teacher,
    folder: Path,
    have: Sequence[Trace],
) -> ShardState:
    """Open a shard; `wanted` is for each prompt, `have` are the traces outside its journal.

    Raises ValueError for a prompt id that comes twice, DamagedError for two journals.
    """
    pairs = [
        ((prompt.id, index), teacher.key(prompt, index))
        for prompt, number in zip(shard.prompts, wanted, strict=True)
        for index in range(number.maximum)
    ]
    keys = dict(pairs)
    if len(keys) < len(pairs):
        raise ValueError(f"shard {shard.index}: a prompt id comes twice")
    expected = frozenset(keys.values())
    traces = {trace.key: trace for trace in have if trace.key in expected}
    shard_journal = Journal(folder / f"{shard.index:05}.jsonl")
    refused: dict[str, Failure] = {}
    damaged = 0
    if len(traces) < len(expected):
        _reopen(shard_journal.path)
        contents = shard_journal.load()
        damaged = contents.damaged
        for trace in contents.traces:
            if trace.key in expected:
                traces.setdefault(trace.key, trace)
        refused = {refusal.key: refusal.failure for refusal in contents.refusals}
    undelivered = {sample: key for sample, key in keys.items() if key not in traces}
    failures = {sample: refused[key] for sample, key in undelivered.items() if key in refused}
    missing = undelivered.keys() - failures.keys()
    budgets = zip(shard.prompts, wanted, strict=True)
    required = {prompt.id: budget.required for prompt, budget in budgets}
    return ShardState(
        index=shard.index,
        keys=keys,
        missing=missing,
        spares=frozenset(sample for sample in missing if sample[1] >= required[sample[0]]),
        journal=shard_journal,
        is_record=teacher.is_record,
        reused=len(traces),
        damaged=damaged,
        held=sum(len(trace.text) for trace in traces.values()),
        _traces=traces,
        _failures=failures,
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
