r"""Which words after a number are a unit, that is: leave the number as it is.

In: words, such as "apples per day", or an answer in LaTeX. Out: whether they may be dropped, which
measure they name, and the answer without its unit.
Long words may be any noun, short ones only known abbreviations. Words that change a number, compare
it, deny it, or join it to another are no unit.
"""

import re
import unicodedata


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Known measures by canonical name: two answers that name different ones are different.
_MEASURES = {
    "dollar": "dollar dollars usd bucks",
    "cent": "cent cents",
    "euro": "euro euros eur",
    "metre": "m meter meters metre metres",
    "centimetre": "cm centimeter centimeters centimetre centimetres",
    "millimetre": "mm millimeter millimeters millimetre millimetres",
    "kilometre": "km kilometer kilometers kilometre kilometres",
    "inch": "in inch inches",
    "foot": "ft foot feet",
    "yard": "yd yard yards",
    "mile": "mi mile miles",
    "second": "s sec second seconds",
    "minute": "min minute minutes",
    "hour": "h hr hrs hour hours",
    "day": "day days",
    "week": "week weeks",
    "month": "month months",
    "year": "yr year years",
    "gram": "g gram grams",
    "kilogram": "kg kilogram kilograms",
    "pound": "lb lbs pound pounds",
    "ounce": "oz ounce ounces",
    "litre": "l L liter liters litre litres",
    "millilitre": "ml mL milliliter milliliters",
    "milligram": "mg milligram milligrams",
    "nanometre": "nm nanometer nanometers nanometre nanometres",
    "micrometre": "micrometer micrometers micrometre micrometres micron microns",
    "decade": "decade decades",
    "century": "century centuries",
    "fortnight": "fortnight fortnights",
    "radian": "rad radian radians",
    "degree": "deg degree degrees",
    "fahrenheit": "Fahrenheit fahrenheit",
    "celsius": "Celsius celsius centigrade",
    "kelvin": "Kelvin kelvin kelvins",
    "am": "am AM",
    "pm": "pm PM",
}
_CANONICAL = {word: name for name, words in _MEASURES.items() for word in words.split()}
_SHORT = _listed(
    "of a an in on at by to mph kph kmph kmh km kg ft lb oz V W J N A K Hz sq cu"
    " nm dm ms ns eV kJ kN kW MW mW Pa mA mV kV"
)
_SHORT_LINKS = _listed("of a an the in at by per each")

_CHANGERS = _listed(
    # counts and scales
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"
    " hundred hundreds thousand thousands million millions billion billions trillion trillions"
    " docena docenas douzaine douzaines dutzend duzia millones millionen milliarden tausend"
    " quadrillion lakh lakhs crore crores grand mil mils mill mille myriad bn mio dozen dozens pair"
    " pairs couple couples score scores gross half halves quarter quarters percent percentage"
    " percents pct percentile permille once twice thrice double triple fold twofold threefold"
    # operations
    " pi choose and or plus minus times over less more than factorial factorials squared cubed"
    " power powers base mod modulo remainder remainders sqrt sin cos tan cot sec csc log exp root"
    " roots divided multiplied added subtracted raised increased decreased reduced doubled tripled"
    " halved square"
    " sum difference product quotient ratio parts out exponent"
    # comparisons, denials, alternatives
    " not nor neither none never without wrong incorrect false negative positive below above under"
    " short beyond within between but except excluding until least most fewer greater larger"
    " smaller bigger higher lower other else instead versus others either maybe perhaps possibly"
    " approximately roughly about almost nearly around exceeding missing loss debt"
    " deficit overdrawn increase decrease east west north south clockwise counterclockwise"
    " tens kilo milli mega only"
    " recurring repeating unless while where when because should would could was were does"
    " with then"
    # what a number may be taken for, turned into, or bounded by
    " alpha beta gamma theta lambda sigma omega phi infinity inf cis max min maximum minimum bar"
    " conjugate complement inverse opposite negated reversed semi tenfold"
    " upward upwards onward onwards downward downwards"
)
# What opens another clause.
_CONJUNCTIONS = _listed("and with because while when where then so")
# "3 more hours than", "3 downloads over the four months": another value is meant only elsewhere.
_DIFFERENCES = _listed("more less fewer")
_FIRST_ONLY = _listed(
    "over within between one two three four five six seven eight nine ten eleven twelve"
)
# "fifths", "twentieths", "hundredths"; the ordinals that are nouns of measure stay units.
_ORDINAL = re.compile(r".*(?:th|ths|thirds?|illions?|illiard|teen|ty-\w+)")
_NOUNS_LIKE_ORDINALS = _listed(
    "month months length lengths width widths depth depths tooth teeth cloth cloths bath baths moth"
    " moths path paths growth health earth wealth booth booths breath breaths birth births mouth"
    " mouths south north youth youths death deaths"
)
_SPLIT = re.compile(r"[\s,.]+")
# "square units", "3 more cupcakes"; "square roots" and "more than" stay what they are.
_QUALIFIER = re.compile(r"\b(?:square|cubic|more|fewer|less)\s+(?=[A-Za-z]{2})", re.IGNORECASE)

