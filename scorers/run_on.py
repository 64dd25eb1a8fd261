"""Where a solution ends and a base model's run-on into further problems begins.

In: the text and where its announced answers stop. Out: the number of characters to keep.
"""

import re

_NEXT = re.compile(
    r"^[ \t#*>\[]{0,8}(?:"
    r"(?P<soft>(?:(?:New|Next|Another|Similar)[ \t]+)?"
    r"(?:Question|QUESTION|Problem|PROBLEM|Exercise|Instruction|question|problem)"
    r"|(?P<letter>Q)"
    r")(?:[ \t]*#?[0-9]{1,4})?[ \t*]{0,4}(?::|(?<=[0-9])[.)]|(?<=[0-9])[ \t*]{0,4}$)"
    r"|(?P<hard>Human|HUMAN|User|USER)[ \t*]{0,4}:"
    r"|(?P<turn>Your turn\b|(?:[^\n]{0,40}[ \t,])?[Cc]an you (?:now )?(?:solve|answer|find)\b"
    r"|Now,? (?:solve|answer) (?:the|this)(?: next| following)? (?:question|problem))"
    r")"
    r"|(?P<token><\|(?:im_start|im_end|endoftext|end_of_text|eot_id|user)\|>|</s>|\[INST\])",
    re.M,
)
_LETTER_LINE_CHARACTERS = 25  # a bare "Q:" line shorter than this may name a set or a statement


def end_of_solution(text: str, *, any_stop: int | None, sure_stop: int | None) -> int:
    """The length of `text` before the first block that begins another problem.

    `any_stop` is where the first announced answer stops, `sure_stop` the first that cannot be a
    step's (a box, "#### 18", "final answer"). A block after an announced answer is run-on. Without
    one, only a chat turn is, or a block after a blank line and a text with figures in it. A trace
    that opens blocks of its own ("Question 1: … Answer: …") is cut only after `sure_stop`.
    """
    figure = re.search(r"[0-9]", text)
    own_blocks = False
    for block in _NEXT.finditer(text):
        start = block.start()
        stop = sure_stop if own_blocks else any_stop
        announced = stop is not None and stop <= start
        has_figure = figure is not None and figure.start() < start
        if announced or (has_figure and _stands_alone(block, own_blocks)):
            return len(text[:start].rstrip())
        own_blocks = own_blocks or block["soft"] is not None
    return len(text)


def _stands_alone(block: re.Match[str], own_blocks: bool) -> bool:
    """Whether a block is another problem although no answer came before it."""
    if block["hard"] or block["token"]:
        return True
    before = block.string[max(0, block.start() - 200) : block.start()]
    blank = re.search(r"\n[ \t]*\n[ \t]*$", before) is not None
    if own_blocks or block["turn"] or not blank or before.rstrip().endswith(":"):
        return False
    line = block.string[block.start() : block.start() + 200].split("\n", 1)[0]
    return block["letter"] is None or len(line) >= _LETTER_LINE_CHARACTERS
