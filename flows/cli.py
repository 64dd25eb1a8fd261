"""The command line of Polytrace: corpora, their scores, fine-tuning and evaluation.

Answers go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 nothing
released, damage found, or an internal fault; 2 the user's mistake; 3 short but resumable. Heavy
packages are imported by the command that needs them, so that `--help` answers at once.
"""

import io
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows import conducting, evaluating, inspecting, publishing, reporting, scoring, tuning
from flows.recipe_files import find_recipe
from schemas.durable import is_disk_fault
from schemas.errors import NothingReleasedError, PolytraceError, StoppedError, UserError
from schemas.secrets import hidden, of_environment

if TYPE_CHECKING:
    from curation.job import Job
    from schemas.outcome import Outcome
    from schemas.recipe import Recipe

RECIPES = Path(__file__).parent / "recipes"

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Build, check and look at parallel reasoning corpora, fine-tune on them, and evaluate.",
)


@app.command()
def build(
    recipe: Annotated[str, typer.Argument(help="A YAML file, or the name of a bundled recipe.")],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a key, as in groups.min_correct=2."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory (default: runs/NAME, the recipe's name).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Read at most this many rows.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate",
            help="Try 40 prompts and build nothing; print tokens, hours and yield for all rows "
            "(with --limit: for so many).",
        ),
    ] = False,
) -> None:
    """Build a corpus from a recipe.

    The run directory holds every stage; running the same command again goes on where it stopped
    and does nothing where nothing changed. Bundled recipes: see flows/recipes.

    Examples: polytrace build demo · polytrace build gsm8k_recorded --set source.path=FILE
    """
    from curation.screen import is_unicode
    from schemas.recipe import load

    chosen = load(find_recipe(recipe, RECIPES), set_ or ())
    if estimate:
        from curation.estimate import estimate as try_out
        from flows.signals import unwind_on_term

        unwind_on_term()
        tried = try_out(chosen, limit)
        typer.echo(tried.json() if json else tried.text())
        return
    run = out or Path("runs") / chosen.name
    if not is_unicode(str(run)):  # Prefect takes no other path
        raise UserError(f"--out {str(run)!r}: holds bytes that are no UTF-8")
    began = time.monotonic()
    outcome = _build(chosen, run, limit)
    outcome = outcome.model_copy(update={"seconds": round(time.monotonic() - began, 1)})
    if json:
        hidden = {"reused", "said"} if outcome.experiment else {"reused", "said", "experiment"}
        typer.echo(outcome.model_dump_json(by_alias=True, exclude=hidden))
        for sentence in outcome.said if outcome.canvases else ():
            typer.echo(sentence, err=True)
    else:
        _tell(outcome)
    if not outcome.canvases:
        from curation.browse import top_reasons

        raise NothingReleasedError(f"nothing was released; top reasons: {top_reasons(run)}")


def _build(recipe: "Recipe", run: Path, limit: int | None) -> "Outcome":
    """Check the recipe's parts, then run the flow, unless the run directory is up to date.

    Models are tried only where there is something to do: to load the scorer costs seconds.
    """
    from curation.job import Job
    from schemas.durable import lock

    job = Job(recipe=recipe, run=run, limit=limit)
    job.check()
    earlier = _standing(job)
    if earlier is not None and recipe.handoff is None:
        return earlier
    if earlier is None:
        from curation import trace_stage

        trace_stage.check_servers(job)
        job.check_scorer()
    with lock(run):
        pass  # a directory that is in use, or cannot be written to, shows before Prefect starts
    if recipe.handoff is not None:
        from flows.experiment import checked

        checked(recipe.handoff, run)  # a mistake shows before hours of work
    with conducting.prefect(run):
        from flows.build import run_build

        return run_build(recipe, run, limit)


