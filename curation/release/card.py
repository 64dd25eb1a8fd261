"""The data card: a release's `README.md`, with metadata for the Hub.

In: manifest, recipe, statistics and one released row. Out: Markdown, the same for the same facts,
without time, machine path or secret. Foreign text is escaped (`markdown.py`).
"""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple

from curation import components
from curation.release import licenses, markdown
from curation.release.figures import Picture
from curation.release.statistics import Distribution, Stats
from curation.seqdep_report import controls
from schemas import arrow, canvas
from schemas.manifest import Manifest
from schemas.recipe import Recipe
from schemas.records import Grade, Released
from support import plugins
from support.display.digits import rounded, rounded_text
from support.display.text import one_line, shorten
from support.paths import locate

TAGS = ("polytrace", "math", "reasoning", "parallel-reasoning", "diffusion-language-model")
GRADING = {  # by the grader's kind
    "math": "plain numbers by rules that give math-verify's verdicts, choice letters and "
    "differences that math-verify passes over by rules of our own, everything else by math-verify, "
    "against the known answer",
    "choice": "the letter or the text of the option that a trace names, against the known one "
    "(grader `choice`)",
    "exact": "the normalised words of the answer, against the known answers (grader `exact`)",
    "number": "the value of a number and its unit, within the recipe's tolerance, against the "
    "known answer (grader `number`)",
    "label": "the labels that the sources gave their traces, taken over unchecked (grader `label`)",
    "regex": "what the recipe's pattern finds, against the known answers (grader `regex`)",
    "code": "the program of a trace, run with the tests of its problem (grader `code`)",
    "judge": "the verdict of a language model that was asked (grader `judge`)",
}
PARTS = {
    "full": "the whole generation",
    "after_think": "only what follows `</think>`",
    None: "not applicable: the traces were written for the slot, or the record does not say",
}
BUNDLED = "tiny/teacher"
MOST_TEACHERS = 20  # models that are listed by name
MOST_ORIGINS = 50  # pairs of source and license that are listed; every row may have its own
_SIZES: Final = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
)


def render_card(
    manifest: Manifest,
    recipe: Recipe,
    example: Released | None,
    stats: Stats,
    pictures: Sequence[Picture] = (),
) -> str:
    """The text of `README.md`; `example` is the row that is shown in full."""
    from jinja2 import Environment, StrictUndefined

    license = _license(manifest, recipe, stats)
    printed = markdown.printable_recipe(recipe)
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        md=markdown.escape,
        code=markdown.code,
        fenced=markdown.fenced,
        n=lambda number: f"{number:,}",
        known=_known,
        share=lambda part, whole: f"{part / whole:.1%}" if whole else "-",
        short=shorten,
        rounded=rounded_text,
    )
    template = environment.from_string(
        files("data_cards").joinpath("template.md.j2").read_text(encoding="utf-8")
    )
    text = template.render(
        m=manifest,
        r=recipe,
        s=stats,
        example=example,
        metadata=metadata(manifest, recipe, stats),
        title=_title(recipe),
        served=_served(recipe),
        grading=_grading(recipe.grader.kind, components.grader_kinds(recipe.grader)),
        part=PARTS.get(manifest.teacher.part, markdown.code(manifest.teacher.part or "")),
        teachers=stats.teachers[:MOST_TEACHERS],
        more_teachers=stats.teachers[MOST_TEACHERS:],
        origins=stats.origins[:MOST_ORIGINS],
        more_origins=stats.origins[MOST_ORIGINS:],
        bundled_scorer=recipe.scorer is not None and _is_bundled(recipe.scorer.path),
        path_level=controls.sentence(manifest.scorer.controls) if manifest.scorer else "",
        graders=components.grader_kinds(recipe.grader),
        judges=[shorten(name, 120) for name in components.judge_names(recipe.grader)],
        layout=_layout(manifest.paths),
        grades=[(grade.value, getattr(manifest.grades, grade)) for grade in Grade],
        distributions=_distributions(stats),
        pictures=pictures,
        license_sentence=_sentence(license, recipe),
        read=sum(source.rows for source in manifest.sources),
        recipe_block=markdown.fenced(printed.text, "yaml"),
        shortened=printed.shortened,
        withheld=printed.withheld,
    )
    return text.rstrip("\n") + "\n"


class RequestOptions(NamedTuple):
    """The settings of requests to a teacher behind a server."""

    top_up: int
    hints: int
    seeds: bool


def _served(recipe: Recipe) -> RequestOptions | None:
    spec = components.writer(recipe)
    if spec.kind not in ("openai_server", "openai_batch"):
        return None
    options = plugins.effective("curation.teachers", spec.kind, spec.options)
    top_up, hints = options.get("top_up"), options.get("hints")
    return RequestOptions(
        top_up=top_up if isinstance(top_up, int) else 0,
        hints=len(hints) if isinstance(hints, list | tuple) else 0,
        seeds=options.get("seeds") is True,
    )


