"""What a teacher-written summary is asked for, and when it is accepted; pure (METHOD section 1).

In: a canvas whose summary is the template's; out: the message that asks for a better one. In: what
came back; out: the same canvas with it, or None: a summary that does not end in the gold answer,
or does not fit, is never mended; the template stands.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from curation import groups
from curation.groups import Rules
from curation.screen import is_unicode
from curation.tokens import TokenCounter
from schemas.canvas import MARKER
from schemas.recipe import Summary
from schemas.records import Canvas, FinishReason, Trace

# What may not stand before the gold answer, for it would belong to it: "12", "3.2", "-2", "x^2".
_RUNS_ON = re.compile(r"(?:[\w^]|\d[.,/]|(?:^|[\s(=:$])[-\u2212])$")
_CLOSING = re.compile(r"(?:[\s.$*)}\]\"'\u201d\u2019]|\\[)\]])*")
_PLACE = re.compile(r"\{(problem|paths|answer|closing)\}")


def message(canvas: Canvas, spec: Summary) -> str:
    """The user message that asks for the summary of a canvas."""
    attempts = "\n\n".join(f"Attempt {j}:\n{path.text}" for j, path in enumerate(canvas.paths, 1))
    texts = {
        "problem": canvas.prompt.text,
        "paths": attempts,
        "answer": canvas.prompt.gold,
        "closing": spec.text(canvas.prompt.gold),
    }
    return _PLACE.sub(lambda found: texts[found[1]], spec.prompt)


def ends_in(text: str, gold: str) -> bool:
    """Whether a text closes with the gold answer, and with nothing that would change it."""
    if not gold:
        return False
    before, found, after = text.rpartition(gold)
    if not found or not _CLOSING.fullmatch(after):
        return False
    return not (gold[0].isalnum() and _RUNS_ON.search(before))


def best(
    canvas: Canvas, written: Sequence[Trace], rules: Rules, counter: TokenCounter
) -> Canvas | None:
    """The canvas with the first summary that is accepted; None if none is."""
    return next(_accepted(canvas, written, rules, counter), None)


def _accepted(
    canvas: Canvas, written: Sequence[Trace], rules: Rules, counter: TokenCounter
) -> Iterator[Canvas]:
    masks = rules.paths * rules.slot_tokens + rules.summary_tokens
    for trace in sorted(written, key=lambda trace: trace.index):
        text = trace.text.strip()
        if trace.finish_reason is FinishReason.LENGTH or not is_unicode(text):
            continue
        if not ends_in(text, canvas.prompt.gold) or MARKER.search(text) or counter.special(text):
            continue
        tokens = counter.count(text)
        made = replace(canvas, summary=text, summary_by=trace.teacher, summary_tokens=tokens)
        if tokens <= rules.summary_tokens and counter.count(groups.long_cot(made)) <= masks:
            yield made
