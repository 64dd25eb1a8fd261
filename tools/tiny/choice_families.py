"""Families of multiple-choice questions on units, simple physics, dates and order.

In: a seeded `random.Random`. Out: a `Question`: its text, the right option and three tempting ones,
ways to the right option, and for each tempting option the slip that leads to it. Everything that a
question needs stands in it.

To add a family, write one function here: `FAMILIES` finds every function marked with `@family`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

NAMES = ("Tom", "Mia", "Ben", "Ana", "Leo", "Zoe", "Sam", "Eva", "Max", "Ivy", "Raj", "Lin")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# Larger unit, smaller unit, and how many of the smaller make one of the larger.
UNITS = (
    ("km", "m", 1000),
    ("m", "cm", 100),
    ("kg", "g", 1000),
    ("hours", "minutes", 60),
    ("minutes", "seconds", 60),
    ("days", "hours", 24),
    ("litres", "millilitres", 1000),
    ("weeks", "days", 7),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question before its options are shuffled.

    `key` identifies the problem inside its family (the wording does not). `ways` lead to `right`,
    one solution each; `slips` are the tempting options, each with what leads to it.
    """

    text: str
    key: str
    right: str
    ways: tuple[str, ...]
    slips: tuple[tuple[str, str], ...]


Family = Callable[[Random], Question]
FAMILIES: dict[str, Family] = {}


def family(make: Family) -> Family:
    """Register `make` under its own name."""
    FAMILIES[make.__name__] = make
    return make


def _distinct(
    right: str, slips: list[tuple[str, str]], spare: tuple[str, str]
) -> tuple[tuple[str, str], ...]:
    """Three slips whose options differ from each other and from the right one."""
    kept = {right: ""}
    for option, reason in (*slips, spare):
        kept.setdefault(option, reason)
    found = tuple(kept.items())[1:4]
    assert len(found) == 3, (right, slips)
    return found


@family
def conversion(rng: Random) -> Question:
    """Units: how many of the smaller make an amount of the larger."""
    large, small, each = rng.choice(UNITS)
    n = rng.randint(2, 19)
    right = n * each
    return Question(
        text=rng.choice(
            (f"How many {small} are {n} {large}?", f"{n} {large} are the same as how many {small}?")
        ),
        key=f"{n} {large} {small}",
        right=f"{right} {small}",
        ways=(
            f"One of the {large} has {each} {small}. {n} of them have {n} * {each} = {right}.",
            f"From {large} to {small} one multiplies by {each}: {n} * {each} = {right}.",
            f"Start with 1: that makes {each} {small}. For {n} we take it {n} times, which gives "
            f"{right} in total.",
            f"{right} / {each} = {n}, so {right} {small} fill {n} {large} exactly.",
        ),
        slips=_distinct(
            f"{right} {small}",
            [
                (f"{right * 10} {small}", f"{n} * {each * 10} = {right * 10}, one zero for luck."),
                (f"{n + each} {small}", f"There are {each} in one, so {n} + {each} = {n + each}."),
                (f"{right // 10} {small}", f"I take {each / 10:g} for one: {right // 10}."),
            ],
            (f"{right + each} {small}", f"I count one more: {n + 1} * {each} = {right + each}."),
        ),
    )


@family
def largest(rng: Random) -> Question:
    """Comparison of amounts in two units, where the largest figure tempts."""
    large, small, each = rng.choice(UNITS[:4])
    n = rng.randint(3, 9)
    amounts = {
        f"{n} {large}": n * each,
        f"{n * each - each // 4} {small}": n * each - each // 4,
        f"{n - 1} {large}": (n - 1) * each,
        f"{n * each - each // 2} {small}": n * each - each // 2,
    }
    right = f"{n} {large}"
    others = [amount for amount in amounts if amount != right]
    return Question(
        text=f"Which of these is the most? ({each} {small} make one of the {large}.)",
        key=f"{n} {large} {small}",
        right=right,
        ways=(
            f"In {small}, {n} {large} are {n * each}, and all others are below that.",
            f"Write all in {small}: {', '.join(map(str, amounts.values()))}. The first of these "
            f"is the most.",
            f"{others[0]} are {each // 4} {small} short of {n * each}. The others lack even more "
            "to it.",
            f"Compare with {n * each} {small}. Only one amount reaches it.",
        ),
        slips=(
            (others[0], f"The figure {n * each - each // 4} is the largest of all."),
            (others[1], f"{n - 1} of the {large} look like more than any of the {small}."),
            (others[2], f"Large figures win, and {n * each - each // 2} is a large one."),
        ),
    )