def metadata(manifest: Manifest, recipe: Recipe, stats: Stats) -> str:
    """The card's YAML block, without its fences."""
    from datasets import Features
    from huggingface_hub import DatasetCardData

    license = _license(manifest, recipe, stats)
    extra: dict[str, Any] = {"license_name": license.name} if license.name else {}
    # `datasets` names its cache after the folder and these patterns, not the rows: without the
    # build id it would give the cached rows of another release. An empty release has a pattern
    # for train files too, or `datasets` would load stats.json as data.
    splits = sorted({file.split for file in manifest.release}) or ["train"]
    patterns = [{"split": split, "path": _patterns(manifest, split)} for split in splits]
    extra["configs"] = [{"config_name": "default", "data_files": patterns}]
    features = Features.from_arrow_schema(arrow.RELEASE)
    extra["dataset_info"] = {"config_name": "default", "features": features._to_yaml_list()}
    data = DatasetCardData(
        language=["en"],
        license=license.id,
        pretty_name=_title(recipe),
        size_categories=[_size(manifest.canvases)],
        task_categories=["text-generation"],
        tags=[tag for tag in TAGS if tag != "math" or recipe.grader.kind == "math"],
        **extra,
    )
    return data.to_yaml(line_break="\n").rstrip("\n")


def _patterns(manifest: Manifest, split: str) -> str | list[str]:
    """One pattern for each edition that has files of the split; a lone one is no list."""
    builds = [
        part.build
        for part in manifest.editions
        if any(file.split == split for file in manifest.files_of(part.build))
    ]
    patterns = [f"data/{split}-{build}-*.parquet" for build in builds or [manifest.build]]
    return patterns[0] if len(patterns) == 1 else patterns


def _is_bundled(path: str) -> bool:
    """Whether a scorer is the bundled model."""
    return Path(locate(path)).resolve() == Path(locate(BUNDLED)).resolve()


def _title(recipe: Recipe) -> str:
    return one_line(recipe.release.pretty_name or "") or recipe.name


def _size(rows: int) -> str:
    return next((name for limit, name in _SIZES if rows < limit), "1B<n<10B")


def _license(manifest: Manifest, recipe: Recipe, stats: Stats) -> licenses.License:
    """The recipe's, else that of the released rows, else (nothing released) of the sources."""
    if recipe.release.license is not None:
        return licenses.combine([recipe.release.license])
    rows = [origin.license for origin in stats.origins]
    return licenses.combine(rows or [source.license for source in manifest.sources])


def _sentence(license: licenses.License, recipe: Recipe) -> str:
    if recipe.release.license is not None:
        stated = markdown.escape(recipe.release.license)
        return f"License of this dataset, as its makers state it: {stated}."
    if license.id == licenses.UNKNOWN:
        return "The license of the source is **unknown**; find it out before you use the rows."
    if license.name == licenses.SEVERAL:
        return "The rows come under **several licenses**, so the metadata says `other`."
    return f"License of the source: **{markdown.escape(license.name or license.id)}**."


def _grading(kind: str, graders: Sequence[str]) -> str:
    if kind == "first_of":
        tried = ", ".join(map(markdown.code, graders))
        return f"the first of these graders that decides (grader `first_of`): {tried}"
    return GRADING.get(kind, f"by the grader {markdown.code(kind)}")


def _layout(paths: int) -> str:
    slots = [f"{canvas.header(j)}[ path {j} ]" for j in range(1, paths + 1)]
    return "".join(slots) + canvas.summary_header(paths) + "[ summary ]" + canvas.CLOSE


def _distributions(stats: Stats) -> list[tuple[str, Distribution]]:
    return [
        ("tokens of a path", stats.path_tokens),
        ("tokens of a summary", stats.summary_tokens),
        ("highest similarity of two paths", stats.similarity),
        ("SeqDep of paths, nats", stats.seqdep_path_nats),
        ("SeqDep of paths, nats a token", stats.seqdep_path_nats_per_token),
        ("SeqDep of steps (`long_cot`), nats", stats.seqdep_step_nats),
        ("SeqDep of steps (`long_cot`), nats a token", stats.seqdep_step_nats_per_token),
        ("SeqDep of windows (`long_cot`), nats", stats.seqdep_window_nats),
        ("SeqDep of windows (`long_cot`), nats a token", stats.seqdep_window_nats_per_token),
        ("gain of the summary, nats", stats.summary_gain_nats),
        ("samples drawn for a prompt", stats.samples_drawn),
        ("pass rate of a prompt", stats.pass_rate),
    ]


def _known(value: float | None, otherwise: str = "not recorded") -> str:
    return otherwise if value is None else rounded(value)
