"""Time by length: what reads an untrusted text in this process is linear in it.

A prefix, one part many times over and a suffix: the shapes on which a regular expression that tries
each start of a run, or a slice for each bracket, is quadratic. A short text sorts out most of them;
those over its time are measured at two lengths.
"""

import json
import time
from collections.abc import Callable
from itertools import islice, product

import pytest

from curation.canvases.summaries import ends_in
from curation.prompts.decontaminate import without_drawings
from curation.prompts.dedup import SeenPrompts, tokens
from curation.sources._tabular import prompt_fault
from curation.sources.columns.gold import read_gold
from curation.sources.columns.self_containment import missing_reference
from curation.sources.columns.traces import without_annotations
from schemas.canvas import MARKER
from scorers.answers.compare.plain_rules import quick_grade, tidy, wrap
from scorers.answers.extract.conclusion import conclusion
from scorers.answers.extract.final_answer import extract
from scorers.answers.extract.truncation import describe_truncation
from scorers.seqdep.segments.step import steps
from scorers.similarity import normalise
from tests.soak import hostile

SHORT = 2_000
SHORT_SECONDS = 0.006  # a linear reader takes half of it at most, a quadratic one 0.01 and more
STRIDES = (41, pytest.param(5, marks=pytest.mark.soak))  # of all shapes; 5 meets each part often
LONG = 20_000
LARGEST_RATIO = 3.2  # of the time for twice the length; quadratic is 4
QUICK_SECONDS = 0.1  # below it a ratio is noise
LONGEST_SECONDS = 1.0

READERS: dict[str, Callable[[str], object]] = {
    "extract": extract,
    "conclusion": lambda text: conclusion(text, len(text)),
    "tidy": tidy,
    "wrap": wrap,
    "quick_grade": lambda text: quick_grade(text, "7"),
    "breaks_off": describe_truncation,
    "similarity's normal form": normalise,
    "steps": lambda text: steps(text, range(0, len(text), 4), 100),
    "marker": MARKER.search,
    "annotations": without_annotations,
    "gold": lambda text: read_gold(text, "####"),
    "prompt": lambda text: prompt_fault(text, len(text)),
    "duplicates' normal form": tokens.__wrapped__,
    "duplicates' gold": lambda text: SeenPrompts().add("1 + 1", text, 0, 1),
    "drawings": without_drawings,
    "what a prompt lacks": missing_reference,
    "summary": lambda text: ends_in(text, "7"),
}


def shape(prefix: str, part: str, suffix: str, length: int) -> str:
    return prefix + part * (length // len(part)) + suffix


def seconds(reader: Callable[[str], object], text: str) -> float:
    """The least of two measurements: a pause of the machine is no fault of the reader."""
    best = float("inf")
    for _ in range(2):
        began = time.thread_time()
        reader(text)
        best = min(best, time.thread_time() - began)
    return best


def is_linear(reader: Callable[[str], object], shaped: tuple[str, str, str]) -> bool:
    """Whether it is so in one of two tries: a busy machine slows one length and not the other."""
    return any(_is_linear(reader, shaped) for _ in range(2))


def _is_linear(reader: Callable[[str], object], shaped: tuple[str, str, str]) -> bool:
    once, twice = (seconds(reader, shape(*shaped, n)) for n in (LONG, 2 * LONG))
    return twice < QUICK_SECONDS or (twice < LONGEST_SECONDS and twice < LARGEST_RATIO * once)


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("name", READERS)
def test_readers_are_linear(name: str, stride: int) -> None:
    reader, slow = READERS[name], []
    shapes = product(hostile.PARTS, hostile.PREFIXES, hostile.SUFFIXES)
    for part, prefix, suffix in islice(shapes, None, None, stride):
        shaped = (prefix, part, suffix)
        began = time.thread_time()
        reader(shape(*shaped, SHORT))
        if time.thread_time() - began > SHORT_SECONDS and not is_linear(reader, shaped):
            slow.append(shaped)
            break  # each further one would take its seconds, too
    assert not slow


@pytest.mark.parametrize(
    ("name", "shaped"),
    [
        ("extract", ("A:", "*", "\nB: x")),
        ("extract", ("A: 5", " ", "x")),
        ("extract", ("", r"\boxed{", "1" + "}" * LONG)),
        ("extract", ("", r"\fbox{", "1" + "}" * LONG)),
        ("extract", ("", r"\[answer is $1$\],", "")),
        ("extract", ("A: then this thing makes ", r"\[", "")),
        ("extract", ("answer is $1$", " ", "$2$")),
        ("annotations", ("", "<", "")),
        ("drawings", ("", "[asy]", "")),
        ("what a prompt lacks", ("", "[asy]", "")),
        ("what a prompt lacks", ("", "![a", "](")),
        ("what a prompt lacks", ("", "in the figure  ", "x")),
        ("what a prompt lacks", ("the graph below", " ", "x")),
        ("duplicates' gold", ("1.", "0", "1")),
        ("summary", ("x", "\n", "x 7")),
        ("summary", ("x", "}", "")),
    ],
)
def test_what_was_quadratic(name: str, shaped: tuple[str, str, str]) -> None:
    assert is_linear(READERS[name], shaped), json.dumps(shaped)[:80]


def test_nested_and_unclosed_marks_are_read_as_before() -> None:
    assert extract(r"\fbox{\fbox{7}} and \fbox{\fbox{8}}").answer == "8"
    assert extract(r"\fbox{\fbox{}}").answer == r"\fbox{}"
    assert extract(r"\boxed{1}, \boxed{2} and \boxed{3}").answer == "1, 2, 3"
    assert extract("A: ** 5").answer == "5"
    assert extract("A:***\nB: 7").answer is None
    assert extract(r"A: then this thing makes \[ 5 \( 6 \)").answer == "6"
    assert without_annotations("<<1+1=2>>2 <<3 << 4\n<<5>>5") == "2 <<3 << 4\n5"
    assert without_drawings("[asy]1[/ASY] 2 [asy] 3") == "  2 [asy] 3"
    assert ends_in("So:\n\n 7", "7") and not ends_in("So\n\nx 7", "7")
    assert ends_in(r"It is **$\boxed{7}$**.", "7")
