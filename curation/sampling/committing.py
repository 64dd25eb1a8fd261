"""Journals are committed while samples come: a power cut costs those of a quarter of a second."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from curation.sampling.journal import COMMIT_SECONDS, Journal


@asynccontextmanager
async def committing(
    journals: Callable[[], Iterable[Journal]], tick: Callable[[], None]
) -> AsyncIterator[None]:
    """Commit all open journals in the background; a disk that fails ends the block.

    `tick` is called about as often, in the loop; what it raises ends the block as well.
    """
    caller = asyncio.current_task()
    assert caller is not None
    committer = asyncio.create_task(_commit_regularly(journals, tick))
    committer.add_done_callback(lambda done: None if done.cancelled() else caller.cancel())
    try:
        yield
    except asyncio.CancelledError:
        if committer.done() and not committer.cancelled():
            caller.uncancel()
            committer.result()  # raises what stopped it
        raise
    finally:
        committer.cancel()
        await asyncio.gather(committer, return_exceptions=True)


async def _commit_regularly(
    journals: Callable[[], Iterable[Journal]], tick: Callable[[], None]
) -> None:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as writer:  # for commits alone: nothing may keep them waiting
        while True:
            await asyncio.sleep(COMMIT_SECONDS / 2)
            for journal in tuple(journals()):
                await loop.run_in_executor(writer, journal.commit)
            tick()
