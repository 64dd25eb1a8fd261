r"""Find the final answer of a trace, and where the trace ends.

In: the text a teacher wrote. Out: the answer as text, and how many characters are the solution.
A base model often runs on into further "Question:" blocks, which would be read as its answer.

Order of belief: the last of `\boxed{}`, `#### 18` and "The final answer is 18", unless another
announcement follows it; the last other phrase that announces an answer ("The answer is 18.",
"Answer: 18", "A: 18"); a text that is nothing but an answer. All patterns are linear in the text.
"""

import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import NamedTuple

from scorers.plain_answer import PLACEHOLDER, tidy
from scorers.run_on import end_of_solution
from scorers.sentence import COMMAND, JOIN, JOIN_CHARACTERS, PROSE, Links, announced_value

# One scan for boxes: TeX escapes are skipped, so that `\{` is no brace. Doubled backslashes before
# "boxed" come from texts that were escaped once too often, and from "\\" at the end of a row.
_BRACES = re.compile(r"\\{1,4}(?:boxed|fbox)[ \t]{0,3}\{|\\.|[{}]", re.DOTALL)
_HASHES = re.compile(
    r"^[ \t]{0,8}####[ \t]{0,8}(?P<value>[-+$]{0,3}[0-9.(][^\n]*|[$\\][^\n]*)$", re.M
)
# "#### 2. Simplify" and "#### Step 2" are headings, not answers.
_HEADING = re.compile(r"[0-9]+[.)]?[ \t]+\S+[ \t]+\S+|[0-9]+[.):][ \t]")

