"""The command `polytrace score`: measure the SeqDep of any corpus.

This module is imported when the command line starts, so the command imports heavy packages itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.precision import Precision
from schemas.records import Level
from support.errors import NothingReleasedError, UserError
from support.signals import unwind_on_interrupt

if TYPE_CHECKING:
    from scorers.seqdep.causal_lm import Scorer

ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="Causal language model: a local directory, or an id on the Hugging Face Hub.",
    ),
]
StepTokens = Annotated[int, typer.Option(min=1, help="Longest step, in tokens of the scorer.")]
WindowTokens = Annotated[int, typer.Option(min=1, help="Length of a window, in tokens.")]
BatchTokens = Annotated[
    int, typer.Option(min=1, help="Tokens of one forward pass; halved if memory runs out.")
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, … (default: a GPU if there is one).")
]


DType = Annotated[
    Precision | None,
    typer.Option(
        "--dtype", help="The scorer's numbers (default: float32 on a CPU, else bfloat16)."
    ),
]
Remote = Annotated[
    bool, typer.Option("--trust-remote-code", help="Allow code that comes with the model to run.")
]


class PromptForm(StrEnum):
    """How prompts are given to the scorer."""

    CHAT = "chat"
    RAW = "raw"


class TooLong(StrEnum):
    """What happens to a document that exceeds the scorer's context."""

    PART = "part"
    REJECT = "reject"


def score(
    model: ModelName,
    input_: Annotated[
        str,
        typer.Option(
            "--input",
            metavar="FILE|DIR|URL|hub:NAME",
            help="JSON, CSV or Parquet, a folder of one of them, a run, s3://…, or a Hub dataset.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="The file for the scores, one row a document: .parquet or .jsonl.")
    ],
    prompt_column: Annotated[
        str | None,
        typer.Option(help="Column of the prompt (default: prompt, problem, … if there is one)."),
    ] = None,
    text_column: Annotated[
        str | None,
        typer.Option(
            help="Column of the text, or of a list of texts (default: text, response, …)."
        ),
    ] = None,
    no_prompt: Annotated[
        bool,
        typer.Option(
            "--no-prompt", help="Score texts without a prompt, even if there is a prompt column."
        ),
    ] = False,
    segments: Annotated[
        str, typer.Option(help="Levels, separated by commas: path (canvases only), step, window.")
    ] = "path,step,window",
    step_tokens: StepTokens = 64,
    window_tokens: WindowTokens = 64,
    prompt: Annotated[
        PromptForm, typer.Option(help="Send prompts through the chat template, or as raw text.")
    ] = PromptForm.CHAT,
    too_long: Annotated[
        TooLong,
        typer.Option(
            help="For a text beyond the scorer's context: score the part that fits, or none."
        ),
    ] = TooLong.PART,
    siblings: Annotated[
        bool,
        typer.Option("--siblings", help="On canvases, measure every path given every other one."),
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Score at most this many texts.")] = None,
    config: Annotated[str | None, typer.Option(help="For hub:NAME: the dataset's config.")] = None,
    split: Annotated[str, typer.Option(help="For hub:NAME: the dataset's split.")] = "train",
    revision: Annotated[
        str | None, typer.Option(help="For hub:NAME: the dataset's revision.")
    ] = None,
    batch_tokens: BatchTokens = 16384,
    device: Device = None,
    dtype: DType = None,
    trust_remote_code: Remote = False,
) -> None:
    """Measure the sequential dependence (SeqDep, Eq. 4) of any corpus.

    Every document gets a row: nats a segment and nats a token at each level, the gain of every
    segment, and its number of tokens. Means, curves over length and means by segment are printed
    and written to OUT.figures.json. A text in the canvas format is also scored at path level. If
    the command is stopped, running it again continues where it stopped; a higher --limit, or more
    rows of the input, add to the scores that stand.

    Examples: polytrace score --model tiny/teacher --input runs/demo --out demo.parquet ·
    polytrace score --model Qwen/Qwen2.5-1.5B --input hub:open-r1/OpenR1-Math-220k
    --text-column generations --out openr1.parquet
    """
    from curation.seqdep_report.documents import TextCorpus

    levels = _levels(segments)
    corpus = TextCorpus(
        input_,
        prompt_column=prompt_column,
        text_column=text_column,
        no_prompt=no_prompt,
        config=config,
        split=split,
        revision=revision,
    )
    from curation.seqdep_report.corpus_statistics import corpus_statistics
    from curation.seqdep_report.kept_scores import read_scores
    from curation.seqdep_report.report import note_on
    from curation.seqdep_report.score import check_out, score_corpus
    from scorers.seqdep.measurement import SeqDepSettings
    from support.files import replace_text

    settings = SeqDepSettings(
        batch_tokens=batch_tokens,
        step_tokens=step_tokens,
        window_tokens=window_tokens,
        keep_part=too_long is TooLong.PART,
        canvas_steps=True,
        siblings=siblings,
        levels=levels,
    )
    check_out(out)
    if Path(input_).is_dir() and Path(input_).resolve() in out.resolve().parents:
        raise UserError(f"--out {out}: lies in the folder that is read; choose another place")
    scorer = load_scorer(model, prompt, device, dtype, trust_remote_code)
    typer.echo(
        f"{corpus.name}: text in column {corpus.text_column!r}, "
        f"{f'prompt in {corpus.prompt_column!r}' if corpus.prompt_column else 'no prompt'}; "
        f"scorer {scorer.name} ({scorer.revision}), {scorer.model.dtype}, {scorer.model.device}",
        err=True,
    )
    from support.display.progress import Progress

    with say_how_to_resume(), Progress("scored", "texts", total=limit) as bar:
        score_corpus(corpus, scorer, settings, out, limit=limit, progress=bar.update)
    statistics = corpus_statistics(read_scores(out))
    replace_text(out.with_name(out.name + ".figures.json"), statistics.json())
    typer.echo(statistics.text())
    if note := note_on(scorer):
        typer.echo(note)
    if siblings and not statistics.siblings:
        typer.echo(
            "there are no canvases with two or more paths, so --siblings had nothing to measure"
        )
    typer.echo(f"scores   {out}\nfigures  {out}.figures.json")
    if not statistics.documents:
        raise NothingReleasedError(f"{corpus.name}: no document could be scored; see {out}")


@contextmanager
def say_how_to_resume() -> Iterator[None]:
    """On Ctrl-C, say that running the same command again continues."""
    unwind_on_interrupt()
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("\ninterrupted; what was scored is kept, and the same command goes on", err=True)
        raise


def load_scorer(
    model: str, prompt: PromptForm, device: str | None, dtype: Precision | None, trust: bool
) -> "Scorer":
    """The scorer on its device; `model` may be a bundled one."""
    from scorers.seqdep.device_pool import ModelSpec
    from support.paths import locate

    is_chat = prompt is PromptForm.CHAT
    spec = ModelSpec(path=locate(model), chat=is_chat, trust_remote_code=trust, dtype=dtype or "")
    return spec.load(device)


def _levels(segments: str) -> tuple[Level, ...]:
    names = [name.strip() for name in segments.split(",")]
    if unknown := [name for name in names if name not in set(Level)]:
        choices = ", ".join(Level)
        raise UserError(f"--segments: {unknown[0]!r} is no level; choose from {choices}")
    return tuple(level for level in Level if level in names)
