r"""Announcements of an answer in a text: "#### 18", "The answer is 18", "Option B is correct".

In: a text. Out: `Announcement` values in order of their place. All patterns are linear in the text.
"""

# ruff: noqa: RUF001 (marks of other scripts)

import re
from collections.abc import Sequence
from typing import NamedTuple

from scorers.answers.compare.plain_rules import PLACEHOLDER, tidy
from scorers.answers.extract.announced_value import Links, announced_value, is_mathematical

# GSM8K's mark with its answer: "#### 18".
_HASHES = re.compile(r"####[ \t]{0,8}(?P<value>[^\s#][^\n#]*)")
# A heading of Markdown, which is no answer: "#### 2. Simplify".
_HEADING = re.compile(r"[0-9]+[.)]?[ \t]+\S+[ \t]+\S+|[0-9]+[.):][ \t]")
# The beginning of a number, an amount of money or a formula: that of "-$5".
_NUMERIC = re.compile(r"[-+$]{0,3}[0-9.(]|[$\\]")
# A word that begins a title, which is no answer: the "Step" of "#### Step 2".
_TITLE = re.compile(
    r"(?:step|part|case|solution|conclusion|summary|explanation|answer|final|verification|check"
    r"|given|method|approach|analysis|result|calculation|note|problem|question|example|proof)\b",
    re.IGNORECASE,
)
_HASH_WORDS = 3
_INDENT = 8

