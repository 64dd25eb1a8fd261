"""Peak memory of one SeqDep pass above the model's weights, in MB: `… seqdep_memory VOCABULARY`."""

import sys
import tempfile
from pathlib import Path

from benchmarks.memory import forget_peak, peak_mb, resident_mb
from benchmarks.models import random_llama
from benchmarks.seqdep import document, packed
from scorers.seqdep import loader


def main() -> None:
    """Load, warm up on a short text, then score 102 segments."""
    vocabulary = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        scorer = loader.load_scorer(str(random_llama(Path(name) / "model", vocabulary=vocabulary)))
        packed(scorer, document(2, 257))
        before = resident_mb()
        forget_peak()
        packed(scorer, document(102, 257))
    print(peak_mb() - before)


if __name__ == "__main__":
    main()
