"""The data card: a release's `README.md`, with metadata for the Hub.

In: manifest, recipe, statistics and one released row. Out: Markdown, the same for the same facts,
without time, machine path or secret. Foreign text is escaped (`markdown.py`).
"""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final, NamedTuple

from curation import components
from curation.canvases.rules import STOPS
from curation.release import licenses, markdown
from curation.release.documents import limits, provenance
from curation.release.documents.costs import Costs, cost_sentences
from curation.release.figures import Picture
from curation.release.statistics import Distribution, Stats
from curation.release.writer import SPLITS
from curation.seqdep_report import controls
from schemas import arrow, canvas
from schemas.manifest import Manifest
from schemas.recipe import Recipe
from schemas.records import Grade, Released
from support import plugins
from support.display.digits import rounded, rounded_text
from support.display.text import one_line, shorten

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
CITATION = """\
@misc{li2026nap,
  title         = {Why Diffusion Language Models Struggle with Truly Parallel
                   (Non-Autoregressive) Decoding?},
  author        = {Li, Pengxiang and Muhtar, Dilxat and Yin, Lu and Chen, Tianlong and Liu, Shiwei},
  year          = {2026},
  eprint        = {2602.23225},
  archivePrefix = {arXiv}
}"""
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
    costs: Costs | None = None,
) -> str:
    """The text of `README.md`; `example` is the row that is shown in full."""
    from jinja2 import Environment, StrictUndefined

    license = license_of(manifest, recipe, stats)
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
        title=title(recipe),
        served=_served(recipe),
        grading=_grading(recipe.grader.kind, components.grader_kinds(recipe.grader)),
        part=PARTS.get(manifest.teacher.part, markdown.code(manifest.teacher.part or "")),
        teachers=stats.teachers[:MOST_TEACHERS],
        more_teachers=stats.teachers[MOST_TEACHERS:],
        origins=stats.origins[:MOST_ORIGINS],
        more_origins=stats.origins[MOST_ORIGINS:],
        sizes={split: _size_of(manifest, split) for split in SPLITS},
        uses=limits.intended_uses(recipe),
        no_uses=limits.UNINTENDED,
        personal=limits.personal_information(recipe),
        limits=limits.known_limits(manifest, recipe),
        teacher_license=provenance.teacher_license(recipe),
        citation=CITATION,
        costs=cost_sentences(costs, manifest, recipe) if costs else ["Not counted."],
        path_level=controls.sentence(manifest.scorer.controls) if manifest.scorer else "",
        graders=components.grader_kinds(recipe.grader),
        judges=[shorten(name, 120) for name in components.judge_names(recipe.grader)],
        layout=_layout(manifest.paths),
        stops=STOPS,
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

    license = license_of(manifest, recipe, stats)
    extra: dict[str, Any] = {"license_name": license.name} if license.name else {}
    # `datasets` names its cache after the folder and these patterns, not the rows: without the
    # build id it would give the cached rows of another release. An empty release has a pattern
    # for train files too, or `datasets` would load stats.json as data.
    splits = sorted({file.split for file in manifest.release}) or ["train"]
    globs = {split: data_patterns(manifest, split) for split in splits}
    data_files = [
        {"split": split, "path": found[0] if len(found) == 1 else found}
        for split, found in globs.items()
    ]
    extra["configs"] = [{"config_name": "default", "data_files": data_files}]
    features = Features.from_arrow_schema(arrow.RELEASE)
    extra["dataset_info"] = {"config_name": "default", "features": features._to_yaml_list()}
    if sources := provenance.source_datasets(recipe):
        extra["source_datasets"] = sources
    data = DatasetCardData(
        language=["en"],
        multilinguality=["monolingual"],
        language_creators=provenance.language_creators(manifest, stats),
        annotations_creators=provenance.annotations_creators(recipe),
        license=license.id,
        pretty_name=title(recipe),
        size_categories=[_size(manifest.canvases)],
        task_categories=["text-generation"],
        tags=tags(manifest, recipe, stats),
        **extra,
    )
    return data.to_yaml(line_break="\n").rstrip("\n")


def tags(manifest: Manifest, recipe: Recipe, stats: Stats) -> list[str]:
    """The tags of the dataset."""
    ours = [tag for tag in TAGS if tag != "math" or recipe.grader.kind == "math"]
    return ours + ([provenance.SYNTHETIC] if provenance.is_synthetic(manifest, stats) else [])


def data_patterns(manifest: Manifest, split: str) -> list[str]:
    """Globs of a split's files, one for each edition that has files of it."""
    builds = [
        part.build
        for part in manifest.editions
        if any(file.split == split for file in manifest.files_of(part.build))
    ]
    return [f"data/{split}-{build}-*.parquet" for build in builds or [manifest.build]]


class SplitSize(NamedTuple):
    """How many files a split has, and how many bytes they have."""

    files: int
    bytes: int


def _size_of(manifest: Manifest, split: str) -> SplitSize:
    files = [file for file in manifest.release if file.split == split]
    return SplitSize(len(files), sum(file.bytes for file in files))


def title(recipe: Recipe) -> str:
    """The name of the dataset for readers."""
    return one_line(recipe.release.pretty_name or "") or recipe.name


def _size(rows: int) -> str:
    return next((name for limit, name in _SIZES if rows < limit), "1B<n<10B")


def license_of(manifest: Manifest, recipe: Recipe, stats: Stats) -> licenses.License:
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
    """What was measured; where nothing was, all of it, so that the table is not empty."""
    named = [
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
    return [(name, one) for name, one in named if one.count] or named


def _known(value: float | None, otherwise: str = "not recorded") -> str:
    return otherwise if value is None else rounded(value)
