"""The command that looks at the machine: `polytrace doctor`."""

from typing import Annotated

import typer

from support.errors import PolytraceError


def doctor(
    endpoint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL", help="Ask a server what it serves; may be given several times."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what this machine can do, and which bundled recipe fits it.

    Versions, GPUs, memory, disk, servers, whether there is a hub token (never which).

    Example: polytrace doctor --endpoint http://localhost:8000/v1
    """
    from flows.cli.doctor.examine import as_json, broken, examine, text

    facts = examine(endpoint or ())
    typer.echo(as_json(facts) if json else text(facts))
    if fault := broken(facts):
        raise PolytraceError(fault)
