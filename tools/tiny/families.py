"""Families of grade-school word problems, each with several visibly different solutions.

In: a seeded `random.Random`. Out: a `Draft`: the question in one of a few wordings, the numbers
that define it, its integer answer, and four or more ways of solving it. A way is a list of steps;
steps become lines, and `problems.py` adds the closing line "The answer is N.".

To add a family, write one function here: `FAMILIES` finds every function marked with `@family`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

NAMES = ("Tom", "Mia", "Ben", "Ana", "Leo", "Zoe", "Sam", "Eva", "Max", "Ivy", "Raj", "Lin")
THINGS = ("apples", "pens", "cards", "shells", "stickers", "marbles", "books", "coins")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One problem before its solutions are rendered.

    `numbers` identifies the problem inside its family (the wording does not), `ways` holds one
    tuple of steps for every solution.
    """

    question: str
    numbers: tuple[int, ...]
    answer: int
    ways: tuple[tuple[str, ...], ...]


Family = Callable[[Random], Draft]
FAMILIES: dict[str, Family] = {}


def family(make: Family) -> Family:
    """Register `make` under its own name."""
    FAMILIES[make.__name__] = make
    return make


def _by_tens(a: int, b: int) -> str:
    """`a * b` worked out through the tens and ones of `a`."""
    tens, ones = a - a % 10, a % 10
    if not ones or not tens:
        return f"{a} * {b} = {a * b}"
    return f"{tens} * {b} + {ones} * {b} = {tens * b} + {ones * b} = {a * b}"


def _running(start: int, step: int, times: int) -> tuple[str, ...]:
    """`start` plus `step`, `times` times, one addition a line."""
    return tuple(f"{start + step * i} + {step} = {start + step * (i + 1)}" for i in range(times))


@family
def boxes(rng: Random) -> Draft:
    who, thing = rng.choice(NAMES), rng.choice(THINGS)
    a, n, b = rng.randint(11, 89), rng.randint(2, 4), rng.randint(6, 29)
    total = a + n * b
    return Draft(
        question=rng.choice(
            (
                f"{who} has {a} {thing} and buys {n} boxes of {b} {thing} each. "
                f"How many {thing} does {who} have now?",
                f"There are {b} {thing} in a box. {who} had {a} {thing} and got {n} boxes. "
                f"How many {thing} are there in all?",
            )
        ),
        numbers=(a, n, b),
        answer=total,
        ways=(
            (f"{n} * {b} = {n * b}", f"{a} + {n * b} = {total}"),
            ("Add box by box.", *_running(a, b, n)),
            (f"The boxes hold {_by_tens(b, n)}", f"In all {n * b} + {a} = {total}"),
            (
                f"One box makes {a} + {b} = {a + b}",
                f"The other {n - 1} add {n - 1} * {b} = {(n - 1) * b}",
                f"{a + b} + {(n - 1) * b} = {total}",
            ),
        ),
    )


@family
def change(rng: Random) -> Draft:
    who, thing = rng.choice(NAMES), rng.choice(THINGS)
    n, p = rng.randint(2, 5), rng.randint(6, 24)
    paid = n * p + rng.randint(3, 60)
    left = paid - n * p
    return Draft(
        question=rng.choice(
            (
                f"{who} buys {n} {thing} at ${p} each and pays with ${paid}. "
                f"How many dollars does {who} get back?",
                f"{who} has ${paid}. Each of {n} {thing} costs ${p}. "
                f"How many dollars are left after buying them?",
            )
        ),
        numbers=(n, p, paid),
        answer=left,
        ways=(
            (f"Cost: {n} * {p} = {n * p}", f"Change: {paid} - {n * p} = {left}"),
            (
                "Pay one at a time.",
                *(f"{paid - p * i} - {p} = {paid - p * (i + 1)}" for i in range(n)),
            ),
            (f"They cost {_by_tens(p, n)}", f"So {paid} - {n * p} = {left}"),
            (
                f"After one {paid} - {p} = {paid - p}",
                f"The rest cost {n - 1} * {p} = {(n - 1) * p}",
                f"{paid - p} - {(n - 1) * p} = {left}",
            ),
        ),
    )


