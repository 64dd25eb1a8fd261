r"""Answers in words, such as "Paris": their normal form, and whether one holds another.

In: texts as they were written. Out: the form in which two texts that say the same are equal. Only
what never changes the meaning is removed: a false "correct" is worse than a false "wrong".
"""

import re
import unicodedata

from scorers.answers.compare.mismatches import TEXT_COMMAND

# The delimiters of a formula around a whole text: `$Paris$`, `\(Paris\)`.
_FORMULA = re.compile(r"\$([^$]*)\$|\\\((.*)\\\)", re.DOTALL)
# Signs that stand around a text in pairs, as markup or quotation marks.
_PAIRS = (
    *(("**", "**"), ("*", "*"), ("`", "`"), ('"', '"'), ("'", "'")),
    *(("\u201c", "\u201d"), ("\u2018", "\u2019"), ("\u00ab", "\u00bb")),
)
# What may end an answer and says nothing: "Paris.", "Paris;".
_CLOSING = re.compile(r"(?<=[^\s.])[.,;:\u3002\uff0e]$")
# SQuAD's articles, before a word: the A of "vitamin A" and the a of "a b" stay, unlike there.
_ARTICLES = re.compile(r"\b(?:(?:a|an)\s+(?=[^\W\d_]{3})|the\s+(?=\w))", re.IGNORECASE)
# Punctuation of prose, that which SQuAD removes. Signs of mathematics and of names stay, unlike
# there: -5 is not 5, x < 3 is not x > 3, 1.5 is not 15, and C++ is not C.
_PUNCTUATION = re.compile(
    r"(?<=\w)[.,;:?](?=\s|$)|(?<=[^\W\d_]{2})!(?=\s|$)|(?<![0-9])[\"\u201c\u201d]"
    r"|(?<=[^\W\d_])['\u2019](?=[^\W\d_])"
)
# The hyphen of a compound, for which a space may stand: "well-known".
_HYPHEN = re.compile(r"(?<=[^\W\d_]{2})-(?=[^\W\d_]{2})")
# Signs of typesetting, as they are typed: curved apostrophes, hyphens that never break.
_TYPED = {0x2018: "'", 0x2019: "'", 0x2010: "-", 0x2011: "-"}
# Characters whose compatibility form is another text: 10² is not 102, and ½ is not 1/2 beside a 3.
_MEANT = ("<super>", "<sub>", "<fraction>", "<circle>", "<square>")


def normal(text: str, *, case: bool = False, squad: bool = False) -> str:
    """The normal form of an answer in words.

    Args:
        text: the answer.
        case: keep capitals and small letters apart.
        squad: leave out articles and the punctuation of prose, as the evaluation of SQuAD does.
    """
    if not text.isascii():
        text = "".join(map(_compatible, unicodedata.normalize("NFC", text)))
        text = unicodedata.normalize("NFC", text).translate(_TYPED)
    text = _bare(" ".join(TEXT_COMMAND.sub(r"\1", text).split()))
    if not case:
        text = text.casefold()
    if squad:
        text = _ARTICLES.sub("", _HYPHEN.sub(" ", _PUNCTUATION.sub("", text)))
    return " ".join(text.split())


def holds(text: str, part: str) -> bool:
    """Whether `part` stands in `text` as whole words; both are normal forms."""
    if not part or part not in text:
        return False
    return re.search(rf"(?<!\w){re.escape(part)}(?!\w)", text) is not None


def _bare(text: str) -> str:
    """`text` without what stands around it as markup, and without closing punctuation."""
    before = None
    while text != before:
        before = text
        text = _CLOSING.sub("", text).strip()
        if formula := _FORMULA.fullmatch(text):
            text = (formula[1] or formula[2] or "").strip()
        for opening, closing in _PAIRS:
            inside = text[len(opening) : -len(closing)]
            around = text.startswith(opening) and text.endswith(closing)
            if around and inside.strip() and opening not in inside and closing not in inside:
                text = inside.strip()
    return text


def _compatible(character: str) -> str:
    """A character in its plain form: a wide letter as a narrow one, an unseen sign as nothing."""
    if unicodedata.category(character) == "Cf":
        return ""
    form = unicodedata.decomposition(character)
    if not form.startswith("<") or form.startswith(_MEANT):
        return character
    return unicodedata.normalize("NFKC", character)
