"""The command `polytrace arness`: how parallel a decode was, from a log of any engine.

This module is imported when the command line starts, so the command imports heavy packages itself.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from diffusion.evaluation.log_arness import LogArness, MeanArness
    from support.stats import Interval


def arness(
    logs: Annotated[
        list[Path],
        typer.Argument(help="Logs of commits or of states: .parquet, or JSON Lines."),
    ],
    mask_id: Annotated[
        int | None, typer.Option(min=0, help="The token of the mask, for a log of states.")
    ] = None,
    end_id: Annotated[
        list[int] | None,
        typer.Option(
            min=0, help="A token that is no content: fill, padding, end of text. May be repeated."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A JSON file for the figures, with every digit.")
    ] = None,
) -> None:
    """Measure how much the decoding order of any engine resembles left to right (ARness).

    A log has a line for each commit (row, step, position; also token and masks), or a line for each
    state of a row (row, step, ids). The rows of polytrace evaluate can be read too. Printed are
    means over rows with 95 % intervals (bootstrap over rows). A position that was committed several
    times counts at its last commit.

    Examples: polytrace arness log.jsonl · polytrace arness a.parquet b.parquet --end-id 126081 ·
    polytrace arness states.jsonl --mask-id 126336
    """
    import json

    from diffusion.evaluation.log_arness import arness_of_log
    from support.display.tables import Table
    from support.display.text import visible
    from support.files import replace_text

    found = {
        visible(str(log)): arness_of_log(log, mask_id=mask_id, end_ids=end_id or ())
        for log in dict.fromkeys(logs)
    }
    rows = []
    for name, one in found.items():
        rows.append(_line(name, one, one.order))
        if one.content is not None:
            rows.append(("its content alone", *[""] * 4, *_figures(one.content)))
    header = (
        *("log", "rows", "commits", "tokens a step", "taken back"),
        *("ARness", "chance", "above chance", "Local-ARness@1"),
    )
    typer.echo(Table(header=header, rows=tuple(rows)).text(right=range(1, len(header))))
    for name, one in found.items():
        if one.unfinished:
            typer.echo(
                f"{name}: {one.unfinished} rows left positions masked; they count as they are"
            )
        if without := one.rows - one.order.rows:
            typer.echo(f"{name}: {without} rows have no order; they count in no mean")
        if end_id and one.content is None:
            typer.echo(f"{name}: without the end tokens, no row has an order")
    if out is not None:
        figures = {name: one.plain() for name, one in found.items()}
        replace_text(out, json.dumps(figures, indent=1) + "\n")
        typer.echo(f"figures  {out}")


def _line(name: str, one: "LogArness", order: "MeanArness") -> tuple[str, ...]:
    return (
        *(name, f"{one.rows:,}", f"{one.commits:,}", f"{one.tokens_per_step:.2f}"),
        *(f"{one.churn:.1%}", *_figures(order)),
    )


def _figures(order: "MeanArness") -> tuple[str, ...]:
    return (
        *(_interval(order.raw), f"{order.chance:.2f}"),
        *(_interval(order.corrected), _interval(order.local)),
    )


def _interval(one: "Interval") -> str:
    return f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"