@family
def discount(rng: Random) -> Draft:
    d = rng.choice((10, 20, 25, 30, 40, 50, 60, 75))
    p = rng.choice([p for p in range(8, 161) if p * d % 100 == 0])
    off = p * d // 100
    now = p - off
    unit = 25 if d in (25, 75) else 10
    part = p * unit / 100
    small = f"{part:g}"
    return Draft(
        question=rng.choice(
            (
                f"A coat costs ${p} and is on sale for {d}% off. "
                f"What is the sale price in dollars?",
                f"A shop takes {d}% off a ${p} bag. How many dollars does the bag cost now?",
            )
        ),
        numbers=(d, p),
        answer=now,
        ways=(
            (f"Discount: {p} * {d} / 100 = {off}", f"{p} - {off} = {now}"),
            (f"Pay 100 - {d} = {100 - d} percent.", f"{p} * {100 - d} / 100 = {now}"),
            (
                f"{unit}% of {p} is {small}",
                f"{d}% is {d // unit} * {small} = {off}",
                f"{p} - {off} = {now}",
            ),
            (
                f"{unit}% of {p} is {small}",
                f"We pay {(100 - d) // unit} such parts: {(100 - d) // unit} * {small} = {now}",
            ),
        ),
    )


@family
def share(rng: Random) -> Draft:
    who, thing = rng.choice(NAMES), rng.choice(THINGS)
    n, x, y = rng.randint(2, 6), rng.randint(3, 15), rng.randint(3, 15)
    a, b = n * x, n * y
    each = x + y
    return Draft(
        question=rng.choice(
            (
                f"{who} has {a} red and {b} blue {thing} "
                f"and shares them equally among {n} friends. "
                f"How many {thing} does each friend get?",
                f"{n} friends share {a} old and {b} new {thing} equally. "
                f"How many {thing} does each one get?",
            )
        ),
        numbers=(a, b, n),
        answer=each,
        ways=(
            (f"{a} + {b} = {a + b}", f"{a + b} / {n} = {each}"),
            (
                f"First kind: {a} / {n} = {x}",
                f"Second kind: {b} / {n} = {y}",
                f"{x} + {y} = {each}",
            ),
            (
                f"Altogether {a + b}",
                f"Since {n} * {each} = {a + b}, each gets {each}",
            ),
            (
                f"{n} * {x} = {a} and {n} * {y} = {b}",
                f"Each gets {x} and {y}, that is {x} + {y} = {each}",
            ),
        ),
    )


@family
def legs(rng: Random) -> Draft:
    c, k = rng.randint(3, 30), rng.randint(3, 24)
    total = 2 * c + 4 * k
    return Draft(
        question=rng.choice(
            (
                f"A farm has {c} hens and {k} cows. How many legs do they have together?",
                f"{c} ducks and {k} goats stand in a yard. How many legs are there?",
            )
        ),
        numbers=(c, k),
        answer=total,
        ways=(
            (f"{c} * 2 = {2 * c}", f"{k} * 4 = {4 * k}", f"{2 * c} + {4 * k} = {total}"),
            (
                f"Count pairs: {c} + {k} + {k} = {c + 2 * k}",
                f"{c + 2 * k} * 2 = {total}",
            ),
            (
                f"If all had 2 legs: {c} + {k} = {c + k}, {c + k} * 2 = {2 * (c + k)}",
                f"The {k} others add {k} * 2 = {2 * k}",
                f"{2 * (c + k)} + {2 * k} = {total}",
            ),
            (f"{c} + {c} = {2 * c}", _by_tens(k, 4), f"Sum {2 * c} + {4 * k} = {total}"),
        ),
    )


