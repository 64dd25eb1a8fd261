"""Reasons why a row of a source, or a trace in it, is rejected: slugs for cards and counts."""

from enum import StrEnum


class RowFault(StrEnum):
    """A fault of one row as it was read."""

    BROKEN_JSON = "broken_json"  # the line is not JSON, or is nested too deeply to be read
    BROKEN_CSV = "broken_csv"  # a quote in the wrong place, or not as many fields as the header
    NOT_AN_OBJECT = "not_an_object"  # JSON, but no object with named columns
    BAD_ENCODING = "bad_encoding"  # bytes that are no UTF-8, or half of a surrogate pair
    UNREADABLE_VALUE = "unreadable_value"  # a date or a time zone that Python has no object for
    CONTROL_CHARACTERS = "control_characters"  # NUL and the like: "\frac" read as form feed + "rac"
    TOO_LONG = "too_long"  # a prompt over `max_chars`, or a line over the reader's limit
    MISSING_PROMPT = "missing_prompt"  # absent, null, empty, not text, or without letter and digit
    MISSING_GOLD = "missing_gold"  # absent, null, empty, or the mark before it does not occur
    DAMAGED_GOLD = "damaged_gold"  # there, but it cannot be the answer: see `gold.py`
    BAD_CHOICES = "bad_choices"  # no list of two to ten distinct texts
    MISSING_TESTS = "missing_tests"  # `columns.tests` is absent, null or empty
    NOT_SELF_CONTAINED = "not_self_contained"  # it points at a drawing, an image or a link it lacks
    NO_CANVAS = "no_canvas"  # of kind `canvases`: it holds no whole paths
    GROUPED = "grouped"  # `traces.group`: its traces stand with an earlier row of the same prompt
    NULL_TRACE = "null_trace"  # of a trace: the source holds null in its place
    TRACE_NOT_TEXT = "trace_not_text"  # of a trace: a number, or an object without the text's field
