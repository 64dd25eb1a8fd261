"""The command line: all commands, and what ends in which exit code.

Results go to standard output, progress and errors to standard error. Exit codes: 0 done; 1 nothing
was released, damage was found, or an internal fault; 2 a mistake of the user; 3 not complete, and
running the same command again continues. Each command imports the heavy packages that it needs, so
that `--help` answers at once.
"""

import io
import os
import sys
from typing import Annotated

import typer

from flows.cli.build import build
from flows.cli.decoded.arness import arness
from flows.cli.decoded.tables import tables
from flows.cli.deploy.command import deploy
from flows.cli.doctor.command import doctor
from flows.cli.evaluate import evaluate
from flows.cli.export import export
from flows.cli.finetune_eval import finetune_eval
from flows.cli.look.inspect import inspect
from flows.cli.look.report import report
from flows.cli.look.view import view
from flows.cli.publishing.command import publish
from flows.cli.score import score
from flows.cli.seqdep_report import seqdep_report
from flows.cli.train import train
from flows.cli.verify import verify
from support.capacity import is_out_of_memory, memory_message
from support.errors import PolytraceError, StoppedError
from support.files import is_disk_fault
from support.redact import hide_secrets, log_fault

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown")


def _say_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(version("polytrace"))
        raise typer.Exit


@app.callback()
def _polytrace(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Build parallel reasoning corpora, fine-tune models on them, and evaluate the models."""


for command in (
    *(build, verify, inspect, view, publish, export, score, seqdep_report, train, evaluate),
    *(tables, arness, finetune_eval, report, doctor, deploy),
):
    app.command()(command)


def main() -> None:
    """Run the command line and end with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # no error in a terminal of another encoding
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except PolytraceError as error:
        from support.display.text import visible

        message = hide_secrets(" ".join(str(error).splitlines()))
        print(f"polytrace: {visible(message)}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        if is_disk_fault(error):
            print(f"polytrace: {_disk_message(error)}", file=sys.stderr)
            sys.exit(StoppedError.exit_code)
        if is_out_of_memory(error):
            print(f"polytrace: {hide_secrets(memory_message(error))}", file=sys.stderr)
            sys.exit(StoppedError.exit_code)
        what = f"internal fault ({type(error).__name__}); the traceback is in {log_fault()}"
        print(f"polytrace: {what}", file=sys.stderr)
        sys.exit(1)


def _disk_message(fault: BaseException) -> str:
    """The message for a disk that fails."""
    assert isinstance(fault, OSError)
    name = f"{fault.filename}: " if fault.filename else ""
    return (
        f"{name}the disk fails ({os.strerror(fault.errno or 0)}); what was written before is "
        "intact. Repair that (if the disk is full, free some space) and run the same command "
        "again: it continues"
    )
