"""One run of distilabel 1.5.3: prompts x samples against a server, in distilabel's own environment.

    python distilabel_run.py URL PROMPTS SAMPLES FOLDER [BATCH]

Set in its favour: one batch that holds every prompt, so that its barrier comes once and all
requests are in flight together; `n` samples a request; no cache to look in. Prints one JSON line:
how many samples its data set holds, and when it had it. `__init__.py` measures the process.

With BATCH, for runs in which something goes wrong: so many prompts a batch, which is what it keeps,
and the cache in FOLDER. It then also says how many samples are cut off and how many it marks so.
"""

import json
import sys
import time

from distilabel.models import OpenAILLM  # type: ignore[import-not-found]
from distilabel.pipeline import Pipeline  # type: ignore[import-not-found]
from distilabel.steps import LoadDataFromDicts  # type: ignore[import-not-found]
from distilabel.steps.tasks import TextGeneration  # type: ignore[import-not-found]


def main(url: str, prompts: int, samples: int, folder: str, batch: int | None) -> None:
    """Run the pipeline and count."""
    rows = [{"instruction": f"What is {i} + {i}? [gold {2 * i}]"} for i in range(prompts)]
    with Pipeline(name="peer", cache_dir=folder) as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=batch or prompts)
        write = TextGeneration(
            llm=OpenAILLM(
                model="loop",
                base_url=url,
                api_key="none",
                generation_kwargs={"temperature": 1.0, "max_new_tokens": 2048},
            ),
            num_generations=samples,
            group_generations=True,
            input_batch_size=batch or prompts,
        )
        load >> write
    made = pipeline.run(use_cache=batch is not None)["default"]["train"]
    returned = time.monotonic()
    texts = [text for row in made["generation"] for text in row or () if text is not None]
    said = {"samples": len(texts), "returned": returned}
    if batch:
        said["cut"] = sum("The answer is" not in text for text in texts)
        said["marked"] = sum(json.dumps(row).count('"length"') for row in made)
    print(json.dumps(said))


if __name__ == "__main__":  # distilabel starts processes that import this file again
    size = int(sys.argv[5]) if len(sys.argv) > 5 else None
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], size)