@family
def trip(rng: Random) -> Draft:
    who = rng.choice(NAMES)
    v, s, t = rng.randint(11, 49), rng.randint(2, 5), rng.randint(2, 4)
    total = v * (s + t)
    return Draft(
        question=rng.choice(
            (
                f"{who} rides {v} km every hour, {s} hours on Monday and {t} hours on Friday. "
                f"How many km does {who} ride?",
                f"A boat sails at {v} km per hour for {s} hours, rests, and sails {t} more hours. "
                f"How many km does it sail?",
            )
        ),
        numbers=(v, s, t),
        answer=total,
        ways=(
            (f"Hours: {s} + {t} = {s + t}", f"{v} * {s + t} = {total}"),
            (f"{v} * {s} = {v * s}", f"{v} * {t} = {v * t}", f"{v * s} + {v * t} = {total}"),
            (f"That is {s + t} hours in all.", _by_tens(v, s + t)),
            ("Add hour by hour.", f"The first hours make {v * s}", *_running(v * s, v, t)),
        ),
    )


@family
def times_as_many(rng: Random) -> Draft:
    a_name, b_name = rng.sample(NAMES, 2)
    thing = rng.choice(THINGS)
    a, k = rng.randint(7, 48), rng.randint(2, 6)
    total = a * (k + 1)
    return Draft(
        question=rng.choice(
            (
                f"{a_name} has {a} {thing}. {b_name} has {k} times as many. "
                f"How many {thing} do they have together?",
                f"{b_name} has {k} times as many {thing} as {a_name}, who has {a}. "
                f"How many {thing} is that in all?",
            )
        ),
        numbers=(a, k),
        answer=total,
        ways=(
            (f"{b_name}: {a} * {k} = {a * k}", f"{a * k} + {a} = {total}"),
            (f"Together {k} + 1 = {k + 1} shares.", f"{k + 1} * {a} = {total}"),
            (_by_tens(a, k), f"{a} + {a * k} = {total}"),
            (f"Count {k + 1} equal shares of {a}.", _by_tens(a, k + 1)),
        ),
    )


@family
def gave_away(rng: Random) -> Draft:
    who, thing = rng.choice(NAMES), rng.choice(THINGS)
    b, c = rng.randint(12, 95), rng.randint(12, 95)
    a = b + c + rng.randint(15, 180)
    left = a - b - c
    return Draft(
        question=rng.choice(
            (
                f"{who} had {a} {thing}, gave {b} to a friend and lost {c}. "
                f"How many {thing} are left?",
                f"A shop with {a} {thing} sells {b} on Monday and {c} on Tuesday. "
                f"How many {thing} remain?",
            )
        ),
        numbers=(a, b, c),
        answer=left,
        ways=(
            (f"{a} - {b} = {a - b}", f"{a - b} - {c} = {left}"),
            (f"Gone: {b} + {c} = {b + c}", f"{a} - {b + c} = {left}"),
            (f"Take the second first: {a} - {c} = {a - c}", f"{a - c} - {b} = {left}"),
            (
                f"Take tens: {a} - {b - b % 10} = {a - b + b % 10}",
                f"{a - b + b % 10} - {b % 10} = {a - b}",
                f"{a - b} - {c} = {left}",
            ),
        ),
    )


@family
def wages(rng: Random) -> Draft:
    who = rng.choice(NAMES)
    h, d, w = rng.randint(2, 8), rng.randint(2, 6), rng.randint(7, 19)
    total = h * d * w
    return Draft(
        question=rng.choice(
            (
                f"{who} works {h} hours a day for {d} days at ${w} an hour. "
                f"How many dollars does {who} earn?",
                f"At ${w} an hour, {who} works {d} days of {h} hours. How many dollars is the pay?",
            )
        ),
        numbers=(h, d, w),
        answer=total,
        ways=(
            (f"Hours: {h} * {d} = {h * d}", f"{h * d} * {w} = {total}"),
            (f"A day pays {h} * {w} = {h * w}", f"{h * w} * {d} = {total}"),
            (f"An hour a day pays {d} * {w} = {d * w}", f"{d * w} * {h} = {total}"),
            (f"A day pays {h * w}", _by_tens(h * w, d)),
        ),
    )


