"""Write the corpora that docs/sequentiality.md compares, in an order drawn by a seed.

`python -m tools.sequentiality.inputs --data ../shared/data --out runs/sequentiality` writes one
JSON Lines file a corpus. Because the order is random, the first n rows are a random sample, and a
higher limit adds to it. Of a prompt with several recorded traces one is drawn, so that documents do
not share their prompt and intervals over documents are honest.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from support.files import replace_text

SEED = 0
FILES = {
    "gsm8k": "gsm8k/example_model_solutions.jsonl",
    "web": "text_control/docs_web_subset.jsonl",
    "math500": "math500/test.jsonl",
    "traces": "traces/recorded_traces.jsonl",
    "openr1": "openr1/openr1_real_traces.jsonl",
}
# Their GSM8K samples are those of the canvases.
SAME = "gsm8k_openai_p4"


def rows(name: str, data: Path) -> list[dict[str, Any]]:
    """The rows of a corpus in random order: of GSM8K as they are, else `problem` and `text`."""
    with (data / FILES[name]).open(encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    order = Random(SEED)
    order.shuffle(found)
    return found if name == "gsm8k" else list(_documents(name, found, order))


def _documents(name: str, found: list[dict[str, Any]], order: Random) -> Iterator[dict[str, Any]]:
    for row in found:
        match name:
            case "web":
                yield {"text": row["text"]}
            case "math500":
                yield {"problem": row["problem"], "text": row["solution"]}
            case "openr1":
                yield {"problem": row["problem"], "text": row["generations"][0]}
            case _ if row["source"] != SAME:
                trace = order.choice(row["traces"])
                yield {"problem": row["problem"], "text": trace["text"]}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the real data")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the corpora")
    given = parser.parse_args()
    for name in FILES:
        text = "".join(json.dumps(row) + "\n" for row in rows(name, given.data))
        replace_text(given.out / f"{name}.jsonl", text)


if __name__ == "__main__":
    main()
