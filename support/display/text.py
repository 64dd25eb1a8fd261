"""Make text of a model or a data set safe to show on a terminal, in a table or in Markdown.

Every character that could move a cursor, reorder a line or hide itself is made visible. Lines are
wrapped by display width.
"""

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def visible(text: str) -> str:
    """`text` with control, format and unassigned characters made visible, except line feeds.

    C0 controls become their Unicode pictures (ESC is ␛), all others `<U+202E>`.
    """
    if text.isprintable():
        return text
    return "".join(map(_show, text.replace("\r\n", "\n").replace("\t", "    ")))


def _show(char: str) -> str:
    if char == "\n" or unicodedata.category(char) not in _HIDDEN:
        return char
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"<U+{code:04X}>"


def one_line(text: str) -> str:
    """`visible` text on one line: every run of white space is one space."""
    return visible(" ".join(text.split()))


def width(text: str) -> int:
    """Terminal cells that `visible` text takes: 2 for East Asian wide, 0 for combining marks."""
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


def _cells(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shorten(text: str, limit: int) -> str:
    """The first `limit` characters, and how many more there are."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… [{len(text) - limit:,} more characters]"


def wrap(text: str, cells: int) -> list[str]:
    """Lines of at most `cells` (2 or more); breaks at spaces, else inside a word."""
    lines = []
    for line in text.split("\n"):
        while (end := _fit(line, cells)) < len(line):
            space = line.rfind(" ", 1, end + 1)
            cut = space if space > 0 and line[:space].strip() else end
            lines.append(line[:cut])
            line = line[cut:].removeprefix(" ")
        lines.append(line)
    return lines


def _fit(line: str, cells: int) -> int:
    """How many leading characters fit into `cells`; at least 1."""
    used = 0
    for at, char in enumerate(line):
        used += _cells(char)
        if used > cells:
            return max(1, at)
    return len(line)
