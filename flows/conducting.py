"""Commands that start a Prefect flow, and the command `polytrace finetune-eval`.

Imported when the command line starts, so that heavy packages are imported inside the command, as in
`cli.py`.
"""

import os
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from schemas.durable import is_disk_fault
from schemas.errors import PolytraceError, StoppedError, UserError
from schemas.secrets import bare, hidden, of_environment

API = "PREFECT_API_URL"
DATABASE_BYTES = 32 * 10**6  # a new database takes 1 MB, a build of many shards some more


@contextmanager
def prefect(run: Path) -> Iterator[None]:
    """Start a flow inside: quiet, stopped at once by a signal, faults logged in the run.

    A disk that fails is no fault of ours: its error passes, and `cli.py` tells of it.
    """
    typer.echo("starting Prefect (about ten seconds) …", err=True)
    for name, value in {
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }.items():
        os.environ.setdefault(name, value)
    _check_home()
    from flows.ending import own_server, stop_at_once

    stop_at_once()
    try:
        with own_server():
            yield
    except PolytraceError:
        raise
    except Exception as error:
        if is_disk_fault(error):
            raise
        if str(error).startswith("Timed out while attempting to connect to ephemeral"):
            raise StoppedError(
                "Prefect's own server did not start; `prefect server start` shows why"
            ) from None
        if str(error).startswith("Failed to reach API"):
            raise _unreachable() from None
        log = run / "polytrace.log"
        with log.open("a", encoding="utf-8") as file:
            file.write(hidden(traceback.format_exc(), of_environment()))
        raise PolytraceError(
            f"internal fault ({type(error).__name__}: {error}); the traceback is in {log}; "
            f"what was made is kept, and the same command goes on"
        ) from None


def _unreachable() -> UserError:
    """No server answers at the address that the variable names, or else Prefect's own settings."""
    from prefect.settings import get_current_settings

    where = hidden(bare(get_current_settings().api.url or ""), of_environment())
    if os.environ.get(API):
        source, undo = "the variable", f"unset {API}"
    else:
        source, undo = "the Prefect profile", f"prefect config unset {API}"
    return UserError(
        f"{API}: no Prefect server answers at {where}, which {source} names; start it (prefect "
        f"server start), or take the address away ({undo}): a build then has a server of its own"
    )


def _check_home() -> None:
    """StoppedError where Prefect's database cannot grow: its server would try for minutes."""
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url is not None:
        return  # a server of the user's own
    home = next(at for at in (settings.home, *settings.home.parents) if at.exists())
    what = f"{settings.home}: Prefect keeps its database there, and"
    hint = "set PREFECT_HOME to a folder on another disk"
    if not os.access(home, os.W_OK):
        raise StoppedError(f"{what} it cannot be written to; {hint}")
    if (free := shutil.disk_usage(home).free) < DATABASE_BYTES:
        raise StoppedError(f"{what} {free // 10**6} MB are left; make room, or {hint}")


def finetune_eval(
    experiment: Annotated[
        str, typer.Argument(help="A YAML file, or the name of a bundled experiment.")
    ],
    corpus: Annotated[Path, typer.Option(help="Run directory of a build.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in evaluate.recipe=…."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The experiment's directory (default: runs/NAME-BUILD).")
    ] = None,
    accelerate_config: Annotated[
        Path | None, typer.Option(help="Train on several GPUs by this accelerate config.")
    ] = None,
) -> None:
    """Fine-tune on a corpus, evaluate what came of it, and print the paper's tables.

    An experiment names recipes of polytrace train and of polytrace evaluate, and the scorer of the
    corpus. OUT/report.md says what the corpus is worth, OUT/tables holds tables and pictures. The
    same command goes on where it stopped. A build whose recipe has `handoff: EXPERIMENT` starts it
    by itself. Bundled: tiny_demo, tiny, dream, llada, miniature.

    Example: polytrace finetune-eval tiny_demo --corpus runs/demo
    """
    from flows.experiment import default_out, evaluation, find_experiment, trainings
    from schemas.errors import UserError
    from schemas.manifest import MANIFEST_FILE, Manifest

    chosen = find_experiment(experiment, tuple(set_ or ()))
    if not corpus.is_dir():
        raise UserError(f"{corpus}: no such run directory")
    manifest = Manifest.load(corpus / MANIFEST_FILE)
    folder = out or default_out(chosen, manifest.build)
    settings = trainings(chosen, str(corpus))
    asked = evaluation(chosen, settings, folder)  # mistakes show before hours of work
    folder.mkdir(parents=True, exist_ok=True)
    with prefect(folder):
        from flows.finetune_eval import finetune_eval as flow

        config = str(accelerate_config) if accelerate_config else None
        flow(chosen, str(corpus), str(folder), config)
    from diffusion.findings import Findings
    from diffusion.tables_page import in_short

    evaluated = folder / "evaluation"
    typer.echo(in_short([evaluated]))
    typer.echo(
        f"\nreport   {folder}/report.md\ntables   {folder}/tables/tables.md\n"
        f"page     {folder}/report.html (open it in a browser)"
    )
    from flows import closing

    if closing.applies(manifest, asked):
        tuned = [closing.tuned(one, folder) for one in settings]
        pages = [f"{place}/report.html" for place in (corpus, folder)]
        full = chosen.short_for
        longer = f"polytrace finetune-eval {full} --corpus {corpus}" if full else ""
        if (found := closing.three(Findings([evaluated]))) is not None:
            typer.echo("\n" + closing.five_lines(manifest, tuned, found, pages, longer))
