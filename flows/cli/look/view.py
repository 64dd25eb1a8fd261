"""The command `polytrace view`: look through a whole corpus in a browser.

This module is imported when the command line starts, so the command imports heavy packages itself.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def view(
    run: Annotated[
        list[Path],
        typer.Argument(
            help="A run directory, the folder of a released dataset, or Parquet files of it; "
            "several are shown one after the other."
        ),
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port to listen on; 0: one that is free.")
    ] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, and open no browser.")
    ] = False,
) -> None:
    """Look through a whole corpus in a browser: search, filter, sort, read.

    A page on this machine lists all canvases, a million too, and shows each with its paths side by
    side, grades, SeqDep and provenance. Filter by grades, tokens, SeqDep and similarity; sort by
    any of them; search prompts, paths and summaries. Keys: j and k move, Enter opens, Esc closes,
    / searches, f filters, ? explains. Nothing is written, and nothing leaves this machine: only
    who has the printed address can open the page. Ctrl-C ends the command.

    On another machine, by SSH: start it there with --port 8765 --no-browser, connect with ssh -L
    8765:127.0.0.1:8765 HOST, and open the printed address here.

    Examples: polytrace view runs/demo · polytrace view runs/demo/release --no-browser ·
    polytrace view part-1.parquet part-2.parquet
    """
    from curation.release.reader import ReleaseReader
    from curation.viewer.server import serve
    from support.errors import UserError

    corpus = ReleaseReader(*run)
    if not len(corpus):
        raise UserError(f"{run[0]}: no canvas was released; polytrace inspect {run[0]} says why")

    def is_up(address: str) -> None:
        typer.echo(f"view     {address}\n{len(corpus):,} canvases; Ctrl-C ends this")
        if not no_browser and _has_screen():
            import webbrowser

            webbrowser.open(address)

    serve(corpus, port, is_up)
    typer.echo("\nview     ended; nothing was changed")


def _has_screen() -> bool:
    """Whether a browser has a window: one in the terminal would take this command's place."""
    on_linux = sys.platform.startswith("linux")
    return not on_linux or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
