"""The command that writes a page to look at: `polytrace report`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.page import REPORT, write_report


def report(
    run: Annotated[Path, typer.Argument(help="A run directory of polytrace build.")],
    evaluation: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Of polytrace evaluate: tables, and how canvases fill."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write (default: report.html in the run).")
    ] = None,
) -> None:
    """Write one HTML page about a corpus: open it in any browser, send it to anybody.

    Funnel and reasons, distributions, SeqDep, what siblings tell each other, 100 canvases to look
    through with their paths side by side; after an evaluation its tables and pictures, and canvases
    as they filled, step by step. It loads nothing and needs no network; texts of models are shown
    as text, whatever they hold.

    Example: polytrace report runs/demo --evaluation runs/tiny-BUILD/evaluation
    """
    file = out or run / REPORT
    write_report(file, run, evaluation)
    typer.echo(f"page     {file} ({file.stat().st_size / 1e6:.1f} MB)")
