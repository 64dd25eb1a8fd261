r"""Find prompts that need a drawing, an image or a link that their text does not contain.

A teacher that reads text alone can only guess at such a prompt. The rules are conservative: a
prompt that merely mentions a graph, or a table that it includes, passes. They find:

- an image in Markdown, HTML or LaTeX, or the mark of a removed image;
- a reference to a figure, an attachment or a link, where the prompt has none ("as shown in the
  figure", "the diagram below", "see Figure 2");
- drawing code (`[asy]`, `tikzpicture`) with facts that the words beside it lack: a number or a
  name in one of its labels, all of the numbers, or its looks ("the shaded region"). A drawing that
  only illustrates the words passes.
  Measured on MATH: docs/adr/0021-prompts-that-point-elsewhere.md.
"""

import re

_CODE = re.compile(
    r"\[asy\].*?(?:\[/asy\]|\Z)|\\begin\{(asy|tikzpicture|pspicture)\}.*?(?:\\end\{\1\}|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_FIGURE = r"(?:figure|diagram|illustration|sketch)"
_NOUN = r"(?:figure|diagram|illustration|sketch|picture|image|drawing|photo(?:graph)?)"
_PLOT = rf"(?:{_NOUN}|graph|plot)"
_PLACE = r"(?:below|above|at (?:the )?(?:right|left)|(?:on|to) the (?:right|left))"
# What may follow "the graph below" where the phrase ends there: not "the graph above y = 2".
_END = r"(?=\s*(?:[.,;:?!)]|\Z|(?:shows?|is|are|has|depicts?|represents?|illustrates?)\b))"
_SHOWN = r"(?:shown|seen|depicted|pictured|illustrated|drawn|displayed|label+ed|marked|indicated)"
_WHICH = r"(?:following|accompanying|adjoining|adjacent|attached|given)"

_IMAGE = re.compile(
    r"!\[[^\]\n]{0,200}\]\(|<(?:img|image)[\s\d_/>]|\\includegraphics\b"
    r"|\[(?:image|figure|diagram|picture|graph|photo)\]"
    r"|[\[<(](?:the )?(?:image|figure|diagram|picture|graph|photo) (?:is )?"
    r"(?:omitted|missing|removed|not (?:shown|included|available))[\])>]",
    re.IGNORECASE,
)
# A story may have pictures in it, so that "the picture shows" and "in the picture" are no signs.
_REFERENCE = re.compile(
    rf"\b{_SHOWN} (?:in|on|by) (?:the|this) (?:\w+ )?{_FIGURE}\b"
    rf"|\bas {_SHOWN} (?:in|on|by) (?:the|this) (?:\w+ )?(?:{_NOUN}\b|graph\b(?! of\b))"
    rf"|\b(?:in|from) (?:the|this) (?:{_WHICH} )?{_FIGURE}(?:,| {_PLACE}| shown\b)"
    rf"|\b(?:the|this) (?:\w+ )?{_PLOT} (?:(?:is )?(?:shown|given|drawn|pictured) )?{_PLACE}{_END}"
    rf"|\b(?:pictured|depicted|graphed) {_PLACE}{_END}"
    rf"|\bbelow is (?:the|a|an) (?:\w+ )?{_PLOT}\b"
    rf"|\b(?:the|this) (?:{_WHICH} )?(?:{_FIGURE}|graph) (?:below |above )?(?:shows|depicts)\b"
    rf"|\b(?:in|from|see|use|using|refer to) (?:the |this )?(?:attached|accompanying) \w+"
    rf"|\b(?:see|refer to) (?:the |this )?(?:{_WHICH} )?(?:{_FIGURE}\b|attachment)"
    rf"|\b(?:in|see|from|to|by|of) (?:figure|fig\.) ?\(?[1-79]"
    rf"|如下?图|见下?图|下图",
    re.IGNORECASE,
)
_LINK = re.compile(
    r"\b(?:see|click|shown|given|found|available|link|here|(?:problem|question) at)\b"
    r"[^.?!\n]{0,40}?[\s(<]https?://",
    re.IGNORECASE,
)
# Words for a drawing's looks, which no label repeats.
_LOOKS = re.compile(
    r"\b(?:shaded|gr[ae]y|graphed|graphs?(?! of\b)|graph of[^.]{0,100} (?:shown|below))\b"
    r"|\bthe following (?:line|shape|solid|triangle|polygon|curve)\b"
    r"|(?:\A|[.!?]\s+)below is\b",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r'(?:linetype|import)\(?\s*"[^"]*"|"((?:[^"\\]|\\.)*)"|\bnode\b[^;{]{0,200}\{([^{}]*)\}'
)
_REFERS = re.compile(
    rf"\b(?:shown|pictured|depicted|graphed|indicated|below|{_FIGURE}s?|pictures?|drawings?)\b",
    re.IGNORECASE,
)
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_TOKEN = re.compile(r"\d+(?:\.\d+)?|(?<![A-Za-z])[A-Za-z](?![A-Za-z])")
_NAMES = re.compile(r"(?<![A-Za-z])[A-Z]{2,6}(?![A-Za-z])")
_NUMBER = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|half|twice|thirds?"
    r"|quarters?)\b",
    re.IGNORECASE,
)


# Every match of a rule contains one of these; testing for them first takes a tenth of the time.
_HINTS = (
    *("fig", "diagram", "picture", "image", "drawing", "illustrat", "sketch", "photo", "graph"),
    *("plot", "depict", "attach", "accompany", "http", "图", "![", "<im", "[asy]", "{asy}"),
)


def missing_reference(prompt: str) -> str:
    """What a prompt points at and does not hold, as part of a sentence; "" if nothing is found."""
    lowered = prompt.lower()
    if not any(hint in lowered for hint in _HINTS):
        return ""
    if match := _IMAGE.search(prompt):
        return f"it holds an image that no text shows ({_shown(match)})"
    words = _CODE.sub(" ", prompt)
    if words != prompt:
        return _missing_from_words(words, prompt)
    if match := _REFERENCE.search(prompt):
        return f"it points at a figure that it does not hold ({_shown(match)})"
    if match := _LINK.search(prompt):
        return f"it points at a link ({_shown(match)})"
    return ""


def _missing_from_words(words: str, prompt: str) -> str:
    """What only the drawings of a prompt say; `words` is the prompt without them."""
    if match := _LOOKS.search(words):
        return f"it asks for the looks of a drawing of which it holds the code ({_shown(match)})"
    if not _NUMBER.search(words):
        return "it says nothing in numbers but in the code of a drawing"
    labels = [
        label[1] or label[2] or ""
        for code in _CODE.finditer(prompt)
        for label in _LABEL.finditer(code[0])
    ]
    if not labels and (match := _REFERENCE.search(words)):
        return f"it points at a drawing of which it holds the code ({_shown(match)})"
    plain = _COMMAND.sub(" ", words)
    known = {*_TOKEN.findall(plain), *"".join(_NAMES.findall(plain))}
    for token in _TOKEN.findall(_COMMAND.sub(" ", " ".join(labels))):
        if token not in known and (token[0].isdigit() or _REFERS.search(words)):
            return f"only the code of its drawing holds the label {token!r}"
    return ""


def _shown(match: re.Match[str]) -> str:
    return repr(" ".join(match[0].split())[:60])
