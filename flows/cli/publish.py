"""The command that publishes: `polytrace publish`.

Imported when the command line starts, so that heavy packages are imported inside the command, as in
`command_line.py`.
"""

from pathlib import Path
from typing import Annotated

import typer

from curation.publish.destination import check


def publish(
    run: Annotated[Path, typer.Argument(help="Run directory of a build.")],
    repo: Annotated[
        str | None,
        typer.Option(metavar="ORG/NAME", help="The dataset on the Hub; made if it is not."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Instead of --repo: a folder, as s3://BUCKET/PREFIX."),
    ] = None,
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
    """Publish a run's release: a dataset on the Hugging Face Hub, or a folder on S3 and the like.

    The run is verified first. What is there already is not sent again, so the same command goes on
    after an interruption, and does nothing where nothing changed. The address is printed.

    --repo: one commit makes the dataset hold RUN/release. The token comes from HF_TOKEN (or hf auth
    login), another hub from HF_ENDPOINT.

    --to: any URL of fsspec. Credentials come from the environment (AWS_ACCESS_KEY_ID and so on),
    another S3 server from AWS_ENDPOINT_URL.

    Examples: polytrace publish runs/demo --repo me/demo --dry-run ·
    polytrace publish runs/demo --repo me/demo --revision v1 ·
    polytrace publish runs/demo --to s3://bucket/demo
    """
    from support.signals import stop_at_once

    stop_at_once()  # an upload's threads would first send all that they have begun
    check(repo, to, public=public, tag=revision)
    from curation.publish import fsspec_folder, hub

    if to is not None:
        typer.echo((fsspec_folder.dry_run if dry_run else fsspec_folder.publish)(run, to, say=_say))
    elif dry_run:
        typer.echo(hub.dry_run(run, str(repo), public=public, tag=revision, say=_say))
    else:
        typer.echo(hub.publish(run, str(repo), public=public, tag=revision, say=_say))


def _say(text: str) -> None:
    typer.echo(text, err=True)
