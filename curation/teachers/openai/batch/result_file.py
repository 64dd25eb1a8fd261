"""The files of a batch at the server, read line by line. Neither a line nor a file is unbounded."""

import asyncio
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from curation.teachers.openai.batch.lines import LineResult, name_of, result_of
from curation.teachers.openai.batch.request_queue import MOST_REQUESTS
from curation.teachers.openai.client import Connection
from curation.teachers.openai.reply_body import READ_BYTES, size_text

_NAME = re.compile(rb'"custom_id"\s*:\s*"([0-9a-f-]+)"')


class BatchFile:
    """The lines of a batch's files by the name of their request, kept in a temporary file.

    A line holds `most_line` bytes at most; of a longer one only its name is noted.
    """

    def __init__(self, connection: Connection, most_line: int) -> None:
        self._connection, self._most_line = connection, most_line
        self._file: BinaryIO = tempfile.TemporaryFile(prefix="polytrace-")  # noqa: SIM115
        self._places: dict[str, tuple[int, int]] = {}  # of one that is too long: no bytes

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def result(self, name: str) -> LineResult | None:
        """What became of a request; None where the server says nothing of it."""
        if name not in self._places:
            return None
        start, length = self._places[name]
        if not length:
            message = f"its reply holds more than {size_text(self._most_line)}"
            return LineResult(status=0, message=message)
        self._file.seek(start)
        try:
            found = result_of(self._file.read(length))
        except ValueError:
            return None
        return replace(found, message=self._connection.clean(found.message))

    def close(self) -> None:
        """Delete the file."""
        self._file.close()

    async def add(self, path: str, requests: int) -> None:
        """Download one more file; what is not whole of an earlier try is written over.

        `requests` is how many the batch has: so many lines may be in the file.
        """
        start = self._file.seek(0, 2)
        most = min(max(requests, 1), MOST_REQUESTS) * self._most_line
        try:
            await self._connection.download(path, self._file, most)
        except BaseException:
            self._file.truncate(start)
            raise
        await asyncio.to_thread(self._note, start)  # of gigabytes this takes a while

    def _note(self, start: int) -> None:
        """Note where the lines from `start` on lie."""
        self._file.seek(start)
        while (line := self._file.readline(self._most_line)) and len(self._places) < MOST_REQUESTS:
            length = len(line)
            if line.endswith(b"\n") or length < self._most_line:
                name = name_of(line)
            else:
                match = _NAME.search(line, 0, READ_BYTES)
                name, length = match[1].decode() if match else None, 0
            if name is not None:
                self._places.setdefault(name, (start, length))
            start += len(line)
            while not line.endswith(b"\n") and (line := self._file.readline(READ_BYTES)):
                start += len(line)
