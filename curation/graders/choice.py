"""Grade multiple choice: the answer is the letter of an option, or its text.

Options come from the prompt's choices (`columns.choices` of the source) or, where it has none, from
the prompt's text, as in "(A) red (B) dark red". An answer counts only where all of it names one
option: a letter beside another option's text, two options, or an option that the text takes back
are not read. Rules and wording of letters are those of mathematics (`scorers/answers`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from curation.graders import Grader, Submission
from curation.sources.columns.references import LETTERS
from schemas.records import Grade, GradedTrace, Prompt
from scorers.answers.compare.choices import options, split_choice
from scorers.answers.compare.contrasts import contrast, reasoned
from scorers.answers.compare.numerals import compare_numbers
from scorers.answers.compare.option_forms import letter_and_text, level, plain
from scorers.answers.compare.plain_rules import quick_grade, tidy
from scorers.answers.compare.words import holds, normal
from scorers.answers.extract.conclusion import conclusion
from scorers.answers.extract.statements import DENIED, Statement, reply_start, statement
from scorers.answers.grade import GRADING, Answer
from scorers.answers.notation.units import unit_of

VERSION = 2
LONGEST_CHARACTERS = 600  # of an answer: an option and a reason
# A dash between a letter and its text: the one of "B - 12 cm".
_DASH = re.compile(r"^\(?([A-J])\)?\s+[-\u2013\u2014]\s+(?=\S)")
# The words before the answer of a reply of one line: the "It is" of "It is B."
_LEAD = re.compile(
    r"(?:(?:so|thus|hence|therefore),? )?(?:it(?:['\u2019]s| is| must be)"
    r"|the (?:correct |right |best )?(?:answer|option|choice) is) ",
    re.IGNORECASE,
)
# The head of a sentence that only supposes: the "If" of "If A is wrong, the answer is B."
_SUPPOSED = re.compile(
    r"(?:^|[.!?\n]\s)\s*(?:if|unless|assuming|suppose|supposing)\b[^.!?\n]*$", re.I
)
# A doubt that takes an answer back and names no other: "Wait, no."
_TAKEN_BACK = re.compile(
    r"\b(?:no(?=[\s,.!]*$|[,.!])|nope|wrong|incorrect|mistaken?|unsure"
    r"|not (?:right|correct|sure|true))\b",
    re.IGNORECASE,
)
# Two boxes side by side, which name two options where they differ: `\boxed{A} \boxed{B}`.
_TWO_BOXES = re.compile(r"\\boxed\s?\{([^{}]{1,80})\}[\s,;$/]*\\boxed\s?\{([^{}]{1,80})\}")
# A claim that an option is right: the "is right" of "because A is right".
_RIGHT = re.compile(r"\b(?:right|correct|true|best|better)\b", re.IGNORECASE)
# The mark of an option at the head of a line: "(B) red", "- B. red".
_LISTED = re.compile(r"[\s*_-]*\(?([A-J])[).:]")
# What may follow an option's text: the reason of "12 cm, because 3 * 4 = 12".
_REASON = re.compile(
    r"[\s,;(\u2013\u2014]*(?:(?P<why>because|since)|as|so|which)\b|[,;.]\s", re.IGNORECASE
)
# A letter in capitals that names an option; "A" and "I" are words as well.
_LETTER = re.compile(r"(?<![A-Za-z'\u2019])(?:[B-HJ]|\([A-J]\)|[AI](?=[).:]|$))(?![A-Za-z'\u2019])")


def build() -> Grader:
    """The grader; it has no options."""
    return ChoiceGrader()


class ChoiceGrader(Grader):
    """Reads which option a trace names, and compares its letter with the gold's."""

    def grade(self, submissions: Sequence[Submission]) -> list[Answer]:
        """Read each trace; without options, or without one that is right, all are unparsed."""
        return [_grade(prompt, trace.text) for prompt, trace in submissions]

    def at_once(self, submissions: Sequence[Submission]) -> list[Answer]:
        """The same: it waits for nothing."""
        return self.grade(submissions)

    def fault(self, prompt: Prompt) -> str:
        """No options, only one, or a gold that names none of them."""
        if prompt.more_golds:
            return "the gold is a list of answers, and the grader choice compares one"
        listed = _options(prompt)
        if not listed:
            return (
                "the prompt lists no options as (A), (B), …, and no column of choices was read; "
                "name it in the source's columns.choices"
            )
        if len(listed) < 2:
            return "there is only one choice"
        if _OptionSet(listed).named(prompt.gold) is None:
            return f"the gold {prompt.gold[:60]!r} does not name one of the {len(listed)} choices"
        return ""

    def final_answer(self, prompt: Prompt, correct: Sequence[GradedTrace]) -> str:
        """Letter and text: "(B) 12"."""
        listed = _options(prompt)
        letter = _OptionSet(listed).named(prompt.gold)
        return f"({letter}) {listed[letter]}" if letter else prompt.gold

    def fingerprint(self) -> object:
        """The versions of the comparison and of the rules that find an answer."""
        return [VERSION, GRADING]


