r"""Answers that end in a unit: `5\text{ cm}`, `5 apples`, `300 美元`.

In: answers in LaTeX. Out: the answer without its unit, and whether two answers name different
measures, currencies or directions.
"""

import re
import unicodedata

from scorers.answers.notation.unit_words import CANONICAL, QUALIFIER, is_unit, word_set

_EXPONENT = r"(?:\s?\^\s?(?:\{\s?[23]\s?\}|[23]))?"
# A sign of degrees with its scale: the `^\circ C` of `20^\circ C`.
_DEGREES = re.compile(
    r"\s?(?:\^\s?(?:\\circ|\{\s?\\circ\s?\})|\\degree(?![A-Za-z]))"
    r"(?:\s?(?:\\(?:text|mathrm|mbox)\s?\{\s?[CFK]\s?\}|[CFK]))?$"
)
# A value and words in a TeX command: `5\text{ cm}^2`.
_TEXT_UNIT = re.compile(
    r"(?P<number>.*[0-9A-Za-z)}\]%])\s?(?:\\[,;: ]|~)?\s?"
    r"\\(?:text|mathrm|mbox|textnormal)\s?\{[\s~]*(?P<words>[A-Za-z ./]{1,40}?)"
    + _EXPONENT
    + r"\s*\}"
    + _EXPONENT
)
# The name of a unit that is a measure although `unit_words` does not list it: "MeV", "kilobyte".
_MEASURE_LIKE = re.compile(
    r"/|^[A-Za-zμ]{1,4}$|^(?:kilo|mega|giga|milli|micro|nano)|(?:watt|volt|bit|byte|mole?|ton|tonne"
    r"|cup|teaspoon|tablespoon|quart|gallon|pint|radian|joule|newton|rupee|yen|yuan|nickel|dime"
    r"|quarter|penny|pennie)$"
)
# A number and a word of another script: "300 美元".
_FOREIGN_UNIT = re.compile(
    r"(?P<number>[-+]?[$€£¥]?[0-9][0-9.,]*)\s?(?P<words>(?:(?![A-Za-z0-9_])\w){1,12})[。.]?"
)
# A count, a scale or a bound in the languages of MGSM: the 万 of "3 万".
_FOREIGN_SCALE = re.compile(
    r"以上|以下|以内|左右|上下|分之|分の|不到|超过|[成多余餘來来几幾万萬億亿千百十兆半双雙对對打倍割折만억천백십쌍]|тыс|милл|млн|млрд|сот|дюж|пар|поло"
    r"|พัน|หมื่น|แสน|ล้าน|ร้อย|คู่|โหล|হাজার|লক্ষ|লাখ|কোটি|শত|জোড়া|వేల|లక్ష|కోట్|వంద|हज|लाख|करोड़|सौ|दर्जन",
    re.IGNORECASE,
)
# A value and words or a rate behind a space: "5 apples per day", "60 km/h".
_PLAIN_UNIT = re.compile(
    r"(?P<number>.*(?:[0-9)}]|\\pi))\s+(?P<words>[A-Za-z]{2,}(?:[ -][A-Za-z]{2,}){0,5}"
    r"|(?:km|m|cm|mi|ft|g|kg|mg|l|L|ml|mL)/(?:s|h|hr|min|l|L|ml|mL|kg))" + _EXPONENT
)
# A number that a measure touches: "5cm".
_ATTACHED = re.compile(
    r"(?<![A-Za-z0-9_.])(?P<number>-?[0-9][0-9,]*(?:\.[0-9]+)?)"
    r"(?P<unit>km/h|m/s|cm/s|cm|mm|km|kg|mg|ml|mL|lbs?|ft|hrs?|mph|min)(?P<power>\^\{?[23]\}?)?"
)
# Signs and words of currencies: "$", "300 美元" and "300 dollars" are one, cents another.
_CURRENCY_WORDS = {
    **dict.fromkeys(("$", "dollar", "dollars", "usd", "bucks", "美元", "美金"), "dollar"),
    **dict.fromkeys(("¢", "cent", "cents", "penny", "pennies", "美分"), "cent"),
    **dict.fromkeys(("€", "euro", "euros", "eur", "欧元", "歐元"), "euro"),
    **dict.fromkeys(("£", "pound", "pounds", "gbp", "英镑"), "pound"),
    **dict.fromkeys(("¥", "yen", "jpy", "日元", "円"), "yen"),
    **dict.fromkeys(("yuan", "rmb", "人民币"), "yuan"),
    **dict.fromkeys(("₹", "rupee", "rupees", "inr", "rs"), "rupee"),
    **dict.fromkeys(("peso", "pesos"), "peso"),
    **dict.fromkeys(("won", "krw"), "won"),
    **dict.fromkeys(("dime", "dimes"), "dime"),
    **dict.fromkeys(("nickel", "nickels"), "nickel"),
    "pence": "pence",
}
# A sign of a currency or a word that may name one: "$", "euros".
_CURRENCY = re.compile(r"[$¢€£¥₹]|[A-Za-z]+|美元|美金|美分|欧元|歐元|英镑|日元|円|人民币")
# "3 miles east" and "3 miles west"
_DIRECTIONS = word_set(
    "north south east west left right up down upward downward upwards downwards clockwise"
    " counterclockwise anticlockwise above below forward backward forwards backwards"
)
# A rate: "miles per hour", "km/h".
_RATE = re.compile(r"([A-Za-z]+)(?: per |/)([A-Za-z]+)")
# A number and one letter, which is a variable where nothing else has a unit: "5 m".
_LONE_UNIT = re.compile(r"-?[0-9][0-9,.]*\s([msghL])")
_RATES = {**dict.fromkeys(("kph", "kmph", "kmh"), "kilometre/hour"), "mph": "mile/hour"}
# A number with a power of a length: "36 m^2".
_SHORT_POWER = re.compile(
    r"(?P<number>-?[0-9][0-9,.]*)\s?(?:\\(?:text|mathrm)\s?\{\s?)?(?P<unit>m|km|cm|mm|ft|in|yd|mi)"
    r"\s?\}?\s?\^\s?\{?(?P<power>[23])\}?"
)
_POWERS = {"2": "square", "3": "cubic"}
_SCALES_OF_DEGREES = {"C": "celsius", "F": "fahrenheit", "K": "kelvin"}


