"""Teacher-written summaries: the message that asks for one, and when it is accepted (METHOD 1).

A summary that does not end in the gold answer, or does not fit, is never changed: the canvas keeps
the template's summary. These are pure functions of the canvas and of what the teacher wrote.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from curation.canvases import assembly
from curation.canvases.checks import is_unicode
from curation.canvases.rules import Rules
from curation.canvases.token_counter import TokenCounter
from schemas.canvas import MARKER
from schemas.recipe import Summary
from schemas.records import Canvas, FinishReason, Trace

# What may surround an answer at the end of a text: "**18**", "\\boxed{18}", "$18$", "(18)".
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
# What may stand before it. Any other text may be a part of another answer, such as 118 for 18.
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
        "answer": _answer(canvas),
        "closing": spec.text(_answer(canvas)),
    }
    return _PLACE.sub(lambda match: texts[match[1]], spec.prompt)


def _answer(canvas: Canvas) -> str:
    return canvas.answer or canvas.prompt.gold


def ends_in(text: str, gold: str, closing: str = "") -> bool:
    """Whether a text closes with the gold answer, and with nothing that would change it.

    `closing` is the sentence that was asked for; a text that ends in it is accepted as it is.
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
    """The text before the gold answer that ends `body`, without wraps; None where none ends it."""
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
    for trace in sorted(written, key=lambda trace: trace.index):
        judged = judge(canvas, trace, rules, counter)
        if isinstance(judged, Canvas):
            return judged
    return None


class RefusedSummary(NamedTuple):
    """Why a summary is not taken: a fixed word, and a sentence."""

    reason: str
    detail: str


def judge(
    canvas: Canvas, trace: Trace, rules: Rules, counter: TokenCounter
) -> Canvas | RefusedSummary:
    """The canvas with a summary, or why the summary is refused."""
    text = trace.text.strip()
    if trace.finish_reason is FinishReason.LENGTH:
        cut_at = trace.completion_tokens or trace.max_tokens
        return RefusedSummary("summary_truncated", f"cut at {cut_at} tokens")
    if not is_unicode(text):
        return RefusedSummary("summary_not_unicode", "holds half of a surrogate pair")
    if MARKER.search(text) or counter.special(text):
        return RefusedSummary(
            "summary_contains_marker", "holds a marker of the format or a special token"
        )
    if not ends_in(text, _answer(canvas), rules.summary(_answer(canvas))):
        return RefusedSummary(
            "summary_without_answer", f"does not end in the known answer {_answer(canvas)!r}"
        )
    tokens = counter.count(text)
    better = replace(canvas, summary=text, summary_by=trace.teacher, summary_tokens=tokens)
    if tokens > rules.summary_tokens:
        return RefusedSummary(
            "summary_too_long", f"{tokens} tokens, at most {rules.summary_tokens}"
        )
    masks = rules.paths * rules.slot_tokens + rules.summary_tokens
    whole = counter.count(assembly.long_cot_text(better))
    if whole > masks:
        return RefusedSummary(
            "long_cot_too_long", f"its long-CoT form has {whole} tokens, at most {masks}"
        )
    return better