@family
def speed(rng: Random) -> Question:
    """Speed, by its formula."""
    v, t = rng.randint(3, 24) * 5, rng.randint(2, 6)
    s, who = v * t, rng.choice(("train", "bus", "ship", "cyclist", "car"))
    return Question(
        text=f"A {who} covers {s} km in {t} hours. What is its speed (speed = way / time)?",
        key=f"{s} {t}",
        right=f"{v} km/h",
        ways=(
            f"Divide the way by the time: {s} / {t} = {v}.",
            f"In one hour it goes {s} km / {t}, that makes {v} km.",
            f"Try {v} km each hour: after {t} hours that is {v} * {t} = {s} km, as it should be.",
            f"Speed is way over time. The way has {s} km, the time {t} hours. The quotient of "
            f"both has the value {v}.",
        ),
        slips=_distinct(
            f"{v} km/h",
            [
                (f"{s * t} km/h", f"Multiply the way by the time: {s} * {t} = {s * t}."),
                (f"{s - t} km/h", f"Take the time from the way: {s} - {t} = {s - t}."),
                (f"{v} km", f"{s} / {t} = {v}, and the way was in km."),
            ],
            (f"{s} km/h", f"The way is {s}, so the speed is that as well."),
        ),
    )


@family
def force(rng: Random) -> Question:
    """Newton's second law."""
    m, a = rng.randint(2, 40), rng.randint(2, 9)
    f = m * a
    return Question(
        text=f"Which force gives a body of {m} kg an acceleration of {a} m/s^2 (F = m * a)?",
        key=f"{m} {a}",
        right=f"{f} N",
        ways=(
            f"F = m * a = {m} * {a} = {f}.",
            f"Each kg needs {a} N. There are {m} of them, so {m} times {a}, or {f}.",
            f"Check by division: {f} / {m} = {a}, which is the acceleration that is given.",
            f"The law says mass times acceleration. The mass is {m}, the acceleration {a}, their "
            f"product {f}.",
        ),
        slips=_distinct(
            f"{f} N",
            [
                (f"{m + a} N", f"Mass and acceleration together: {m} + {a} = {m + a}."),
                (f"{f} kg", f"{m} * {a} = {f}, and we began with kg."),
                (f"{f * 10} N", f"With the earth's 10 in it: {m} * {a} * 10 = {f * 10}."),
            ],
            (f"{m} N", f"A body of {m} kg needs {m} N."),
        ),
    )


@family
def voltage(rng: Random) -> Question:
    """Ohm's law."""
    r, i = rng.randint(2, 30), rng.randint(2, 9)
    u = r * i
    return Question(
        text=f"A current of {i} A flows through {r} ohms. What is the voltage (U = R * I)?",
        key=f"{r} {i}",
        right=f"{u} V",
        ways=(
            f"U = {r} * {i} = {u}.",
            f"Every ampere needs {r} V here, and {i} amperes flow: {r} * {i} = {u}.",
            f"{u} / {r} = {i} fits the current, so {u} it must be.",
            f"Resistance times current. With {r} for the first and {i} for the second one gets "
            f"{u} in volts.",
        ),
        slips=_distinct(
            f"{u} V",
            [
                (f"{r + i} V", f"Resistance and current add up: {r} + {i} = {r + i}."),
                (f"{u} A", f"{r} * {i} = {u}, and the current is in A."),
                (f"{abs(r - i)} V", f"What is left of {r} and {i} is {abs(r - i)}."),
            ],
            (f"{r * i * i} V", f"The current counts twice: {r} * {i} * {i} = {r * i * i}."),
        ),
    )


@family
def weekday(rng: Random) -> Question:
    """The day of the week after a number of days."""
    start, n = rng.randrange(7), rng.randint(9, 60)
    day, first = DAYS[(start + n) % 7], DAYS[start]
    weeks, rest = divmod(n, 7)
    return Question(
        text=f"Today is {first}. Which day is it in {n} days?",
        key=f"{start} {n}",
        right=day,
        ways=(
            f"{n} = {weeks} * 7 + {rest}. Whole weeks change nothing, {rest} days from {first} on.",
            f"After {weeks * 7} days it is {first} again. Then {rest} days are left to count.",
            f"{n} mod 7 is {rest}, so I go {rest} days on from {first}.",
            f"Count by weeks: {', '.join(str(7 * k) for k in range(1, weeks + 1))} are all the "
            f"same day as today. From there {rest} more.",
        ),
        slips=_distinct(
            day,
            [
                (DAYS[(start + n + 1) % 7], f"I count {first} as the first of the {n} days."),
                (DAYS[(start + n - 1) % 7], f"{n} days include today, so one fewer to go."),
                (DAYS[(start - n) % 7], f"{rest} days back from {first}."),
            ],
            (DAYS[(start + n + 3) % 7], f"A guess: {n} days are about half a week too many."),
        ),
    )


