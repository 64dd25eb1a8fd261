"""From a prompt's graded traces to one canvas. In: traces. Out: a canvas or none, and rejections.

Nothing is lost: every trace is on the canvas or has a rejection. Traces are rejected in this order:

1. `checks.py`: what can never stand in a slot;
2. `not_compared`: if more than MOST_COMPARED are usable, those that come last in the next order;
3. `duplicate` (equal after normalisation), `near_duplicate`: correct traces go first, then the
   lower index, and a trace is dropped when it is too similar to one that was kept before it.
   Correct traces go first because two traces that similar are one path, kept best as a right one.

Then the prompt itself may be rejected, for its text (`prompt_contains_special_token`, `summary_…`)
or for its group (`too_few_traces`, `too_few_distinct`, `too_few_correct`, `too_many_wrong`); its
remaining traces are `prompt_rejected`. Otherwise the most diverse P stay and the others are
`not_selected`; but where their long-CoT form is longer than the canvas's M masks, the prompt is
rejected as well (`long_cot_too_long`). "Wrong" is every grade but CORRECT.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from curation.canvases.checks import Fault, Usable, head_of, is_unicode, screen
from curation.canvases.diverse_subset import most_diverse
from curation.canvases.rules import STOPS, Rules
from curation.canvases.token_counter import TokenCounter
from schemas.canvas import MARKER, long_cot, render
from schemas.records import Canvas, GradedTrace, Prompt, Rejection, Stage
from scorers.similarity import matrix

MOST_COMPARED = 500
"""Traces of a prompt that are compared with each other: time and memory grow with the square."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """A canvas or none, and a rejection for every trace that is not on it.

    Where the prompt itself was rejected, its rejection (`index` None) comes first.
    """

    canvas: Canvas | None
    rejections: tuple[Rejection, ...]


def texts_to_count(prompt: Prompt, traces: Sequence[GradedTrace], rules: Rules) -> Iterator[str]:
    """The texts that `assemble` will count for certain; counting them together is faster."""
    yield from (head_of(graded, rules.slot_tokens) for graded in traces)
    yield rules.summary(prompt.gold)


def assemble(
    prompt: Prompt,
    traces: Sequence[GradedTrace],
    rules: Rules,
    counter: TokenCounter,
    answer: str | None = None,
    *,
    is_refused: bool = False,
) -> Assembled:
    """Exactly P distinct paths on a canvas, or a rejected prompt.

    Args:
        prompt: the prompt of all traces.
        traces: its graded traces, in any order, with distinct indices.
        rules: what the group must satisfy.
        counter: counts under the recipe's tokenizers.
        answer: what the summary ends in (default: the gold); empty where there is no such answer.
        is_refused: whether the teacher refused samples of this prompt.
    """
    ordered = sorted(traces, key=lambda graded: graded.trace.index)
    indices = [graded.trace.index for graded in ordered]
    assert len(set(indices)) == len(indices), f"{prompt.id}: trace indices repeat: {indices}"
    assert all(graded.trace.prompt_id == prompt.id for graded in ordered), prompt.id

    faults: dict[int, Fault] = {}
    usable = compared(screen(ordered, rules.slot_tokens, counter, faults), faults)
    similarity_KK = matrix([each.graded.text for each in usable])
    kept = distinct(usable, similarity_KK, rules.similarity, faults)
    survivors = [usable[k] for k in kept]

    correct = [each.correct for each in survivors]
    plan = rules.allocation
    draws = plan.draws(ordered, correct, is_refused=is_refused) if plan else None

    answer = prompt.gold if answer is None else answer
    summary = rules.summary(answer)
    summary_tokens = counter.count(summary)
    refusal = _refuse_prompt(prompt.text, summary, summary_tokens, rules, counter) or _refuse_group(
        len(ordered), len(usable), survivors, rules
    )
    if refusal is None and not answer:
        refusal = Fault("no_final_answer", "no trace is correct, and there is no gold to summarise")
    canvas = None
    if refusal is None:
        among_KK = similarity_KK[kept][:, kept]
        chosen = most_diverse(among_KK, correct, rules.paths, *rules.mix(correct))
        paths = _shuffled(prompt.id, [survivors[k] for k in chosen], rules.seed)
        canvas = Canvas(
            prompt=prompt,
            paths=tuple(each.graded for each in paths),
            answer=answer,
            summary=summary,
            summary_by="template",
            path_tokens=tuple(each.tokens for each in paths),
            summary_tokens=summary_tokens,
            similarity=max(
                (float(among_KK[pair]) for pair in combinations(chosen, 2)), default=0.0
            ),
            draws=draws,
        )
        if refusal := _refuse_long_cot(canvas, rules, counter):
            canvas = None
    if canvas is None:
        assert refusal is not None
        if draws and plan and plan.rounds:
            detail = (
                f"{draws.correct} of {draws.drawn} samples are right; why no more: "
                f"{STOPS[draws.stop_reason]}"
            )
            refusal = refusal._replace(detail=f"{refusal.detail}; {detail}")
        fault, unused = Fault("prompt_rejected", f"{refusal.reason}: {refusal.detail}"), survivors
    else:
        names = ", ".join(str(survivors[k].number) for k in chosen)
        limit = f" with at least {rules.need_correct} correct" if rules.need_correct else ""
        fault = Fault("not_selected", f"traces {names} are the most diverse {rules.paths}{limit}")
        unused = [each for k, each in enumerate(survivors) if k not in chosen]
    faults.update((each.index, fault) for each in unused)
    rejections = tuple(_rejections(prompt, refusal, faults))
    placed = len(canvas.paths) if canvas else 0
    assert placed + len(faults) == len(traces), f"{prompt.id}: traces were lost"
    return Assembled(canvas=canvas, rejections=rejections)


def response(canvas: Canvas) -> str:
    """The canvas text: headers, paths, summary."""
    return render([path.text for path in canvas.paths], canvas.summary)


def long_cot_text(canvas: Canvas) -> str:
    """The same paths and summary in ordinary left-to-right form, without markers."""
    return long_cot([path.text for path in canvas.paths], canvas.summary)


def compared(usable: Sequence[Usable], faults: dict[int, Fault]) -> Sequence[Usable]:
    """At most MOST_COMPARED traces, in their order; the others to `faults`."""
    if len(usable) <= MOST_COMPARED:
        return usable
    first = _preferred(usable)[:MOST_COMPARED]
    detail = f"{len(usable)} traces are usable, {MOST_COMPARED} are compared, correct ones first"
    kept = set(first)
    for k, each in enumerate(usable):
        if k not in kept:
            faults[each.index] = Fault("not_compared", detail)
    return [usable[k] for k in sorted(first)]


def distinct(
    usable: Sequence[Usable],
    similarity_KK: NDArray[np.float64],
    threshold: float,
    faults: dict[int, Fault],
) -> list[int]:
    """Positions, ascending, without near-duplicates among them; the others to `faults`."""
    kept: list[int] = []
    rows: list[list[float]] = similarity_KK.tolist()  # read one by one, which NumPy does slowly
    for k in _preferred(usable):
        nearest = max(kept, key=lambda j: (rows[k][j], -j), default=None)
        value = 0.0 if nearest is None else rows[k][nearest]
        if nearest is None or value < threshold:
            kept.append(k)
        elif value == 1.0:
            detail = f"equals trace {usable[nearest].number}"
            faults[usable[k].index] = Fault("duplicate", detail)
        else:
            detail = f"similarity {value:.4f} to trace {usable[nearest].number}, limit {threshold}"
            faults[usable[k].index] = Fault("near_duplicate", detail)
    return sorted(kept)


def _preferred(usable: Sequence[Usable]) -> list[int]:
    """Positions: correct traces first, then the lower index."""
    return sorted(range(len(usable)), key=lambda k: (not usable[k].correct, k))


def _refuse_prompt(
    text: str, summary: str, tokens: int, rules: Rules, counter: TokenCounter
) -> Fault | None:
    """Why no canvas can be made for this prompt, whatever its traces."""
    if special := counter.special(text):
        return Fault("prompt_contains_special_token", f"{special!r}")
    if not is_unicode(summary):
        return Fault("summary_not_unicode", "the gold answer holds a lone surrogate")
    if marker := MARKER.search(summary):
        return Fault("summary_contains_marker", f"{marker.group()!r}")
    if special := counter.special(summary):
        return Fault("summary_contains_special_token", f"{special!r}")
    if tokens > rules.summary_tokens:
        detail = f"{tokens} tokens, the summary slot has {rules.summary_tokens}"
        return Fault("summary_too_long", detail)
    return None


def _refuse_group(
    traces: int, usable: int, survivors: Sequence[Usable], rules: Rules
) -> Fault | None:
    """Why these traces make no group of P."""
    distinct, wanted = len(survivors), rules.paths
    correct = sum(each.correct for each in survivors)
    if usable < wanted:
        detail = f"{usable} of {traces} traces are usable, {wanted} wanted"
        if not traces:
            detail = (
                f"no trace came this far, {wanted} wanted: its source has none, or all were "
                "rejected before"
            )
        return Fault("too_few_traces", detail)
    if distinct < wanted:
        return Fault("too_few_distinct", f"{distinct} of {usable} are distinct, {wanted} wanted")
    if correct < rules.min_correct:
        detail = f"{correct} of {distinct} are correct, at least {rules.min_correct} wanted"
        return Fault("too_few_correct", detail)
    if correct < rules.need_correct:
        detail = f"{wanted - correct} of {wanted} would be wrong, at most {rules.max_wrong} allowed"
        return Fault("too_many_wrong", detail)
    return None


def _refuse_long_cot(canvas: Canvas, rules: Rules, counter: TokenCounter) -> Fault | None:
    """Why the long-CoT form cannot be trained: it must fit the canvas's M masks (METHOD section 1).

    Its tokens are not counted where it would fit even if joining its parts doubled their tokens.
    """
    masks = rules.paths * rules.slot_tokens + rules.summary_tokens
    breaks = 2 * rules.paths  # line feeds between the parts
    if 2 * (sum(canvas.path_tokens) + canvas.summary_tokens + breaks) <= masks:
        return None
    if (tokens := counter.count(long_cot_text(canvas))) > masks:
        detail = f"long_cot has {tokens} tokens, the canvas has {masks} masks"
        return Fault("long_cot_too_long", detail)
    return None


def _shuffled(prompt_id: str, paths: Sequence[Usable], seed: int) -> list[Usable]:
    """The paths in the order of a hash of seed, prompt and index.

    Sources of recorded traces list their models in a fixed order, which would tie each model to a
    position on the canvas.
    """

    def key(path: Usable) -> bytes:
        text = f"{seed} {path.index} {prompt_id}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, digest_size=16).digest()

    return sorted(paths, key=key)


def _rejections(
    prompt: Prompt, refusal: Fault | None, faults: dict[int, Fault]
) -> Iterator[Rejection]:
    """The prompt's rejection, if any, then those of its traces by index."""
    named: list[tuple[int | None, Fault]] = [(None, refusal)] if refusal else []
    for index, fault in (*named, *sorted(faults.items())):
        yield Rejection(
            stage=Stage.CANVASES,
            prompt_id=prompt.id,
            source=prompt.source,
            row=prompt.row,
            index=index,
            reason=fault.reason,
            detail=fault.detail,
        )
