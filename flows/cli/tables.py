"""The command that prints what was evaluated: `polytrace tables`."""

from pathlib import Path
from typing import Annotated

import typer


def tables(
    runs: Annotated[list[Path], typer.Argument(help="Run directories of polytrace evaluate.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the page (default: tables, in the first run).")
    ] = None,
    seqdep: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="A report of polytrace seqdep-report: Figures 3, 7."),
    ] = None,
) -> None:
    """Print the paper's Tables 1 to 5 and Figures 1, 2, 3, 4 and 7 from what was evaluated.

    OUT/tables.md holds them, each accuracy with its 95 % interval and, where the model is the
    paper's, the paper's figure beside it; then each claim of the paper, tested pair by pair; then
    every cell as it is. Pictures are PNG and SVG. What was not evaluated stays empty there, and is
    not printed here.

    Examples: polytrace tables runs/tiny_base · polytrace tables runs/dream runs/llada --out page
    """
    from diffusion.paper.tables_page import in_short, write_page

    page = write_page(runs, out or runs[0] / "tables", seqdep)
    typer.echo(f"{in_short(runs)}\n\npage     {page}")
