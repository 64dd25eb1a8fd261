"""The SeqDep report of a run: how sequential its corpus is, compared with ordinary text.

In: a run; optionally web text and ordinary long chain-of-thought. Out: a folder with scores,
figures, one table and one picture, as Figures 3 and 7 of Li et al. 2026. Every corpus is measured
at step and window level, canvases also at path level, which is read between two controls: paths of
other prompts, and one path repeated (METHOD section 2). Different levels must not be compared.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from curation.seqdep_report.controls import Control, compared, sentence, share_between
from curation.seqdep_report.corpus_statistics import (
    CorpusStatistics,
    LevelStatistics,
    as_text,
    corpus_statistics,
)
from curation.seqdep_report.documents import TextCorpus
from curation.seqdep_report.kept_scores import ScoreProgress, TextScores, read_scores
from curation.seqdep_report.plot import SeqDepPanel, Series, draw
from curation.seqdep_report.score import Documents, make_folder, score_corpus
from schemas.records import Level, SeqDep
from scorers.revision import directory_revision
from scorers.seqdep.curve import Interval
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
_NAMED = re.compile(r"(?!(?:hub|s3|gs|https?):)([\w.-]+)=(.+)")
_PATHS = ("canvas", "others", "repeated")  # what has a path level


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The corpora that are compared; `web` and `long_cot` may be absent.

    `NAME=WHERE` in `long_cot` is a series of its own; the others are joined into one.
    """

    run: Path
    web: str | None
    long_cot: tuple[str, ...]
    long_cot_column: str | None


def report(
    inputs: Inputs,
    load_scorer: Callable[[], "Scorer"],
    settings: "SeqDepSettings",
    out: Path,
    *,
    limit: int,
    progress: ScoreProgress,
) -> str:
    """Score everything, write the report's files, and return its table as text.

    UserError where the run holds no canvases or a corpus lacks a column; the scorer is loaded after
    these checks. Scores that exist already are not computed again.
    """
    corpora_to_score = list(_all(inputs, limit))
    scorer = load_scorer()
    scores: dict[str, list[Path]] = {}
    folder = out / "scores"
    make_folder(folder)
    for old in folder.glob("twin.parquet*"):  # its name in version 0.1
        old.rename(old.with_name(old.name.replace("twin", "own_long_cot", 1)))
    for name, number, documents, levels in corpora_to_score:
        path = folder / f"{name}{number or ''}.parquet"
        chosen = dataclasses.replace(settings, levels=levels)
        score_corpus(documents, scorer, chosen, path, limit=limit, progress=progress, is_ours=True)
        scores.setdefault(name, []).append(path)

    def read(name: str) -> Iterator[TextScores]:
        return chain.from_iterable(map(read_scores, scores[name]))

    corpora = {name: corpus_statistics(read(name)) for name in scores}
    note = note_on(scorer)
    title = f"Sequential dependence (SeqDep), scored by {scorer.name}"
    verdict = _verdict(corpora, read)
    draw(list(_panels(corpora, read)), out / "seqdep", title=title, note=f"{verdict} {note}")
    facts = {name: dataclasses.asdict(corpus) for name, corpus in corpora.items()}
    replace_text(out / "figures.json", json.dumps(facts, indent=2) + "\n")
    table = _table(corpora).markdown().rstrip("\n")
    replace_text(out / "report.md", _page(f"{table}\n\n{verdict}", scorer, settings, corpora, note))
    return f"{table}\n{verdict}" + (f"\n{note}" if note else "")


def note_on(scorer: "Scorer") -> str:
    """A warning where the scorer is the bundled one; empty for others."""
    is_bundled = scorer.revision == directory_revision(ROOT / "tiny" / "teacher")
    return BUNDLED if is_bundled else ""


def _all(inputs: Inputs, limit: int) -> Iterator[tuple[str, int, Documents, tuple[Level, ...]]]:
    """(name, number, documents, levels) of everything that is scored."""
    text_levels = (Level.STEP, Level.WINDOW)
    if not any((inputs.run / inner).is_dir() for inner in ("release/data", "data")):
        raise UserError(f"{inputs.run}: is no run; give a directory that polytrace build made")
    canvases = TextCorpus(str(inputs.run), prompt_column="prompt", text_column="response")
    if not canvases.begins_with_canvases:
        raise UserError(f"{inputs.run}: holds no canvases; give a run that released some")
    if inputs.web is not None:
        yield "web", 0, TextCorpus(inputs.web, no_prompt=True), text_levels
    for number, given in enumerate(inputs.long_cot):
        named = _NAMED.fullmatch(given)
        name, where = named.groups() if named else ("long_cot", given)
        corpus = TextCorpus(where, text_column=inputs.long_cot_column)
        yield name, 0 if named else number, corpus, text_levels
    own = TextCorpus(str(inputs.run), prompt_column="prompt", text_column="long_cot")
    yield "own_long_cot", 0, own, text_levels
    yield "canvas", 0, canvases, tuple(Level)
    yield "others", 0, Control(canvases, "others", limit), (Level.PATH,)
    yield "repeated", 0, Control(canvases, "repeated", limit), (Level.PATH,)


