"""The command `polytrace deploy`: make the deployments of `prefect.yaml` on Prefect's server.

This module is imported when the command line starts, so the command imports heavy packages itself.
"""

from pathlib import Path
from typing import Annotated

import typer


def deploy(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Deployments of prefect.yaml (default: all)."),
    ] = None,
    no_restart: Annotated[
        bool,
        typer.Option("--no-restart", help="Without the automations that restart crashed runs."),
    ] = False,
) -> None:
    """Make the deployments of `prefect.yaml` on Prefect's server, and what restarts crashed runs.

    It reads prefect.yaml and automations.yaml in the current directory, and the server's address in
    PREFECT_API_URL. Running it again updates what is there. --no-restart deletes the automations.

    Example: polytrace deploy nightly
    """
    from flows.runtime.deployments import deploy as make
    from flows.runtime.session import server_reached

    with server_reached():
        make(Path(), names or (), restart=not no_restart, say=_say)


def _say(text: str) -> None:
    typer.echo(text, err=True)
