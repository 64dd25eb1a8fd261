"""The batches of these sampling settings that a server had before this run began.

A batch that is over delivers what it has; one that runs on is waited for. Which samples a batch
asked for stands in the names of its requests, which the server keeps in the batch's files.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NamedTuple

from curation.teachers.openai.batch.api import BatchApi, BatchState
from curation.teachers.openai.batch.lines import LineResult, samples_of
from curation.teachers.openai.batch.result_file import BatchFile
from curation.teachers.openai.group import Group
from curation.teachers.openai.inbox import Work
from curation.teachers.openai.request_form import RequestForm, form_of

SETTINGS = "polytrace_settings"  # names in a batch's metadata
FIELDS = "polytrace_fields"
POLL_SECONDS = (0.5, 60.0)  # first and longest wait between two looks at the batches


@dataclass(slots=True, kw_only=True)
class LiveBatch:
    """A batch at the server, its requests that are waited for, and the form of their fields."""

    state: BatchState
    form: RequestForm
    waiting: list[Work] = field(default_factory=list)
    samples: int = 0  # of what is waited for

    def wait_for(self, work: Work) -> None:
        """Wait for one more request."""
        self.waiting.append(work)
        self.samples += len(work.indices)


class Found(NamedTuple):
    """A request for samples that are wanted: its batch runs on, or has delivered the result."""

    work: Work
    source: LiveBatch | LineResult


class KnownBatches:
    """What earlier runs submitted; `form` has the fields that their servers made them send."""

    def __init__(self, form: RequestForm) -> None:
        self.form = form
        self.live: dict[str, LiveBatch] = {}
        self._results: dict[str, BatchFile] = {}
        self._running: set[str] = set()  # batches that ran on as this run began
        self._places: dict[str, list[tuple[str, str]]] = {}  # batch and request, by first key

    async def look_up(self, api: BatchApi, settings: str) -> None:
        """List the server's batches, and read the names of the requests of ours."""
        async for state in api.batches():
            if state.metadata.get(SETTINGS) != settings or state.status == "failed":
                continue
            form = form_of(state.metadata.get(FIELDS, ""), is_fixed=self.form.is_fixed)
            if not self.form.is_fixed:
                self.form = self.form.joined(form)
            if state.is_over:
                names = await api.results(state, may_lack=True)
                self._results[state.id] = names
            else:
                names = await api.requests(state)
                names.close()
                self.live[state.id] = LiveBatch(state=state, form=form)
                self._running.add(state.id)
            for name in names:
                if (samples := samples_of(name)) is not None:
                    self._places.setdefault(samples[0], []).append((state.id, name))

    def find(self, group: Group, wanted: set[int]) -> Iterator[Found]:
        """Requests that ask for samples in `wanted`, which are taken out of it.

        A request that was refused or failed gave no sample, so its samples stay wanted.
        """
        for first, key in enumerate(group.keys if self._places else ()):
            for batch, name in self._places.get(key, ()):
                _, distances = samples_of(name) or ("", ())
                indices = tuple(first + distance for distance in distances)
                source = self._source(batch, name)
                if source is not None and wanted.intersection(indices):
                    wanted.difference_update(indices)
                    yield Found(Work(group=group, indices=indices), source)

    def _source(self, batch: str, name: str) -> LiveBatch | LineResult | None:
        if batch in self._results:
            result = self._results[batch].result(name)
            return result if result and result.status == HTTPStatus.OK else None
        live = self.live.get(batch)
        return live if live is not None and not live.state.is_over else None

    def keep(self, batch: str, results: BatchFile) -> bool:
        """Take the results of a batch that is over now; False for one of this very run.

        An earlier run's batch may hold samples of prompts that this run has not read yet.
        """
        if batch not in self._running:
            return False
        self._results[batch] = results
        return True

    def close(self) -> None:
        """Delete the results."""
        for results in self._results.values():
            results.close()


async def next_over(api: BatchApi, batches: Sequence[LiveBatch]) -> LiveBatch:
    """The first of the batches that is over; they are looked at ever more rarely."""
    pause = POLL_SECONDS[0]
    while True:
        for live in batches:
            before, live.state = live.state, await api.get(live.state.id)
            if live.state.is_over:
                return live
            if live.state.status != before.status:
                pause = POLL_SECONDS[0]
        await asyncio.sleep(pause)
        pause = min(POLL_SECONDS[1], pause * 1.5)
