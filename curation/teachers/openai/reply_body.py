"""How much a reply may hold, and how its body is read: a server may send without end.

A request justifies so many bytes of its reply (`most_bytes`). Bytes are counted as they are
decoded, so that a compressed body may hold no more. All long replies that are read at the same time
take their bytes out of one `ReplyMemory`, and wait where nothing is left of it.
"""

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import aiohttp

MB = 10**6
SHARED = 256 * MB  # of one teacher's replies together
READ_BYTES = 65_536  # that each connection holds before they are read, decoded; twice that at most
SHORT = 16_384  # bytes that a reply may hold without asking: a thousand tokens take some five
FIXED = 1 * MB  # for what a server adds by itself
TOKEN = 256  # a long run of spaces is one token, and JSON may write six bytes for a character
ALTERNATIVE = 512  # a log-probability with its token as text and as a list of bytes
REPEATED = 16  # for each byte of the request, which may come back as text and as ids of tokens


class TooLargeError(Exception):
    """A body that holds more than it may."""


def most_bytes(*, max_tokens: int, samples: int, request: int, extra: Mapping[str, Any]) -> int:
    """Bytes that the reply to a request for `samples` may hold; `request` is its size in bytes.

    `extra` are the further fields of the request, some of which ask for more in the reply.
    """
    token = TOKEN + ALTERNATIVE * _alternatives(extra, "logprobs", "top_logprobs")
    prompt = REPEATED + ALTERNATIVE * _alternatives(extra, "prompt_logprobs")
    limits = (extra.get(name) for name in ("max_completion_tokens", "max_new_tokens"))
    tokens = max([max_tokens, *(limit for limit in limits if isinstance(limit, int))])
    return min(SHARED, FIXED + samples * tokens * token + request * prompt)


def _alternatives(extra: Mapping[str, Any], *names: str) -> int:
    """How many log-probabilities are asked for at each token; -1 asks for those of all tokens."""
    asked = [value for name in names if isinstance(value := extra.get(name), int)]
    if any(value < 0 for value in asked):
        return SHARED
    return max(asked) + 1 if any(asked) else 0


class ReplyMemory:
    """Bytes that replies may take together, handed out in the order of asking; for one loop."""

    def __init__(self, most: int = SHARED) -> None:
        self._free = most
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        """Wait until `size` bytes are free, and take them; no more than all there are."""
        if not self._waiting and size <= self._free:
            self._free -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # its turn came at the same moment
                self.give_back(size)
            raise

    def give_back(self, size: int) -> None:
        """Give back bytes that were taken."""
        self._free += size
        while self._waiting:
            wanted, turn = self._waiting[0]
            if not turn.done():
                if wanted > self._free:
                    return
                self._free -= wanted
                turn.set_result(None)
            self._waiting.popleft()


async def read(
    reply: "aiohttp.ClientResponse", most: int, memory: ReplyMemory | None = None
) -> bytes:
    """The decoded content; TooLargeError where it is longer than `most` bytes.

    With `memory`, a reply that is not short waits until `most` bytes are free there.
    """
    content = bytearray()
    taken = 0
    try:
        async for chunk in reply.content.iter_any():
            if len(content) + len(chunk) > most:
                raise TooLargeError(f"answers with more than {size_text(most)}")
            if memory is not None and not taken and len(content) + len(chunk) > SHORT:
                await memory.take(most)
                taken = most
            content += chunk
        return bytes(content)
    finally:
        if memory is not None and taken:
            memory.give_back(taken)


async def read_start(reply: "aiohttp.ClientResponse", most: int) -> bytes:
    """The content, cut after `most` bytes: enough of a page that says what is wrong."""
    content = bytearray()
    async for chunk in reply.content.iter_any():
        content += chunk
        if len(content) >= most:
            break
    return bytes(content[:most])


def parse(content: bytes) -> Any:
    """JSON of a server's; ValueError where it is none, or is nested too deep."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:  # it takes no half of a surrogate pair, which a text may hold
        try:
            return json.loads(content)
        except RecursionError:
            raise ValueError("nested too deep") from None


def size_text(size: int) -> str:
    """A number of bytes in words."""
    return f"{size / MB:.3g} MB"
