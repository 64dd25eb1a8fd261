"""Texts that a format gives a meaning, looked for in a row before it is written."""

import re

from curation.exports import RowRefusal
from schemas.records import Released

CHAT = re.compile(r"<\|[^|<>\s]+\|>|<\uff5c[^\uff5c<>]+\uff5c>|</?(?:think|role)>")
"""What chat templates of the supported models are made of, such as `<|im_end|>`.

A template reads a bare `<think>` as the beginning of hidden reasoning, and may drop what follows.
"""


def find_marker(row: Released, *patterns: re.Pattern[str]) -> RowRefusal | None:
    """The first marker in prompt, paths, summary or gold, as a refusal; None if there is none."""
    texts = [("the prompt", row.prompt)]
    texts += [(f"path {number}", path.text) for number, path in enumerate(row.paths, 1)]
    texts += [("the summary", row.summary), ("the gold", row.gold)]
    for name, text in texts:
        for pattern in patterns:
            if found := pattern.search(text):
                return RowRefusal("contains_marker", f"{name} contains {found.group()!r}")
    return None
