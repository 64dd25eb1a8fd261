"""Longer word problems, for the paper in small: three events and four calculations.

Something is counted, and three things happen to it: one of them needs a product, and each adds to
the count or takes from it. A solution has about 60 to 72 tokens of the tiny models' tokenizer, so
that three of them fill most of a canvas with slots of 72. Every problem has six visibly different
solutions.

To add a theme, write one entry of `THEMES`.
"""

from dataclasses import dataclass
from functools import partial
from random import Random

from tools.tiny.families import NAMES, THINGS, Draft, Family

LARGEST = 199  # what such small models can learn to add to and take from in short trainings

# Of the event with a product, and of the two others: something comes, and something goes.
SIGNS = ((1, 1, -1), (1, -1, 1), (1, -1, -1), (-1, 1, 1), (-1, 1, -1), (-1, -1, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """The sentences of a theme; `{who}` and `{thing}` are the same in all sentences of a problem.

    `more` and `less` are events with one number `{c}`; `more_each` and `less_each` are events with
    `{n}` times `{b}`. `come` and `go` introduce what is added and what is taken in a solution.
    """

    start: str
    more: str
    less: str
    more_each: str
    less_each: str
    question: str
    come: str
    go: str


THEMES = {
    "things": Theme(
        start="{who} has {a} {thing}.",
        more="{who} gets {c} {thing} from a friend.",
        less="{who} lost {c} {thing}.",
        more_each="{who} buys {n} boxes of {b} {thing} each.",
        less_each="{who} gives {b} {thing} to each of {n} friends.",
        question="How many {thing} does {who} have now?",
        come="Got:",
        go="Gone:",
    ),
    "money": Theme(
        start="{who} has ${a}.",
        more="{who} gets ${c} from a friend.",
        less="{who} pays ${c} for a book.",
        more_each="{who} works {n} hours at ${b} an hour.",
        less_each="{who} buys {n} {thing} at ${b} each.",
        question="How many dollars does {who} have now?",
        come="Earned:",
        go="Cost:",
    ),
    "shop": Theme(
        start="A shop has {a} {thing}.",
        more="It gets {c} new {thing}.",
        less="It sells {c} {thing} on Monday.",
        more_each="It buys {n} boxes of {b} {thing}.",
        less_each="It sells {b} {thing} a day for {n} days.",
        question="How many {thing} are left?",
        come="Got:",
        go="Sold:",
    ),
    "hall": Theme(
        start="In a hall {a} seats are taken.",
        more="{c} more seats are taken on Friday.",
        less="{c} seats get free after an hour.",
        more_each="Then {n} rows of {b} seats are taken.",
        less_each="Then {n} rows of {b} seats get free.",
        question="How many seats are taken now?",
        come="Taken:",
        go="Free:",
    ),
    "farm": Theme(
        start="A farm has {a} hens.",
        more="It buys {c} hens.",
        less="It sells {c} hens.",
        more_each="It gets {b} hens from each of {n} friends.",
        less_each="It sells {n} bags of {b} hens each.",
        question="How many hens does the farm have now?",
        come="Got:",
        go="Sold:",
    ),
    "trip": Theme(
        start="A boat is {a} km from the garden.",
        more="It sails {c} km away.",
        less="It sails {c} km back.",
        more_each="It sails away {n} hours at {b} km an hour.",
        less_each="It sails back {n} hours at {b} km an hour.",
        question="How many km is it from the garden now?",
        come="Away:",
        go="Back:",
    ),
}


@dataclass(frozen=True, slots=True)
class _Event:
    """`sign` times `times` x `each`; a product is calculated where `times` is above 1."""

    sign: int
    times: int
    each: int

    @property
    def size(self) -> int:
        return self.times * self.each


def draw(theme: Theme, rng: Random) -> Draft:
    """One problem; the count stays between 1 and `LARGEST` in every solution."""
    words = {"who": rng.choice(NAMES), "thing": rng.choice(THINGS)}
    while True:
        start = rng.randint(11, 79)
        signs = rng.choice(SIGNS)
        events = [
            _Event(signs[0], rng.randint(2, 5), rng.randint(3, 9)),
            _Event(signs[1], 1, rng.randint(3, 29)),
            _Event(signs[2], 1, rng.randint(3, 29)),
        ]
        rng.shuffle(events)
        counts = [start + sum(e.sign * e.size for e in events[:k]) for k in range(4)]
        backwards = [start + sum(e.sign * e.size for e in events[k:]) for k in range(4)]
        if all(1 < count <= LARGEST for count in counts + backwards):
            break
    sentences = [
        (theme.more_each if event.sign > 0 else theme.less_each).format(
            n=event.times, b=event.each, **words
        )
        if event.times > 1
        else (theme.more if event.sign > 0 else theme.less).format(c=event.each, **words)
        for event in events
    ]
    question = [theme.start.format(a=start, **words), *sentences, theme.question.format(**words)]
    return Draft(
        question=" ".join(question),
        numbers=(start, *(n for e in events for n in (e.sign, e.times, e.each))),
        answer=counts[-1],
        ways=_ways(start, events, theme),
    )


def _ways(start: int, events: list[_Event], theme: Theme) -> tuple[tuple[str, ...], ...]:
    gains = [event for event in events if event.sign > 0]
    losses = [event for event in events if event.sign < 0]
    come, go = sum(e.size for e in gains), sum(e.size for e in losses)
    total = start + come - go
    product = tuple(_size(event, theme) for event in events if event.times > 1)
    sums = (*product, *_sum(theme.come, gains), *_sum(theme.go, losses))
    return (
        ("Go step by step.", *_running(start, events, theme)),
        ("First the product.", *product, *_running(start, events, theme, without_product=True)),
        (
            "First add all that is the same.",
            *sums,
            f"Add: {start} + {come} = {start + come}",
            f"Left: {start + come} - {go} = {total}",
        ),
        ("Take the last first.", *_running(start, events[::-1], theme)),
        ("Add first, then take.", *_running(start, gains + losses, theme)),
        (
            "The first number is the last.",
            *sums,
            *(
                (f"More: {come} - {go} = {come - go}", f"Now: {start} + {come - go} = {total}")
                if come >= go
                else (f"Less: {go} - {come} = {go - come}", f"Now: {start} - {go - come} = {total}")
            ),
        ),
    )


def _size(event: _Event, theme: Theme) -> str:
    label = theme.come if event.sign > 0 else theme.go
    product = f"{event.times} * {event.each} = " if event.times > 1 else ""
    return f"{label} {product}{event.size}"


def _running(
    start: int, events: list[_Event], theme: Theme, *, without_product: bool = False
) -> tuple[str, ...]:
    """For each event its size, then the count after it."""
    lines: list[str] = []
    for event in events:
        if event.times == 1 or not without_product:
            lines.append(_size(event, theme))
        after = start + event.sign * event.size
        lines.append(f"Now: {start} {'+' if event.sign > 0 else '-'} {event.size} = {after}")
        start = after
    return tuple(lines)


def _sum(label: str, events: list[_Event]) -> tuple[str, ...]:
    """The sum of what some events add or take, one addition a line."""
    if len(events) == 1:
        return (f"{label} {events[0].size}",)
    lines, total = [], events[0].size
    for event in events[1:]:
        lines.append(f"{label} {total} + {event.size} = {total + event.size}")
        total += event.size
    return tuple(lines)


CHAINS: dict[str, Family] = {name: partial(draw, theme) for name, theme in THEMES.items()}
