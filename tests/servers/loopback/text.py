"""What the loopback server says. In: the request's messages, a seed, a sibling's number; out: text.

The text of a sample depends on the messages and on `seed + i` alone, as in vLLM, whose sibling `i`
of a request draws with seed + i: seeds that overlap give the same text twice. It reads like a short
solution and ends in an answer; a prompt that holds `[gold 17]` gets 17 four times out of five, one
that holds `[right 0.3]` as well gets it in that share of its samples.
"""

import re
from dataclasses import dataclass
from hashlib import blake2b

from tests.servers.loopback.behaviour import Behaviour

CHARS_PER_TOKEN = 4
_GOLD = re.compile(r"\[gold ([^\]]*)\]")
_RIGHT_SHARE = 0.8
_RIGHT = re.compile(r"\[right ([0-9.]+)\]")
_SENTENCES = (
    "Start with the %d that are given and add the other %d, which makes %d in all.",
    "There are %d in the first part and %d in the second, so %d together.",
    "Adding %d and %d gives %d, and nothing else is counted here.",
    "We write it out step by step: %d + %d = %d.",
    "The two amounts are %d and %d; their sum is %d.",
    "Put the %d aside, then bring %d more, and there are %d now.",
    "If %d of them come in the morning and %d later, the day sees %d.",
    "A quick check: %d plus %d equals %d, as it should.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One choice of an answer."""

    text: str
    finish_reason: str


def share(name: str, key: bytes) -> float:
    """A number in [0, 1) that depends on `name` and `key` alone."""
    digest = blake2b(key, digest_size=8, person=name.encode()).digest()
    return int.from_bytes(digest, "big") / 2**64


def sample(prompt: str, context: bytes, seed: str, behaviour: Behaviour) -> Sample:
    """One sample: `context` is all that was asked, `prompt` its last message, `seed` its seed."""
    key = context + b"\0" + seed.encode()
    if behaviour.empty_text_share and share("empty", key) < behaviour.empty_text_share:
        return Sample(text="", finish_reason="stop")
    if behaviour.duplicate_share and share("duplicate", key) < behaviour.duplicate_share:
        key = context
    text = solution(prompt, key, behaviour.text_bytes)
    if behaviour.length_share and share("length", key) < behaviour.length_share:
        return Sample(text=text[: len(text) // 2], finish_reason="length")
    return Sample(text=text, finish_reason="stop")


def solution(prompt: str, key: bytes, size: int) -> str:
    """About `size` bytes of sums that are true, then the answer."""
    state = int.from_bytes(blake2b(key, digest_size=8).digest(), "big")
    end = f"The answer is {_answer(prompt, state)}"
    room = size - len(end)
    sentences: list[str] = []
    while room > 0:
        # Knuth's MMIX generator: a text of 4 kB draws eighty times, so the draw must be cheap.
        state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        a, b = 2 + (state >> 33) % 97, 2 + (state >> 45) % 89
        sentence = _SENTENCES[state >> 61] % (a, b, a + b)
        room -= len(sentence) + 1
        sentences.append(sentence)
    return "\n".join((*sentences, end))


def tokens(text: str) -> int:
    """How many tokens the server says a text has."""
    return -(-len(text) // CHARS_PER_TOKEN)


def _answer(prompt: str, state: int) -> str:
    gold = _GOLD.findall(prompt)
    other = str(state % 997)
    if not gold:
        return other
    right = _RIGHT.search(prompt)
    if (state >> 11) % 1000 < 1000 * (float(right[1]) if right else _RIGHT_SHARE):
        return str(gold[-1])
    return other if other != gold[-1] else f"{other}1"