_EXPONENT = r"(?:\s?\^\s?(?:\{\s?[23]\s?\}|[23]))?"
_DEGREES = re.compile(
    r"\s?(?:\^\s?(?:\\circ|\{\s?\\circ\s?\})|\\degree(?![A-Za-z]))"
    r"(?:\s?(?:\\(?:text|mathrm|mbox)\s?\{\s?[CFK]\s?\}|[CFK]))?$"
)
_TEXT_UNIT = re.compile(
    r"(?P<number>.*[0-9A-Za-z)}\]%])\s?(?:\\[,;: ]|~)?\s?"
    r"\\(?:text|mathrm|mbox|textnormal)\s?\{[\s~]*(?P<words>[A-Za-z ./]{1,40}?)"
    + _EXPONENT
    + r"\s*\}"
    + _EXPONENT
)
_MEASURE_LIKE = re.compile(
    r"/|^[A-Za-zμ]{1,4}$|^(?:kilo|mega|giga|milli|micro|nano)|(?:watt|volt|bit|byte|mole?|ton|tonne"
    r"|cup|teaspoon|tablespoon|quart|gallon|pint|radian|joule|newton|rupee|yen|yuan|nickel|dime"
    r"|quarter|penny|pennie)$"
)
_FOREIGN_UNIT = re.compile(
    r"(?P<number>[-+]?[$€£¥]?[0-9][0-9.,]*)\s?(?P<words>(?:(?![A-Za-z0-9_])\w){1,12})[。.]?"
)
# Thousands, dozens, pairs, halves and multiples in the languages of MGSM.
_FOREIGN_SCALE = re.compile(
    r"以上|以下|以内|左右|上下|分之|分の|不到|超过|[成多余餘來来几幾万萬億亿千百十兆半双雙对對打倍割折만억천백십쌍]|тыс|милл|млн|млрд|сот|дюж|пар|поло"
    r"|พัน|หมื่น|แสน|ล้าน|ร้อย|คู่|โหล|হাজার|লক্ষ|লাখ|কোটি|শত|জোড়া|వేల|లక్ష|కోట్|వంద|हज|लाख|करोड़|सौ|दर्जन",
    re.IGNORECASE,
)
_PLAIN_UNIT = re.compile(
    r"(?P<number>.*(?:[0-9)}]|\\pi))\s+(?P<words>[A-Za-z]{2,}(?:[ -][A-Za-z]{2,}){0,5}"
    r"|(?:km|m|cm|mi|ft|g|kg|mg|l|L|ml|mL)/(?:s|h|hr|min|l|L|ml|mL|kg))" + _EXPONENT
)
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
_CURRENCY = re.compile(r"[$¢€£¥₹]|[A-Za-z]+|美元|美金|美分|欧元|歐元|英镑|日元|円|人民币")
# "3 miles east" and "3 miles west"
_DIRECTIONS = _listed(
    "north south east west left right up down upward downward upwards downwards clockwise"
    " counterclockwise anticlockwise above below forward backward forwards backwards"
)
_RATE = re.compile(r"([A-Za-z]+)(?: per |/)([A-Za-z]+)")
_LONE_UNIT = re.compile(r"-?[0-9][0-9,.]*\s([msghL])")  # a variable where nothing else has a unit
_RATES = {
    **dict.fromkeys(("kph", "kmph", "kmh"), "kilometre/hour"),
    **dict.fromkeys(("mph",), "mile/hour"),
}
_SHORT_POWER = re.compile(
    r"(?P<number>-?[0-9][0-9,.]*)\s?(?:\\(?:text|mathrm)\s?\{\s?)?(?P<unit>m|km|cm|mm|ft|in|yd|mi)"
    r"\s?\}?\s?\^\s?\{?(?P<power>[23])\}?"
)
_POWERS = {"2": "square", "3": "cubic"}
_SCALES_OF_DEGREES = {"C": "celsius", "F": "fahrenheit", "K": "kelvin"}