# A line that begins with a short mark of an answer: "A: 18", "Ans = 18". The line behind it, which
# must not be "B: …", is looked at once before the value, and not for each star that may begin it.
_LINE = re.compile(
    r"^[ \t*]{0,6}(?:A[ \t]?:|[Aa][Nn][Ss][ \t]?[:=])(?![^\n]*+\n++[ \t*]{0,6}B[ \t]?:)"
    r"[ \t*]*(?P<value>\S[^\n]*)",
    re.M,
)
# One of these stands in every such line, in small letters; they are found many times faster.
_LINE_MARKS = ("a:", "a :", "a\t:", "ans")
# A phrase that announces an answer: "The final answer is 18", "Answer: 18".
_PHRASE = re.compile(
    r"(?:^[ \t#*_>]{0,8}(?:the[ \t]+)?(?P<head>(?:final[ \t]+)?)answer[ \t#*_:]{0,6}\n"
    r"|\b(?P<final>(?:final[ \t]+)?)answers?\b"
    r"(?:[ \t]*\([^()\n]{0,40}\)"
    r"|,?[ \t]+(?:therefore|thus|then|here|now)\b,?"
    r"|[ \t]+(?:to|for|of|in)[ \t](?!(?:the )?(?:[a-z]+ )?(?:part|step)\b)[^\n.:=?!]{1,60}?)?"
    r"[ \t*_\"']{0,6}"
    r"(?::|=|\b(?:is|are|equals|(?:would|will|should|must)[ \t]+be)\b))"
    r"[\s:*_`\"]{0,16}(?:\\?\")?"
    r"(?:(?:therefore|thus|then|simply|just|indeed|exactly|approximately|about|equal to|option"
    r"|choice|for sure|definitely|clearly|probably|most likely|likely)\b[ ,:]{0,3}){0,3}"
    # A look-ahead, so that an announcement inside the rest of the line is found as well.
    r"(?=(?P<value>[^\n]{1,300}))",
    re.IGNORECASE | re.M,
)
# A letter alone that may be a choice: the B of "I think it's B". Letters are rare, so they are
# looked for first, and the five patterns below are tried around each.
_LONE_LETTER = re.compile(r"(?<![A-Za-z\\])[A-J](?![A-Za-z])")
# The words before a letter that name it: "the correct option is (".
_NAMED_BEFORE = re.compile(
    r"(?<![A-Za-z])(?:(?i:correct|right|best|appropriate|final|the)) (?i:option|choice|letter|one)"
    r"[ \t]{1,3}(?:is|must be)[ \t:*]{1,6}\(?$"
)
# The words behind a letter that call it right: the ") is correct" of "(D) is correct".
_CORRECT_BEHIND = re.compile(
    r"\)?\*{0,2}[ \t]{1,3}is[ \t]{1,3}(?:(?:the|our) )?(?:(?:only|most) )?"
    r"(?:correct|right|best|appropriate|(?<=the )answer(?=[\s*]*(?:[.,;!\n]|$)))\b(?! ?\?)"
    r"(?![ \t]+(?:only|if|when|for|to|unless|but|part|known|case)\b)"
)
# What may stand before such a letter: the "Option (" of "Option (D) is correct".
_CORRECT_BEFORE = re.compile(r"(?:(?i:option|choice|answer) )?\(?$")
# Another letter before one: the "A or" of "A or B is correct".
_ALTERNATIVE = re.compile(r"(?<![A-Za-z])[A-J]\)?,? (?:or|and|nor) (?:option |choice )?\(?$")
# The words before a letter that its writer means: "I think it's ", "So the answer is ".
_MEANT_BEFORE = re.compile(
    r"(?<![A-Za-z])(?:(?:I|[Ww]e)(?:['\u2019](?:d|ll)| would| will)?"
    r" (?:think|believe|guess|choose|pick|select|say|go with)|(?i:so|thus|hence|therefore),?"
    r"|[Mm]y (?:choice|pick) is)[ \t]"
    r"(?:(?:it|that|this)(?:['\u2019]s| is| must be) )?(?:the )?(?:answer is )?"
    r"(?:(?:option|choice|letter) )?\(?$"
)
# The end of a sentence behind such a letter, or a reason: the "because" of "I choose B because".
_MEANT_BEHIND = re.compile(
    r"\)?\*{0,2}(?=[.;!](?![ \t]+(?:is|was|[Nn]o|[Ww]ait)\b)|[ \t]*(?:\n|$)"
    r"|,?[ \t]+(?:because|since)\b(?![^\n]*\b(?:or|but|if|unless|either)\b))"
)
# A clause that names another letter: the "but C" of "but C is better".
_BUT_ANOTHER = re.compile(
    r"\b(?i:but|however|although|yet)\b[^\n]{0,60}?"
    r"(?<![A-Za-z])(?P<other>[B-HJ]|A(?=\)| is\b))(?![A-Za-z])"
)
# The end of a clause; a decimal point is none: the "; " of "It is 5; so".
_ENDED = re.compile(r"[.!?;]\s|\n")
# The word "if": that of "if it would be 5".
_IF = re.compile(r"\b[Ii]f\b")
_REMARK = 400
# A word that denies a choice: the "not" of "it is not B".
_DENIED = re.compile(
    r"n['\u2019]t\b|\b(?:not|neither|nor|none|never|no|both|wrong|incorrect|false|statement)\b",
    re.IGNORECASE,
)
# A sign that ends a clause: the full stop of "It is 5. So".
_CLAUSE = re.compile(r"[.!?;\n]")
# Words that make the answer another's: the "if the" of "if the answer is 12", "a common wrong".
_NOT_MINE = re.compile(
    r"\bsub-$|\b(?:wrong|incorrect|worst|least(?: [a-z]+)?|expected|intermediate|another"
    r"|other|his|her|their|whether|reference|seems?|says|said"
    r"|(?:some|many|most|others|people|they) (?:say|think|believe|claim)|thinks|thought"
    r"|claims|claimed|glance,?|step [0-9]+|according to [A-Z][a-z]+,"
    r"|(?:do|does|did)(?:n['\u2019]t| not) (?:think|believe|say)"
    r"|students?['\u2019]s?|common|previous|suppose|assume"
    r"|if|(?:might|may|could|would) (?:think|say|guess)|tempting to say"
    r"|(?:half|third|quarter|fifth|sum|product|difference|square|cube|opposite|negative|reciprocal"
    r"|inverse|percent|multiple|rest|part|digits?) of|half|twice|double|triple|times)"
    r"(?: that)?(?: the| an?| all| both)?[ \t*]{1,3}$",
    re.IGNORECASE,
)
# The same for ASCII in small letters, where it is found several times faster.
_NOT_MINE_SMALL = re.compile(_NOT_MINE.pattern.lower())
_CONTEXT = 80
# Words that only suppose a choice: the "whether" of "whether B is correct".
_SUPPOSED = re.compile(
    r"\b(?:if|whether|that|assume|assuming|suppose|why|is|not|check|whereas)[ \t(*]{1,3}"
    r"(?:option |choice )?\(?$",
    re.IGNORECASE,
)
CLOSING = " \t\r\n\"'`*"
_MOST_WORDS = 30  # of an answer in words at the end of a text
# A token of a chat template that ends a text: "</s>", "<|im_end|>".
TOKEN_BEHIND = re.compile(r"\s*<[/|\uff5c]?[A-Za-z_\u2581]{1,20}[|\uff5c]?>$")
# The first of several choices: the "A," of "A, C".
_SEVERAL_CHOICES = re.compile(r"\(?[A-J]\)?,")
# An announcement in another language, with a verb or a colon: "Respuesta: 18".
_ELSEWHERE = re.compile(
    r"(?:\b(?:respuesta|r(?:é|e\u0301?)ponse|risposta|resposta|antwort|odpowied[źz]|ответ|antwoord"
    r"|svar|cevap)"
    r"(?:[ \t](?:final|correcta|correcte|finale|finais|corretta|correta|richtige))?"
    r"[ \t\u00a0\u202f*]{0,4}(?::|=|\b(?:es|est|ist|è|é|jest|is|är|er)\b)"
    r"(?:[ \t*]{1,4}(?:la|el|le|der|die|das|a|o)(?:[ \t](?:opción|option|opção|lettre|letra))?"
    r"(?=[ \t*(]{1,4}[A-J]\b))?"
    r"(?:[ \t](?:donc|alors|entonces|portanto|quindi|also|daher|somit),?)?"
    r"|故?(?:应|應)?[选選](?:择|擇)?[ \t]?[:：]?(?=[ \t]?\(?[A-J](?![A-Za-z]))"
    r"|(?:【答案】[ \t]?[:：]?|(?:答案|答え|回答|正解|정답)[ \t]?"
    r"(?:(?:应该|應該)?(?:是|为|為|选择|選擇|选|選|は|은|는)[ \t]?[:：]?|[:：])))"
    r"[ \t\u00a0\u202f*]{0,6}(?P<value>[^\n。，；]{1,300})",
    re.IGNORECASE,
)
# One of these stands in every match; to look for them first is many times faster.
_ELSEWHERE_WORDS = (
    *("respuesta", "reponse", "réponse", "re\u0301ponse", "risposta", "resposta", "antwort"),
    *("antwoord", "svar", "cevap", "odpowied", "ответ", "答", "正解", "정답", "选", "選"),
)
_ELSEWHERE_IN_ASCII = tuple(filter(str.isascii, _ELSEWHERE_WORDS))

