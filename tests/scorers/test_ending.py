"""Whether a text breaks off: made-up endings, and how many real traces are taken for broken."""

from collections.abc import Sequence

import pytest

from scorers.answers.extract.final_answer import extract
from scorers.answers.extract.truncation import describe_truncation

Samples = Sequence[tuple[str, str, bool | None]]


@pytest.mark.parametrize(
    "text",
    [
        r"so \[ x = \frac{",
        "Thus, the product of the lengths",
        "She then buys 18",
        "14 * 2 =",
        r"Using $\mathbf{n} = \langle 1,",
        r"\begin{align*} x &= 1 \\",
        r"It is \(x + 1.",
        r"It is \text{a value.",
    ],
)
def test_a_broken_text(text: str) -> None:
    assert describe_truncation(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "So it is 18.",
        r"so \[ x = \frac{1}{2} \]",
        "It costs $5 and $6.",
        "It costs 2 * $5 = $10.\nA: 10",
        "#### 18",
        "He has 5\n18",
        r"\begin{align*} x &= 1 \end{align*}",
        r"the set \{1, 2\}",
        "x = 5 (as above)",
        "**Answer: 5**",
        "所以是5。",
        "",
    ],
)
def test_a_whole_text(text: str) -> None:
    assert describe_truncation(text) is None


def test_real_traces_that_break_off(gsm8k_samples: Samples, recorded_traces: Samples) -> None:
    """Read one by one: each of the 9 and the 25 is cut in the middle of a word or a formula."""
    broken = [
        [
            label
            for text, _, label in samples
            if extract(text).answer is None and describe_truncation(text) is not None
        ]
        for samples in (gsm8k_samples, recorded_traces)
    ]
    assert [len(labels) for labels in broken] == [9, 25]
    assert not any(any(labels) for labels in broken)
