"""How far grading agrees with labels that others gave, beside math-verify called directly.

`python -m benchmarks.grading [FILE …] [--disagreements FILE]`: the labelled files of the real data,
or the files named: JSON lines {"text": …, "gold": …, "label": true or false}, and the prompt under
"prompt" where its options count. A text or gold may be a number. Rows whose gold is null or whose
label is neither true nor false are passed over, and every line says how many they are.
`--disagreements` keeps every sample that the grader and its label see differently, to be read: a
label may be wrong as well. Needs no GPU; a few minutes for 10,000 samples.

For a file STEM, `grading_agreement:STEM` and `math_verify_agreement:STEM` are shares of its
samples, `grading_false_correct:STEM` and `math_verify_false_correct:STEM` shares of the samples
whose label is false that are graded correct, `grading_false_wrong:STEM` the share of the samples
whose label is true that are graded anything else; spreads are 95 % intervals.
"""

import argparse
import json
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from benchmarks.lines import NO_DATA, SHARED, SOLUTIONS, Better, Line, report
from schemas.records import Grade
from scorers.answers.grade import Answer, Attempt, GradePool
from support.stats import wilson

AGREEMENT, FALSE_CORRECT = 0.99, 0.001  # the aims
BATCH = 500
MEMORY_BYTES = 4 << 30  # of a process that calls math-verify, as of the grader's own workers


class Sample(NamedTuple):
    """A text to grade, and what its file says of it."""

    row: int
    attempt: Attempt
    label: bool


class Labelled(NamedTuple):
    """The samples of a file, and how many of its rows have no label that is true or false."""

    stem: str
    samples: list[Sample]
    passed_over: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--disagreements", type=Path, metavar="FILE")
    given = parser.parse_args()
    if given.disagreements:
        try:
            given.disagreements.write_text("")
        except OSError as error:
            sys.exit(f"--disagreements {given.disagreements}: cannot be written: {error.strerror}")
    if given.files:
        for path in given.files:
            for line in _lines(_labelled(path), given.disagreements):
                print(json.dumps(asdict(line)), flush=True)
        return
    report("grading", *(line for one in _shared() for line in _lines(one, given.disagreements)))


def _shared() -> Iterator[Labelled]:
    """The labelled files of ../shared/data, each in its own form."""
    if not SHARED.is_dir():
        sys.exit(f"{NO_DATA}: name labelled files instead")
    solutions = [
        (sample["solution"], row["ground_truth"].rsplit("A: ", 1)[1], sample["is_correct"])
        for row in _rows(SOLUTIONS)
        for sample in row.values()
        if isinstance(sample, dict)
    ]
    yield _from(SOLUTIONS, solutions)
    path = SHARED / "traces" / "recorded_traces.jsonl"
    traces = [(t["text"], row["gold"], t["correct"]) for row in _rows(path) for t in row["traces"]]
    yield _from(path, traces)
    path = SHARED / "grader_pairs" / "pairs.jsonl"
    pairs = [
        (row["pred"] or "", row["gold"], row["expected"])
        for row in _rows(path)
        if row["duplicate_of"] is None
    ]
    yield _from(path, pairs)


def _from(path: Path, rows: Sequence[tuple[str, str, bool | None]]) -> Labelled:
    samples = [
        Sample(row, Attempt(text, gold), label)
        for row, (text, gold, label) in enumerate(rows, start=1)
        if isinstance(label, bool)
    ]
    return Labelled(path.stem, samples, len(rows) - len(samples))


def _labelled(path: Path) -> Labelled:
    """The samples of a file {text, gold, label}; ends with a sentence where it is another kind."""
    if not path.is_file():
        sys.exit(f"{path}: no such file")
    samples, passed_over = [], 0
    for number, row in enumerate(_rows(path), start=1):
        known = row if isinstance(row, dict) else {}
        missing = [key for key in ("text", "gold", "label") if key not in known]
        if missing:
            lacks = f"lacks {missing[0]!r}" if isinstance(row, dict) else "is no object"
            sys.exit(f'{path}, line {number}: {lacks}; write {{"text": …, "gold": …, "label": …}}')
        text, gold, prompt = row["text"], row["gold"], row.get("prompt")
        for key, value in (("text", text), ("gold", gold), ("prompt", prompt)):
            if not isinstance(value, str | int | float | None) or isinstance(value, bool):
                sys.exit(f"{path}, line {number}: {key!r} is {type(value).__name__}, no text")
        if isinstance(row["label"], bool) and gold is not None:
            attempt = Attempt("" if text is None else str(text), str(gold), str(prompt or ""))
            samples.append(Sample(number, attempt, row["label"]))
        else:
            passed_over += 1
    return Labelled(path.stem, samples, passed_over)


