"""The command `polytrace export`: write a release as the trainers of other projects read it."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[
        Path, typer.Argument(help="A run directory, or the folder of a released dataset.")
    ],
    to: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="parathinker, parallel_r1, multiverse, automodel, dfactory, sdar, dpo or rlvr.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for the files.")],
) -> None:
    """Write the canvases of a run as another project's trainer reads them.

    Paths and summary between the project's markers: parathinker (`<think1>`), parallel_r1
    (`<Parallel>`, `<Path>`), multiverse (fork and join). The canvas as a chat: automodel (NVIDIA
    NeMo AutoModel), dfactory (LLaDA 2), sdar (LLaMA-Factory). Single paths: dpo (pairs of a right
    and a wrong path). No paths: rlvr (prompt, answer and pass rate, for verl).

    DIR gets a file for training, one for validation, and export.json with counts and checksums. A
    canvas that the format cannot hold is refused, counted by reason, and listed in refused.jsonl;
    nothing is cut or escaped. Exit code 1 if nothing could be written. An earlier export in DIR is
    replaced. docs/export.md says how each training is started.

    Examples: polytrace export runs/demo --to parathinker --out exports/parathinker ·
    polytrace export runs/demo/release --to dpo --out exports/dpo
    """
    from curation import export as exporting
    from support.display.progress import Progress

    with Progress("exported", "canvases") as bar:
        facts = exporting.export(run, to, out, progress=bar.update)
    refused = facts.canvases - facts.exported
    typer.echo(f"{facts.canvases} canvases: {facts.exported} exported, {refused} refused")
    for reason, count in facts.refused.items():
        typer.echo(f"refused  {reason} {count}")
    for name, lines in facts.lines.items():
        typer.echo(f"file     {out / name}, {lines} rows")
    if refused:
        typer.echo(f"which    {out / exporting.REFUSED_FILE}")