@family
def fence(rng: Random) -> Draft:
    a, b = rng.randint(8, 75), rng.randint(5, 60)
    total = 2 * (a + b)
    return Draft(
        question=rng.choice(
            (
                f"A garden is {a} m long and {b} m wide. How many m of fence go around it?",
                f"What is the perimeter in m of a field {a} m by {b} m?",
            )
        ),
        numbers=(a, b),
        answer=total,
        ways=(
            (f"{a} + {b} = {a + b}", f"{a + b} * 2 = {total}"),
            (f"{a} * 2 = {2 * a}", f"{b} * 2 = {2 * b}", f"{2 * a} + {2 * b} = {total}"),
            (
                "Walk around it.",
                f"{a} + {b} = {a + b}",
                f"{a + b} + {a} = {2 * a + b}",
                f"{2 * a + b} + {b} = {total}",
            ),
            (
                f"A square of side {b} needs 4 * {b} = {4 * b}",
                f"The length adds 2 * ({a} - {b}) = {2 * (a - b)}",
                f"{4 * b} + {2 * (a - b)} = {total}",
            )
            if a >= b
            else (
                f"A square of side {a} needs 4 * {a} = {4 * a}",
                f"The width adds 2 * ({b} - {a}) = {2 * (b - a)}",
                f"{4 * a} + {2 * (b - a)} = {total}",
            ),
        ),
    )


@family
def pages(rng: Random) -> Draft:
    who = rng.choice(NAMES)
    p, d = rng.randint(9, 38), rng.randint(2, 5)
    n = p * d + rng.randint(15, 140)
    left = n - p * d
    return Draft(
        question=rng.choice(
            (
                f"{who} reads {p} pages a day of a book with {n} pages. "
                f"How many pages are left after {d} days?",
                f"A book has {n} pages. {who} read {p} pages on each of {d} days. "
                f"How many pages are still unread?",
            )
        ),
        numbers=(n, p, d),
        answer=left,
        ways=(
            (f"Read: {p} * {d} = {p * d}", f"{n} - {p * d} = {left}"),
            (
                "Go day by day.",
                *(f"{n - p * i} - {p} = {n - p * (i + 1)}" for i in range(d)),
            ),
            (_by_tens(p, d), f"Left: {n} - {p * d} = {left}"),
            (
                f"Read {p * d}, and {p * d} + {left} = {n}",
                f"So {left} pages are left",
            ),
        ),
    )


@family
def average(rng: Random) -> Draft:
    who = rng.choice(NAMES)
    m = rng.randint(12, 60)
    d, e = rng.randint(1, 9), rng.randint(-9, 9)
    a, b, c = m - d, m + d - e, m + e
    base = min(a, b, c)
    extra = a + b + c - 3 * base
    return Draft(
        question=rng.choice(
            (
                f"{who} scores {a}, {b} and {c} in three games. What is the average score?",
                f"Three bags weigh {a}, {b} and {c} kg. What is their mean weight in kg?",
            )
        ),
        numbers=(a, b, c),
        answer=m,
        ways=(
            (f"{a} + {b} = {a + b}", f"{a + b} + {c} = {3 * m}", f"{3 * m} / 3 = {m}"),
            (f"Sum: {a} + {b} + {c} = {3 * m}", f"3 * {m} = {3 * m}, so the mean is {m}"),
            (
                f"Count from {base}: the extras are {a - base}, {b - base}, {c - base}",
                f"{a - base} + {b - base} + {c - base} = {extra}",
                f"{extra} / 3 = {extra // 3}",
                f"{base} + {extra // 3} = {m}",
            ),
            (f"{b} + {c} = {b + c}", f"{b + c} + {a} = {3 * m}", f"A third is {m}"),
        ),
    )


@family
def fraction(rng: Random) -> Draft:
    thing = rng.choice(THINGS)
    k, q = rng.randint(2, 8), rng.randint(4, 25)
    n = k * q
    rest = n - q
    return Draft(
        question=rng.choice(
            (
                f"1/{k} of {n} {thing} are red. How many {thing} are not red?",
                f"Out of {n} {thing}, 1/{k} are broken. How many {thing} are not broken?",
            )
        ),
        numbers=(n, k),
        answer=rest,
        ways=(
            (f"{n} / {k} = {q}", f"{n} - {q} = {rest}"),
            (f"A part is {n} / {k} = {q}", f"{k} - 1 = {k - 1} parts: {k - 1} * {q} = {rest}"),
            (f"{k} * {q} = {n}, so one part is {q}", f"{n} - {q} = {rest}"),
            (f"One part is {q}", f"The other {k - 1} parts: {_by_tens(q, k - 1)}"),
        ),
    )


