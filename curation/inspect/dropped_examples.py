"""Examples of dropped prompts with what their traces answered, for the page of an empty release.

In: a finished run. Out: `ExampleView`, plain values without control characters.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from curation.inspect.query import Query
from curation.inspect.rejections import GivenAnswer, find_rejections
from curation.inspect.terminal_view import MARKS
from curation.release.reader import ReleaseReader
from schemas.manifest import Manifest
from support.display.text import shorten, visible

REASONS = 4  # the most frequent
EXAMPLES = 3  # of each reason
ANSWERS = 8  # of an example
LONGEST = 2_000  # characters of one text


@dataclass(frozen=True, slots=True)
class ExampleView:
    """A prompt that was dropped; `answers` are pairs of a mark and what was answered."""

    reason: str
    detail: str
    prompt: str
    gold: str
    answers: tuple[tuple[str, str], ...]


def dropped_examples(run: ReleaseReader, manifest: Manifest) -> Iterator[ExampleView]:
    """Dropped prompts whose text is known, a few of each frequent reason."""
    prompts = (one for one in manifest.rejected if one.kind == "prompt")
    reasons = [one.reason for one in sorted(prompts, key=lambda one: -one.count)]
    for reason in list(dict.fromkeys(reasons))[:REASONS]:
        for item in find_rejections(run, Query(reason=reason, limit=EXAMPLES))[0]:
            if item.prompt is not None and item.rejection.index is None:
                yield ExampleView(
                    reason=_text(item.rejection.reason),
                    detail=_text(item.rejection.detail),
                    prompt=_text(item.prompt),
                    gold=_text(item.gold or ""),
                    answers=tuple(map(_answer, item.answers[:ANSWERS])),
                )


def _answer(given: GivenAnswer) -> tuple[str, str]:
    return MARKS[given.grade][0], _text(f"… {given.end}" if given.answer is None else given.answer)


def _text(text: str) -> str:
    return visible(shorten(text, LONGEST))
