"""The log of a training: a line for each step and validation, refusals, and a summary."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from diffusion.data.corpus import Refusal
from diffusion.training.validation import Buckets
from support.errors import DamagedError, UserError
from support.files import fsync, replace_text

STEPS = "training.jsonl"
VALIDATION = "validation.jsonl"
REFUSED = "refused.jsonl"
SUMMARY = "summary.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedStep:
    """One step of `training.jsonl`.

    `loss` is the objective (METHOD section 4); `content_nats` and `fill_nats` are mean
    cross-entropies a masked token (null: none was masked). `answer_tokens` includes fill.
    """

    step: int
    loss: float
    content_nats: float | None
    fill_nats: float | None
    gradient_norm: float
    learning_rate: float
    instances: int
    answer_tokens: int
    content_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSummary:
    """What was trained: instances + refused = rows of the corpus's train split."""

    digest: str
    family: str
    parameters: int
    trained_parameters: int
    rows: int
    instances: int
    refused: dict[str, int]
    validation_refused: dict[str, int]
    masks: int
    header_tokens: int
    steps: int
    loss: float
    validation: Buckets | None

    def json(self) -> str:
        """As one JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"


def read_summary(out: Path, digest: str) -> TrainingSummary | None:
    """The summary of a complete training; UserError if `out` holds that of another one."""
    file = out / SUMMARY
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        buckets = facts.pop("validation")
        summary = TrainingSummary(**facts, validation=Buckets.of(buckets) if buckets else None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{file}: cannot be read ({error}); delete {out}") from None
    if summary.digest != digest:
        raise UserError(
            f"{out}: holds a model tuned from another model, corpus or settings; choose another "
            "--out"
        )
    return summary


def last_line(out: Path) -> LoggedStep:
    """The last step that was logged."""
    *_, last = (out / STEPS).read_text(encoding="utf-8").splitlines()
    return LoggedStep(**json.loads(last))


def last_validation(out: Path, step: int) -> Buckets | None:
    """The validation after `step`, if it was the last one."""
    file = out / VALIDATION
    if not file.exists():
        return None
    *_, last = ({}, *map(json.loads, file.read_text(encoding="utf-8").splitlines()))
    return Buckets.of(last) if last.pop("step", None) == step else None


def keep_lines(out: Path, steps: int) -> None:
    """Drop what was logged after step `steps`, that of the checkpoint."""
    for name in (STEPS, VALIDATION):
        file = out / name
        kept = []
        texts = file.read_text(encoding="utf-8").splitlines() if file.exists() else ()
        for text in texts:
            try:
                if json.loads(text)["step"] <= steps:
                    kept.append(text + "\n")
            except ValueError:  # a line that a kill cut off
                continue
        if name == STEPS and len(kept) != steps:
            raise DamagedError(f"{file}: holds {len(kept)} of {steps} steps; delete {out}")
        replace_text(file, "".join(kept))


def sync(out: Path) -> None:
    """Make what was logged so far durable."""
    for name in (STEPS, VALIDATION):
        if (file := out / name).exists():
            fsync(file)
    fsync(out)


def write_refused(out: Path, **splits: Sequence[Refusal]) -> None:
    """`refused.jsonl`: every row of either split that does not suit this model."""
    lines = [
        json.dumps({"split": split, **refusal._asdict()}) + "\n"
        for split, refusals in splits.items()
        for refusal in refusals
    ]
    replace_text(out / REFUSED, "".join(lines))


def add_validation(out: Path, step: int, buckets: Buckets) -> None:
    """One line of `validation.jsonl`."""
    with (out / VALIDATION).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, **dataclasses.asdict(buckets)}) + "\n")


@contextmanager
def appending(out: Path) -> Iterator[Callable[[LoggedStep], None]]:
    """Yield a function that appends a line to `training.jsonl` and flushes it."""
    with (out / STEPS).open("a", encoding="utf-8") as opened:

        def write(line: LoggedStep) -> None:
            opened.write(json.dumps(dataclasses.asdict(line)) + "\n")
            opened.flush()

        yield write