def _grade(prompt: Prompt, text: str) -> Answer:
    said = statement(text)
    end, answer = said.found.end, said.found.answer
    choices = _OptionSet(_options(prompt))
    wanted = choices.named(prompt.gold)
    if not said.readings and not said.found.given_up:  # its last line may be an option, or a value
        above, _, line = text[reply_start(text) : end].strip().rpartition("\n")
        whole = choices.is_whole(line) if above else choices.read(line)
        answer = tidy(line) if whole else conclusion(text, end)
    unparsed = Answer(grade=Grade.UNPARSED, answer=answer, end=end)
    if wanted is None or answer is None or _repeats_options(text[:end], said.readings):
        return unparsed
    boxes = _TWO_BOXES.search(text, max(0, said.found.stop - 200), said.found.stop)
    if boxes and boxes[1] != boxes[2]:
        return unparsed
    if said.readings and _SUPPOSED.search(_before(text[: said.found.stop], said.readings[0])):
        return unparsed
    chosen = choices.stated(said, answer)
    if chosen is None:
        return unparsed
    letter, read = chosen
    grade = Grade.CORRECT if letter == wanted else Grade.WRONG
    return Answer(grade=grade, answer=read, end=end)


def _is_denied(readings: Sequence[str]) -> bool:
    """Whether the first sentence of an announcement may say the opposite: "B, which is wrong"."""
    return any(DENIED.search(reading) for reading in readings[1:2] or readings)


def _before(text: str, reading: str) -> str:
    """What stands before an announcement in its line."""
    start = text.rfind(reading)
    return text[text.rfind("\n", 0, start) + 1 : start] if start >= 0 else ""


def _repeats_options(text: str, readings: Sequence[str]) -> bool:
    """Whether the last two lines are two options, and nothing else names one."""
    lines = [line for line in text[-2 * LONGEST_CHARACTERS :].splitlines() if line.strip()]
    if readings and lines and tidy(lines[-1]) != tidy(readings[0]):
        return False
    marks = [_LISTED.match(line) for line in lines[-2:]]
    return len(marks) == 2 and all(marks) and marks[0][1] != marks[1][1]  # type: ignore[index]


def _options(prompt: Prompt) -> dict[str, str]:
    """The texts of the options by their letters."""
    if prompt.choices:
        return dict(zip(LETTERS, prompt.choices, strict=False))
    return {letter: tidy(text) for letter, text in options(prompt.text).items()}