@family
def saving(rng: Random) -> Draft:
    who = rng.choice(NAMES)
    s, w, h = rng.randint(4, 19), rng.randint(3, 12), rng.randint(10, 80)
    goal = h + s * w
    half = w // 2
    return Draft(
        question=rng.choice(
            (
                f"{who} wants a ${goal} bike, has ${h} and saves ${s} a week. "
                f"How many weeks does it take?",
                f"A game costs ${goal}. {who} has ${h} and earns ${s} a week. "
                f"After how many weeks can {who} buy it?",
            )
        ),
        numbers=(goal, h, s),
        answer=w,
        ways=(
            (f"Missing: {goal} - {h} = {s * w}", f"{s * w} / {s} = {w}"),
            (f"{goal} - {h} = {s * w}", f"{w} * {s} = {s * w}, so {w} weeks"),
            (
                f"After {half} weeks: {h} + {half} * {s} = {h + half * s}",
                f"{goal} - {h + half * s} = {goal - h - half * s}",
                f"{goal - h - half * s} / {s} = {w - half}",
                f"{half} + {w - half} = {w}",
            ),
            (f"Try {w} weeks: {w} * {s} = {s * w}", f"{h} + {s * w} = {goal}, it fits"),
        ),
    )


@family
def seats(rng: Random) -> Draft:
    r, s = rng.randint(3, 9), rng.randint(11, 29)
    e = rng.randint(5, 2 * s)
    full = r * s - e
    return Draft(
        question=rng.choice(
            (
                f"A hall has {r} rows of {s} seats and {e} seats are empty. "
                f"How many seats are taken?",
                f"{e} of the seats in {r} rows of {s} are free. How many seats are not free?",
            )
        ),
        numbers=(r, s, e),
        answer=full,
        ways=(
            (f"{r} * {s} = {r * s}", f"{r * s} - {e} = {full}"),
            (f"Seats: {_by_tens(s, r)}", f"Taken: {r * s} - {e} = {full}"),
            (
                f"{r - 1} rows: {r - 1} * {s} = {(r - 1) * s}",
                f"One more: {(r - 1) * s} + {s} = {r * s}",
                f"{r * s} - {e} = {full}",
            ),
            (
                f"Keep two rows: 2 * {s} - {e} = {2 * s - e}",
                f"The other {r - 2}: {r - 2} * {s} = {(r - 2) * s}",
                f"{2 * s - e} + {(r - 2) * s} = {full}",
            ),
        ),
    )


@family
def ages(rng: Random) -> Draft:
    a_name, b_name = rng.sample(NAMES, 2)
    a, k, y = rng.randint(4, 16), rng.randint(2, 5), rng.randint(3, 19)
    then = a * k + y
    return Draft(
        question=rng.choice(
            (
                f"{a_name} is {a} years old. {b_name} is {k} times as old. "
                f"How old will {b_name} be in {y} years?",
                f"{b_name} is {k} times as old as {a_name}, who is {a}. "
                f"What is the age of {b_name} after {y} years?",
            )
        ),
        numbers=(a, k, y),
        answer=then,
        ways=(
            (f"Now: {a} * {k} = {a * k}", f"{a * k} + {y} = {then}"),
            (f"{b_name} is {_by_tens(a, k)}", f"Later: {a * k} + {y} = {then}"),
            (
                f"In {y} years {a_name} is {a} + {y} = {a + y}",
                f"{b_name} is older by {k - 1} * {a} = {(k - 1) * a}",
                f"{a + y} + {(k - 1) * a} = {then}",
            ),
            (
                f"Add {k} times.",
                f"0 + {a} = {a}",
                *_running(a, a, k - 1),
                f"{a * k} + {y} = {then}",
            ),
        ),
    )
