"""The demo's prompts, for what is measured with the bundled teacher."""

import json
from itertools import islice

from curation.prompts.dedup import prompt_id
from schemas.records import Prompt
from support.paths import ROOT


def demo_prompts(count: int | None = None) -> list[Prompt]:
    """The first `count`, or all 400."""
    with (ROOT / "tiny/prompts/demo.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in islice(lines, count)]
    return [
        Prompt(
            id=prompt_id(row["question"]),
            text=row["question"],
            gold=row["answer"],
            source="demo",
            row=number,
            license="",
        )
        for number, row in enumerate(rows, 1)
    ]