def _standing(job: "Job") -> "Outcome | None":
    """The outcome of a run that is up to date, with its page; None where anything is to be done."""
    from curation import finish
    from schemas.durable import lock
    from schemas.manifest import MANIFEST_FILE

    if not (job.run / MANIFEST_FILE).is_file():
        return None  # and no folder is made: the scorer may yet turn out to be a mistake
    with lock(job.run):
        earlier = finish.standing(job)
        if earlier is not None and earlier.canvases and not reporting.is_fresh(job.run):
            reporting.write_report(job.run / reporting.REPORT, job.run)
        return earlier


def _tell(outcome: "Outcome") -> None:
    prompts, traces, run = outcome.prompts, outcome.traces, outcome.run_dir
    state = "up to date, nothing to do" if outcome.reused else f"built in {outcome.seconds:.0f} s"
    if not outcome.canvases:
        typer.echo(f"0 canvases ({state}); every rejection is in {run}/rejected")
        return
    handed = f"\n  tables   {outcome.experiment}/report.md" if outcome.experiment else ""
    typer.echo(
        f"{outcome.canvases} canvases ({state})\n"
        f"  prompts  {prompts.in_} read = {prompts.released} released + "
        f"{prompts.rejected} rejected\n"
        f"  traces   {traces.in_} had = {traces.kept} kept + {traces.rejected} rejected\n"
        f"  dataset  {run}/release   datasets.load_dataset({str(run) + '/release'!r})\n"
        f"  card     {run}/release/README.md\n"
        f"  page     {run}/report.html (open it in a browser)\n"
        f"  look     polytrace inspect {run}\n"
        f"  check    polytrace verify {run}{handed}"
    )
    for sentence in outcome.said:
        typer.echo(f"  {sentence}")


@app.command()
def verify(run: Annotated[Path, typer.Argument(help="A run directory.")]) -> None:
    """Check a run: checksums, schema, conservation, every canvas. Exit 1 on any damage."""
    if not run.is_dir():
        raise UserError(f"{run}: no such run directory")
    from curation.verify import damaged_journals
    from curation.verify import verify as problems_of

    problems = problems_of(run)
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        typer.echo(f"{run}: {count}", err=True)
        raise typer.Exit(1)
    for note in damaged_journals(run):
        typer.echo(note, err=True)
    typer.echo(f"{run}: sound")


for command in (
    *(inspecting.inspect, publishing.publish, scoring.score, scoring.seqdep_report, tuning.train),
    *(evaluating.evaluate, evaluating.tables, conducting.finetune_eval, reporting.report),
):
    app.command()(command)


@app.command()
def doctor(
    endpoint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL", help="Ask a server what it serves; may be given several times."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what this machine can do, and which bundled recipe fits it.

    Versions, GPUs, memory, disk, servers, whether there is a hub token (never which).

    Example: polytrace doctor --endpoint http://localhost:8000/v1
    """
    from flows.doctor import as_json, broken, examine, text

    facts = examine(endpoint or ())
    typer.echo(as_json(facts) if json else text(facts))
    if fault := broken(facts):
        raise PolytraceError(fault)


def main() -> None:
    """Run the command line and end with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal of another encoding ends no command
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except PolytraceError as error:
        from curation.terminal import visible

        said = hidden(" ".join(str(error).splitlines()), of_environment())
        print(f"polytrace: {visible(said)}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        if is_disk_fault(error):
            print(f"polytrace: {_told(error)}", file=sys.stderr)
            sys.exit(StoppedError.exit_code)
        handle, log = tempfile.mkstemp(prefix="polytrace-", suffix=".log")  # a name nobody knew
        text = hidden(traceback.format_exc(), of_environment())
        with open(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        print(
            f"polytrace: internal fault ({type(error).__name__}); the traceback is in {log}",
            file=sys.stderr,
        )
        sys.exit(1)


def _told(fault: BaseException) -> str:
    """What to say of a disk that fails."""
    assert isinstance(fault, OSError)
    name = f"{fault.filename}: " if fault.filename else ""
    return (
        f"{name}the disk fails ({os.strerror(fault.errno or 0)}); what was made is whole. "
        "Mend that (a full disk: free some space) and run the same command again: it goes on"
    )


if __name__ == "__main__":
    main()
