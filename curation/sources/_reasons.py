"""Why a row of a source is no prompt: the slugs that end in `Row.reason` and on the data card."""

from enum import StrEnum


class Reason(StrEnum):
    """A fault of one row as it was read."""

    BROKEN_JSON = "broken_json"  # the line is not JSON, or is nested too deeply to be read
    NOT_AN_OBJECT = "not_an_object"  # JSON, but no object with named columns
    BAD_ENCODING = "bad_encoding"  # bytes that are no UTF-8, or half of a surrogate pair
    UNREADABLE_VALUE = "unreadable_value"  # a date or a time zone that Python has no object for
    CONTROL_CHARACTERS = "control_characters"  # NUL and the like: "\frac" read as form feed + "rac"
    TOO_LONG = "too_long"  # a prompt over `max_chars`, or a line over the reader's limit
    MISSING_PROMPT = "missing_prompt"  # absent, null, empty, not text, or without letter and digit
    MISSING_GOLD = "missing_gold"  # absent, null, empty, or the mark before it does not occur
    DAMAGED_GOLD = "damaged_gold"  # there, but it cannot be the answer: see `_gold.py`
