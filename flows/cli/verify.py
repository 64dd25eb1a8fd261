"""The command `polytrace verify`: check a run."""

from pathlib import Path
from typing import Annotated

import typer

from support.errors import UserError


def verify(run: Annotated[Path, typer.Argument(help="A run directory.")]) -> None:
    """Check a run: checksums, schema, sums of counts, every canvas. Exit code 1 on any damage."""
    if not run.is_dir():
        raise UserError(f"{run}: no such run directory")
    from curation.release.verify import find_problems, journal_warnings

    problems = find_problems(run)
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        typer.echo(f"{run}: {count}", err=True)
        raise typer.Exit(1)
    for note in journal_warnings(run):
        typer.echo(note, err=True)
    typer.echo(f"{run}: sound")
