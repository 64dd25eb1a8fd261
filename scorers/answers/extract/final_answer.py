r"""Find the final answer of a trace, and where the trace ends.

In: the text a teacher wrote. Out: the answer as text, and how many characters are the solution.
A base model often runs on into further "Question:" blocks, which would be read as its answer.

Order of belief: the last `<answer>…</answer>`; the last of `\boxed{}`, `#### 18` and "The final
answer is 18", unless another announcement follows it; the last other phrase that announces one
("The answer is 18.", "A: 18", "Respuesta: 18", "Option B is correct"); a last line that is nothing
but a choice; a text that is nothing but an answer. All patterns are linear in the text.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from schemas.records import END_OF_THINKING
from scorers.answers.compare.plain_rules import PLACEHOLDER, tidy
from scorers.answers.extract.announced_value import (
    JOIN_CHARACTERS,
    JOIN_OF_BOXES,
    is_mathematical,
    is_prose,
    is_short,
    words_of,
)
from scorers.answers.extract.announcements import (
    CLOSING,
    Announcement,
    choices,
    hashes,
    phrases,
)
from scorers.answers.extract.conclusion import conclusion
from scorers.answers.extract.retraction import is_retracted
from scorers.answers.extract.run_on import end_of_solution
from scorers.answers.extract.surroundings import with_surroundings

# A box that opens, an escape of TeX or a brace: `\boxed{`, `\{`, "}". One scan finds all boxes.
# Doubled backslashes before "boxed" come from texts that were escaped once too often, and from `\\`
# at the end of a row.
_BRACES = re.compile(r"\\{1,4}(?:boxed|fbox)[ \t]{0,3}\{|\\.|[{}]", re.DOTALL)
# A box without braces: `\boxed 5`.
_BARE_BOX = re.compile(r"\\boxed(?=[ \t0-9])[ \t]{0,3}(-?[0-9]+(?:\.[0-9]+)?|[A-J])(?![\w{/^.])")
# A tag of an answer: "<answer>", "</final_answer>".
_TAG = re.compile(r"<(?P<end>/?)(?:final[_ ]?)?answer>", re.IGNORECASE)
_UNCLOSED_CHARACTERS = 100

# A choice and nothing else: "(B)", "**C**", "D) 12 cm"; "(B) is false" is a remark on a choice.
_LONE_CHOICE = re.compile(
    r"[*_ \t]*(?:\(?[A-J]\)?[.:]?[*_ \t.]*"
    r"|\(?[A-J]\)[*_]{0,3}[ \t]+(?![^\n]*\b(?:is|are|was|were|has|have|does|do|can|cannot|will"
    r"|would|not|true|false|wrong|right|correct|incorrect|because|since|if|and|or)\b)[^\n]{1,60})"
)

# The mark of an option at the head of a line: "(B) red", "B. red", "B" alone.
_LISTED = re.compile(r"[\s*_-]*\(?([A-J])(?:[).:]|[*_ \t]*$)")

# A denial directly behind an answer: the ". That is wrong" of "It is 5. That is wrong", the ", but
# that is false" of "It is 5, but that is false", the "? No." that ends a text.
_DENIED_AT_ONCE = re.compile(
    r"[\s$)}*]*[.!?]\s*(?:but |oh,? )?no(?:pe|t so)?[.!]*\s*$"
    r"|[\s$)}*]*[,;.]?\s*(?:but|though|although) (?:that|this|it) (?:is|was) "
    r"(?:wrong|incorrect|false|not (?:right|correct|true|the answer))\b|"
    r"[\s$)]*(?:[.!]\s*(?:hmm,? |but )?(?:that|this|it) )?(?:is|was)(?: a)? "
    r"(?:wrong|incorrect|mistake|not (?:right|correct|the answer))\b"
    r"|[\s$)]*[.!]?\s*(?:but |hmm,? )?(?:wait|actually)\b[^\n]{0,80}"
    r"(?:should be|it is|total is|is)\s*\$?-?[0-9]",
    re.IGNORECASE,
)
# A "not" directly before an answer: that of "not $5$".
_DENIED_BEFORE = re.compile(r"\bnot[\s$]{1,3}$", re.IGNORECASE)
# The word "would": that of "the answer would be 5".
_HYPOTHETICAL = re.compile(r"\bwould\b")
_BARE_CHARACTERS = 100
# Digits, signs of currency and separators alone: "$1,000".
_BARE_NUMBER = re.compile(r"[-+0-9.,\s$€£%]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """What a trace announces, and how much of it to keep.

    `answer` is None where nothing announces one (the grader then takes the last formula or number
    of the text, but for an answer that is `given_up`); `end` is a number of characters:
    `text[:end]` is the solution without run-on. `said` are the words that the answer was read from
    (the rest of the line behind a phrase, what a box or tag holds), and `stop` is where they end in
    the text; empty and 0 where nothing is announced.
    """

    answer: str | None
    end: int
    given_up: bool = False
    said: str = ""
    stop: int = 0


def extract(text: str, *, in_words: bool = False) -> Extracted:
    """The final answer of `text`, and where its solution ends.

    `in_words`: "The answer is the Indian Ocean" announces one, although it is no value. The text
    behind the last `</think>` is read first, because thoughts may announce an answer that the reply
    does not give.
    """
    start = text.rfind(END_OF_THINKING) + len(END_OF_THINKING)
    if start < len(END_OF_THINKING) or not text[start:].strip():
        return _extracted(text, in_words)
    reply = _extracted(text[start:], in_words)
    if reply.answer is not None or reply.given_up:
        return replace(reply, end=start + reply.end, stop=start + reply.stop)
    if (value := conclusion(text[start:], reply.end)) is not None:
        return Extracted(answer=value, end=start + reply.end)
    return _extracted(text, in_words)


def _extracted(text: str, in_words: bool) -> Extracted:
    tags, boxes, marks = _tags(text), _boxes(text), hashes(text)
    spoken = phrases(text, in_words)
    end = end_of_solution(text, [*tags, *boxes, *marks, *spoken])
    if kept := [tag for tag in tags if tag.start < end]:
        return _announced(kept[-1], end)
    boxes = _joined(text, [box for box in boxes if box.stop <= end])
    exact = [
        phrase
        for phrase in spoken
        if is_mathematical(phrase.answer) and not is_prose(phrase.answer)
    ]
    sure = sorted([*boxes, *marks, *(phrase for phrase in exact if phrase.sure)])
    if not sure and not spoken:
        spoken = [choice for choice in choices(text) if choice.start < end]
        if len({choice.answer[:2] for choice in spoken}) > 1:  # remarks on several choices
            spoken = []
        exact = spoken
    # A trace that goes on behind its box and announces another answer has changed its mind.
    later = [
        phrase
        for phrase in exact
        if sure
        and _is_behind(phrase, sure[-1], spoken)
        and is_short(phrase.answer)
        and not _HYPOTHETICAL.search(text, phrase.start, phrase.start + 60)
    ]
    for kind in (later, sure, exact, spoken):
        if not (kept := [announcement for announcement in kind if announcement.start < end]):
            continue
        last = kept[-1]
        if is_prose(last.answer) and text[last.stop : end].strip(CLOSING):
            break  # a solution that begins behind "Answer:"
        if (
            _is_denied_at_once(text, last.stop, end)
            or _DENIED_BEFORE.search(text, max(0, last.start - 8), last.start)
            or _is_taken_back(text, last, end)
        ):
            return Extracted(answer=None, end=end, given_up=True)
        return _announced(last, end)
    alone = _last_choice(text[:end]) or _nothing_else(text[:end])
    return Extracted(answer=alone, end=end, said=alone or "", stop=end if alone else 0)


def _announced(last: Announcement, end: int) -> Extracted:
    return Extracted(answer=last.answer, end=end, said=last.said or last.answer, stop=last.stop)


def _is_taken_back(text: str, announced: Announcement, end: int) -> bool:
    """Whether the text behind an announcement gives its answer up."""
    # An announcement in words may include the rest of its line.
    start = text.find(announced.answer, announced.start, announced.stop)
    stop = start + len(announced.answer) if start >= 0 else announced.stop
    return _is_denied_at_once(text, stop, end) or is_retracted(text[stop:end], announced.answer)


def _is_denied_at_once(text: str, stop: int, end: int) -> bool:
    return _DENIED_AT_ONCE.match(text, stop, min(end, stop + 160)) is not None


def _is_behind(phrase: Announcement, last: Announcement, spoken: Sequence[Announcement]) -> bool:
    """Whether a phrase stands behind the last announcement, if that is one in the same line too."""
    return phrase.start >= last.stop or (phrase.start > last.start and last in spoken)


def _tags(text: str) -> list[Announcement]:
    """What stands between `<answer>` and `</answer>`; a tag that ends the text may be unclosed.

    A server that stops at the closing tag leaves it out.
    """
    if "<" not in text or "answer>" not in text.lower():
        return []
    tags, opening = [], None
    for tag in _TAG.finditer(text):
        if not tag["end"]:
            opening = tag
        elif opening is not None:
            answer, said = _tagged(text[opening.end() : tag.start()])
            if answer:
                tags.append(Announcement(opening.start(), tag.end(), answer, True, said))
            opening = None
    if opening is not None and len(text) - opening.end() <= _UNCLOSED_CHARACTERS:
        inside = text[opening.end() :].strip()
        answer, said = ("", "") if "\n" in inside else _tagged(inside)
        if answer:
            tags.append(Announcement(opening.start(), len(text), answer, True, said))
    return tags


def _tagged(inside: str) -> tuple[str, str]:
    """The answer that a tag holds, and its words: what is announced in it, or all of it."""
    if PLACEHOLDER.fullmatch(inside):
        return "", ""
    if announced := _joined(inside, _boxes(inside)) or hashes(inside) or phrases(inside):
        kept = announced[-1]
        if not _is_taken_back(inside, kept, len(inside)):
            return kept.answer, kept.said
    return tidy(inside), inside


def _boxes(text: str) -> list[Announcement]:
    """Every closed box with something in it, in order of its start; one pass over the braces."""
    if "box" not in text:
        return []
    named = [name.start() for name in re.finditer("boxed", text)]
    open_braces: list[re.Match[str]] = []
    boxes: list[Announcement] = []
    for brace in _BRACES.finditer(text):
        if brace[0].endswith("{") and brace[0] != "\\{":
            open_braces.append(brace)
        elif brace[0] == "}" and open_braces:
            opening = open_braces.pop()
            start, inside = opening.start(), slice(opening.end(), brace.start())
            # Of nested boxes only the innermost is read: a slice for each would be quadratic.
            index = bisect_left(named, inside.start)
            holds_a_name = index < len(named) and named[index] + len("boxed") <= inside.stop
            holds_a_box = bool(boxes) and boxes[-1].start > start
            if len(opening[0]) == 1 or holds_a_name or holds_a_box:
                continue
            answer = "" if PLACEHOLDER.fullmatch(text[inside]) else tidy(text[inside])
            if answer:
                boxes.append(Announcement(start, brace.end(), answer, True, text[inside]))
    bare = (Announcement(box.start(), box.end(), box[1], True) for box in _BARE_BOX.finditer(text))
    return sorted([*boxes, *bare])


def _joined(text: str, boxes: list[Announcement]) -> list[Announcement]:
    """The last box as one announcement with the boxes that "," or "and" joins to it."""
    if not boxes:
        return []
    run = [boxes[-1]]
    for box in reversed(boxes[:-1]):
        gap = text[box.stop : run[-1].start]
        if len(gap) > JOIN_CHARACTERS or not JOIN_OF_BOXES.fullmatch(gap):
            break
        run.append(box)
    answers = ", ".join(dict.fromkeys(box.answer for box in reversed(run)))
    start, stop = run[-1].start, run[0].stop
    whole = with_surroundings(text, start, stop, answers)
    said = run[0].said if whole == run[0].answer else ""
    return [Announcement(start, stop, whole, True, said)]


def _last_choice(text: str) -> str | None:
    """The last line, where it is a choice and nothing else: "(B)", "**C**", "D) 12".

    Not where the line above is the choice before it: a list of options names none of them.
    """
    above, _, line = text.rstrip().rpartition("\n")
    if not _LONE_CHOICE.fullmatch(line):
        return None
    marks = [_LISTED.match(each) for each in (above.rstrip().rpartition("\n")[2], line)]
    if marks[0] and marks[1] and ord(marks[0][1]) + 1 == ord(marks[1][1]):
        return None
    return tidy(line)


def _nothing_else(text: str) -> str | None:
    """A text that is one short formula or word; bare numbers are left to `conclusion`."""
    text = text.strip()
    if not 0 < len(text) <= _BARE_CHARACTERS or "\n" in text or _BARE_NUMBER.fullmatch(text):
        return None
    if PLACEHOLDER.fullmatch(text) or not re.search(r"\w", text):
        return None
    return tidy(text) or None if words_of(text) <= (" " not in text) else None
