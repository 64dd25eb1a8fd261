"""The command `polytrace build`: build a corpus from a recipe."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows import page
from flows.recipe_files import RECIPES, completion, find_recipe
from flows.runtime.session import prefect
from flows.trust import AllowAddress, Untrusted, on_command_line
from support.errors import NothingReleasedError, UserError

if TYPE_CHECKING:
    from schemas.budget import Price
    from schemas.outcome import Outcome, Spending
    from schemas.recipe import Recipe


def build(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A YAML file, or the name of a bundled recipe.", autocompletion=completion(RECIPES)
        ),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a recipe key, such as groups.min_correct=2.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run directory (default: runs/NAME, with the name in the recipe)."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Read at most this many rows of the sources.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate",
            help="Build nothing: try 20 prompts to load every model, measure 20 more, and print "
            "the tokens, hours and yield to expect for all rows (or for --limit rows).",
        ),
    ] = False,
    untrusted: Untrusted = False,
    allow_address: AllowAddress = None,
) -> None:
    """Build a corpus from a recipe.

    The run directory holds the output of every stage. If the command is stopped, running it again
    continues where it stopped. If nothing has changed, it does nothing. Bundled recipes are in
    flows/recipes.

    Examples: polytrace build demo · polytrace build gsm8k_recorded --set source.path=FILE
    """
    from curation.canvases.checks import is_unicode
    from curation.inspect.few_correct import few_correct, nothing_released
    from schemas.recipe import load_recipe

    checks = on_command_line(untrusted, allow_address)
    chosen = load_recipe(find_recipe(recipe, RECIPES), set_ or ())
    if checks is not None:
        checks.recipe(chosen, recipe)
    if estimate:
        from curation.estimate import estimate_build
        from support.signals import unwind_on_interrupt, unwind_on_term

        unwind_on_interrupt()
        unwind_on_term()
        tried = estimate_build(chosen, limit)
        typer.echo(tried.json() if json else tried.text())
        return
    run = out or Path("runs") / chosen.name
    if not is_unicode(str(run)):  # Prefect takes no other path
        raise UserError(f"--out {str(run)!r}: holds bytes that are not UTF-8")
    began = time.monotonic()
    outcome = _build(chosen, run, limit)
    outcome = outcome.model_copy(update={"seconds": round(time.monotonic() - began, 1)})
    if json:
        hidden = {"reused", "said"}
        hidden |= {name for name in ("experiment", "spent") if getattr(outcome, name) is None}
        typer.echo(outcome.model_dump_json(by_alias=True, exclude=hidden))
        for sentence in outcome.said if outcome.canvases else ():
            typer.echo(sentence, err=True)
    else:
        _tell(outcome, chosen.price)
    if not outcome.canvases:
        raise NothingReleasedError(nothing_released(run))
    if advice := few_correct(run):
        typer.echo(f"  {advice}", err=json)


def _build(recipe: "Recipe", run: Path, limit: int | None) -> "Outcome":
    """Check the recipe's parts, then run the flow, unless the run directory is up to date."""
    from curation import pipeline
    from curation.context import Job
    from flows.runtime.cluster import check_address

    job = Job(recipe=recipe, run=run, limit=limit)
    try:
        job.check()
        earlier = pipeline.up_to_date(job)
        if earlier is None:
            check_address(recipe.task_runner)
            pipeline.check_resources(job)
    finally:
        job.close()  # the flow makes its own
    if earlier is not None and not page.is_fresh(run):
        page.write_report(run / page.REPORT, run)
    if earlier is not None and recipe.handoff is None:
        return earlier
    if recipe.handoff is not None:
        from flows.experiment import checked

        checked(recipe.handoff, run)  # a mistake shows before hours of work
    with prefect(run, recipe.task_runner):
        from flows.build import run_build

        return run_build(recipe, run, limit)


def _tell(outcome: "Outcome", price: "Price | None") -> None:
    prompts, traces, run = outcome.prompts, outcome.traces, outcome.run_dir
    state = "up to date, nothing to do" if outcome.reused else f"built in {outcome.seconds:.0f} s"
    if not outcome.canvases:
        typer.echo(
            f"0 canvases ({state}); every rejection is in {run}/rejected\n"
            f"  page     {run}/report.html (open it in a browser)"
        )
        if outcome.spent is not None:
            typer.echo(f"  spent    {_spent(outcome.spent, price)}")
        return
    handed = f"\n  tables   {outcome.experiment}/report.md" if outcome.experiment else ""
    typer.echo(
        f"{outcome.canvases} canvases ({state})\n"
        f"  prompts  {prompts.in_} read = {prompts.released} released + "
        f"{prompts.rejected} rejected\n"
        f"  traces   {traces.in_} in = {traces.kept} kept + {traces.rejected} rejected\n"
        f"  dataset  {run}/release   datasets.load_dataset({str(run) + '/release'!r})\n"
        f"  card     {run}/release/README.md\n"
        f"  page     {run}/report.html (open it in a browser)\n"
        f"  look     polytrace inspect {run}\n"
        f"  check    polytrace verify {run}{handed}"
    )
    if outcome.spent is not None:
        typer.echo(f"  spent    {_spent(outcome.spent, price)}")
    for sentence in outcome.said:
        typer.echo(f"  {sentence}")


def _spent(spent: "Spending", price: "Price | None") -> str:
    tokens = f"{spent.prompt_tokens:,} tokens read and {spent.completion_tokens:,} written"
    tokens += " by the teacher"
    money = "" if price is None else f"{price.amount(spent.money or 0)} for "
    if spent.judge_completion_tokens:
        judged = f"{spent.judge_prompt_tokens:,} read and {spent.judge_completion_tokens:,} written"
        unpriced = " (price.judge is not set: they are not in the sum)"
        tokens += f", {judged} by the judge{unpriced if price and price.judge is None else ''}"
    unknown = ""
    if spent.uncounted:
        unknown = (
            f"; the server told no tokens of {spent.uncounted:,} samples, which count as max_tokens"
        )
    return f"{money}{tokens}, in all builds of this run{unknown}"