def without_unit(text: str) -> str:
    r"""`text` without a trailing unit, in words or in `\text{}`; unchanged where that is unsafe."""
    text = _DEGREES.sub("", text)
    if _LONE_UNIT.fullmatch(text):
        return text[:-2]
    match = _unit_behind(text)
    return match["number"].rstrip() if match else text


def unit_power(text: str) -> str | None:
    """The power of a trailing unit, as "2" of `12 cm^2`, "1" of `12 cm`; None without a unit."""
    match = _unit_behind(text)
    if not match or QUALIFIER.match(match["words"].lstrip()):
        return None
    return "".join(filter(str.isdigit, text[match.end("words") :])) or "1"


def without_foreign_unit(text: str) -> str:
    """`300 美元` as `300`; unchanged where the words may be a count or a scale, as in `3 万`."""
    match = None if text.isascii() else _FOREIGN_UNIT.fullmatch(text)
    if not match or _FOREIGN_SCALE.search(match["words"]):
        return text
    letters = all(
        unicodedata.category(letter)[0] in "LM" and "GREEK" not in unicodedata.name(letter, "")
        for letter in match["words"]
    )
    return match["number"] if letters else text


def spelled_power(text: str, beside: str) -> str:
    """`36 m^2` as "36 square metre" beside square metres; elsewhere m may be a variable."""
    if "square" not in beside and "cubic" not in beside:
        return text
    match = _SHORT_POWER.fullmatch(text.replace("\u00b2", "^2").replace("\u00b3", "^3"))
    if not match:
        return text
    return f"{match['number']} {_POWERS[match['power']]} {CANONICAL[match['unit']]}"


def is_foreign_scale(text: str) -> bool:
    """Whether the words that `text` begins with, of another script, change a number before them."""
    words = re.match(r"(?:(?![A-Za-z0-9_])\w){1,12}", text)
    return words is not None and _FOREIGN_SCALE.search(words[0]) is not None


def spaced_unit(text: str) -> str:
    """`5cm` as `5 cm`; letters that are no measure known are left, they may be variables."""
    match = _ATTACHED.fullmatch(text)
    return f"{match['number']} {match['unit']}{match['power'] or ''}" if match else text


