"""The paper's Figures 3 and 7 for a run: how sequential its corpus is, beside ordinary text.

In: a run, and where there is any, web text and ordinary long chain-of-thought. Out: a folder with
scores, figures, one table and one picture. Canvas and long-CoT form hold the same text, so that
their path and step levels must not be compared: every corpus stands at step and window level,
canvases also at path level, between paths taken from other prompts and one path repeated (METHOD
section 2).
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from curation.seqdep_report.controls import Control, compared, sentence
from curation.seqdep_report.documents import TextCorpus
from curation.seqdep_report.figures import Figures, LevelFigures, as_text, figures
from curation.seqdep_report.plot import SeqDepPanel, Series, draw
from curation.seqdep_report.score import (
    Documents,
    TextScores,
    make_folder,
    read_scores,
    score_corpus,
)
from schemas.records import Level
from scorers.revision import directory_revision
from support.display.tables import Table
from support.errors import UserError
from support.files import replace_text
from support.paths import ROOT

if TYPE_CHECKING:  # torch is loaded only by the process that scores
    from scorers.seqdep.causal_lm import Scorer
    from scorers.seqdep.measurement import SeqDepSettings

BUNDLED = (
    "The scorer is the bundled model of 2.9 M parameters, which knows the demo's arithmetic only: "
    "its figures on natural text mean little. Take any causal language model with --model."
)
NAMES = {
    "web": "web text",
    "long_cot": "long chain-of-thought",
    "own_long_cot": "long-CoT form of this corpus",
    "canvas": "canvases of this corpus",
    "others": "control: paths of other prompts",
    "repeated": "control: one path repeated",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What is compared; `web` and `long_cot` may be absent."""

    run: Path
    web: str | None
    long_cot: tuple[str, ...]
    long_cot_column: str | None


def report(
    inputs: Inputs,
    scorer: "Scorer",
    settings: "SeqDepSettings",
    out: Path,
    *,
    limit: int,
    progress: Callable[[int], None],
) -> str:
    """Score everything, write the report's files, and return its table as text.

    UserError where the run holds no canvases. Scores that are there already are not made again.
    """
    scores: dict[str, list[Path]] = {}
    folder = out / "scores"
    make_folder(folder)
    for old in folder.glob("twin.parquet*"):  # the name that version 0.1 gave it
        old.rename(old.with_name(old.name.replace("twin", "own_long_cot", 1)))
    for name, number, documents, levels in list(_all(inputs, limit)):  # mistakes show first
        path = folder / f"{name}{number or ''}.parquet"
        chosen = dataclasses.replace(settings, levels=levels)
        score_corpus(documents, scorer, chosen, path, limit=limit, progress=progress)
        scores.setdefault(name, []).append(path)

    def read(name: str) -> Iterator[TextScores]:
        return chain.from_iterable(map(read_scores, scores[name]))

    found = {name: figures(read(name)) for name in scores}
    note = note_on(scorer)
    title = f"Sequential dependence (SeqDep), scored by {scorer.name}"
    verdict = _verdict(found)
    draw(list(_panels(found, read)), out / "seqdep", title=title, note=f"{verdict} {note}")
    replace_text(
        out / "figures.json",
        json.dumps({name: dataclasses.asdict(one) for name, one in found.items()}, indent=2) + "\n",
    )
    table = _table(found).markdown().rstrip("\n")
    replace_text(out / "report.md", _page(f"{table}\n\n{verdict}", scorer, settings, found, note))
    return f"{table}\n{verdict}" + (f"\n{note}" if note else "")


def note_on(scorer: "Scorer") -> str:
    """What a reader must know of the bundled scorer; nothing of others."""
    is_bundled = scorer.revision == directory_revision(ROOT / "tiny" / "teacher")
    return BUNDLED if is_bundled else ""


def _all(inputs: Inputs, limit: int) -> Iterator[tuple[str, int, Documents, tuple[Level, ...]]]:
    """Name, number, documents and levels of everything that is scored."""
    ordinary = (Level.STEP, Level.WINDOW)
    if not any((inputs.run / inner).is_dir() for inner in ("release/data", "data")):
        raise UserError(f"{inputs.run}: is no run; give a directory that polytrace build made")
    canvases = TextCorpus(str(inputs.run), prompt_column="prompt", text_column="response")
    if not canvases.holds_canvases:
        raise UserError(f"{inputs.run}: holds no canvases; give a run that released some")
    if inputs.web is not None:
        yield "web", 0, TextCorpus(inputs.web, no_prompt=True), ordinary
    for number, where in enumerate(inputs.long_cot):
        corpus = TextCorpus(where, text_column=inputs.long_cot_column)
        yield "long_cot", number, corpus, ordinary
    own = TextCorpus(str(inputs.run), prompt_column="prompt", text_column="long_cot")
    yield "own_long_cot", 0, own, ordinary
    yield "canvas", 0, canvases, tuple(Level)
    yield "others", 0, Control(canvases, "others", limit), (Level.PATH,)
    yield "repeated", 0, Control(canvases, "repeated", limit), (Level.PATH,)


