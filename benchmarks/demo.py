"""Bundled prompts, for what is measured with the bundled teacher."""

import json
from itertools import islice

from curation.prompts.dedup import prompt_id
from schemas.records import Prompt
from support.paths import ROOT


def demo_prompts(count: int | None = None) -> list[Prompt]:
    """The first `count` of the demo, or all 400."""
    return bundled_prompts("demo", count)


def bundled_prompts(name: str, count: int | None = None) -> list[Prompt]:
    """The first `count` of a file of word problems, or all."""
    with (ROOT / f"tiny/prompts/{name}.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in islice(lines, count)]
    return [
        Prompt(
            id=prompt_id(row["question"]),
            text=row["question"],
            gold=row["answer"],
            source=name,
            row=number,
            license="",
        )
        for number, row in enumerate(rows, 1)
    ]