# A question mark in the same sentence: an answer that is asked for is none, as in "18? No".
_ASKED = re.compile(r"[^.!\n]{0,40}\?")
# A word that begins no answer: the "correct" of "The answer is correct".
_NOT_AN_ANSWER = re.compile(
    r">{1,2}[ \t]*final answer"
    r"|(?:in)?correct\b|wrong\b|right\b|not\b|given\b|found\b|obtained\b|what\b|how\b|below\b|above\b",
    re.IGNORECASE,
)
# A word that begins no value, and may begin an answer in words: the "the" of "the Indian Ocean".
_NOT_A_VALUE = re.compile(r"(?:the|that|as|to|in|we|you|now)\b", re.IGNORECASE)


class Announcement(NamedTuple):
    """An announced answer, and where its announcement starts and stops in the text.

    `sure` where it is the final answer and cannot be the result of a step. `said` are the words
    that `answer` was read from, where they are more than the answer.
    """

    start: int
    stop: int
    answer: str
    sure: bool
    said: str = ""


def hashes(text: str) -> list[Announcement]:
    """GSM8K's own form, "#### 18", alone on a line or behind the sentence that ends in it.

    Words behind the mark are an answer only in the last line, and where they are no title.
    """
    if "####" not in text:
        return []
    last_line = text.rfind("\n", 0, len(text.rstrip())) + 1
    announcements = []
    for mark in _HASHES.finditer(text):
        answer = tidy(TOKEN_BEHIND.sub("", mark["value"].rstrip()))
        line_start = text.rfind("\n", 0, mark.start()) + 1
        heads_line = not text[line_start : mark.start()].strip()
        if heads_line and mark.start() - line_start > _INDENT:
            continue
        if _NUMERIC.match(mark["value"]):
            is_announced = not (heads_line and _HEADING.match(answer))
        else:
            few = len(answer.split()) <= _HASH_WORDS
            is_announced = mark.start() >= last_line and few and not _TITLE.match(answer)
        if answer and is_announced:
            announcements.append(Announcement(*mark.span(), answer, True, mark["value"]))
    return announcements


