"""The answer of a trace that announces none: the last value of its last paragraph.

In: a text and where its solution ends. Out: the last formula or number of the paragraph. None where
the text breaks off or was cut, and where the last sentence with a number denies it, asks for it or
changes it, because that number may stand there by chance.
"""

# ruff: noqa: RUF001 (full stops of other scripts)

import re
import unicodedata

from scorers.answers.compare.plain_rules import tidy
from scorers.answers.extract.announced_value import OPPOSITES, bold_value
from scorers.answers.extract.last_value import last_value
from scorers.answers.extract.run_on import ends_at_turn
from scorers.answers.extract.truncation import describe_truncation
from scorers.answers.notation.unicode_math import to_latex
from scorers.answers.notation.unit_words import changes_number

_PARAGRAPH_CHARACTERS = 2000
# A number with a sign of currency or a unit, and nothing else: "$18", "5 cm".
_ONE_VALUE = re.compile(r"[-+\\$€£]*\.?[0-9][0-9\s.,%€£$\\]*(?:\s?[A-Za-z]{1,12}|%)?")
# The space between two sentences: that of "It is 5. So …".
_SENTENCES = re.compile(r"(?<=[.!?])(?!(?<=[0-9]!)\s[a-z])[\s*\"')\]]+(?=\S)|(?<=[。！？])")
# A digit or the beginning of a formula: `$`, `\frac`.
_VALUE = re.compile(r"[0-9$]|\\[A-Za-z]")
# A word that denies, doubts or bounds a value: the "at least" of "at least 5".
_DOUBT = re.compile(
    r"\?|n['\u2019]t\b|\b(?:nothing|candidates|unable|page|step|case|figure|problem|section"
    r"|example|theorem|lemma|not|no|never|cannot|pas|nicht|keine?|non(?!-)|n\u00e3o|\u043d\u0435"
    r"|neither|nor|none|wrong|incorrect|mistake|but|although|at first|thought|guess|instead"
    r"|however|wait|may ?be|perhaps|should(?! (?:pay|get|receive|buy|choose|charge|sell|use)\b)"
    r"|would|could|might|at least|at most|more than(?! the)|less than|fewer than|greater than"
    r"|between|negative|minus|either|or|unless|if|respectively|congruent|divisible|divides"
    r"|a divisor|ends in|up to)\b|\u2261|\u4e0d\u662f|\u5e76\u975e|\u3067\u306f\u3042\u308a",
    re.IGNORECASE,
)
# A claim of somebody else: the "Some say" of "Some say the answer is 5."
_CLAIMED = re.compile(
    r"(?:^|[,;:(]\s*|\b(?:and|but|that) )[\s*_]*(?:(?:some|many|most|other)(?: people| students)?"
    r"|people|others|they|someone|somebody|he|she|(?:you|one|we) (?:may|might|could)|it is|it was"
    r"|my [a-z]+|a (?:friend|student|classmate))"
    r" (?:(?:may|might|would|could) )?(?:say|says|said|think|thinks|thought|believe|believes"
    r"|believed|claim|claims|claimed|guess|guesses|guessed|tell me|tells me|told me|argue|argues)"
    r"(?: that)? (?:[a-z]|the answer|it|this|there) (?:is|are|was|were)\b"
    r"|\baccording to (?!the\b|our\b|this\b|that\b|these\b)[^,]{1,30}, "
    r"(?:[a-z]|the answer|it) (?:is|was)\b"
    r"|^[\s*_]*(?:suppose|assume|assuming|imagine)\b",
    re.IGNORECASE,
)
# An operation on a value that is named: "Twice that number is 17", "half of the answer is 18".
_OPERATION = re.compile(
    r"\btwice\b|\btimes (?:the answer|that|this)\b"
    r"|\b(?:half|third|quarter|sum|product|difference|square|opposite) of (?:the|that|this)\b"
    r"|\b(?:half|double) the answer\b",
    re.IGNORECASE,
)
# A word that changes the last figure afterwards: the "half" of "Then she spends half".
_GOES_ON = re.compile(
    r"\b(?:half|twice|double|triple|third|quarter|another|dozen|one|two|three|four|five|subtract|add"
    r"|multiply|divide|still|must|next|then|now)\b",
    re.IGNORECASE,
)
# A remark that ends a sentence: the ", or about 3.14" of "It is pi, or about 3.14".
_REMARK_BEHIND = re.compile(
    r"[,;]? (?:with equality\b|or (?:about|approximately|roughly)\b|i\.e\.,? about\b).*"
    r"|\s\([^()]*\)[.]?$"
)
# A sentence that ends in a word in bold type: "The winner is **Ann**."
_BOLD_WORD = re.compile(r"[^*]*\b(?:is|was)\s\*\*(?P<word>[A-Za-z][A-Za-z ]{0,30})\*\*\.?")
_FAREWELL_WORDS = r"Let me know|I hope|Hope (?:this|that)|Feel free"
# The beginning of a farewell: "I hope this helps!"
_FAREWELL_SENTENCE = re.compile(rf"(?:{_FAREWELL_WORDS}|Please let|If you have)\b")
# A clause of reason or time before the main clause: "Since 2 + 3 = 5,".
_CLAUSE_BEFORE = re.compile(
    r"\s*(?:Since|Because|As|Given|Although|While|When)\b[^,]*,", re.IGNORECASE
)
# A last line that names the result: "Result: 18".
_NAMED_RESULT = re.compile(
    r"(?:[A-Za-z]+ ){0,2}(?:result|total|solution|value)[ \t*]*[:=][ \t*]*(?P<value>\S.*)",
    re.IGNORECASE,
)
# A farewell as the last line of a text: "I hope this helps!"
_FAREWELL = re.compile(rf"(?<!\n)\n++(?:{_FAREWELL_WORDS}|If you have (?:any )?)[^\n]*$")
# A check as the last paragraph: "Check: 2 * 5 + 1 = 11".
_CHECK = re.compile(
    r"(?<!\n)\n\n++[*_# ]{0,4}(?:Check|Checking|Verification|Verify|Let['\u2019]s (?:check|verify))"
    r"\b[^\n]*(?:\n[^\n]+){0,9}$"
)
# Two items of a list, the last of which names a value: "1. So it is\n2. x = 5".
_ITEMS = re.compile(
    r"(?:^|\n)[ \t]*[0-9]{1,2}[.)][^\n]*\n[ \t]*[0-9]{1,2}[.)] \$?[a-z] ?= ?[^\n]{1,40}$"
)
# The mark of an item of a list: "4.".
_ITEM = re.compile(r"\(?[0-9]{1,2}[.)]")
# A verdict at the head of a line or at the end of a claim: "Yes, 97 is a prime number.", "The
# statement is false."
_VERDICT = re.compile(
    rf"(?:^|\n)[*_ ]*(?P<head>{'|'.join(OPPOSITES)})[*_]*(?:[,.!;:]|$)"
    r"|\b(?:statement|claim|assertion|conjecture) is [*_]*(?P<predicate>true|false)[*_.]*$",
    re.IGNORECASE,
)
# The last digit with up to three words behind it: the "5 more apples" of "15 more apples".
_LAST_FIGURE = re.compile(r"[0-9](?P<words>(?:\s+[A-Za-z]+){0,3})[^0-9]*$")