def _panels(
    corpora: dict[str, CorpusStatistics], read: Callable[[str], Iterator[TextScores]]
) -> Iterator[SeqDepPanel]:
    """One for each corpus at step and window level, and one for the path level."""
    for name in corpora:
        if name not in _PATHS[1:]:
            levels = [level for level in corpora[name].levels if level.level is not Level.PATH]
            yield SeqDepPanel(
                title=NAMES.get(name, name),
                series=tuple(_series(f"{level.level}s", level, read(name)) for level in levels),
            )
    yield SeqDepPanel(
        title="paths on the canvas, and controls",
        series=tuple(
            _series("canvases" if name == "canvas" else NAMES[name], level, read(name))
            for name, level in _path_levels(corpora)
        ),
    )


def _path_levels(corpora: dict[str, CorpusStatistics]) -> Iterator[tuple[str, LevelStatistics]]:
    """The path level of the canvases and of their two controls, each with its name."""
    for name in _PATHS:
        yield from ((name, one) for one in corpora[name].levels if one.level is Level.PATH)


def _series(label: str, measured: LevelStatistics, scores: Iterator[TextScores]) -> Series:
    points = []
    for row in scores:
        level: SeqDep | None = getattr(row, measured.level)
        if level is not None and level.nats is not None and level.nats_per_token is not None:
            points.append((sum(level.tokens), level.nats, level.nats_per_token))
    return Series(
        label=label,
        points=tuple(points),
        nats=measured.nats.bins,
        nats_per_token=measured.nats_per_token.bins,
    )


def _table(corpora: dict[str, CorpusStatistics]) -> Table:
    return Table(
        header=(
            *("corpus", "level", "documents", "nats a segment (Eq. 4)", "nats a token"),
            *("nats a token, per 1,000 tokens", "trend"),
        ),
        rows=tuple(
            (
                *(NAMES.get(name, name), str(level.level), str(level.nats_per_token.documents)),
                *(as_text(level.nats.mean), as_text(level.nats_per_token.mean)),
                as_text(level.nats_per_token.slope, few=level.nats_per_token.documents),
                _trend(level.nats_per_token.slope),
            )
            for name, corpus in corpora.items()
            for level in corpus.levels
        ),
        left=(0, 1, 6),
    )


def _verdict(
    corpora: dict[str, CorpusStatistics], read: Callable[[str], Iterator[TextScores]]
) -> str:
    """The sentence on the path level of the canvases and its two controls."""
    means = {name: level.nats_per_token.mean for name, level in _path_levels(corpora)}
    own, others, repeated = (means.get(name) for name in ("canvas", "others", "repeated"))
    measured = compared(corpora["canvas"].documents, own, others, repeated)
    between = share_between(*(_path_nats(read(name)) for name in _PATHS))
    return sentence(measured, between)


def _path_nats(scores: Iterator[TextScores]) -> dict[int, float]:
    """The path level of every canvas, nats a token, by row."""
    return {
        one.row: one.path.nats_per_token
        for one in scores
        if one.path is not None and one.path.nats_per_token is not None
    }


def _trend(slope: Interval | None) -> str:
    """The sign of a slope, where its interval decides it."""
    if slope is None or slope.low is None or slope.high is None:
        return "not shown"
    if slope.low > 0:
        return "rising"
    return "falling" if slope.high < 0 else "flat within its interval"


def _page(
    table: str,
    scorer: "Scorer",
    settings: "SeqDepSettings",
    corpora: dict[str, CorpusStatistics],
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
        *_coverage(corpora),
    ]
    return "\n".join(lines) + "\n"


def _coverage(corpora: dict[str, CorpusStatistics]) -> Iterator[str]:
    """How many documents of each corpus were scored."""
    for name, corpus in corpora.items():
        not_scored = (f"{n} not scored ({reason})" for reason, n in corpus.not_scored.items())
        cut = f"{corpus.cut} in part" if corpus.cut else ""
        extra = "; ".join(filter(None, (cut, ", ".join(not_scored))))
        yield f"- {NAMES.get(name, name)}: {corpus.documents} scored{f'; {extra}' if extra else ''}"
