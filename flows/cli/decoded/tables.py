"""The command `polytrace tables`: print the paper's tables from evaluations."""

from pathlib import Path
from typing import Annotated

import typer


def tables(
    runs: Annotated[
        list[Path], typer.Argument(help="One or several run directories of polytrace evaluate.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The folder for the page (default: tables, in the first run)."),
    ] = None,
    seqdep: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder of polytrace seqdep-report: adds Figures 3 and 7."
        ),
    ] = None,
) -> None:
    """Print the paper's Tables 1 to 5 and Figures 1, 2, 3, 4 and 7 from what was evaluated.

    OUT/tables.md holds them, each accuracy with its 95 % interval and, if the model is the paper's,
    with the paper's figure beside it; then each claim of the paper, tested pair by pair; then every
    cell. Pictures are PNG and SVG. What was not evaluated is empty in the file, and is left out of
    what the command prints.

    Examples: polytrace tables runs/tiny_base · polytrace tables runs/dream runs/llada --out page
    """
    from diffusion.paper.tables_page import in_short, write_page

    page = write_page(runs, out or runs[0] / "tables", seqdep)
    typer.echo(f"{in_short(runs)}\n\npage     {page}")