def conclusion(text: str, end: int) -> str | None:
    """The last value of `text[:end]` where it can be taken for the answer."""
    kept = _FAREWELL.sub("", text[:end].rstrip()).rstrip()
    while kept and (_is_picture(kept[-1]) or kept[-1] == "\ufe0f"):
        kept = kept[:-1].rstrip()
    start = max(0, len(kept) - 2 * _PARAGRAPH_CHARACTERS)
    kept = kept[:start] + _CHECK.sub("", kept[start:])
    if end < len(text) and not ends_at_turn(text, end):
        return None
    paragraph = kept.rsplit("\n\n", 1)[-1][-_PARAGRAPH_CHARACTERS:]
    if _ONE_VALUE.fullmatch(kept.strip()):
        return tidy(kept)
    named = _NAMED_RESULT.fullmatch(paragraph.rsplit("\n", 1)[-1].strip())
    if named and _ONE_VALUE.fullmatch(named["value"]):
        return tidy(named["value"])
    if _ITEMS.search(paragraph):
        return None
    if not paragraph or describe_truncation(kept) or to_latex(_without_letters(paragraph)) is None:
        return None
    sentences = [_REMARK_BEHIND.sub("", part) for part in _SENTENCES.split(paragraph)]
    while len(sentences) > 1 and _FAREWELL_SENTENCE.match(sentences[-1]):
        sentences.pop()
    valued = [index for index, sentence in enumerate(sentences) if _VALUE.search(sentence)]
    if not valued:
        bold_word = _BOLD_WORD.fullmatch(sentences[-1])
        return tidy(bold_word["word"]) if bold_word else None
    last, *rest = sentences[valued[-1] :]
    if _DOUBT.search(last) or any(
        _DOUBT.search(sentence) or _GOES_ON.search(sentence) for sentence in rest
    ):
        return None
    if len(sentences) > 1 and _ITEM.fullmatch(last.strip()):
        return None  # "4.", the head of an item that was not written
    if (
        _CLAIMED.search(last)
        or _OPERATION.search(last)
        or not _VALUE.search(_CLAUSE_BEFORE.sub("", last))
    ):
        return None
    if bold := bold_value(last):
        return bold
    figure = _LAST_FIGURE.search(last)
    return None if figure and changes_number(figure["words"]) else last_value(last)


def yes_or_no(text: str, end: int) -> str | None:
    """The one "yes", "no", "true" or "false" in the last paragraph of `text[:end]`."""
    paragraph = text[:end].rstrip().rsplit("\n\n", 1)[-1][-1000:]
    verdicts = {
        (match["head"] or match["predicate"]).casefold() for match in _VERDICT.finditer(paragraph)
    }
    return verdicts.pop() if len(verdicts) == 1 else None


def _is_picture(character: str) -> bool:
    """Whether a sign is an emoji, a tick or the like."""
    return unicodedata.category(character) == "So" and ord(character) >= 0x2600


def _without_letters(text: str) -> str:
    """`text` without letters and punctuation beyond ASCII: what remains are signs and digits."""
    return "".join(
        character
        for character in text
        if character.isascii()
        or (unicodedata.category(character)[0] not in "LMPC" and not _is_picture(character))
    )
