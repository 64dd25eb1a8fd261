"""Multiple-choice questions with recorded traces, right and wrong, all made by rule.

`python -m tools.tiny.choice_set --split train --count 144 --out choice.jsonl` writes rows that a
`jsonl` source reads: `question`, `choices`, `answer` (the letter), `family`, and `traces`, each
with `text`, `form` (how it names its option) and `correct`: true, false, or null where the trace
names none. What `correct` says follows from how the trace was made, not from a grader. A question
belongs to one split by a hash of its family and numbers.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple

from tools.tiny.choice_families import FAMILIES, Question

Split = Literal["train", "test"]
TEST_SHARE = 4  # one question in four is held out
TRACES = 6
MODEL = "choice-rules"  # what wrote the traces
LETTERS = "ABCD"

# How a trace names its option, {letter} with the text {text}.
FORMS = {
    "letter_in_sentence": "The answer is ({letter}).",
    "bare_letter": "Answer: {letter}",
    "option_is": "The correct option is {letter}",
    "is_correct": "({letter}) is correct.",
    "letter_alone": "**{letter}**",
    "boxed_letter": r"So we get \boxed{{{letter}}}.",
    "text_in_sentence": "So the answer is {text}.",
    "boxed_text": r"\boxed{{\text{{{text}}}}}",
    "tagged_text": "<answer>{text}</answer>",
    "final_text": "The final answer is **{text}**.",
    "letter_and_text": "The answer is ({letter}) {text}.",
    "bold_both": "Answer: **{letter}. {text}**",
    "option_with_text": "The correct option is {letter}) {text}.",
    "last_line": "({letter}) {text}",
    "with_reason": "The answer is {letter}, because nothing else fits.",
    "other_denied": "({other}) {other_text} is wrong. The answer is {letter}.",
    "changed_mind": "At first I took {other}, but that is wrong. The answer is {letter}.",
    "checked": "The answer is {letter}. Let me double-check: yes, it is {text}.",
}
# What names no option, or more than one.
UNREAD = {
    "two_letters": "The answer is {letter} or {other}.",
    "two_texts": "It is either {text} or {other_text}.",
    "contradiction": "The answer is ({letter}) {other_text}.",
    "denied": "The answer is not {letter}.",
    "taken_back": "The answer is {letter}. Wait, that is wrong.",
    "no_answer": "I cannot say which one it is.",
}
OPENINGS = (
    "Let me think.",
    "First, what is given:",
    "We need one step here.",
    "Look at the options one by one.",
    "This is quick.",
    "I write it down.",
    "Here is how I see it.",
    "Step 1 is to read the question with care.",
)


class Draw(NamedTuple):
    """A question with its options in an order, and the split that it belongs to."""

    family: str
    question: Question
    options: tuple[str, ...]
    split: Split


def draw(rng: Random) -> Draw:
    """One question of a uniformly drawn family, in whichever split its numbers fall."""
    family = rng.choice(sorted(FAMILIES))
    question = FAMILIES[family](rng)
    options = [question.right, *(option for option, _ in question.slips)]
    rng.shuffle(options)
    digest = hashlib.blake2b(f"{family} {question.key}".encode(), digest_size=8).digest()
    held_out = int.from_bytes(digest, "big") % TEST_SHARE == 0
    return Draw(family, question, tuple(options), "test" if held_out else "train")


def rows(seed: int, split: Split) -> Iterator[dict[str, object]]:
    """Endless rows of `split`; no two hold one problem, in whatever wording."""
    rng = Random(f"choice {seed} {split}")
    seen: set[tuple[str, str]] = set()
    while True:
        drawn = draw(rng)
        key = (drawn.family, drawn.question.key)
        if drawn.split == split and key not in seen:
            seen.add(key)
            yield {
                "question": drawn.question.text,
                "choices": list(drawn.options),
                "answer": LETTERS[drawn.options.index(drawn.question.right)],
                "family": drawn.family,
                "traces": list(_traces(drawn, rng)),
            }


def _traces(drawn: Draw, rng: Random) -> Iterator[dict[str, object]]:
    """TRACES traces in mixed order: two to four right ones, one unread in half of the questions."""
    question, right = drawn.question, drawn.question.right
    ways, slips = list(question.ways), list(question.slips)
    rng.shuffle(ways)
    rng.shuffle(slips)
    unread = rng.randint(0, 1)
    count = rng.randint(TRACES - len(slips) - unread, 4)
    plans: list[tuple[str, str, bool | None]] = [(way, right, True) for way in ways[:count]]
    if unread:
        plans.append((slips[0][1], slips[0][0], None))
    plans += [(why, option, False) for option, why in slips[: TRACES - len(plans)]]
    openings = rng.sample(OPENINGS, len(plans))
    rng.shuffle(plans)
    for opening, (reason, option, correct) in zip(openings, plans, strict=True):
        form = rng.choice(sorted(FORMS if correct is not None else UNREAD))
        other = rng.choice([one for one in drawn.options if one not in (option, right)])
        closing = (FORMS | UNREAD)[form].format(
            letter=LETTERS[drawn.options.index(option)],
            text=option,
            other=LETTERS[drawn.options.index(other)],
            other_text=other,
        )
        text = f"{opening} {reason}\n{closing}"
        yield {"text": text, "model": MODEL, "form": form, "correct": correct}


def main() -> None:
    """Write questions as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--count", type=int, default=128, help="questions to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with args.out.open("w", encoding="utf-8", newline="\n") as out:
        for row in islice(rows(args.seed, args.split), args.count):
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
