"""One run of our own sampling stage in a process of its own, measured as the peers are.

    python polytrace_run.py URL PROMPTS SAMPLES FOLDER IN_FLIGHT group|single SLOT_TOKENS [keep]

Prints one JSON line: traces made durable, when they were, and the process's memory as it had
imported everything and at its peak, in MB (None where the system does not tell). Some imports only
happen in use (pyarrow loads pandas with the first table), so one prompt is read before.

With `keep`, for runs in which something goes wrong: it goes on with what is in FOLDER, also says
how many samples are cut off and how many it marks so, and a run that is short ends as the command.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import aiohttp  # noqa: F401  (loaded now, so that it counts as an import)

from benchmarks.clients import Work, prepare
from schemas.records import FinishReason
from support.errors import ShortError


def resident(field: str) -> float | None:
    """A field of /proc/self/status in MB: VmRSS is now, VmHWM the peak."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    row = next(line for line in status.splitlines() if line.startswith(field))
    return int(row.split()[1]) * 1024 / 1e6


def main(url: str, folder: str, work: Work, *, keep: bool) -> None:
    """Read the prompts, sample them, say what it took."""
    (Path(folder) / "first").mkdir(exist_ok=True)
    prepare(Path(folder) / "first", url, replace(work, prompts=1))
    imported = resident("VmRSS")
    build = prepare(Path(folder), url, work)
    traces = build.sample()
    returned = time.monotonic()
    peak = resident("VmHWM")
    said = {"samples": traces, "returned": returned, "import_mb": imported, "peak_mb": peak}
    if keep:
        kept = list(build.traces())
        said["cut"] = sum("The answer is" not in trace.text for trace in kept)
        said["marked"] = sum(trace.finish_reason is FinishReason.LENGTH for trace in kept)
    print(json.dumps(said))
    if keep and traces < work.prompts * work.samples:
        sys.exit(ShortError.exit_code)


if __name__ == "__main__":
    main(
        sys.argv[1],
        sys.argv[4],
        Work(
            prompts=int(sys.argv[2]),
            samples=int(sys.argv[3]),
            in_flight=int(sys.argv[5]),
            grouped=sys.argv[6] == "group",
            slot_tokens=int(sys.argv[7]),
        ),
        keep="keep" in sys.argv[8:],
    )
