"""The command `polytrace publish`: publish a release on the Hub or to a folder.

This module is imported when the command line starts, so the command imports heavy packages itself.
"""

from pathlib import Path
from typing import Annotated

import typer


def publish(
    run: Annotated[Path, typer.Argument(help="The run directory of a build.")],
    repo: Annotated[
        str | None,
        typer.Option(
            metavar="ORG/NAME", help="The dataset on the Hub; it is created if it does not exist."
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Instead of --repo: the URL of a folder, such as s3://BUCKET/PREFIX.",
        ),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Make it public (default: private).")
    ] = False,
    revision: Annotated[
        str | None,
        typer.Option(
            metavar="TAG", help="Also tag the commit, for example v1, beside the recipe's digest."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be sent; send nothing.")
    ] = False,
) -> None:
    """Publish a run's release on the Hugging Face Hub, or to a folder on S3 or other storage.

    The run is verified first. Files that have arrived are not sent again: after an interruption,
    running the command again continues, and if nothing has changed, it does nothing. It prints the
    address of what was published.

    --repo: one commit makes the dataset equal to RUN/release. The token is read from HF_TOKEN (or
    from hf auth login); HF_ENDPOINT names another hub.

    --to: any URL that fsspec knows. Credentials are read from the environment (AWS_ACCESS_KEY_ID
    and so on); AWS_ENDPOINT_URL names another S3 server.

    Examples: polytrace publish runs/demo --repo me/demo --dry-run ·
    polytrace publish runs/demo --repo me/demo --revision v1 ·
    polytrace publish runs/demo --to s3://bucket/demo
    """
    from support.signals import stop_at_once

    stop_at_once()  # an upload's threads would first send all that they have begun
    from curation.publish import fsspec_folder, hub
    from curation.publish.plan import check_destination

    check_destination(repo, to, public=public, tag=revision)
    if to is not None:
        typer.echo((fsspec_folder.dry_run if dry_run else fsspec_folder.publish)(run, to, say=_say))
    elif dry_run:
        typer.echo(hub.dry_run(run, str(repo), public=public, tag=revision, say=_say))
    else:
        typer.echo(hub.publish(run, str(repo), public=public, tag=revision, say=_say))


def _say(text: str) -> None:
    typer.echo(text, err=True)
