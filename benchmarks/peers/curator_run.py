"""One run of bespokelabs-curator 0.1.31: prompts x samples against a server, in its environment.

    python curator_run.py URL PROMPTS SAMPLES FOLDER [keep]

Set in its favour: limits a minute that cannot bind (its default is 200 requests a minute), 200
requests in flight (at 50 it is slower, at 500 it reaches 180), no cache, no viewer, no telemetry,
no price list from the network. It keeps choices[0] of an answer only, so every sample is a prompt
of its own. Prints one JSON line: how many samples its data set holds, and when it had it.
`__init__.py` measures the process.

With `keep`, for runs in which something goes wrong: the cache in FOLDER. It then also says how many
samples are cut off and how many it marks so.
"""

import importlib.util
import json
import os
import sys
import time
from pathlib import Path

KEEP = "keep" in sys.argv[5:]
os.environ.update(
    TELEMETRY_ENABLED="false",
    LITELLM_LOCAL_MODEL_COST_MAP="True",
    CURATOR_DISABLE_RICH_DISPLAY="1",
    CURATOR_DISABLE_CACHE="0" if KEEP else "1",
    OPENAI_API_KEY="none",
)

# curator counts tokens with an encoding that tiktoken would download; litellm, which it depends on,
# ships the same file.
_litellm = importlib.util.find_spec("litellm")
if _litellm is not None and _litellm.origin is not None:
    _folder = Path(_litellm.origin).parent / "litellm_core_utils" / "tokenizers"
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(_folder))

# It reads the environment as it is imported.
from bespokelabs import curator  # type: ignore[import-not-found]  # noqa: E402

UNBOUND = 10_000_000
IN_FLIGHT = 200


def main(url: str, prompts: int, samples: int, folder: str) -> None:
    """Run and count."""
    teacher = curator.LLM(
        model_name="loop",
        backend="openai",
        backend_params={
            "base_url": url,
            "max_requests_per_minute": UNBOUND,
            "max_tokens_per_minute": UNBOUND * 1000,
            "max_concurrent_requests": IN_FLIGHT,
        },
        generation_params={"temperature": 1.0, "max_tokens": 2048},
    )
    asked = [
        f"What is {i} + {i}? [gold {2 * i}] ({sample})"
        for i in range(prompts)
        for sample in range(samples)
    ]
    made = teacher(asked, working_dir=folder).dataset
    returned = time.monotonic()
    texts = [row["response"] for row in made if row["response"] is not None]
    said = {"samples": len(texts), "returned": returned}
    if KEEP:
        said["cut"] = sum("The answer is" not in text for text in texts)
        said["marked"] = sum(json.dumps(row).count('"length"') for row in made)
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