def is_unit(words: str) -> bool:
    """Whether `words`, found behind a number, leave it as it is."""
    words = _QUALIFIER.sub("", words.replace("-", " "))
    listed = [word for word in _SPLIT.split(words) if word]
    if not listed or listed[-1] in _SHORT_LINKS - {"each"}:
        return not listed
    return all(_is_plain(word, first=index == 0) for index, word in enumerate(listed))


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
    if not match or _QUALIFIER.match(match["words"].lstrip()):
        return None
    return "".join(one for one in text[match.end("words") :] if one.isdigit()) or "1"


def without_foreign_unit(text: str) -> str:
    """`300 美元` as `300`; unchanged where the words may be a count or a scale, as in `3 万`."""
    match = None if text.isascii() else _FOREIGN_UNIT.fullmatch(text)
    if not match or _FOREIGN_SCALE.search(match["words"]):
        return text
    letters = all(
        unicodedata.category(one)[0] in "LM" and "GREEK" not in unicodedata.name(one, "")
        for one in match["words"]
    )
    return match["number"] if letters else text


def spelled_power(text: str, beside: str) -> str:
    """`36 m^2` as "36 square metre" beside square metres; elsewhere m may be a variable."""
    if "square" not in beside and "cubic" not in beside:
        return text
    match = _SHORT_POWER.fullmatch(text.replace("\u00b2", "^2").replace("\u00b3", "^3"))
    if not match:
        return text
    return f"{match['number']} {_POWERS[match['power']]} {_CANONICAL[match['unit']]}"


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
    return any(
        name.split()[-1] in _CANONICAL.values() or _MEASURE_LIKE.search(name)
        for name in names
        if name
    )


def _unit_name(text: str) -> str | None:
    if degrees := _DEGREES.search(text):
        return next((_SCALES_OF_DEGREES[one] for one in degrees[0] if one in "CFK"), "degree")
    if letter := _LONE_UNIT.fullmatch(text):
        return _CANONICAL[letter[1]]
    match = _unit_behind(text)
    words = _QUALIFIER.sub("", match["words"].replace("-", " ")).split() if match else []
    if not match or not words:
        return None
    if words[0] in _RATES:
        return _RATES[words[0]]
    if words[0] == "per":
        return " ".join(words[:2])
    scale = _CANONICAL.get(words[1]) if len(words) > 1 else None
    if rate := _RATE.fullmatch(" ".join(words)):
        return "/".join(_CANONICAL.get(one, one) for one in rate.groups())
    name = _CANONICAL.get(words[0], words[0])
    if name == "degree" and scale in _SCALES_OF_DEGREES.values():
        return scale
    name = name if len(name) <= 3 else name.lower().removesuffix("s")
    return _power_of(match) + name


def _power_of(unit: re.Match[str]) -> str:
    """The power of a unit as a word before it: `m^2` and "square metres" are one."""
    behind = next((one for one in unit.string[unit.end("words") :] if one in "23"), "")
    word = re.match(r"\s*(square|cubic)\b", unit["words"], re.IGNORECASE)
    return {"2": "square ", "3": "cubic "}.get(behind, f"{word[1].lower()} " if word else "")


def _unit_behind(text: str) -> re.Match[str] | None:
    """The value and the unit of an answer that ends in one."""
    match = _TEXT_UNIT.fullmatch(text) or _PLAIN_UNIT.fullmatch(text)
    return match if match and is_unit(match["words"]) else None


def changes_number(words: str) -> bool:
    """Whether one of `words`, running text behind a number, makes it another number."""
    before = ""
    for word in _QUALIFIER.sub("", words).casefold().split():
        if word in _CONJUNCTIONS:
            return False
        beside = word in _FIRST_ONLY and before not in ("", "per", "every", "each")
        before = word
        if word in _DIFFERENCES or beside:
            continue
        ordinal = _ORDINAL.fullmatch(word) and word not in _NOUNS_LIKE_ORDINALS
        if word in _CHANGERS or (ordinal and word.endswith(("s", "d"))):
            return True
    return False


def _is_plain(word: str, *, first: bool) -> bool:
    if word in _CANONICAL:
        return not (first and word == "second")
    lower = word.lower()
    if not re.fullmatch(r"[a-z]+(?:'s)?|[a-z]+/[a-z]+", lower) or lower in _CHANGERS:
        return False
    if len(word) < 3:
        return word in _SHORT or (not first and word in _SHORT_LINKS)
    return lower in _NOUNS_LIKE_ORDINALS or not _ORDINAL.fullmatch(lower)


def measure(words: str) -> str | None:
    """The measure that `words` name, by its canonical name; None where they name none known."""
    listed = words.split()
    return _CANONICAL.get(listed[0].rstrip(".,")) if listed else None
