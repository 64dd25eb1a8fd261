"""A finished corpus in the Prefect UI: the funnel stage by stage, tokens and cost, card and page.

In: a run directory. Out: artifacts of the current flow run, named after the corpus: NAME-funnel,
NAME-tokens, NAME-card and NAME-report. If one cannot be written, there is a warning, because
everything that was built is in the run directory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from curation.inspect.funnel import Flow, funnel
from curation.release.token_usage import TokenUsage, count_token_usage
from flows.page import REPORT
from schemas.facts import TokenCounts
from schemas.manifest import MANIFEST_FILE, RELEASE_FOLDER, Manifest
from support.display.text import one_line

CARD = Path(RELEASE_FOLDER) / "README.md"


def show_corpus(run: Path, seconds: float, price: float | None) -> None:
    """The artifacts of a build that took `seconds`; `price` is that of a million tokens written."""
    manifest = Manifest.load(run / MANIFEST_FILE)
    with or_warning("the funnel"):
        create_table_artifact(
            key=key(manifest.name, "funnel"),
            table=stage_rows(manifest),
            description=f"{manifest.canvases:,} canvases of build {manifest.build}, in "
            f"{run.resolve()}; what a stage lets out is what the next one takes in",
        )
    with or_warning("tokens and cost"):
        create_table_artifact(
            key=key(manifest.name, "tokens"),
            table=token_rows(count_token_usage(run, manifest), manifest.tokens, price),
            description=f"This build took {seconds:,.0f} s. Tokens of the teacher are those of all "
            "traces that the corpus was made from, whichever build sampled them; what each task "
            "took stands beside it in the flow run",
        )
    with or_warning("the card"):
        card = (run / CARD).read_text(encoding="utf-8")
        create_markdown_artifact(
            key=key(manifest.name, "card"),
            markdown=card.split("\n---\n", 1)[-1],  # without the Hub's metadata
            description=f"The data card, {(run / CARD).resolve()}",
        )
    show_page(run / REPORT, key(manifest.name, "report"), "The page to look through")


def show_page(page: Path, name: str, about: str) -> None:
    """A link to a page; its text is the path, for browsers that open no file from a web page."""
    path = page.resolve()
    with or_warning("the page"):
        create_link_artifact(path.as_uri(), str(path), key=name, description=f"{about}: {path}")


def stage_rows(manifest: Manifest) -> list[dict[str, Any]]:
    """One row for each stage: prompts and traces in, out and rejected, and the reasons."""
    return [
        {"stage": str(stage)} | _columns("prompts", prompts) | _columns("traces", traces)
        for stage, prompts, traces in funnel(manifest)
    ]


def _columns(what: str, flow: Flow | None) -> dict[str, Any]:
    """The columns of prompts or of traces; empty before there are any."""
    names = (f"{what} in", f"{what} out", f"{what} rejected", f"reasons of {what}")
    if flow is None:
        return dict.fromkeys(names)
    reasons = ", ".join(f"{one_line(name)} {n:,}" for name, n in flow.dropped)
    numbers = (flow.before, flow.after, flow.before - flow.after)
    return dict(zip(names, (*numbers, reasons), strict=True))


def token_rows(
    cost: TokenUsage, released: TokenCounts, price: float | None
) -> list[dict[str, Any]]:
    """Tokens that were written, how many were released, and their cost if `price` is known."""
    rows: list[tuple[str, float]] = [
        ("tokens read by the teacher: prompts, once a trace", cost.read),
        ("tokens written by the teacher: traces", cost.written),
        ("… of them on released canvases", cost.released),
        ("… of them rejected", cost.written - cost.released),
        ("tokens written by the teacher: summaries", cost.summaries),
        ("tokens released: paths, under the canvas's widest tokenizer", released.paths),
        ("tokens released: summaries, under the same", released.summaries),
    ]
    if cost.judge.replies:
        rows += [
            (f"tokens read by the judge, over {cost.judge.replies:,} replies", cost.judge.read),
            ("tokens written by the judge", cost.judge.written),
        ]
    if cost.uncounted:
        rows.append((f"traces whose tokens nobody counted, of {cost.traces:,}", cost.uncounted))
    if price is not None:
        money = cost.all_written * price / 1e6
        rows.append((f"cost of what was written, at {price:g} a million", round(money, 4)))
    return [{"what": what, "number": number} for what, number in rows]


@contextmanager
def or_warning(what: str) -> Iterator[None]:
    """Run the body; if it fails, log a warning and continue."""
    try:
        yield
    except Exception as error:  # of any kind: it must not fail the flow
        get_run_logger().warning("%s not shown: %s: %s", what, type(error).__name__, error)


def key(name: str, what: str) -> str:
    """An artifact's key: lower-case letters, digits and dashes."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
    return f"{'-'.join(filter(None, kept.split('-'))) or 'run'}-{what}"
