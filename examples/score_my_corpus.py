"""How sequential are my texts? SeqDep of a JSON Lines file under any causal language model.

    python examples/score_my_corpus.py                       # bundled problems, bundled model
    python examples/score_my_corpus.py mine.jsonl --text solution --prompt problem \
        --model Qwen/Qwen2.5-1.5B

For a corpus that does not fit into memory take the command `polytrace score`, which reads any
format and goes on where it stopped.
"""

import argparse
import json
from pathlib import Path

import polytrace
from support.paths import locate


def main() -> None:
    """Print the most and the least sequential texts, and the mean over all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", nargs="?", default="tiny/prompts/test.jsonl")
    parser.add_argument("--text", default="question", help="column of the text")
    parser.add_argument("--prompt", help="column of the prompt, which is seen and not scored")
    parser.add_argument("--model", default="tiny/teacher")
    parser.add_argument("--limit", type=int, default=40)
    given = parser.parse_args()
    lines = Path(locate(given.file)).read_text(encoding="utf-8").splitlines()[: given.limit]
    rows = [json.loads(line) for line in lines]
    texts = [row[given.text] for row in rows]
    prompts = [row[given.prompt] for row in rows] if given.prompt else None

    scores = polytrace.score_texts(texts, given.model, prompts=prompts)

    found = [
        (score.step.nats_per_token, text)
        for score, text in zip(scores, texts, strict=True)
        if score.step is not None and score.step.nats_per_token is not None
    ]
    print(f"{len(found)} of {len(texts)} texts have two steps or more; nats a token at step level:")
    for value, text in sorted(found, reverse=True)[:3] + sorted(found)[:3]:
        print(f"{value:8.3f}  {text[:70]}")
    if found:
        print(f"{sum(value for value, _ in found) / len(found):8.3f}  mean")


if __name__ == "__main__":
    main()