def name_different_currencies(one: str, other: str) -> bool:
    """Whether both name a currency, by its sign or its name, and none in common."""
    first, second = (
        {name for word in _CURRENCY.findall(text) if (name := _CURRENCY_WORDS.get(word.lower()))}
        for text in (one, other)
    )
    return bool(first and second) and not first & second


def name_different_directions(one: str, other: str) -> bool:
    """Whether both name a direction, and not the same: "3 miles east", "3 miles west"."""
    first, second = (_DIRECTIONS.intersection(text.lower().split()) for text in (one, other))
    return bool(first and second) and first != second


def have_different_foreign_units(one: str, other: str) -> bool:
    """Whether both name a unit in another script, and not the same: `5 米`, `5 厘米`."""
    matches = [None if text.isascii() else _FOREIGN_UNIT.fullmatch(text) for text in (one, other)]
    return all(matches) and matches[0]["words"] != matches[1]["words"]  # type: ignore[index]


def have_different_units(one: str, other: str) -> bool:
    """Whether both name a measure behind their value, and not the same: `5 MeV`, `5 GeV`.

    Nouns that are no measure may differ: "12 people" and "12 students".
    """
    names = [_unit_name(text) for text in (one, other)]
    if names[0] is None or names[1] is None or names[0] == names[1]:
        return False
    if "degree" in names and set(names) & set(_SCALES_OF_DEGREES.values()):
        return False  # "20 degrees" of a scale that the problem names
    return any(is_measure(name) for name in names if name)


def unit_of(text: str) -> str | None:
    """The unit that stands at a value, in one spelling: "dollar" of `$5`, "metre" of "5 m".

    A currency, a measure or any noun; None where there is none.
    """
    signs = {name for word in _CURRENCY.findall(text) if (name := _CURRENCY_WORDS.get(word))}
    return signs.pop() if len(signs) == 1 else _unit_name(text)


def is_measure(unit: str) -> bool:
    """Whether a unit, as `unit_of` names it, is a measure or a currency and no other noun."""
    known = unit.split()[-1] in CANONICAL.values() or is_currency(unit)
    return known or _MEASURE_LIKE.search(unit) is not None


def is_currency(unit: str) -> bool:
    """Whether a unit, as `unit_of` names it, is a currency."""
    return unit in _CURRENCY_WORDS.values()


def _unit_name(text: str) -> str | None:
    if degrees := _DEGREES.search(text):
        return next((_SCALES_OF_DEGREES[sign] for sign in degrees[0] if sign in "CFK"), "degree")
    if letter := _LONE_UNIT.fullmatch(text):
        return CANONICAL[letter[1]]
    match = _unit_behind(text)
    words = QUALIFIER.sub("", match["words"].replace("-", " ")).split() if match else []
    if not match or not words:
        return None
    if words[0] in _RATES:
        return _RATES[words[0]]
    if words[0] == "per":
        return " ".join(words[:2])
    scale = CANONICAL.get(words[1]) if len(words) > 1 else None
    if rate := _RATE.fullmatch(" ".join(words)):
        return "/".join(CANONICAL.get(unit, unit) for unit in rate.groups())
    name = CANONICAL.get(words[0], words[0])
    if name == "degree" and scale in _SCALES_OF_DEGREES.values():
        return scale
    name = name if len(name) <= 3 else name.lower().removesuffix("s")
    return _power_of(match) + name


def _power_of(unit: re.Match[str]) -> str:
    """The power of a unit as a word before it: `m^2` and "square metres" are one."""
    behind = next((sign for sign in unit.string[unit.end("words") :] if sign in "23"), "")
    word = re.match(r"\s*(square|cubic)\b", unit["words"], re.IGNORECASE)
    return {"2": "square ", "3": "cubic "}.get(behind, f"{word[1].lower()} " if word else "")


def _unit_behind(text: str) -> re.Match[str] | None:
    """The value and the unit of an answer that ends in one."""
    match = _TEXT_UNIT.fullmatch(text) or _PLAIN_UNIT.fullmatch(text)
    return match if match and is_unit(match["words"]) else None
