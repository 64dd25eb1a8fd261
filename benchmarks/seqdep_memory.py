"""Peak memory of one SeqDep pass above the model's weights, in MB: `… seqdep_memory VOCABULARY`."""

import resource
import sys
import tempfile
from pathlib import Path

from benchmarks.models import random_llama
from benchmarks.seqdep import document, packed
from scorers import ar


def main() -> None:
    """Load, warm up on a short text, then score 102 segments."""
    vocabulary = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        scorer = ar.load(str(random_llama(Path(name) / "model", vocabulary=vocabulary)))
        packed(scorer, document(2, 257))
        before = _resident_mb()
        _forget_peak()
        packed(scorer, document(102, 257))
    print(_peak_mb() - before)


def _resident_mb() -> float:
    return _status("VmRSS")


def _peak_mb() -> float:
    return _status("VmHWM")


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
