"""Commands and builds as processes that the system gives little: memory, open files, a slow disk.

They begin as `tests.forked` begins them.
"""

import os
import resource
import sys
import time
from pathlib import Path

from flows import cli
from support.signals import stop_at_once
from tests.builds import make

MB = 1 << 20


def command(
    place: Path, megabytes: int | None, files: int | None, api: str | None, *args: str
) -> None:
    """`polytrace ARGS` in the folder `place`, with so many megabytes more than it has now.

    Flows run on the Prefect server `api`, if it is not None.
    """
    if api is not None:
        os.environ["PREFECT_API_URL"] = api
    if megabytes is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + megabytes * MB
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    os.chdir(place)
    sys.argv = ["polytrace", *args]
    cli.main()


def build(recipe: Path, run: Path, files: int | None, fsync_seconds: float) -> None:
    """A build without Prefect that may open so many files, and whose disk is so slow."""
    if files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if fsync_seconds:
        at_once = os.fsync

        def fsync(file: int) -> None:
            time.sleep(fsync_seconds)
            at_once(file)

        os.fsync = fsync  # type: ignore[assignment]
    stop_at_once()
    make(run, str(recipe.with_suffix("")))