@family
def later_date(rng: Random) -> Question:
    """A date so many days after another, in a year that is no leap year."""
    first = date(2023, rng.randint(1, 11), rng.randint(8, 28))
    n = rng.randint(24, 45)
    then = first + timedelta(days=n)
    following = first.replace(day=1) + timedelta(days=31)
    days_in_month = (following.replace(day=1) - timedelta(days=1)).day
    left = days_in_month - first.day

    def say(day: date) -> str:
        return f"{day.day} {day:%B}"

    return Question(
        text=f"Which date is {n} days after {say(first)} in a year of 365 days?",
        key=f"{first.month} {first.day} {n}",
        right=say(then),
        ways=(
            f"{first:%B} has {days_in_month} days, {left} of them are left after day {first.day}. "
            f"{n} - {left} = {n - left} go into what follows.",
            f"Go {left} days to the end of {first:%B}, then {n - left} more.",
            f"In day numbers of the year: {first:%-j} + {n} = {then:%-j}, and I look that up.",
            f"Start at {say(first)} and step {n} days forward; the month ends after {left} steps.",
        ),
        slips=_distinct(
            say(then),
            [
                (say(then + timedelta(days=1)), f"With 32 days for {first:%B}, or so it seems."),
                (say(then - timedelta(days=1)), f"{say(first)} is the first of the {n} days."),
                (say(first - timedelta(days=n)), f"{n} days back from {say(first)}."),
            ],
            (say(then + timedelta(days=7)), "A week more than I counted, to be safe."),
        ),
    )


@family
def order(rng: Random) -> Question:
    """Who is first in an order that is given in pairs."""
    a, b, c, d = rng.sample(NAMES, 4)
    word, most, least = rng.choice(
        (("taller", "tallest", "shortest"), ("older", "oldest", "youngest"))
    )
    facts = [f"{a} is {word} than {b}.", f"{b} is {word} than {c}.", f"{c} is {word} than {d}."]
    shuffled = facts[:]
    rng.shuffle(shuffled)
    return Question(
        text=f"{' '.join(shuffled)} Who is the {most}?",
        key=f"{word} {a} {b} {c} {d}",
        right=a,
        ways=(
            f"The chain is {a} > {b} > {c} > {d}. I take its head.",
            f"{b}, {c} and {d} each have somebody above them. One person has not.",
            f"{a} is above {b}, and {b} is above the other two, so nobody is above the first.",
            f"Sorted from the {least}: {d}, {c}, {b}, {a}. The end of the list is asked for.",
        ),
        slips=(
            (b, f"{b} is {word} than {c} and {c} than {d}, so two people are below."),
            (d, f"The chain ends in {d}, and the end counts."),
            (c, f"{c} stands between the others and must be the {most}."),
        ),
    )


@family
def state(rng: Random) -> Question:
    """Solid, liquid or gas, from melting and boiling point."""
    melts, boils = rng.randint(-40, 60), rng.randint(90, 300)
    name = rng.choice(("solid", "liquid", "gas"))
    low, high = {"solid": (-90, melts - 5), "liquid": (melts + 5, boils - 5)}.get(
        name, (boils + 5, 400)
    )
    at = rng.randint(low, high)
    place = {
        "solid": f"{at} is below {melts}",
        "liquid": f"{at} is above {melts} and below {boils}",
        "gas": f"{at} is above {boils}",
    }[name]
    tempting = {
        "solid": f"It melts at {melts}, so before that it must have been hard.",
        "liquid": f"Between {melts} and {boils} things flow, and most things do.",
        "gas": f"It boils at {boils}, and what boils is steam.",
        "solid and liquid": "Near a melting point both are there.",
        "liquid and gas": "Near a boiling point both are there.",
    }
    others = [(option, why) for option, why in tempting.items() if option != name]
    rng.shuffle(others)
    return Question(
        text=f"A substance melts at {melts} degrees and boils at {boils} degrees. What is it at "
        f"{at} degrees?",
        key=f"{melts} {boils} {at}",
        right=name,
        ways=(
            f"{place}. That decides it.",
            f"Mark {melts} and {boils} on a line: {at} lies where {place}.",
            f"It changes at {melts} and again at {boils}. Since {place}, only one state is left.",
            f"Compare {at} with both points: {place}. So I can name the state.",
        ),
        slips=tuple(others[:3]),
    )
