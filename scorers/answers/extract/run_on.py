"""Where a solution ends and a base model's run-on into further problems begins.

In: the text and its announced answers. Out: the number of characters to keep.
"""

import re
from collections.abc import Sequence

from scorers.answers.extract.announcements import Announcement

# The head of another problem or of a chat turn: "Question 2:", "Q:", "Human:", "<|im_end|>".
_NEXT = re.compile(
    r"^[ \t#*>\[]{0,8}(?:"
    r"(?P<soft>(?:(?:New|Next|Another|Similar)[ \t]+)?"
    r"(?:Question|QUESTION|Problem|PROBLEM|Exercise|Instruction|question|problem)"
    r"|(?P<letter>Q)"
    r")(?:[ \t]*#?[0-9]{1,4})?[ \t*]{0,4}(?::|(?<=[0-9])[.)]|(?<=[0-9])[ \t*]{0,4}$)"
    r"|(?P<hard>Human|HUMAN|User|USER)[ \t*]{0,4}:"
    r"|(?P<turn>Your turn\b|(?:[^\n]{0,40}[ \t,])?[Cc]an you (?:now )?(?:solve|answer|find)\b"
    r"|Now,? (?:solve|answer) (?:the|this)(?: next| following)? (?:question|problem))"
    r"|(?P<after>Here(?:'s|\u2019s| is) (?:your|the|a|another|one more)(?: next| new| similar)?"
    r" (?:question|problem|exercise)\b|(?:The )?[Nn]ext (?:question|problem|exercise)\b"
    r"|Now,? (?:solve|answer|try|do) (?:the|this|another|a)\b)"
    r")"
    r"|(?P<token><\|(?:im_start|im_end|endoftext|end_of_text|eot_id|user)\|>|</s>|\[INST\])",
    re.M,
)
# One of these stands in every match of `_NEXT`; to look for them first is several times faster.
_NEEDED = (
    *("uestion", "roblem", "ROBLEM", "xercise", "nstruction", "Q", "Now", "an you "),
    *("Human", "HUMAN", "User", "USER", "Your turn", "<|", "</s>", "[INST]"),
)
_LETTER_LINE_CHARACTERS = 25  # a bare "Q:" line shorter than this may name a set or a statement


def end_of_solution(text: str, announced: Sequence[Announcement]) -> int:
    """The length of `text` before the first block that begins another problem.

    A block after an announced answer is run-on. Without one, only a chat turn is, or, where none is
    announced later either, a block after a blank line and a text with figures in it. A trace that
    opens blocks of its own ("Question 1: … Answer: …") is cut only after an answer that cannot be a
    step's (a box, "#### 18", "final answer").
    """
    if not _may_begin(text):
        return len(text)
    any_stop = min((each.stop for each in announced), default=None)
    sure_stop = min((each.stop for each in announced if each.sure), default=None)
    last_start = max((each.start for each in announced), default=None)
    figure = re.search(r"[0-9]", text)
    own_blocks = False
    for block in _NEXT.finditer(text):
        start = block.start()
        stop = sure_stop if own_blocks else any_stop
        is_answered = stop is not None and stop <= start
        alone = figure is not None and figure.start() < start and _stands_alone(block, own_blocks)
        follows = last_start is not None and last_start >= start
        if is_answered or (alone and (_is_turn(block) or not follows)):
            return len(text[:start].rstrip())
        own_blocks = own_blocks or block["soft"] is not None
    return len(text)


def may_run_on(text: str) -> bool:
    """Whether `text` holds what could begin another problem; a text that does not is whole."""
    return _may_begin(text) and _NEXT.search(text) is not None


def _may_begin(text: str) -> bool:
    return any(map(text.__contains__, _NEEDED))


def _is_turn(block: re.Match[str]) -> bool:
    """Whether a block is a chat turn, which no solution holds."""
    return bool(block["hard"] or block["token"])


def ends_at_turn(text: str, end: int) -> bool:
    """Whether `text` was cut at `end` before a chat turn: its writer had finished there."""
    block = _NEXT.search(text, end)
    return block is not None and _is_turn(block) and not text[end : block.start()].strip()


def _stands_alone(block: re.Match[str], own_blocks: bool) -> bool:
    """Whether a block is another problem although no answer came before it."""
    if _is_turn(block):
        return True
    if block["after"]:
        return False
    before = block.string[max(0, block.start() - 200) : block.start()]
    blank = re.search(r"\n[ \t]*\n[ \t]*$", before) is not None
    if own_blocks or block["turn"] or not blank or before.rstrip().endswith(":"):
        return False
    line = block.string[block.start() : block.start() + 200].split("\n", 1)[0]
    return block["letter"] is None or len(line) >= _LETTER_LINE_CHARACTERS
