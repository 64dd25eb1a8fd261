"""The command `polytrace inspect`: look at canvases and rejections in the terminal.

Imported when the command line starts, so that heavy packages are imported inside the command, as in
`command_line.py`.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.records import Level

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from curation.inspect.query import Query
    from curation.release.reader import Corpus


def inspect(
    run: Annotated[
        Path, typer.Argument(help="A run directory, or the folder of a released dataset.")
    ],
    canvas: Annotated[
        str | None,
        typer.Option(help="The canvas of this number, from 0, or whose id begins so."),
    ] = None,
    id_: Annotated[
        str | None, typer.Option("--id", help="The canvas whose id is, or begins with, this.")
    ] = None,
    grep: Annotated[
        str | None, typer.Option(help="Canvases whose prompt holds this text, case aside.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Prompts and traces rejected for this reason, not canvases.")
    ] = None,
    seqdep_above: Annotated[
        float | None, typer.Option(help="Canvases of higher SeqDep, nats a token; highest first.")
    ] = None,
    seqdep_below: Annotated[
        float | None, typer.Option(help="Canvases of lower SeqDep; lowest first.")
    ] = None,
    level: Annotated[Level | None, typer.Option(help="The SeqDep meant (default: path).")] = None,
    seed: Annotated[int | None, typer.Option(help="Draw canvases at random by this seed.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many.")] = 1,
    json: Annotated[
        bool, typer.Option("--json", help="Print whole records, one JSON object a line.")
    ] = False,
) -> None:
    """Show what a run made: canvases with their paths side by side, and what was rejected.

    Without options: counts, yields, reasons, and the first canvas. Searches add up. Paths stand
    side by side on a terminal, one below the other in a pipe, unless COLUMNS says how wide it is.
    Long texts are cut on display, never with --json. Colours end with NO_COLOR.

    Examples: polytrace inspect runs/demo · polytrace inspect runs/demo --grep "apples" --limit 3 ·
    polytrace inspect runs/demo --seqdep-above 0.1 · polytrace inspect runs/demo --reason duplicate
    """
    from curation.inspect.query import Query
    from curation.release.reader import Corpus

    query = Query(
        canvas=canvas,
        id=id_,
        grep=grep,
        reason=reason,
        above=seqdep_above,
        below=seqdep_below,
        level=level,
        seed=seed,
        limit=limit,
    )
    query.check()
    corpus = Corpus(run)
    if json:
        for record in _records(corpus, query):
            typer.echo(_line(record))
        return
    console = _console()
    is_plain = canvas is None and seed is None and not query.is_search
    if is_plain and corpus.manifest is not None:
        from curation.inspect import terminal_view

        typer.echo(f"{terminal_view.overview(run)}\n")
        if not len(corpus):
            typer.echo("no canvas was released")
            return
    for text in _shown(corpus, query, console):
        console.print(text, soft_wrap=True)


def _console() -> "Console":
    """Standard output; no escapes unless it is a terminal, and none with NO_COLOR."""
    from rich.console import Console

    return Console(color_system=None if os.environ.get("NO_COLOR") else "auto", highlight=False)


def _records(corpus: "Corpus", query: "Query") -> Iterator[dict[str, object]]:
    """What matches, whole."""
    if query.reason is not None:
        from curation.inspect.rejections import find_dropped

        yield from (one.fields() for one in find_dropped(corpus, query)[0])
        return
    from curation.inspect.query import find
    from curation.release.reader import rows

    for _, row in rows(find(corpus, query).places):
        yield from row.to_pylist()


def _line(record: dict[str, object]) -> str:
    """One line of ASCII: a terminal that it comes to takes nothing in it for a command."""
    import json

    return json.dumps(record, default=str)


def _shown(corpus: "Corpus", query: "Query", console: "Console") -> Iterator["Text"]:
    """What matches, laid out, and how much more there is."""
    from rich.text import Text

    from curation.inspect.terminal_view import show, show_dropped

    cells = console.width
    shown: Iterable[Text]
    if query.reason is not None:
        from curation.inspect.rejections import find_dropped

        dropped, total = find_dropped(corpus, query)
        shown = (
            show_dropped(one, cells, title=f"rejected {n:,} of {total:,}")
            for n, one in enumerate(dropped, 1)
        )
    else:
        from curation.inspect.query import find
        from curation.release.reader import rows
        from curation.release.rows import Released
        from schemas import arrow

        places, total = find(corpus, query)
        abreast = console.is_terminal or "COLUMNS" in os.environ
        shown = (
            show(row, cells, title=f"canvas {place.number} of {len(corpus):,}", abreast=abreast)
            for place, table in rows(places)
            for row in arrow.records(Released, table)
        )
    for number, text in enumerate(shown):
        yield Text.assemble((f"{'═' * cells}\n" if number else "", "dim"), text)
    if query.is_search and total > query.limit:
        yield Text(f"\n{query.limit:,} of {total:,} that match; more with --limit", "dim")
