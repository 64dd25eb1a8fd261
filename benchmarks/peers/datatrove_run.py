"""One run of datatrove 0.10.1: prompts x samples against a server, in datatrove's own environment.

    python datatrove_run.py URL PROMPTS SAMPLES FOLDER

Set in its favour: 200 requests in flight, answers kept one by one in FOLDER (its checkpoints), 100
prompts a chunk, no statistics. Prints one JSON line: how many samples its files hold, when it had
them, how many samples are cut off and how many it marks so.
"""

import gzip
import json
import sys
import time
from pathlib import Path
from typing import Any

from datatrove.data import Document  # type: ignore[import-not-found]
from datatrove.pipeline.inference.run_inference import (  # type: ignore[import-not-found]
    InferenceConfig,
    InferenceRunner,
)
from datatrove.pipeline.writers import JsonlWriter  # type: ignore[import-not-found]

IN_FLIGHT = 200


async def ask(document: Any, generate: Any) -> Any:
    """One sample of a prompt."""
    messages = [{"role": "user", "content": document.text}]
    return await generate({"messages": messages, "temperature": 1.0, "max_tokens": 2048})


def main(url: str, prompts: int, samples: int, folder: Path) -> None:
    """Run and count."""
    runner = InferenceRunner(
        rollout_fn=ask,
        config=InferenceConfig(
            server_type="endpoint",
            endpoint_url=url.removesuffix("/v1"),
            model_name_or_path="loop",
            rollouts_per_document=samples,
            max_concurrent_generations=IN_FLIGHT,
        ),
        output_writer=JsonlWriter(
            str(folder / "made"), output_filename="${rank}_${chunk_index}.jsonl.gz"
        ),
        checkpoints_local_dir=str(folder / "checkpoints"),
        records_per_chunk=100,
    )
    texts = (f"What is {i} + {i}? [gold {2 * i}]" for i in range(prompts))
    runner.run(Document(text=text, id=str(i)) for i, text in enumerate(texts))
    returned = time.monotonic()
    made = []
    for path in (folder / "made").glob("*.jsonl.gz"):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            made += json.loads(line)["metadata"]["rollout_results"]
    said = {
        "samples": len(made),
        "returned": returned,
        "cut": sum("The answer is" not in one["text"] for one in made),
        "marked": sum(one["finish_reason"] == "length" for one in made),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
