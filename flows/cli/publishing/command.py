"""The command `polytrace publish`: publish a release, a model or a report.

This module is imported when the command line starts, so the command imports heavy packages itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from curation.publish.plan import Publication


class PublishAs(StrEnum):
    """What is published of a run, where it is not the run's result itself."""

    REPORT = "report"


def publish(
    run: Annotated[
        Path, typer.Argument(help="The run directory of a build, or the folder of a training.")
    ],
    repo: Annotated[
        str | None,
        typer.Option(
            metavar="ORG/NAME",
            help="The repository on the Hub; it is created if it does not exist.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Instead of --repo: the URL of a folder, such as s3://BUCKET/PREFIX.",
        ),
    ] = None,
    as_: Annotated[
        PublishAs | None,
        typer.Option("--as", help="Publish the run's report, as a static Space."),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Make it public (default: private).")
    ] = False,
    revision: Annotated[
        str | None,
        typer.Option(metavar="TAG", help="Also tag the commit, for example v1, beside the digest."),
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option(
            metavar="TITLE",
            help="Also list the repository in ORG's collection of this title; it is created if it "
            "does not exist.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be sent; send nothing.")
    ] = False,
) -> None:
    """Publish a release, a fine-tuned model or a report on the Hugging Face Hub.

    What is published is checked first. Files that have arrived are not sent again: after an
    interruption, running the command again continues, and if nothing has changed, it does nothing.
    It prints the address of what was published.

    --repo: one commit makes the repository equal to what is published. A build becomes a dataset
    (RUN/release); a training becomes a model (RUN/model; give RUN/adapter for the adapter alone);
    with --as report, RUN/report.html or the tables of an evaluation become a static Space. The
    token is read from HF_TOKEN (or from hf auth login); HF_ENDPOINT names another hub.

    --to: a build's release goes to any URL that fsspec knows. Credentials are read from the
    environment (AWS_ACCESS_KEY_ID and so on); AWS_ENDPOINT_URL names another S3 server.

    Examples: polytrace publish runs/demo --repo me/demo --dry-run ·
    polytrace publish runs/demo --repo me/demo --revision v1 --collection "Demo" ·
    polytrace publish runs/tiny_nap --repo me/tiny-nap ·
    polytrace publish runs/demo --as report --repo me/demo-report ·
    polytrace publish runs/demo --to s3://bucket/demo
    """
    from support.signals import stop_at_once

    stop_at_once()  # an upload's threads would first send all that they have begun
    from curation.publish import fsspec_folder, hub
    from curation.publish.plan import check_destination
    from support.errors import UserError

    check_destination(repo, to, public=public, tag=revision, collection=collection)
    if to is not None:
        if as_ is not None:
            raise UserError("--as is of the Hub; it goes with --repo alone")
        typer.echo((fsspec_folder.dry_run if dry_run else fsspec_folder.publish)(run, to, say=_say))
        return
    there = hub.HubDestination(repo=str(repo), public=public, tag=revision, collection=collection)
    opened = _opened(run, as_, is_held=not dry_run)
    if dry_run:
        typer.echo(hub.dry_run(opened, there))
        return
    for address in filter(None, hub.publish(opened, there, say=_say)):
        typer.echo(address)


@contextmanager
def _opened(run: Path, as_: PublishAs | None, *, is_held: bool) -> "Iterator[Publication]":
    """What is published of a run, which is locked meanwhile if it `is_held`."""
    from curation.publish.plan import release_of, require
    from schemas.manifest import MANIFEST_FILE
    from support.files import lock

    require(run)
    training = None
    if as_ is PublishAs.REPORT:
        from flows.cli.publishing.report_space import report_space
    elif not (run / MANIFEST_FILE).exists():
        from flows.cli.publishing.trained import trained_model, training_of

        training = training_of(run)
    with lock(training or run) if is_held else nullcontext():
        if as_ is PublishAs.REPORT:
            with report_space(run) as what:
                yield what
        elif training is not None:
            yield trained_model(run, training)
        else:
            yield release_of(run, _say)


def _say(text: str) -> None:
    typer.echo(text, err=True)
