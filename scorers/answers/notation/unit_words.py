"""Which words behind a number are a unit, and which make it another number.

In: words, such as "apples per day". Out: whether the number means the same without them, and which
measure they name. Long words may be any noun, short ones only known abbreviations. Words that
change a number, compare it, deny it, or join it to another are no unit.
"""

import re


def word_set(words: str) -> frozenset[str]:
    """The words that a text lists."""
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
CANONICAL = {word: name for name, words in _MEASURES.items() for word in words.split()}
_SHORT = word_set(
    "of a an in on at by to mph kph kmph kmh km kg ft lb oz V W J N A K Hz sq cu"
    " nm dm ms ns eV kJ kN kW MW mW Pa mA mV kV"
)
_SHORT_LINKS = word_set("of a an the in at by per each")
_CHANGERS = word_set(
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
_CONJUNCTIONS = word_set("and with because while when where then so")
# "3 more hours than", "3 downloads over the four months": another value is meant only elsewhere.
_DIFFERENCES = word_set("more less fewer")
_FIRST_ONLY = word_set(
    "over within between one two three four five six seven eight nine ten eleven twelve"
)
# A word that ends like an ordinal or a scale: "fifths", "hundredths", "billion".
_ORDINAL = re.compile(r".*(?:th|ths|thirds?|illions?|illiard|teen|ty-\w+)")
_NOUNS_LIKE_ORDINALS = word_set(
    "month months length lengths width widths depth depths tooth teeth cloth cloths bath baths moth"
    " moths path paths growth health earth wealth booth booths breath breaths birth births mouth"
    " mouths south north youth youths death deaths"
)
# What divides two words: the space of "miles per hour".
_SPLIT = re.compile(r"[\s,.]+")
# A word that leaves the number as it is: the "square" of "square units", the "more" of "3 more
# cupcakes". The word behind it may still change the number: "square roots", "more than".
QUALIFIER = re.compile(r"\b(?:square|cubic|more|fewer|less)\s+(?=[A-Za-z]{2})", re.IGNORECASE)


def is_unit(words: str) -> bool:
    """Whether `words`, found behind a number, leave it as it is."""
    words = QUALIFIER.sub("", words.replace("-", " "))
    listed = [word for word in _SPLIT.split(words) if word]
    if not listed or listed[-1] in _SHORT_LINKS - {"each"}:
        return not listed
    return all(_is_plain(word, first=index == 0) for index, word in enumerate(listed))


def changes_number(words: str) -> bool:
    """Whether one of `words`, running text behind a number, makes it another number."""
    before = ""
    for word in QUALIFIER.sub("", words).casefold().split():
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
    if word in CANONICAL:
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
    return CANONICAL.get(listed[0].rstrip(".,")) if listed else None
