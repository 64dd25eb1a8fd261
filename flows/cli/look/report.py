"""The command `polytrace report`: write an HTML page about a corpus."""

from pathlib import Path
from typing import Annotated

import typer

from flows.page import REPORT, write_report


def report(
    run: Annotated[Path, typer.Argument(help="A run directory of polytrace build.")],
    evaluation: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Run directory of polytrace evaluate: adds tables, and how canvases fill.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write (default: report.html in the run).")
    ] = None,
) -> None:
    """Write one HTML page about a corpus, which any browser can open.

    It holds the funnel and the reasons for rejections, distributions, SeqDep, what sibling paths
    tell about each other, and 100 canvases with their paths side by side. After an evaluation it
    also holds tables and pictures, and canvases as they were filled, step by step. The page loads
    nothing and needs no network. Texts of models are shown as text, whatever they hold.

    Example: polytrace report runs/demo --evaluation runs/tiny-BUILD/evaluation
    """
    file = out or run / REPORT
    write_report(file, run, evaluation)
    typer.echo(f"page     {file} ({file.stat().st_size / 1e6:.1f} MB)")