# What follows the line is looked at once, before the value: not for each star that may begin it.
_LINE = re.compile(
    r"^[ \t*]{0,6}A[ \t]?:(?![^\n]*+\n++[ \t*]{0,6}B[ \t]?:)[ \t*]*(?P<value>\S[^\n]*)", re.M
)
_LINE_HEAD = re.compile(r"A[ \t]?:")  # begins with a letter: found many times faster
_PHRASE = re.compile(
    r"(?:^[ \t#*_]{0,8}(?:the[ \t]+)?(?P<head>(?:final[ \t]+)?)answer[ \t#*_:]{0,6}\n"
    r"|\b(?P<final>(?:final[ \t]+)?)answers?\b"
    r"(?:[ \t]*\([^()\n]{0,40}\)"
    r"|,?[ \t]+(?:therefore|thus|then|here|now)\b,?"
    r"|[ \t]+(?:to|for|of|in)[ \t](?!(?:part|step)\b)[^\n.:=?!]{1,60}?)?"
    r"[ \t*_]{0,6}"
    r"(?::|=|\b(?:is|are|equals|(?:would|will|should|must)[ \t]+be)\b))"
    r"[\s:*_]{0,10}(?:\\?\")?"
    r"(?:(?:therefore|thus|then|simply|just|indeed|exactly|approximately|about|equal to|option"
    r"|choice|for sure|definitely|clearly|probably)\b[ ,:]{0,3}){0,3}"
    # A look-ahead, so that an announcement inside the rest of the line is found as well.
    r"(?=(?P<value>[^\n]{1,300}))",
    re.IGNORECASE | re.M,
)
# "18? No": an answer that is asked for is none.
_ASKED = re.compile(r"[^.!\n]{0,40}\?")
_TAKEN_BACK = re.compile(
    r"[.!?]\s+(?:but |oh,? |hmm,? )?(?:wait|no|actually)\b[^.!?\n]{0,30}"
    r"\b(?:wrong|incorrect|not (?:right|correct)|mistake)\b",
    re.IGNORECASE,
)
_BARE_CHARACTERS = 100
_BARE_NUMBER = re.compile(r"[-+0-9.,\s$€£%]*")
_NOT_AN_ANSWER = re.compile(
    r"(?:in)?correct\b|wrong\b|right\b|not\b|given\b|found\b|obtained\b|the\b|that\b|as\b|to\b|in\b"
    r"|what\b|how\b|we\b|you\b|now\b|below\b|above\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """What a trace announces, and how much of it to keep.

    `answer` is None where nothing announces one (the grader then takes the last formula or number
    of the text); `end` is a number of characters: `text[:end]` is the solution without run-on.
    """

    answer: str | None
    end: int


class _Found(NamedTuple):
    """An announced answer: `stop` is where its announcement ends, `sure` if it cannot be a step."""

    start: int
    stop: int
    answer: str
    sure: bool


def extract(text: str) -> Extracted:
    """The final answer of `text`, and where its solution ends."""
    boxes, hashes, phrases = _boxes(text), _hashes(text), _phrases(text)
    announced = [*boxes, *hashes, *phrases]
    end = end_of_solution(
        text,
        any_stop=min((found.stop for found in announced), default=None),
        sure_stop=min((found.stop for found in announced if found.sure), default=None),
        last_start=max((found.start for found in announced), default=None),
    )
    boxes = _joined(text, [box for box in boxes if box.stop <= end])
    exact = [phrase for phrase in phrases if _is_mathematical(phrase.answer)]
    sure = sorted([*boxes, *hashes, *(phrase for phrase in exact if phrase.sure)])
    # A trace that goes on behind its box and announces another answer has changed its mind.
    later = [
        phrase
        for phrase in exact
        if sure and phrase.start >= sure[-1].stop and _is_short(phrase.answer)
    ]
    for kind in (later, sure, exact, phrases):
        kept = [found for found in kind if found.start < end]
        if kept and _TAKEN_BACK.search(text, kept[-1].start, min(end, kept[-1].stop + 80)):
            return Extracted(answer=None, end=end)
        if kept:
            return Extracted(answer=kept[-1].answer, end=end)
    return Extracted(answer=_nothing_else(text[:end]), end=end)


def _boxes(text: str) -> list[_Found]:
    """Every closed box with something in it, in order of its start; one pass over the braces."""
    if "box" not in text:
        return []
    named = [name.start() for name in re.finditer("boxed", text)]
    open_braces: list[re.Match[str]] = []
    found: list[_Found] = []
    for brace in _BRACES.finditer(text):
        if brace[0].endswith("{") and brace[0] != "\\{":
            open_braces.append(brace)
        elif brace[0] == "}" and open_braces:
            opening = open_braces.pop()
            start, inside = opening.start(), slice(opening.end(), brace.start())
            # Of nested boxes only the innermost is read: a slice for each would be quadratic.
            at = bisect_left(named, inside.start)
            holds_a_name = at < len(named) and named[at] + len("boxed") <= inside.stop
            holds_a_box = bool(found) and found[-1].start > start
            if len(opening[0]) == 1 or holds_a_name or holds_a_box:
                continue
            answer = "" if PLACEHOLDER.fullmatch(text[inside]) else tidy(text[inside])
            if answer:
                found.append(_Found(start, brace.end(), answer, True))
    return sorted(found)


def _joined(text: str, boxes: list[_Found]) -> list[_Found]:
    """The last box, together with those that lead up to it by nothing but "," or "and"."""
    if not boxes:
        return []
    run = [boxes[-1]]
    for box in reversed(boxes[:-1]):
        gap = text[box.stop : run[-1].start]
        if len(gap) > JOIN_CHARACTERS or not JOIN.fullmatch(gap):
            break
        run.append(box)
    answers = dict.fromkeys(box.answer for box in reversed(run))
    return [_Found(run[-1].start, run[0].stop, ", ".join(answers), True)]


def _hashes(text: str) -> list[_Found]:
    """Lines such as "#### 18", GSM8K's own form."""
    if "####" not in text:
        return []
    found = []
    for line in _HASHES.finditer(text):
        answer = tidy(line["value"])
        if answer and not _HEADING.match(answer):
            found.append(_Found(line.start(), line.end(), answer, True))
    return found


def _phrases(text: str) -> list[_Found]:
    """Announcing phrases in order: those with mathematics, and those of at most three words."""
    matches = list(_LINE.finditer(text)) if _LINE_HEAD.search(text) else []
    if "answer" in text.lower() or not text.isascii():  # "an\u017fwer" is one to `re.IGNORECASE`
        matches += _PHRASE.finditer(text)
    found = []
    links: Links = {}
    for match in sorted(matches, key=lambda match: (match.start("value"), match.start())):
        answer = announced_value(text, match.start("value"), match.end("value"), links)
        if _ASKED.match(text, match.start("value"), match.end("value")):
            continue
        plausible = _is_mathematical(answer) or 0 < len(answer.split()) <= 3
        if plausible and not _NOT_AN_ANSWER.match(answer) and not PLACEHOLDER.fullmatch(answer):
            sure = match.re is _PHRASE and bool(match["final"] or match["head"])
            found.append(_Found(match.start(), match.end("value"), answer, sure))
    return found


def _nothing_else(text: str) -> str | None:
    """A text that is one short formula or word; bare numbers are left to math-verify's reading."""
    text = text.strip()
    if not 0 < len(text) <= _BARE_CHARACTERS or "\n" in text or _BARE_NUMBER.fullmatch(text):
        return None
    if PLACEHOLDER.fullmatch(text) or not re.search(r"\w", text):
        return None
    prose = PROSE.findall(COMMAND.sub(" ", text))
    return tidy(text) or None if len(prose) <= (" " not in text) else None


def _is_mathematical(answer: str) -> bool:
    return bool(re.search(r"[0-9\\^=]|^\(?[A-Za-z]\)?$", answer))


def _is_short(answer: str) -> bool:
    """A value with a unit at most: a remark on an answer that stands already is none."""
    return "=" not in answer and len(PROSE.findall(COMMAND.sub(" ", answer))) <= 2
