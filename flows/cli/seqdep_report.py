"""The command `polytrace seqdep-report`: the paper's Figures 3 and 7 for a run."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.score import (
    BatchTokens,
    Device,
    DType,
    ModelName,
    PromptForm,
    Remote,
    StepTokens,
    WindowTokens,
    load_scorer,
    say_how_to_resume,
)


def seqdep_report(
    model: ModelName,
    run: Annotated[
        Path, typer.Argument(help="A run directory: its canvases, and their long-CoT form.")
    ],
    out: Annotated[Path, typer.Option(help="The folder for the report.")],
    web: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|DIR|hub:NAME", help="Web text to compare with; scored without a prompt."
        ),
    ] = None,
    long_cot: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FILE|DIR|hub:NAME",
            help="Ordinary long chain-of-thought to compare with; may be given several times. "
            "One with a NAME of its own is a series of its own.",
        ),
    ] = None,
    long_cot_column: Annotated[
        str | None,
        typer.Option(help="Text column of --long-cot (default: generations, solution, answer, …)."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=2, help="Use at most this many documents of each corpus.")
    ] = 400,
    step_tokens: StepTokens = 64,
    window_tokens: WindowTokens = 64,
    prompt: Annotated[
        PromptForm, typer.Option(help="Send prompts through the chat template, or as raw text.")
    ] = PromptForm.CHAT,
    batch_tokens: BatchTokens = 16384,
    device: Device = None,
    dtype: DType = None,
    trust_remote_code: Remote = False,
) -> None:
    """Draw the paper's Figures 3 and 7 for a run: is its corpus less sequential than ordinary text?

    The command scores web text, long chain-of-thought, the run's canvases and their long-CoT form,
    and two controls of the path level: paths taken from other prompts, and one path repeated. It
    writes report.md, seqdep.png, seqdep.svg and figures.json, and keeps the scores in OUT/scores.

    Example: polytrace seqdep-report runs/demo --model tiny/teacher --web web.jsonl
    --long-cot openr1.jsonl --out report
    """
    from curation.seqdep_report.report import Inputs, report
    from scorers.seqdep.measurement import SeqDepSettings

    settings = SeqDepSettings(
        batch_tokens=batch_tokens,
        step_tokens=step_tokens,
        window_tokens=window_tokens,
        keep_part=True,
        canvas_steps=True,
    )
    inputs = Inputs(
        run=run, web=web, long_cot=tuple(long_cot or ()), long_cot_column=long_cot_column
    )
    from support.display.progress import Progress

    with say_how_to_resume(), Progress("scored", "texts") as bar:
        load = partial(load_scorer, model, prompt, device, dtype, trust_remote_code)
        text = report(inputs, load, settings, out, limit=limit, progress=bar.update)
    typer.echo(text)
    typer.echo(f"report   {out}/report.md\npicture  {out}/seqdep.png, {out}/seqdep.svg")
    typer.echo(f"figures  {out}/figures.json\nscores   {out}/scores")
