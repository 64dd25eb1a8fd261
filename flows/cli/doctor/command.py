"""The command `polytrace doctor`: say what this machine can do."""

from typing import Annotated

import typer

from support.errors import PolytraceError


def doctor(
    endpoint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL", help="Ask this server what it serves; may be given several times."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what this machine can do, and which bundled recipe fits it.

    It prints versions, GPUs, memory, disk, servers, and whether a Hub token is set (not which).

    Example: polytrace doctor --endpoint http://localhost:8000/v1
    """
    from flows.cli.doctor.examine import as_json, broken, examine, text

    facts = examine(endpoint or ())
    typer.echo(as_json(facts) if json else text(facts))
    if fault := broken(facts):
        raise PolytraceError(fault)
