"""The command that publishes: `polytrace publish`.

Imported when the command line starts, so that heavy packages are imported inside the command, as in
`cli.py`.
"""

from pathlib import Path
from typing import Annotated

import typer


def publish(
    run: Annotated[Path, typer.Argument(help="Run directory of a build.")],
    repo: Annotated[
        str, typer.Option(metavar="ORG/NAME", help="The dataset on the Hub; made if it is not.")
    ],
    public: Annotated[
        bool, typer.Option("--public", help="Everybody may read it (default: private).")
    ] = False,
    revision: Annotated[
        str | None,
        typer.Option(metavar="TAG", help="Tag the commit, as v1; beside the recipe's digest."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be sent; send nothing.")
    ] = False,
) -> None:
    """Publish a run's release as a dataset on the Hugging Face Hub.

    The run is verified first. One commit makes the dataset hold RUN/release; what the hub has
    already is not sent again, so the same command goes on after an interruption, and does nothing
    where nothing changed. The commit's address is printed. The token comes from HF_TOKEN (or hf
    auth login), another hub from HF_ENDPOINT.

    Examples: polytrace publish runs/demo --repo me/demo --dry-run ·
    polytrace publish runs/demo --repo me/demo --revision v1
    """
    from curation import hub

    if dry_run:
        typer.echo(hub.dry_run(run, repo, public=public, tag=revision, say=_say))
    else:
        typer.echo(hub.publish(run, repo, public=public, tag=revision, say=_say))


def _say(text: str) -> None:
    typer.echo(text, err=True)
