r"""How a text that was cut breaks off. In: the text. Out: a description, or None if it looks whole.

A trace that was cut in the middle ends without a full stop, or inside a formula. No rule can tell
more from the text alone: a trace that was cut just behind a sentence looks whole.
"""

# ruff: noqa: RUF001 (full stops of other scripts)

import re

# What a whole text ends with: punctuation, a closing bracket or quote, the end of a formula.
_CLOSED = ".!?।॥؟。！？…\"'”’)]}>$*`|_~✓□■∎%"
# A last line that is an answer without a full stop: "#### 18", "A: x", "18 apples".
_NUMBER_LINE = re.compile(
    r"[ \t]*(?:####[^\n]*|[^\n]{0,40}(?<![A-Za-z])A(?:nswer)?[ \t]*:[^\n]*"
    r"|[-+$€£]?[0-9][0-9,.]*[ \t]?(?:\\?%|[a-z]+)?)"
)
# The beginning or end of an environment of TeX: `\begin{cases}`.
_ENVIRONMENT = re.compile(r"\\(begin|end)\s?\{([A-Za-z*]{1,20})\}")
# An escape of TeX that opens or closes no formula: `\$`, `\{`.
_ESCAPES = re.compile(r"\\(?:\\(?!\[|\]|\(|\))|[{}$%&#_])")
# The beginning of a TeX command: that of `\frac`.
_TEX = re.compile(r"\\[a-zA-Z]")
_LAST_CHARACTERS = 4000


def describe_truncation(text: str) -> str | None:
    """How `text` breaks off, in words; None where it looks whole."""
    text = text.rstrip()
    if opened := _open_formula(text):
        return f"ends inside {opened}"
    line = text.rsplit("\n", 1)[-1]
    if not line or line[-1] in _CLOSED or _NUMBER_LINE.fullmatch(line):
        return None
    return f"ends in the middle of a sentence: {line.strip()[-40:]!r}"


def _open_formula(text: str) -> str | None:
    """The formula or environment that is open at the end of the last paragraphs of `text`."""
    tail = text[-_LAST_CHARACTERS:]
    names: list[str] = []
    for match in _ENVIRONMENT.finditer(tail):
        if match[1] == "begin":
            names.append(match[2])
        elif names:
            names.pop()
    if names:
        return rf"\begin{{{names[-1]}}}"
    for opening, closing in ((r"\[", r"\]"), (r"\(", r"\)")):
        if tail.rfind(opening) > tail.rfind(closing):
            return opening
    # Dollars are money too: only TeX behind an odd one of the last line is an open formula.
    line = _ESCAPES.sub(" ", tail.rsplit("\n", 1)[-1]).replace("$$", "")
    rest = line.rsplit("$", 1)[-1]
    if line.count("$") % 2 and _TEX.search(rest) and not rest.rstrip(" .").endswith((r"\)", r"\]")):
        return "$"
    paragraph = _ESCAPES.sub(" ", tail.rsplit("\n\n", 1)[-1])
    return "braces" if paragraph.count("{") > paragraph.count("}") else None
