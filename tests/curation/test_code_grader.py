"""The grader of programs: right ones pass, and no program can claim to be right."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from curation.canvases.summaries import ends_in
from curation.graders import KeepsReplies, Submission
from curation.graders.code import CodeGrader, build
from curation.graders.programs.extraction import program_of
from curation.sampling.journal import keys
from curation.sampling.replies import Replies
from schemas.recipe import Summary
from schemas.records import Grade, GradedTrace, Prompt, Trace
from support import plugins
from support.errors import UserError
from support.paths import ROOT
from support.sandbox import Isolation, isolation
from tests.curation.samples import bare_trace
from tools.tiny import programs

ADD = ["assert add(1, 2) == 3", "assert add(2, 2) == 4"]
MEAN = "def check(candidate):\n    assert abs(candidate([1, 2]) - 1.5) < 1e-6\n"


@pytest.fixture(scope="module")
def grader() -> Iterator[CodeGrader]:
    try:
        made = build(timeout_seconds=1)
    except UserError as error:
        pytest.skip(str(error))
    assert isinstance(made, CodeGrader)
    yield made
    made.close()


def prompt(tests: object, text: str = "Write it.", gold: str = "") -> Prompt:
    shown = tests if isinstance(tests, str) else json.dumps(tests)
    return Prompt(id="p", text=text, gold=gold, source="s", row=1, license="", tests=shown)


def trace(text: str) -> Trace:
    return bare_trace(text)


def fenced(program: str) -> str:
    return f"First, think.\n\n```python\n{program}\n```\nDone."


def graded(grader: CodeGrader, program: str, asked: Prompt) -> Grade:
    assert grader.fault(asked) == ""
    (answer,) = grader.grade([Submission(asked, trace(fenced(program)))])
    return answer.grade


@pytest.mark.parametrize(
    ("program", "tests", "text"),
    [
        ("def add(a, b):\n    return a + b", ADD, ""),
        ("def add(a, b):\n    return a + b", "\n".join(ADD), ""),
        ("def put(l): l.sort()", ["l = [3, 1, 2]\nput(l)\nassert l == [1, 2, 3]"], ""),
        ("def twice(f, l): return [f(f(x)) for x in l]", ["assert twice(abs, [-1]) == [1]"], ""),
        (
            "def twice(f, l): return [f(x) for x in l]",
            ["assert twice(lambda x: 2 * x, [1]) == [2]"],
            "",
        ),
        ("def up(n):\n    yield from range(n)", ["assert list(up(3)) == [0, 1, 2]"], ""),
        (
            "def half(x): return x, [x / 2], {x: {None}}",
            ["assert half(1) == (1, [.5], {1: {None}})"],
            "",
        ),
        ("def mean(l): return sum(l) / len(l)", MEAN, "def mean(l):"),
        ("def mean(l): return sum(l) / len(l)", {"test": MEAN, "entry_point": "mean"}, ""),
        ("def sum(a, b): return a + b", ["assert sum(1, 2) == 3"], "def sum(a, b):"),
        (
            "def root(x): return x ** .5",
            ["assert math.isclose(root(2), 1.41421356, abs_tol=1e-6)"],
            "",
        ),
        (
            "def f(x): raise ValueError(x)",
            ["try:\n    f(1)\n    assert False\nexcept ValueError: pass"],
            "",
        ),
        (
            "class Stack:\n    def __init__(self): self.all = []\n"
            "    def append(self, x): self.all.append(x)\n    def pop(self): return self.all.pop()",
            ["s = Stack()\ns.append(4)\nassert s.pop() == 4 and s.all == []"],
            "",
        ),
        ("print(int(input()) * 2)", [{"input": "4", "output": "8"}], ""),
        (
            "import sys\nfor l in sys.stdin: print(l, end=' ')",
            {"inputs": ["a"], "outputs": ["a\n\n"]},
            "",
        ),
    ],
)
def test_right_programs(grader: CodeGrader, program: str, tests: object, text: str) -> None:
    assert graded(grader, program, prompt(tests, text)) is Grade.CORRECT


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        ("def f(x): return 0", 'if __name__ == "__main__":\n    assert f(1) == 3'),
        ("def f(x): return 0", "try:\n    assert f(1) == 3\nexcept Exception: pass"),
        ("def f(x): 1 / 0", "try:\n    assert f(1) == 3\nexcept Exception: pass"),
        ("def f(x): return 0", "try:\n    f(-1)\n    assert False\nexcept: pass"),
        ("def f(x): return 0", "assert callable(f)"),
        ("def f(x): return []", "for one in f(3):\n    assert one in (1, 2)"),
        ("def f(x): raise StopIteration", "assert all(map(f, [1, 2]))"),
        ("def f(x): return 0", "async def test():\n    assert f(1) == 2\ntest()"),
        ("def f(x): return 0", "def test():\n    yield\n    assert f(1) == 2\ntest()"),
        ("def f(x): return 0", "def check(c):\n    yield\n    assert c(1)"),
        (
            "class A:\n    def __eq__(self, other): return True\n"
            "    __le__ = __lt__ = __ge__ = __gt__ = __eq__\ndef f(x): return A()",
            "assert f(1) == f(2) and f(1) <= f(2)",
        ),
        (
            "def f(g):\n    g('import sys\\nframe = sys._getframe()\\nwhile frame:\\n"
            "    for value in (*frame.f_globals.values(), *frame.f_locals.values()):\\n"
            '        if hasattr(value, "has_failed"): value.__class__.__call__ = bool\\n'
            "    frame = frame.f_back')\n    return 0",
            "assert f(exec) == 3",
        ),
        ("def f(x): raise SystemExit(0)", "assert f(1) == 3"),
        ("def f(x): return float('nan')", "assert f(1) == 3 or f(1) < 3 or f(1) > 3"),
        ("def f(x): return 10 ** 5000", "assert f(1) == 10 ** 5001"),
        ("def f(x):\n    l = []\n    l.append(l)\n    return l", "assert f(1) == [[]]"),
        ("def f(x): return '\u0663'", "assert f(1) == '3'"),
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()\n"
            "def f(x): return 0",
            "assert f(1) == 3",
        ),
    ],
)
def test_what_no_assert_proved_is_not_right(
    grader: CodeGrader, program: str, tests: object
) -> None:
    assert graded(grader, program, prompt(tests, "def f(x):")) is Grade.WRONG


def test_an_endless_iterator_is_a_timeout(grader: CodeGrader) -> None:
    endless = "import itertools\ndef f(x): return itertools.count()"
    assert graded(grader, endless, prompt("assert list(f(1)) == [1]")) is Grade.TIMEOUT


def test_a_helper_of_the_tests_is_not_the_programs(grader: CodeGrader) -> None:
    tests = "assert isclose(f(1), 3)"
    program = "isclose = lambda *values: True\ndef f(x): return "
    gold = "from math import isclose\ndef f(x): return 3"
    assert "f and isclose" in grader.fault(prompt(tests))
    assert "isclose, which neither" in grader.fault(prompt(tests, "def f(x):"))
    assert graded(grader, f"{program}0", prompt(tests, gold=gold)) is Grade.WRONG
    assert graded(grader, f"{program}3", prompt(tests, gold=gold)) is Grade.CORRECT


@pytest.mark.parametrize(
    ("program", "tests", "defined"),
    [
        ("def f(x): return x", "check = f(1)\nassert check == 1", ""),
        ("def add(a, b): return a + b", "def check(add):\n    assert add(1, 2) == 3", "add"),
        ("def f(x): 1 / x", "try:\n    f(0)\n    assert False\nexcept: pass", ""),
        ("ANSWER = 42", "assert ANSWER == 42", ""),
        (
            "class P:\n    def __init__(self, x): self.x = x\n"
            "    def __eq__(self, other): return self.x == other.x\ndef f(x): return P(x)",
            "assert f(1) == P(1) and f(1) != P(2)",
            "P f",
        ),
        ("def f(g, l): return [g(x) for x in l]", "assert f(str, [1]) == ['1']", ""),
        ("def f(g, l): return [g(x) for x in l]", "assert f(len, ['a']) == [1]", ""),
    ],
)
def test_right_programs_of_unusual_tests(
    grader: CodeGrader, program: str, tests: str, defined: str
) -> None:
    text = "\n".join(f"def {name}(): pass" for name in defined.split())
    assert graded(grader, program, prompt(tests, text=text)) is Grade.CORRECT


ANY = "class Any:\n    def __getattr__(self, name): return lambda *a: True\n"
ALWAYS = "".join(
    f"    def __{name}__(self, *other): return {value}\n"
    for name, value in {
        **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "bool", "contains"), "True"),
        **dict.fromkeys(("add", "sub", "rsub", "radd", "abs", "float", "int", "len"), "0"),
    }.items()
)


@pytest.mark.parametrize(
    "program",
    [
        "def add(a, b): return a - b",
        "def add(a, b) return a + b",
        "import os; os._exit(0)",
        "import sys; sys.exit(0)",
        "raise SystemExit",
        "def add(a, b): raise SystemExit(0)",
        "import os\ndef add(a, b): os._exit(0)",
        "import os, atexit\natexit.register(os._exit, 0)",
        "import builtins\nbuiltins.AssertionError = builtins.exec = None\ndef add(a, b): return 0",
        "__builtins__ = {}\ndef add(a, b): return 0",
        "import sys\nsys.excepthook = print\nprint('passed')\ndef add(a, b): return 0",
        "import os\nfor fd in range(20):\n    try: os.write(fd, b'p')\n    except OSError: pass\n"
        "def add(a, b): return 0",
        "class Equal(int):\n    __eq__ = lambda self, other: True\ndef add(a, b): return Equal(0)",
        f"{ANY}{ALWAYS}def add(a, b): return Any()",
        "import os\nos.kill(os.getppid(), 9)\ndef add(a, b): return 0",
        "import os\nif os.fork(): os._exit(0)\ndef add(a, b): return 0",
        "import sys\ndef add(a, b):\n    frame = sys._getframe()\n    while frame:\n"
        "        for value in list(frame.f_locals.values()):\n"
        "            if hasattr(value, '_send'): value._send(['value', 3, []])\n"
        "        frame = frame.f_back\n    return 0",
    ],
)
def test_programs_that_are_not_right(grader: CodeGrader, program: str) -> None:
    assert graded(grader, program, prompt(ADD)) is Grade.WRONG


@pytest.mark.parametrize(
    "test",
    [
        "assert abs(f(1) - 2.5) < 1e-6",
        "assert f(1).startswith('x')",
        "assert 'x' in f(1)",
        "assert f(1) != 3 and f(1) == 2",
        "assert math.isclose(f(1), 2)",
        "assert f(1) <= 2 <= f(1)",
        "assert sorted([f(1), 4]) == [3, 4]",
        "assert all(f(k) == k for k in range(3))",
    ],
)
def test_objects_that_agree_to_all_are_not_right(grader: CodeGrader, test: str) -> None:
    program = f"{ANY}{ALWAYS}def f(x): return Any()\ndef all(x): return True\nclass math:\n"
    program += "    isclose = lambda *a: True\n"
    assert graded(grader, program, prompt([test])) is Grade.WRONG


def test_the_program_does_not_hold_the_tests(grader: CodeGrader) -> None:
    # It looks for an expected value in all objects, and in its whole memory.
    program = (
        "import gc\n"
        "def f(x):\n"
        "    found = [o for o in gc.get_objects() if ''.join(['trea', 'sure']) in str(o)]\n"
        "    return ''.join(['trea', 'sure', '77']) if found else 'none'\n"
    )
    assert graded(grader, program, prompt(["assert f(1) == 'treasure77'"])) is Grade.WRONG


def test_output_is_judged_outside(grader: CodeGrader) -> None:
    asked = prompt({"inputs": ["1", "2"], "outputs": ["1", "4"]})
    for program in ("print(1)", "print(input())", "import os; os._exit(0)", "print(1); 1 / 0"):
        assert graded(grader, program, asked) is Grade.WRONG


def test_loops_are_timeouts(grader: CodeGrader) -> None:
    assert graded(grader, "while True: pass", prompt(ADD)) is Grade.TIMEOUT
    assert graded(grader, "def add(a, b):\n    while True: pass", prompt(ADD)) is Grade.TIMEOUT
    asked = prompt([{"input": "", "output": "1"}])
    assert graded(grader, "while True: pass", asked) is Grade.TIMEOUT


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("a\n```python\nx = 1\n```\nb\n```py\ny = 2\n```\n", "y = 2"),
        ("```\nx = 1\n```", "x = 1"),
        ("```python\nx = 1\n```\n```bash\nls\n```", "x = 1"),
        ("```python\nx = 1\n```\n```python\ny = 2", None),
        ("```python\n```", None),
        ("no program here", None),
        ("def f(x):\n    return x\n", "def f(x):\n    return x"),
        ("<think>\n```python\nx = 1\n```\n</think>\n```python\ny = 2\n```", "y = 2"),
        ("<think>\n```python\nx = 1\n```\n</think>\nSee above.", None),
        ("<think>\n```python\nx = 1\n```\n", None),
        ("```cpp\nint x;\n```", None),
        ("~~~python\nx = 1\n~~~", "x = 1"),
        ("````python\nx = 1\n```\ny = 2\n````", "x = 1\n```\ny = 2"),
        ("```python\r\nx = 1\r\n```\r\n", "x = 1"),
        (">>> f(1)\n2", None),
        ("x", None),
        ("", None),
    ],
)
def test_the_program_of_a_trace(text: str, program: str | None) -> None:
    found = program_of(text)
    assert (found.text if found else None) == program


@pytest.mark.parametrize(
    ("tests", "fault"),
    [
        ("assert", "no Python that compiles"),
        ("x = add(1, 2)", "no assert"),
        ("def f():\n    assert add(1, 2) == 3", "no assert that is run"),
        ("assert 1 == 1", "no name"),
        (MEAN, "nothing names the function"),
        ([], "no test has an output"),
        ([{"input": "1"}], "neither"),
        ([{"input": 1, "output": "1"}], "must be texts"),
        ([{"input": "1", "output": " "}], "no test has an output"),
        ([{"input": "\ud800", "output": "1"}], "must be texts"),
        ([{"input": "1", "output": None}], "must be texts"),
        ([{"input": "1", "output": [["1"]]}], "must be texts"),
        ([None], "neither"),
        ([[]], "neither"),
        ({}, "without inputs and outputs"),
        ({"inputs": "1", "outputs": "1"}, "without inputs and outputs"),
        ({"test": 7}, "without inputs and outputs"),
        ({"test": MEAN, "entry_point": 7}, "must be a text"),
        ({"test": MEAN, "entry_point": "a b"}, "no name of a function"),
        ({"test": MEAN, "entry_point": "f) or (f"}, "no name of a function"),
        ({"test": MEAN, "entry_point": "lambda"}, "no name of a function"),
        ({"test": ""}, "hold no assert"),
        (" ", "hold no assert"),
        ("null", "neither"),
        ("\0", "no Python that compiles"),
        ("9" * 5000, "no Python that compiles"),
        ("[" * 100_000, "no Python that compiles"),
        ("assert (f(1) == 2, 'message')", "always true"),
        ("import numpy as np\nassert np.all(f(1))", "import numpy, which is not"),
        ("from solution import f\nassert f(1) == 2", "import solution, which is not"),
        ("from . import f\nassert f(1) == 2", "which is not in Python's library"),
        ("from math import *\nassert f(1) == sqrt(1)", "must name what they import"),
        (
            "import io, contextlib\nout = io.StringIO()\nwith contextlib.redirect_stdout(out):\n"
            "    f()\nassert out.getvalue() == '1'",
            "redirect_stdout",
        ),
        ("from unittest import mock\nassert f(mock) == 1", "unittest.mock"),
        ({"inputs": ["1"], "outputs": []}, "1 inputs and 0 outputs"),
        ({"inputs": [], "outputs": []}, "no test has an output"),
        ({"fn_name": "f", "inputs": [], "outputs": []}, "as asserts"),
        (7, "neither"),
    ],
)
def test_tests_that_could_not_be_failed_are_a_fault(
    grader: CodeGrader, tests: object, fault: str
) -> None:
    assert fault in grader.fault(prompt(tests))


def test_a_verdict_is_kept(grader: CodeGrader, tmp_path: Path) -> None:
    assert isinstance(grader, KeepsReplies)
    asked = prompt([*ADD, "assert add(5, 5) == 10"])
    mine = [Submission(asked, trace(fenced("def add(a, b):\n    return a + b + 0")))]
    first = Replies(tmp_path)
    grader.keep(first)
    (before,) = grader.grade(mine)
    first.close()
    (file,) = tmp_path.glob("*.jsonl")
    (kept,) = first.find(set(keys(file))).values()
    changed = Replies(tmp_path / "changed")
    changed.add([replace(kept, text='{"grade": "timeout"}')])
    grader.keep(changed)
    (after,) = grader.grade(mine)
    assert (before.grade, after.grade) == (Grade.CORRECT, Grade.TIMEOUT)
    assert before.answer == "def add(a, b):\n    return a + b + 0"


def test_the_final_answer_is_a_program(grader: CodeGrader) -> None:
    long, short = "def add(a, b):\n    return a + b", "add = lambda a, b: a + b"
    correct = [
        GradedTrace(trace=trace(one), text=one, grade=Grade.CORRECT, answer=one)
        for one in (long, short)
    ]
    assert grader.final_answer(prompt(ADD, gold=long), correct) == long
    assert grader.final_answer(prompt(ADD), correct) == short
    assert grader.final_answer(prompt(ADD, gold="    return a + b"), correct) == short
    assert grader.final_answer(prompt(ADD), []) == ""


@pytest.mark.parametrize(
    ("gold", "tests", "is_refused"),
    [
        ("def add(a, b): return a + b", ADD, False),
        ("def add(a, b): return a - b", ADD, True),
        ("def plus(a, b): return a + b", ["assert add(1, 2) == 3"], True),
        ("def add(a, b): raise ValueError", ADD, True),
        ("def add(a, b):\n    while 1: pass", ADD, False),  # a slow machine is no fault
        ("    return a + b", ADD, False),  # half a program, as HumanEval's
        ("add", ADD, False),
        ("3", ADD, False),
        ("", ADD, False),
        ("print(int(input()) + 1)", [{"input": "1", "output": "2"}], False),
        ("print(int(input()))", [{"input": "1", "output": "2"}], True),
    ],
)
def test_a_gold_that_fails_its_tests_is_a_fault(
    grader: CodeGrader, gold: str, tests: list[Any], is_refused: bool
) -> None:
    asked = prompt(tests, text="Write add(a, b).", gold=gold)
    assert ("does not pass the tests" in grader.fault(asked)) == is_refused


def test_a_gold_runs_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = CodeGrader(1, 1024, isolation.WEAK)
    kept.keep(Replies(tmp_path))
    runs: list[str] = []

    def judge(program: str, asked: Prompt) -> Grade:
        runs.append(program)
        return Grade.WRONG

    monkeypatch.setattr(kept, "_judge", judge)
    asked = prompt(ADD, gold="def add(a, b): return a - b")
    assert kept.fault(asked) == kept.fault(asked) != ""
    assert len(runs) == 1
    kept.close()


def test_a_machine_without_a_sandbox_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Isolation("user namespaces", ("/bin/false",))
    monkeypatch.setattr(isolation, "candidates", lambda: iter([broken]))
    with pytest.raises(UserError, match=r"grader\.kind: code needs .*allow_weak_sandbox=true"):
        build()
    weak = build(timeout_seconds=1, allow_weak_sandbox=True)
    assert isinstance(weak, CodeGrader)
    assert "files of this user" in weak.warning
    try:
        assert graded(weak, "def add(a, b): return a + b", prompt(ADD)) is Grade.CORRECT
        assert graded(weak, "def add(a, b): return a - b", prompt(ADD)) is Grade.WRONG
        assert graded(weak, "print(input())", prompt([{"input": "1", "output": "1"}])) is (
            Grade.CORRECT
        )
    finally:
        weak.close()


def test_a_verdict_of_a_weak_sandbox_counts_there_alone(grader: CodeGrader) -> None:
    weak = CodeGrader(1, 1024, isolation.WEAK)
    assert weak._key("x = 1", prompt(ADD)) != grader._key("x = 1", prompt(ADD))
    assert grader.warning == ""


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": "fast"}, "timeout_seconds"),
        ({"timeout_seconds": None}, "timeout_seconds"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds"),
        ({"memory_mb": 1}, "memory_mb"),
        ({"memory_mb": [1024]}, "memory_mb"),
        ({"language": "rust"}, "language"),
        ({"language": {}}, "language"),
        ({"allow_weak_sandbox": "perhaps"}, "allow_weak_sandbox"),
        ({"weak": True}, "weak"),
    ],
)
def test_wrong_options_are_one_sentence(options: dict[str, object], field: str) -> None:
    with pytest.raises(UserError) as error:
        plugins.build("curation.graders", "code", options, "grader")
    assert f"grader.{field}" in str(error.value) and "\n" not in str(error.value)


def test_a_program_can_close_a_summary() -> None:
    template = "The final program is:\n```python\n{answer}\n```"
    gold = "def add(a, b):\n    return a + b"
    closing = Summary(template=template).text(gold)
    assert ends_in(f"Both add.\n{closing}\n", gold, closing)
    assert not ends_in(closing.replace("+", "-"), gold, closing)


def bundled() -> list[dict[str, Any]]:
    """The rows of the bundled set."""
    lines = (ROOT / "tiny" / "prompts" / "code.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def disagreements(grader: CodeGrader, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Traces whose verdict is not the label that they were made with."""
    mine = [
        (Submission(prompt(row["tests"], row["problem"], row["program"]), trace(one["text"])), one)
        for row in rows
        for one in row["traces"]
    ]
    answers = grader.grade([submission for submission, _ in mine])
    return [
        one["text"]
        for answer, (_, one) in zip(answers, mine, strict=True)
        if (answer.grade is Grade.CORRECT) is not one["correct"]
    ]


def test_the_bundled_set_is_what_its_generator_writes() -> None:
    rows = bundled()
    assert len(rows) >= 60
    assert rows == list(programs.rows("train"))
    assert not {row["problem"] for row in rows} & {row["problem"] for row in programs.rows("test")}


def test_the_bundled_labels_hold(grader: CodeGrader) -> None:
    assert disagreements(grader, bundled()[::6]) == []


@pytest.mark.slow
def test_all_bundled_labels_hold(grader: CodeGrader) -> None:
    assert disagreements(grader, bundled()) == []