def phrases(text: str, in_words: bool = False) -> list[Announcement]:
    """Announcing phrases in order, whose answer is mathematical, short, or the end of the text.

    `in_words`: the answer may be words that begin no value, such as "the Indian Ocean".
    """
    lower = text.lower()
    matches = [*_LINE.finditer(text, _first_line(text, lower, _LINE_MARKS))]
    matches += _PHRASE.finditer(text, _first_line(text, lower, ["answer"]))
    announcements = []
    links: Links = {}
    for match in sorted(matches, key=lambda match: (match.start("value"), match.start())):
        start, stop = match.span("value")
        answer = announced_value(text, start, stop, links)
        if _ASKED.match(text, start, stop) or _is_anothers(text, lower, match.start()):
            continue
        if "would" in match[0] and _is_supposed(text, match.start(), match.end()):
            continue
        answer = tidy(TOKEN_BEHIND.sub("", answer))
        if answer.count("}") > answer.count("{"):
            inner = answer.removeprefix("}").removesuffix("}").strip()
            answer = tidy(inner) if re.search(r"\w", inner) else answer
        words = len(answer.split())
        short = 0 < words <= 3 or (words <= _MOST_WORDS and not text[stop:].strip(CLOSING))
        plausible = short or is_mathematical(answer) or _SEVERAL_CHOICES.match(answer)
        if _NOT_AN_ANSWER.match(answer) or (not in_words and _NOT_A_VALUE.match(answer)):
            continue
        if plausible and not PLACEHOLDER.fullmatch(answer):
            sure = match.re is _PHRASE and bool(match["final"] or match["head"])
            announcements.append(Announcement(match.start(), stop, answer, sure, match["value"]))
    return sorted([*announcements, *_elsewhere(text, lower, links)])


def _first_line(text: str, lower: str, marks: Sequence[str]) -> int:
    """Where the first line with one of `marks` begins; the end of the text where none has one."""
    if not text.isascii():  # "an\u017fwer" is "answer" to `re.IGNORECASE`
        return 0
    places = [place for mark in marks if (place := lower.find(mark)) >= 0]
    return text.rfind("\n", 0, min(places)) + 1 if places else len(text)


def _is_anothers(text: str, lower: str, start: int) -> bool:
    """Whether the words before `text[start:]` make the answer another's, or that of a step."""
    # Every match ends so. To search for so many words takes longer than all else here.
    if not text[max(0, start - 2) : start].removesuffix("\n").endswith((" ", "\t", "*", "-")):
        return False
    pattern, read = (_NOT_MINE_SMALL, lower) if text.isascii() else (_NOT_MINE, text)
    return pattern.search(read, max(0, start - 40), start) is not None


def _is_supposed(text: str, start: int, stop: int) -> bool:
    """Whether the clause around `text[start:stop]` holds an "if"."""
    before = _ENDED.split(text[max(0, start - _CONTEXT) : start])[-1]
    behind = _ENDED.split(text[stop : stop + _CONTEXT])[0]
    return _IF.search(before) is not None or _IF.search(behind) is not None


def choices(text: str) -> list[Announcement]:
    """Sentences that name a choice: "The correct option is B", "(D) is correct"."""
    announcements = []
    for letter in _LONE_LETTER.finditer(text):
        before = text[max(0, letter.start() - _CONTEXT) : letter.start()]
        behind = text[letter.end() : letter.end() + _CONTEXT]
        answer, stop, said = letter[0], letter.end(), ""
        correct = _CORRECT_BEHIND.match(behind)
        if named := _NAMED_BEFORE.search(before):
            rest = behind.split("\n", 1)[0].split(".", 1)[0].lstrip(")*:. ")
            answer = tidy(f"({answer}) {rest}") if rest else answer
        elif correct:
            named = None if _ALTERNATIVE.search(before) else _CORRECT_BEFORE.search(before)
            stop += correct.end()
        elif _MEANT_BEHIND.match(behind):
            named = _MEANT_BEFORE.search(before)
            if "because" in behind or "since" in behind:  # a reason, which may speak for another
                said = text[letter.start() : letter.end() + _REMARK].split("\n", 1)[0]
        clause = _CLAUSE.split(before)[-1]
        clause = clause if correct else clause.rsplit(",", 1)[-1]
        if not named or _DENIED.search(clause) or _SUPPOSED.search(before[: named.start()]):
            continue
        another = _BUT_ANOTHER.search(text, letter.end(), letter.end() + _REMARK)
        if not another or another["other"] == letter[0]:
            announcements.append(Announcement(letter.start(), stop, answer, False, said))
    return announcements


def _elsewhere(text: str, lower: str, links: Links) -> list[Announcement]:
    """Announcements in other languages than English; `lower` is the text in lower case."""
    words = _ELSEWHERE_IN_ASCII if lower.isascii() else _ELSEWHERE_WORDS
    if not any(map(lower.__contains__, words)):
        return []
    announcements = []
    for match in _ELSEWHERE.finditer(text):
        answer = announced_value(text, match.start("value"), match.end("value"), links)
        answer = tidy(TOKEN_BEHIND.sub("", answer))
        if answer and (is_mathematical(answer) or len(answer.split()) <= 3):
            announcements.append(Announcement(*match.span(), answer, False, match["value"]))
    return announcements
