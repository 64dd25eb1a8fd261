"""Prompts that point at what their text does not hold: found, and nothing else is."""

import json
from collections import Counter
from pathlib import Path

import pytest

from curation.sources import Source
from curation.sources.columns.self_containment import missing_reference
from support.plugins import build
from tests.builds import make, rejected

BARE = "[asy] draw((0,0)--(4,0)--(0,3)--cycle); [/asy]"
DRAWING = r"""[asy] pen d = linetype("8 9"); draw((0,0)--(4,0)--(0,3)--cycle, d);
label("$A$",(0,0),SW); label("$7\mbox{ cm}$",(2,0),S); [/asy]"""
TIKZ = r"\begin{tikzpicture}\draw (0,0) -- node[below] {$12$} (4,0);\end{tikzpicture}"


@pytest.mark.parametrize(
    "prompt",
    [
        f"What is the value of $x$ in the diagram below? {BARE}",
        f"As shown in the figure, one side is 3. Find the others. {BARE}",
        f"{DRAWING} The triangle shown has a side of 4. What is the other one at A?",
        f"What is the area of this trapezoid? {DRAWING}",
        f"The area of the shaded region is 4. What is that of the other? {BARE}",
        f"Below is the graph of $y = ax^2 + 3$. Find $a$. {BARE}",
        f"A pole of 5 m casts a shadow. How long is it? {TIKZ}",
        "[asy] draw((0,0)--(1,1)); What is the length?",
        "As shown in the figure, AB = 5 and BC = 7. Find AC.",
        "As shown in the following figure, AB = 5. Find AC.",
        "In the figure, ABCD is a square. Find the angle EBC.",
        "In the diagram below, how many triangles are there?",
        "Two circles touch each other, as illustrated in the sketch. How far apart are they?",
        "The graph below shows the rainfall of a week. On which day was it highest?",
        "Below is a picture of 12 tiles. How many are blue?",
        "The figure shows a pentagon. What is its perimeter?",
        "What is the area of the polygon in Figure 3?",
        "See the attached file, and find the mean of the 20 numbers.",
        "Find $x$ (see diagram).",
        "Find $x$. ![](https://cdn.example.com/cropped/1.jpg?height=200)",
        "A cone has height 4 ![figure](images/1.png). What is its volume?",
        'What time is it? <img src="clock.png">',
        "<image>\nHow many dots are there in 3 rows?",
        "Find the area. [image]",
        "What is the angle? (figure omitted)",
        r"\includegraphics[width=5cm]{a.png} How long is the side?",
        "Solve the problem given at https://example.com/p/17.",
        "The data are available here: https://example.com/data.csv. What is their mean?",
        "如图, AB = 5, BC = 7, 求 AC.",
    ],
)
def test_what_points_elsewhere_is_found(prompt: str) -> None:
    lacks = missing_reference(prompt)
    assert lacks and "\n" not in lacks


@pytest.mark.parametrize(
    "prompt",
    [
        "The graph of $y = x^2 - 3$ is shifted up by 5. Where does it cross the y-axis?",
        "For what $x$ is the graph above the line $y = 2$, if $y = x + 1$?",
        "Find the image of the point (1, 2) below the line y = 3 under a reflection in it.",
        "The data in the table below shows the price of tea.\n| year | price |\n| 1 | 4 |\n"
        "What was it in year 1?",
        r"Four coasters are shown in the table. \begin{tabular}{|l|c|} A & 4 \\ B & 5\end{tabular} "
        "What is the mean?",
        "Which of the numbers listed below is prime? 4, 6, 7, 8",
        "Donna is trying to figure out whether 6 trucks are enough for 40 boxes. Are they?",
        "Each action figure costs 5 dollars. How much are 7 action figures?",
        "A figure skater turns 3 times around. How many degrees is that?",
        "Round 3.14159 to 3 significant figures.",
        "Mia puts 3 pictures on each page. How many are in the picture book of 12 pages?",
        "The picture above the sofa is 40 cm wide, and the one below it 30. How wide are both?",
        "He sees 12 birds in the picture and 4 behind it. How many birds does he see?",
        "Anna went to see the picture gallery 3 times, for 4 dollars each. What did she pay?",
        "A shark has 2 remoras attached to it. How many have 5 sharks?",
        "The map has a scale of 1 cm to 15 km. How far are two towns that are 4 cm apart on it?",
        "How many visits has www.example.com after 3 days with 20 visits each? https://example.com",
        "Can the graph be drawn without lifting the pencil, if $f(x) = |x|$ for $x < 3$?",
        f"A square has an area of 36. How long is its diagonal? {BARE}",
        f"Triangle ABC has AB = 7 and a right angle at A, as shown. AC = 3. Find BC. {DRAWING}",
        f"A pole of 12 m casts a shadow of 9 m. How far is it from end to end? {TIKZ}",
        "The graph of $y = x^2$ is a parabola. Where does it meet $y = 4$? "
        "[asy] draw((0,0)..(1,1)); [/asy]",
    ],
)
def test_what_is_whole_passes(prompt: str) -> None:
    assert missing_reference(prompt) == ""


def test_a_long_prompt_takes_no_long_time() -> None:
    for piece in ("in the figure ", "[asy] ", "the graph ", "see  ", "![a](", "as shown in the a "):
        assert isinstance(missing_reference(piece * (20_000 // len(piece))), str)


def test_real_problems(shared_data: Path) -> None:
    """No problem without a drawing is taken for one; docs/adr/0021 judges those with drawings."""
    files = {
        "gsm8k/train.jsonl": "question",
        "gsm8k/test.jsonl": "question",
        "math500/test.jsonl": "problem",
        "math500/math_train_1000.jsonl": "problem",
        "traces/recorded_traces.jsonl": "problem",
    }
    found: Counter[str] = Counter()
    for name, column in files.items():
        for line in (shared_data / name).open(encoding="utf-8"):
            prompt = json.loads(line)[column]
            if missing_reference(prompt):
                assert "[asy]" in prompt, prompt
                found[name] += 1
    assert found == {
        "math500/test.jsonl": 23,
        "math500/math_train_1000.jsonl": 34,
        "traces/recorded_traces.jsonl": 11,
    }


def test_it_is_on_by_default_listed_and_can_be_turned_off(tmp_path: Path) -> None:
    rows = [
        {"question": "In the figure, AB = 5. Find AC.", "answer": "7", "traces": ["It is 7."]},
        {"question": "What is 3 + 4?", "answer": "7", "traces": ["It is 3 + 4. The answer is 7."]},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = tmp_path / "run"
    make(
        run,
        "recorded_traces",
        f"source={{kind: jsonl, path: {path}, traces: {{column: traces}}}}",
        *("decontaminate=[]", "scorer=null", "paths=1"),
    )
    assert rejected(run)["prompt", "not_self_contained"] == 1
    assert rejected(run)["trace", "prompt_rejected"] == 1
    for kind in ("jsonl", "gsm8k"):
        options = {"path": str(path), "self_contained": False}
        off: Source = build("curation.sources", kind, options, "source")
        on: Source = build("curation.sources", kind, {"path": str(path)}, "source")
        assert off.fingerprint() != on.fingerprint()
        assert "not_self_contained" not in {row.reason for row in off.rows(traces=False)}
    (dropped, _) = list(on.rows(traces=False))
    assert dropped.text, "an evaluation set keeps such a problem out all the same"
