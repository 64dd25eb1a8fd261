"""What a teacher-written summary is asked for, and when it is accepted; pure (METHOD section 1).

In: a canvas whose summary is the template's; out: the message that asks for a better one. In: what
came back; out: the same canvas with it, or None: a summary that does not end in the gold answer,
or does not fit, is never mended; the template stands.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from curation.canvases import assembly
from curation.canvases.assembly import Rules
from curation.canvases.checks import is_unicode
from curation.canvases.token_counter import TokenCounter
from schemas.canvas import MARKER
from schemas.recipe import Summary
from schemas.records import Canvas, FinishReason, Trace

# What may wrap an answer at the end of a text: "**18**", "\\boxed{18}", "$18$", "(18)".
_WRAPS = (
    ("$$", "$$"),
    ("$", "$"),
    ("**", "**"),
    ("\\(", "\\)"),
    ("\\[", "\\]"),
    ("\\boxed{", "}"),
    ("\\text{", "}"),
    ("(", ")"),
)
_DEEPEST_WRAP = 8
# What may stand before it: whatever is not known to part the two belongs to the answer.
_PARTS = re.compile(
    r"(?:^|:\s*|(?<![<>!=])=\s*|\b(?:is|are|be|equals|answer|holds|gives|get|so|to)[\s,]+)$",
    re.IGNORECASE,
)
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


def ends_in(text: str, gold: str, closing: str = "") -> bool:
    """Whether a text closes with the gold answer, and with nothing that would change it.

    `closing` is the sentence that was asked for; a text that ends in it needs no further look.
    """
    body, wanted = _bare(text), _bare(closing)
    if not gold:
        return False
    if wanted and gold in wanted and body.endswith(wanted):
        before = body[: -len(wanted)]
        return not before or not (before[-1].isalnum() or before[-1] in "-\u2212")
    before_gold = _before(body, gold.strip())
    if before_gold is None:
        return False
    opens_a_line = "\n" in before_gold[len(before_gold.rstrip()) :]
    return opens_a_line or _PARTS.search(before_gold) is not None


def _bare(text: str) -> str:
    """Without the full stop and the white space at its end."""
    return text.strip().rstrip(".").rstrip()


def _before(body: str, gold: str, wraps: int = _DEEPEST_WRAP) -> str | None:
    """What stands before the gold answer that ends `body`, its wraps taken off; None: none does."""
    if body.endswith(gold):
        return body[: -len(gold)]
    tried = set()  # two wraps close alike, and each level of "}}}}" would be looked at twice
    for opening, closing in _WRAPS if wraps else ():
        if closing not in tried and body.endswith(closing):
            tried.add(closing)
            inner = _before(_bare(body[: -len(closing)]), gold, wraps - 1)
            if inner is not None:  # "(x = 18)": the wrap holds more than the answer
                has_opening = inner.rstrip().endswith(opening)
                return inner.rstrip()[: -len(opening)] if has_opening else inner
    return None


def best(
    canvas: Canvas, written: Sequence[Trace], rules: Rules, counter: TokenCounter
) -> Canvas | None:
    """The canvas with the first summary that is accepted; None if none is."""
    return next(_accepted(canvas, written, rules, counter), None)


def _accepted(
    canvas: Canvas, written: Sequence[Trace], rules: Rules, counter: TokenCounter
) -> Iterator[Canvas]:
    closing = rules.summary(canvas.prompt.gold)
    masks = rules.paths * rules.slot_tokens + rules.summary_tokens
    for trace in sorted(written, key=lambda trace: trace.index):
        text = trace.text.strip()
        if trace.finish_reason is FinishReason.LENGTH or not is_unicode(text):
            continue
        if MARKER.search(text) or counter.special(text):
            continue
        if not ends_in(text, canvas.prompt.gold, closing):
            continue
        tokens = counter.count(text)
        made = replace(canvas, summary=text, summary_by=trace.teacher, summary_tokens=tokens)
        if tokens <= rules.summary_tokens and counter.count(assembly.long_cot_text(made)) <= masks:
            yield made