def _rows(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _row(path, number, line)
        except UnicodeDecodeError:
            sys.exit(f"{path}: is no text in UTF-8; write JSON lines, not packed")


def _row(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        sys.exit(f"{path}, line {number}: is no JSON: {error.msg} at character {error.colno}")


def _lines(given: Labelled, disagreements: Path | None) -> list[Line]:
    """The figures of one file."""
    attempts = [sample.attempt for sample in given.samples]
    ours, theirs = _grade(attempts), _math_verify(attempts)
    right = [answer.grade is Grade.CORRECT for answer in ours]
    labels = [sample.label for sample in given.samples]
    if disagreements:
        with disagreements.open("a", encoding="utf-8") as file:
            for sample, answer, verdict in zip(given.samples, ours, theirs, strict=True):
                if (answer.grade is Grade.CORRECT) != sample.label:
                    file.write(
                        json.dumps(_disagreement(given.stem, sample, answer, verdict)) + "\n"
                    )
    agree = [one == label for one, label in zip(right, labels, strict=True)]
    they_agree = [one == label for one, label in zip(theirs, labels, strict=True)]
    false, true = _where(labels, is_=False), _where(labels, is_=True)
    return [
        _line("grading_agreement", given, agree, "higher", AGREEMENT),
        _line("math_verify_agreement", given, they_agree, "higher"),
        _line("grading_false_correct", given, [right[i] for i in false], "lower", FALSE_CORRECT),
        _line("math_verify_false_correct", given, [theirs[i] for i in false], "lower"),
        _line("grading_false_wrong", given, [not right[i] for i in true], "lower"),
    ]


def _where(labels: Sequence[bool], *, is_: bool) -> list[int]:
    return [index for index, label in enumerate(labels) if label is is_]


def _line(
    name: str,
    given: Labelled,
    counted: Sequence[bool],
    better: Better,
    target: float | None = None,
) -> Line:
    units = {
        "grading_false_wrong": "share of the samples labelled true",
        "grading_false_correct": "share of the samples labelled false",
        "math_verify_false_correct": "share of the samples labelled false",
    }
    unit = units.get(name, "share of samples")
    passed = f"{given.passed_over} rows have no gold, or no label that is true or false"
    full = f"{name}:{given.stem}"
    if not counted:
        reason = f"no sample has such a label; {passed}"
        return Line(name=full, value=None, unit=unit, better=better, target=target, reason=reason)
    share = wilson(sum(counted), len(counted))
    return Line(
        name=full,
        value=round(share.value, 5),
        unit=unit,
        better=better,
        target=target,
        baseline=f"labels of the file; {passed}",
        n=len(counted),
        spread=(round(share.low, 5), round(share.high, 5)),
    )


def _grade(attempts: Sequence[Attempt]) -> list[Answer]:
    answers: list[Answer] = []
    with GradePool() as pool, tqdm(total=len(attempts), desc="graded", disable=None) as bar:
        for start in range(0, len(attempts), BATCH):
            answers += pool.grade(attempts[start : start + BATCH])
            bar.update(len(answers) - start)
    return answers


def _math_verify(attempts: Sequence[Attempt]) -> list[bool]:
    """math-verify on the same samples with its own time limits; where it dies, it says false."""
    verdicts: list[bool] = []
    with tqdm(total=len(attempts), desc="math-verify", disable=None) as bar:
        while len(verdicts) < len(attempts):
            context = get_context("spawn")
            with ProcessPoolExecutor(os.cpu_count(), context, _limit_memory) as pool:
                left = attempts[len(verdicts) :]
                try:
                    for verdict in pool.map(_verdict, left, chunksize=1):
                        verdicts.append(verdict)
                        bar.update(1)
                except BrokenProcessPool:
                    verdicts.append(False)
    return verdicts


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _verdict(attempt: Attempt) -> bool:
    """Its documented use: parse both, verify; a gold without delimiters is given them."""
    from math_verify import parse, verify

    gold = parse(attempt.gold)
    if not gold or "\\" in attempt.gold:
        gold = parse(attempt.gold if "$" in attempt.gold else f"${attempt.gold}$")
    try:
        return bool(verify(gold, parse(attempt.text)))
    except Exception:  # a fault of its own: it gives no verdict
        return False


def _disagreement(stem: str, sample: Sample, answer: Answer, verdict: bool) -> dict[str, object]:
    return {
        "file": stem,
        "row": sample.row,
        "label": sample.label,
        "gold": sample.attempt.gold,
        "grade": str(answer.grade),
        "answer": answer.answer,
        "math_verify": verdict,
        "end": sample.attempt.text[-400:],
    }


if __name__ == "__main__":
    main()
