"""Which samples of a prompt its recipe would have drawn, where more of them exist.

Earlier builds of a run may have drawn more samples than `samples` asks for now. What would not have
been drawn does not count, so that a run gives the same corpus whatever its recipe was before. It
stays in the journal, where a later recipe finds it again.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from curation.sampling.service import FinishedShard
from curation.teachers import (
    Shortfall,
    Teacher,
    at_once,
    is_slow,
    most_at_a_time,
    sample_budget,
)
from schemas.records import Prompt, Trace
from schemas.samples import Rounds


class DrawnSamples:
    """A shortfall that remembers how many samples of each prompt were wanted in the end."""

    def __init__(self, shortfall: Shortfall, teacher: Teacher, samples: int | Rounds) -> None:
        self._shortfall, self._teacher, self._samples = shortfall, teacher, samples
        self._first = samples.per_round if isinstance(samples, Rounds) else samples
        self._wanted: dict[str, int] = {}
        self.grades = is_slow(shortfall)
        self.most_at_a_time = most_at_a_time(shortfall)

    def __call__(self, prompt: Prompt, traces: Sequence[Trace]) -> int:
        """How many more samples the prompt gets."""
        return self._note(prompt, traces, self._shortfall(prompt, traces))

    def at_once(self, prompt: Prompt, traces: Sequence[Trace]) -> int | None:
        """The same; None where nobody can say so without waiting."""
        more = at_once(self._shortfall, prompt, traces)
        return None if more is None else self._note(prompt, traces, more)

    def _note(self, prompt: Prompt, traces: Sequence[Trace], more: int) -> int:
        self._wanted[prompt.id] = len(traces) + more
        return more

    def of(self, shard: FinishedShard, prompts: Callable[[], Iterable[Prompt]]) -> FinishedShard:
        """The shard with the traces that were wanted; `prompts` loads its prompts."""
        counts = Counter(trace.prompt_id for trace in shard.traces)
        wanted = {prompt_id: self._wanted.pop(prompt_id, None) for prompt_id in counts}
        for failure in shard.failures:  # of a prompt that was refused, all count that came
            counts.pop(failure.prompt_id, None)
        if all(count <= (wanted[name] or self._first) for name, count in counts.items()):
            return shard
        groups: dict[str, list[Trace]] = {}
        for trace in shard.traces:
            groups.setdefault(trace.prompt_id, []).append(trace)
        for prompt in prompts():
            if prompt.id in counts:
                number = wanted[prompt.id] or self._replayed(prompt, groups[prompt.id])
                del groups[prompt.id][number:]
        return replace(shard, traces=[trace for group in groups.values() for trace in group])

    def _replayed(self, prompt: Prompt, traces: Sequence[Trace]) -> int:
        """How many samples are wanted of a prompt that nobody has asked about: none was missing."""
        number = sample_budget(self._teacher, prompt, self._samples).required
        while number < len(traces) and (more := self._shortfall(prompt, traces[:number])) > 0:
            number += more
        return number