def _panels(
    found: dict[str, Figures], read: Callable[[str], Iterator[TextScores]]
) -> Iterator[SeqDepPanel]:
    """One for each corpus at step and window level, and one for the path level."""
    for name in ("web", "long_cot", "own_long_cot", "canvas"):
        if name in found:
            levels = [one for one in found[name].levels if one.level is not Level.PATH]
            yield SeqDepPanel(
                title=NAMES[name],
                series=tuple(_series(f"{one.level}s", one, read(name)) for one in levels),
            )
    yield SeqDepPanel(
        title="paths on the canvas, and controls",
        series=tuple(
            _series({"canvas": "canvases"}.get(name, NAMES[name]), one, read(name))
            for name in ("canvas", "others", "repeated")
            for one in found[name].levels
            if one.level is Level.PATH
        ),
    )


def _series(label: str, one: LevelFigures, scores: Iterator[TextScores]) -> Series:
    points = []
    for row in scores:
        level = {Level.PATH: row.path, Level.STEP: row.step, Level.WINDOW: row.window}[one.level]
        if level is not None and level.nats is not None and level.nats_per_token is not None:
            points.append((sum(level.tokens), level.nats, level.nats_per_token))
    return Series(
        label=label,
        points=tuple(points),
        nats=one.nats.bins,
        nats_per_token=one.nats_per_token.bins,
    )


def _table(found: dict[str, Figures]) -> Table:
    return Table(
        header=(
            *("corpus", "level", "documents", "nats a segment (Eq. 4)", "nats a token"),
            *("nats a token, per 1,000 tokens", "trend"),
        ),
        rows=tuple(
            (
                *(NAMES[name], str(one.level), str(one.nats_per_token.documents)),
                *(as_text(one.nats.mean), as_text(one.nats_per_token.mean)),
                as_text(one.nats_per_token.slope, few=one.nats_per_token.documents),
                _trend(one),
            )
            for name, all_levels in found.items()
            for one in all_levels.levels
        ),
        left=(0, 1, 6),
    )


def _verdict(found: dict[str, Figures]) -> str:
    """Where the paths stand between their controls, if the scorer tells these apart at all."""
    means = {
        name: one.nats_per_token.mean
        for name in ("canvas", "others", "repeated")
        for one in found[name].levels
        if one.level is Level.PATH
    }
    own, others, repeated = (means.get(name) for name in ("canvas", "others", "repeated"))
    return sentence(compared(found["canvas"].documents, own, others, repeated))


def _trend(one: LevelFigures) -> str:
    """What the interval of the slope of nats a token allows to say."""
    slope = one.nats_per_token.slope
    if slope is None or slope.low is None or slope.high is None:
        return "not shown"
    if slope.low > 0:
        return "rising"
    return "falling" if slope.high < 0 else "flat within its interval"


def _page(
    table: str,
    scorer: "Scorer",
    settings: "SeqDepSettings",
    found: dict[str, Figures],
    note: str,
) -> str:
    lines: list[str] = [
        f"# Sequential dependence by {scorer.name} ({scorer.revision})",
        "",
        *([f"**{note}**", ""] if note else []),
        "SeqDep (Eq. 4, Li et al. 2026) is what a segment gains, in nats, from the segments before "
        "it; 0 means that it could have been written without them. Intervals are 95 %, over "
        "documents. Compare corpora at one level only: canvases and their long-CoT forms "
        "hold the same text, and longer segments gain more. On a canvas, steps and windows "
        "begin anew with every path, and headers are seen but not scored. Path level is read "
        "between its two controls.",
        "",
        table,
        "",
        "![SeqDep over length: each corpus at step and window level, and paths between controls]"
        "(seqdep.png)",
        "",
        f"Steps have at most {settings.step_tokens} tokens, windows {settings.window_tokens}; "
        f"computed in {str(scorer.model.dtype).removeprefix('torch.')}. Documents beyond the "
        f"scorer's context ({scorer.context or 'none'}) are scored in the part that fits.",
        "",
        *_coverage(found),
    ]
    return "\n".join(lines) + "\n"


def _coverage(found: dict[str, Figures]) -> Sequence[str]:
    lines = []
    for name, one in found.items():
        reasons = ", ".join(f"{count} not scored ({why})" for why, count in one.not_scored.items())
        cut = f"{one.cut} in part" if one.cut else ""
        extra = "; ".join(part for part in (cut, reasons) if part)
        lines.append(f"- {NAMES[name]}: {one.documents} scored{f'; {extra}' if extra else ''}")
    return lines
