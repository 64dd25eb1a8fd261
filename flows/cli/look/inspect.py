"""The command `polytrace inspect`: look at canvases and rejections in the terminal.

This module is imported when the command line starts, so the command imports heavy packages itself.
"""

import os
from collections.abc import Iterable, Iterator
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.records import Level

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from curation.inspect.query import Query
    from curation.release.reader import ReleaseReader


def inspect(
    run: Annotated[
        Path, typer.Argument(help="A run directory, or the folder of a released dataset.")
    ],
    canvas: Annotated[
        str | None,
        typer.Option(
            help="Show this one canvas: its number, counted from 1, or an unambiguous beginning of "
            "its id."
        ),
    ] = None,
    id_: Annotated[
        str | None, typer.Option("--id", help="Search: canvases whose id begins with this.")
    ] = None,
    grep: Annotated[
        str | None,
        typer.Option(help="Search: canvases whose prompt contains this text, ignoring case."),
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option(
            help="Instead of canvases, show the prompts and traces rejected for this reason."
        ),
    ] = None,
    seqdep_above: Annotated[
        float | None,
        typer.Option(
            help="Search: canvases with a higher SeqDep (nats a token), the highest first."
        ),
    ] = None,
    seqdep_below: Annotated[
        float | None, typer.Option(help="Search: canvases with a lower SeqDep, the lowest first.")
    ] = None,
    level: Annotated[
        Level | None,
        typer.Option(
            help="The level for --seqdep-above/-below (default: path); only together with one of "
            "them."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Choose canvases at random, with this seed.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many.")] = 1,
    json: Annotated[
        bool, typer.Option("--json", help="Print complete records, one JSON object a line.")
    ] = False,
) -> None:
    """Show what a run made: canvases with their paths side by side, and what was rejected.

    Without options it prints counts, yields, reasons for rejections, and the first canvas. --id,
    --grep and the SeqDep bounds can be combined; --canvas and --seed cannot be combined with a
    search. Paths are shown side by side if the terminal is wide enough, and stacked when the output
    is not a terminal, unless the environment variable COLUMNS is set. Long texts are cut for
    display, but not with --json. NO_COLOR switches colours off.

    Examples: polytrace inspect runs/demo · polytrace inspect runs/demo --grep "apples" --limit 3 ·
    polytrace inspect runs/demo --seqdep-above 0.1 · polytrace inspect runs/demo --reason duplicate
    """
    from rich.console import Console

    from curation.inspect.query import Query
    from curation.release.reader import ReleaseReader

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
    corpus = ReleaseReader(run)
    if json:
        for record in _records(corpus, query):
            typer.echo(dumps(record, default=str))  # ASCII: no control sequence reaches a terminal
        return
    console = Console(color_system=None if os.environ.get("NO_COLOR") else "auto", highlight=False)
    is_overview = canvas is None and seed is None and not query.is_search
    if is_overview and corpus.manifest is not None:
        from curation.inspect import terminal_view
        from curation.inspect.few_correct import few_correct

        typer.echo(f"{terminal_view.overview(run)}\n")
        if sentence := few_correct(run):
            typer.echo(f"{sentence}\n")
        if not len(corpus):
            typer.echo("no canvas was released")
            return
    for text in _shown(corpus, query, console):
        console.print(text, soft_wrap=True)


def _records(corpus: "ReleaseReader", query: "Query") -> Iterator[dict[str, object]]:
    """The complete records that match."""
    if query.reason is not None:
        from curation.inspect.rejections import find_rejections

        yield from (one.fields() for one in find_rejections(corpus, query)[0])
        return
    from curation.inspect.query import find
    from curation.release.reader import rows

    for _, row in rows(find(corpus, query).places):
        yield from row.to_pylist()


def _shown(corpus: "ReleaseReader", query: "Query", console: "Console") -> Iterator["Text"]:
    """What matches, laid out for display, and a last line with the total, if some are not shown."""
    from rich.text import Text

    from curation.inspect.terminal_view import show, show_rejection

    width = console.width
    shown: Iterable[Text]
    if query.reason is not None:
        from curation.inspect.rejections import find_rejections

        dropped, total = find_rejections(corpus, query)
        shown = (
            show_rejection(one, width, title=f"rejected {n:,} of {total:,}")
            for n, one in enumerate(dropped, 1)
        )
    else:
        from curation.inspect.query import find
        from curation.release.reader import rows
        from schemas import arrow
        from schemas.records import Released

        places, total = find(corpus, query)
        abreast = console.is_terminal or "COLUMNS" in os.environ
        shown = (
            show(row, width, title=f"canvas {place.number + 1} of {len(corpus):,}", abreast=abreast)
            for place, table in rows(places)
            for row in arrow.records(Released, table)
        )
    for number, text in enumerate(shown):
        yield Text.assemble((f"{'═' * width}\n" if number else "", "dim"), text)
    if query.is_search and total > query.limit:
        yield Text(f"\n{query.limit:,} of {total:,} that match; more with --limit", "dim")
