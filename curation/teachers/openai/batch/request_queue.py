"""Requests that wait for a batch, and the files that are made of them."""

from collections import deque
from typing import NamedTuple

from curation.teachers.openai.batch.lines import custom_id, request_line
from curation.teachers.openai.group import Group
from curation.teachers.openai.inbox import Work
from curation.teachers.openai.request_form import RequestForm
from curation.teachers.openai.wire import ServerSampling

MOST_REQUESTS = 50_000  # in a file: OpenAI's limit
MOST_BYTES = 200_000_000  # of a file: the same


class InputFile(NamedTuple):
    """The file of a batch, the requests in it, and those that are not sent: see `Group.rest`."""

    data: bytes
    works: list[Work]
    dropped: list[Work]


class RequestQueue:
    """Requests in the order in which they are submitted; `samples` counts what they ask for."""

    def __init__(self, sampling: ServerSampling, *, grouped: bool) -> None:
        self.path = "/chat/completions" if sampling.api == "chat" else "/completions"
        self.samples = 0
        self._sampling, self._grouped = sampling, grouped
        self._works: deque[Work] = deque()

    def __bool__(self) -> bool:
        return bool(self._works)

    def put(self, group: Group, indices: list[int], attempts: int = 0) -> None:
        """Queue requests for samples of a prompt."""
        if self._grouped:
            batches = self._sampling.batches(group.prompt, indices)
        else:
            batches = [(index,) for index in indices]
        self._works.extend(Work(group=group, indices=one, attempts=attempts) for one in batches)
        self.samples += len(indices)

    def take(self, most: int, form: RequestForm) -> InputFile:
        """As many requests as one batch may hold, for about `most` samples."""
        works: list[Work] = []
        dropped: list[Work] = []
        lines: list[bytes] = []
        size = samples = 0
        while self._works and len(works) < MOST_REQUESTS and samples < most:
            work = self._works[0]
            is_over = work.group.refusal or work.group.is_stopped()
            line = None if is_over else self._line(work, form)
            if line is not None and works and size + len(line) > MOST_BYTES:
                break
            self._works.popleft()
            self.samples -= len(work.indices)
            if line is None:
                dropped.append(work)
                continue
            works.append(work)
            lines.append(line)
            size, samples = size + len(line), samples + len(work.indices)
        return InputFile(b"".join(lines), works, dropped)

    def _line(self, work: Work, form: RequestForm) -> bytes | None:
        """The line of a request; None where no file can hold it, and the prompt is refused."""
        group = work.group
        try:
            body = self._sampling.body(group.prompt, work.indices, is_vllm=False, form=form)
        except TypeError as error:  # a lone surrogate, which no JSON carries
            group.refuse("prompt_not_encodable", f"not UTF-8: {error}")
            return None
        name = custom_id(group.keys[work.indices[0]], work.indices)
        line = request_line(name, self.path, body)
        if len(line) > MOST_BYTES:
            group.refuse("context_length", f"a request of {len(line)} bytes fits no file")
            return None
        return line
