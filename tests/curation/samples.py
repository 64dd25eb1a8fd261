"""Canvases from plain dataclasses, and a whole finished run made of them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from curation.release import statistics, writer
from curation.release.documents.write import write_documents
from curation.run_store import shards
from schemas import arrow
from schemas.canvas import header, summary_header
from schemas.facts import (
    Decontamination,
    Dropped,
    FilterFacts,
    Grades,
    ModelFacts,
    Package,
    PromptCounts,
    Rejected,
    ScorerFacts,
    Shard,
    SourceFacts,
    TeacherFacts,
    TokenCounts,
    TraceCounts,
)
from schemas.manifest import Manifest
from schemas.recipe import Recipe
from schemas.records import (
    Canvas,
    FinishReason,
    Grade,
    GradedTrace,
    Level,
    Prompt,
    Rejection,
    Scores,
    SeqDep,
    Stage,
    Trace,
)
from support.files import replace_text

P = 3
BUILD = "0123456789ab"
GRADES = (Grade.CORRECT, Grade.WRONG, Grade.UNPARSED, Grade.TIMEOUT)


def bare_trace(text: str, **changes: Any) -> Trace:
    """A trace of which nothing but its text is known."""
    given: dict[str, Any] = {
        "prompt_id": "p",
        "index": 0,
        "key": "k",
        "text": text,
        "teacher": "t",
        "revision": "r",
        "temperature": None,
        "top_p": None,
        "max_tokens": None,
        "seed": None,
        "hint": None,
        "finish_reason": FinishReason.STOP,
        "prompt_tokens": None,
        "completion_tokens": None,
    }
    return Trace(**(given | changes))


def prompt(i: int) -> Prompt:
    text = f"Ann has {i} apples and buys {i + 1} more.\nHow many has she? — ü 漢"
    return Prompt(
        id=f"{i * 2654435761 % 2**64:016x}",
        text=text,
        gold=str(2 * i + 1),
        source="problems.jsonl",
        row=i + 1,
        license="MIT",
    )


def graded(i: int, j: int, text: str, grade: Grade) -> GradedTrace:
    trace = Trace(
        prompt_id=prompt(i).id,
        index=j,
        key=f"{i:08x}{j:08x}",
        text=f"{text}\nQuestion: what next?",
        teacher="tiny",
        revision="abc",
        temperature=1.0,
        top_p=None,
        max_tokens=330,
        seed=i * 10 + j,
        hint=None,
        finish_reason=FinishReason.STOP,
        prompt_tokens=20,
        completion_tokens=30,
    )
    return GradedTrace(trace=trace, text=text, grade=grade, answer=str(2 * i + 1))


def canvas(i: int) -> Canvas:
    texts = (
        f"{i} + {i + 1} = {2 * i + 1}",
        f"Twice {i} and one: {2 * i + 1}.",
        f"Count on from {i}.\n\nSo {2 * i + 1}",
    )
    grades = (Grade.CORRECT, GRADES[i % 4], GRADES[i // 4 % 4])
    paths = tuple(graded(i, j, *pair) for j, pair in enumerate(zip(texts, grades, strict=True)))
    return Canvas(
        prompt=prompt(i),
        paths=paths,
        answer=f"{2 * i + 1}",
        summary=f"The final answer is {2 * i + 1}",
        summary_by="template",
        path_tokens=(7 + i % 5, 9, 11),
        summary_tokens=6,
        similarity=0.25 + i % 3 / 10,
    )


def scores(i: int) -> Scores:
    path = SeqDep(
        level=Level.PATH,
        nats=0.5 + i / 100,
        nats_per_token=0.05 + i / 1000,
        gains=(0.25, 0.75 + i / 50),
        tokens=(7, 9, 11),
    )
    step = None
    if i % 5:
        step = SeqDep(level=Level.STEP, nats=None, nats_per_token=None, gains=(), tokens=(30,))
    return Scores(
        prompt_id=prompt(i).id,
        path=path,
        step=step,
        window=step and replace(step, level=Level.WINDOW),
        summary_gain=2.0,
        scorer="tiny",
        scorer_revision="abc",
    )


def corpus(count: int) -> list[tuple[Canvas, Scores]]:
    return [(canvas(i), scores(i)) for i in range(count)]


def recipe(**changes: object) -> Recipe:
    data: dict[str, object] = {
        "name": "sample",
        "source": {"kind": "jsonl", "path": "problems.jsonl"},
        "teacher": {"kind": "recorded"},
        "release": {"validation": 0.25, "rows_per_file": 16},
    }
    return Recipe.model_validate(
        data | changes
    )  # the card does not rely on the recipe being checked


def write_run(
    run: Path,
    rows: Iterable[tuple[Canvas, Scores]],
    chosen: Recipe | None = None,
    build: str = BUILD,
) -> Manifest:
    """A finished run of `rows`: two more prompts were rejected, and one trace of every prompt."""
    chosen = chosen or recipe()
    rows = list(rows)
    canvases = [pair[0] for pair in rows]
    late, early = prompt(9_001), prompt(9_002)
    dropped = [_drop(c.prompt, Stage.CANVASES, 9, "not_selected") for c in canvases]
    dropped += [_drop(early, Stage.CANVASES, None, "too_few_traces")]
    filtered = [_drop(late, Stage.RELEASE, None, "seqdep_high")]
    filtered += [_drop(late, Stage.RELEASE, j, "prompt_rejected") for j in range(P)]
    traces = [path for c in canvases for path in c.paths]
    prompts = [*(c.prompt for c in canvases), late, early]
    marks = [
        shards.write(run, stage, 0, "f" * 16, table, rejections)
        for stage, table, rejections in (
            (Stage.PROMPTS, arrow.table(Prompt, prompts), []),
            (Stage.TRACES, arrow.table(Trace, [path.trace for path in traces]), []),
            (Stage.GRADED, arrow.table(GradedTrace, traces), []),
            (Stage.CANVASES, arrow.table(Canvas, canvases), dropped),
            (Stage.SCORED, arrow.table(Scores, [pair[1] for pair in rows]), []),
        )
    ]
    late_file = run / "rejected" / "release-00000.parquet"
    shards.write_table(run, late_file, arrow.table(Rejection, filtered))
    text = yaml.safe_dump(chosen.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    replace_text(run / "recipe.yaml", text)
    folder = run / "release"
    files = writer.write_release(
        folder,
        build,
        rows,
        validation=chosen.release.validation,
        rows_per_file=chosen.release.rows_per_file,
    )
    measured = statistics.measure(folder, files)
    manifest = manifest_of(chosen, rows, measured.grades).model_copy(
        update={
            "build": build,
            "release": files,
            "shards": tuple(
                Shard(stage=mark.stage, index=mark.index, **file.model_dump())
                for mark in marks
                for file in mark.files
            ),
        }
    )
    documents = write_documents(run, folder, manifest, chosen, measured)
    named = ("rejected/release-00000.parquet", "recipe.yaml")
    facts = (*(writer.describe(run / name, name) for name in named), *documents)
    manifest = manifest.model_copy(update={"files": facts})
    manifest.save(run / "manifest.json")
    return manifest


def _drop(dropped: Prompt, stage: Stage, index: int | None, reason: str) -> Rejection:
    return Rejection(
        stage=stage,
        prompt_id=dropped.id,
        source=dropped.source,
        row=dropped.row,
        index=index,
        reason=reason,
        detail=f"because of {reason}",
    )


def manifest_of(
    chosen: Recipe, rows: list[tuple[Canvas, Scores]], grades: Grades | None = None
) -> Manifest:
    """The manifest of such a run, before its files are named."""
    count = len(rows)
    counts = Counter(path.grade.value for c, _ in rows for path in c.paths)
    slot, summary = chosen.canvas.slot_tokens, chosen.canvas.summary_tokens
    reasons = [
        (Stage.CANVASES, "prompt", "too_few_traces", 1),
        (Stage.CANVASES, "trace", "not_selected", count),
        (Stage.RELEASE, "prompt", "seqdep_high", 1),
        (Stage.RELEASE, "trace", "prompt_rejected", P),
    ]
    return Manifest(
        polytrace="0.1.0",
        name=chosen.name,
        recipe_digest=chosen.digest(),
        build=BUILD,
        notice=chosen.release.notice,
        sources=(
            SourceFacts(label="problems.jsonl", license="MIT", fingerprint="feed", rows=count + 2),
        ),
        decontamination=(Decontamination(label="openai/gsm8k", rows=1319, exact=0, ngram=0),),
        teacher=TeacherFacts(kind="recorded", name="tiny", revision="abc", temperature=1.0),
        scorer=ScorerFacts(name="tiny", revision="abc"),
        tokenizers=(ModelFacts(name="teacher", revision="abc"),),
        paths=P,
        slot_tokens=slot,
        summary_tokens=summary,
        masks=P * slot + summary,
        header_tokens=len("".join([*map(header, range(1, P + 1)), summary_header(P)])),
        prompts=PromptCounts(in_=count + 2, released=count, rejected=2),
        traces=TraceCounts(
            in_=P * count + count + P,
            kept=P * count,
            rejected=count + P,
            sampled=P * count + count + P,
        ),
        canvases=count,
        rejected=tuple(
            Rejected(stage=s, kind="trace" if kind == "trace" else "prompt", reason=r, count=n)
            for s, kind, r, n in reasons
            if n
        ),
        filters=(
            FilterFacts(
                kind="seqdep",
                options=("level=path", "max=0.5"),
                frozen="threshold=0.5",
                seen=count + 1,
                dropped=(Dropped(reason="seqdep_high", count=1),),
            ),
        ),
        grades=grades or Grades(**counts),
        tokens=TokenCounts(
            paths=sum(sum(c.path_tokens) for c, _ in rows),
            summaries=sum(c.summary_tokens for c, _ in rows),
        ),
        packages=(Package(name="pyarrow", version="26.0.1"),),
    )


def with_text(number: int, text: str) -> tuple[Canvas, Scores]:
    """A canvas whose prompt, first path and answer hold `text`."""
    base = canvas(number)
    first = replace(
        base.paths[0], text=text, answer=text, trace=replace(base.paths[0].trace, text=text)
    )
    return replace(
        base, prompt=replace(base.prompt, text=text), paths=(first, *base.paths[1:])
    ), scores(number)