class _OptionSet:
    """The options of one prompt."""

    def __init__(self, listed: Mapping[str, str]) -> None:
        self._texts = listed
        # "Red" and "red!" may both be options; then more of a text must be the same.
        forms = [normal(text, squad=True) for text in listed.values()]
        self._loosely = all(forms) and len(set(forms)) == len(forms)
        self._is_level = len({level(form) for form in forms}) == len(forms)
        self._forms = {letter: self._form(text) for letter, text in listed.items()}

    def stated(self, said: Statement, answer: str) -> tuple[str, str] | None:
        """The letter of the one option that an announcement names, and the words that name it."""
        attempts = [(way, one) for way in (self.named, self.read) for one in said.readings]
        for way, reading in attempts:
            if letter := way(reading):
                read = tidy(reading)
                if reading == said.readings[-1] and self._aside_differs(said.readings, letter):
                    return None
                break
        else:
            # The answer as mathematics reads it is a part of the words around it.
            letter, read = self.read(answer), answer
            if letter and (self._others(said.readings[:2], letter) or _is_denied(said.readings)):
                return None
        if not letter or self._others((said.doubt,), letter):
            return None
        if _TAKEN_BACK.search(said.doubt) and letter not in self._mentioned(said.doubt):
            return None
        return letter, read

    def read(self, text: str) -> str | None:
        """The letter of the one option that `text` names, beside what it is not, or why."""
        if letter := self.named(text):
            return letter
        if lead := _LEAD.match(text):
            return self.read(text[lead.end() :])
        if parts := contrast(text):
            letter, others = self.named(parts.kept), set(map(self.named, parts.denied))
            return letter if letter and not others & {letter, None} else None
        if because := reasoned(text):
            kept, reason = because
            letter = self.named(kept)
            return letter if letter and self._is_reason(reason, letter) else None
        return None

    def _is_reason(self, reason: str, letter: str) -> bool:
        """Whether a reason speaks for an option: it denies every other that it names."""
        named, denies = set(self._mentioned(reason)), DENIED.search(reason) is not None
        if letter in named and denies:
            return False
        return named <= {letter} or (denies and not _RIGHT.search(reason))

    def _aside_differs(self, readings: Sequence[str], letter: str) -> bool:
        """Whether the aside that the last reading lacks speaks for another: "B, the red one"."""
        if len(readings) < 2:
            return False
        first = readings[-2]
        aside = first[len(readings[-1]) :] if first.startswith(readings[-1]) else ""
        if not re.match(r"[\s,;(\u2013\u2014]", aside):
            return False  # another sentence
        if re.match(r"\W*(?:because|since|as)\b", aside, re.IGNORECASE):
            return not self._is_reason(aside, letter)
        return self._others((aside,), letter)

    def is_whole(self, line: str) -> bool:
        """Whether a line is the letter of an option and its text, and nothing else."""
        choice = split_choice(line)
        return choice is not None and self._letters_of(choice[1]) == {choice[0]}

    def named(self, text: str) -> str | None:
        """The letter of the one option that all of `text` names; None for none, or several."""
        text = plain(text)
        if not text or len(text) > LONGEST_CHARACTERS:
            return None
        by_text = self._letters_of(text)
        choice = split_choice(_DASH.sub(r"\1. ", text))
        if choice is None or choice[0] not in self._texts:
            return by_text.pop() if len(by_text) == 1 else self._named_twice(text)
        letter, rest = choice
        if by_text - {letter}:
            return None  # a letter that is also the text of another option
        fits = not rest or self._is_text_of(rest, letter) or self._named_twice(text) == letter
        return letter if fits else None

    def _named_twice(self, text: str) -> str | None:
        """The letter of an option that is named by its text and by its letter: "red (B)"."""
        both = letter_and_text(text)
        if not both:
            return None
        letter, own = both
        named = self._letters_of(own) or self._letters_of(f"the {own}")
        return letter if named == {letter} else None

    def _is_text_of(self, rest: str, letter: str) -> bool:
        """Whether what follows a letter is the text of its option, with a reason at most."""
        if named := self._letters_of(tidy(rest)):
            return named == {letter}
        form, own = self._form(rest), self._forms[letter]
        behind = form[len(own) :]
        reason = _REASON.match(behind) if own and form.startswith(own) else None
        if not reason or (DENIED.search(behind) and not reason["why"]):
            return False
        return not self._others((rest[len(own) :],), letter)

    def _letters_of(self, text: str) -> set[str]:
        """The letters of the options whose text this is: the same words, else the same value."""
        form = self._form(text)
        exact = {letter for letter, own in self._forms.items() if own and own == form}
        if exact or not any(character.isdigit() for character in text):
            return exact
        return {letter for letter, own in self._texts.items() if _is_same_value(text, own)}

    def _form(self, text: str) -> str:
        text = level(text) if self._is_level else text
        return normal(text, squad=self._loosely, case=not self._loosely)

    def _others(self, texts: Sequence[str], letter: str) -> bool:
        """Whether other options than `letter` are named in running text."""
        return any(set(self._mentioned(text)) - {letter} for text in texts)

    def _mentioned(self, text: str) -> Iterator[str]:
        for match in _LETTER.finditer(text):
            letter = match[0].strip("()")
            if letter in self._texts:
                yield letter
        form = self._form(text)
        # The longest first: where "dark red" stands, "red" does not.
        for letter, own in sorted(self._forms.items(), key=lambda item: -len(item[1])):
            if holds(form, own):
                yield letter
                form = form.replace(own, " ")


def _is_same_value(answer: str, option: str) -> bool:
    """Whether two texts are one value, such as "12" and "12 cm", and name no different units."""
    option = tidy(option)
    units = {unit_of(answer), unit_of(option)} - {None}
    if len(units) > 1 or ("%" in answer) is not ("%" in option):
        return False  # "5 May" is not "5 April", whatever May is
    if compare_numbers(answer, answer) is Grade.CORRECT and option.startswith(f"{answer} "):
        return True
    return quick_grade(answer, option) is Grade.CORRECT
