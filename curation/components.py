"""Build the parts of a recipe; for teachers, fill in what the recipe leaves open.

That is the seed, the addresses of servers that `serve:` started, and the revision. The same model
is also built as the teacher that writes summaries.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curation.sources import ShowsScores, Source
from curation.sources.columns.fields import printable
from curation.teachers import Teacher
from schemas.recipe import Part, Recipe, digest
from schemas.records import END_OF_THINKING
from schemas.serve import Serve
from scorers.revision import directory_revision
from support import plugins
from support.errors import UserError
from support.paths import locate

SOURCES, TEACHERS = "curation.sources", "curation.teachers"
GRADERS, FILTERS = "curation.graders", "curation.filters"


def teacher(recipe: Recipe, addresses: Sequence[str], drawn: str = "") -> Teacher:
    """The recipe's teacher; its seed is the recipe's unless it has one of its own.

    `drawn` is the revision of samples that a run holds of its model: an endpoint that states no
    revision is taken to serve that one.
    """
    spec = _completed(recipe, recipe.teacher, addresses, drawn)
    built: Teacher = part(TEACHERS, spec, "teacher")
    return built


def summariser(recipe: Recipe, addresses: Sequence[str], drawn: str = "") -> Teacher:
    """The teacher that writes, with a summary's message, length and number of attempts."""
    spec = _completed(recipe, writer(recipe), addresses, drawn)
    known = plugins.options(TEACHERS, spec.kind, "teacher")
    if "prompt" not in known:
        raise UserError(
            f"summary.by: a teacher of kind {spec.kind!r} writes nothing; set summary.by=template, "
            f"or give it a teacher.top_up that can write"
        )
    changed: dict[str, object] = {
        "prompt": "{problem}",
        "hints": (),
        "stop": (),
        "system": None,
        "top_up": recipe.summary.attempts - 1,
        "max_tokens": recipe.summary.max_tokens or recipe.canvas.summary_tokens,
    }
    update = {name: value for name, value in changed.items() if name in known}
    built: Teacher = part(TEACHERS, spec.model_copy(update=update), "teacher")
    return built


def model(recipe: Recipe) -> str | None:
    """The name of the model that a server is asked for; None where no server is asked."""
    name = writer(recipe).options.get("model")
    return name if isinstance(name, str) else None


def check_teacher(recipe: Recipe) -> None:
    """UserError where no server serves the model, or none is asked, or no teacher can write."""
    spec = writer(recipe)
    asks = "endpoints" in plugins.options(TEACHERS, spec.kind, "teacher")
    where = "teacher" if spec is recipe.teacher else "teacher.top_up"
    if asks and not spec.options.get("endpoints") and recipe.serve is None:
        raise UserError(
            f"{where}.endpoints: none; give the address of a server that runs "
            f"(http://localhost:8000/v1), or add serve: to the recipe to start one"
        )
    if recipe.serve is not None and not asks:
        raise UserError(f"serve: a teacher of kind {spec.kind!r} asks no server; take it out")
    if recipe.serve is not None and spec.options.get("endpoints"):
        raise UserError(f"{where}.endpoints: serve: starts the servers; take one of the two out")
    if recipe.summary.by == "teacher":
        summariser(recipe, ())


def check_traces(recipe: Recipe, sources: Sequence[Source]) -> None:
    """UserError where recorded traces are to be used, and the first rows lack them."""
    spec = recipe.teacher
    if spec.kind != "recorded":
        return
    for source in sources:
        if not source.has_traces() and not spec.options.get("top_up"):
            raise UserError(
                f"teacher.kind: recorded, and the source {source.label} names no recorded traces; "
                "say in its key traces where they stand, or choose another teacher"
            )
        if spec.options.get("part") != "after_think":
            continue
        traces = source.first_traces()
        if traces and not any(END_OF_THINKING in trace.text for trace in traces):
            raise UserError(
                f"teacher.part: after_think, and none of the first {len(traces)} traces of "
                f"{source.label} holds {END_OF_THINKING}; set teacher.part=full to take them whole"
            )


def check_labels(recipe: Recipe, sources: Sequence[Source]) -> None:
    """UserError where the grader trusts labels, and the traces have none, or have scores."""
    kinds = set(grader_kinds(recipe.grader))
    if "label" not in kinds:
        return
    writes = bool(recipe.teacher.options.get("top_up")) and kinds == {"label"}
    if recipe.teacher.kind != "recorded" or writes:
        raise UserError(
            "grader.kind: label trusts the labels of recorded traces, and the teacher writes new "
            "ones; set teacher.kind=recorded without top_up, or choose another grader"
        )
    for source in sources:
        traces = source.first_traces()
        if traces and all(trace.correct is None for trace in traces):
            raise UserError(
                f"grader.kind: label, and none of the first {len(traces)} traces of "
                f"{source.label} has a label that can be read; source.traces.correct must name a "
                "column with true or false, yes or no, correct or wrong, or 1 or 0"
            )
        if isinstance(source, ShowsScores) and (scores := source.first_scores()):
            raise UserError(
                f"grader.kind: label, and source.traces.correct of {source.label} holds "
                f"{printable(scores[0])} beside 0 and 1: of a scale of scores, 1 would count as "
                "correct; name a column with true or false, or bring the scores into that form"
            )


def part(package: str, spec: Part, where: str) -> Any:
    """A part of a recipe, of the family in `package`; a path in it is found from any folder."""
    options = dict(spec.options)
    if isinstance(options.get("path"), str):
        options["path"] = locate(str(options["path"]))
    return plugins.build(package, spec.kind, options, where)


def of_others(recipe: Recipe) -> list[plugins.Plugin]:
    """The recipe's parts that come from other distributions, as they are installed."""
    judging = judges(recipe.grader)
    parts = [
        *((SOURCES, one.kind) for one in (*recipe.source, *recipe.decontaminate)),
        *((TEACHERS, one.kind) for one in (recipe.teacher, writer(recipe))),
        *((GRADERS, kind) for kind in (recipe.grader.kind, *grader_kinds(recipe.grader))),
        *((TEACHERS, one.kind) for one in judging),
        *((FILTERS, one.kind) for one in recipe.filters),
    ]
    origins = (plugins.origin(package, kind) for package, kind in dict.fromkeys(parts))
    return [plugin for plugin in origins if plugin is not None]


def deciding_graders(spec: Part) -> list[Part]:
    """The graders that decide, in the order in which they are asked."""
    inside = _graders_inside(spec)
    return [part for one in inside for part in deciding_graders(one)] if inside else [spec]


def grader_kinds(spec: Part) -> list[str]:
    """The kinds of the graders that decide, in the order in which they are asked."""
    return [one.kind for one in deciding_graders(spec)]


def judges(spec: Part) -> list[Part]:
    """The teachers that judge traces for a grader, also for those inside it."""
    below = spec.options.get("teacher")
    own = [Part.model_validate(below)] if isinstance(below, Mapping) else []
    return own + [judge for one in _graders_inside(spec) for judge in judges(one)]


def check_price(recipe: Recipe) -> None:
    """UserError where a judge grades, its tokens are to be paid for, and their price is unknown."""
    budget, price = recipe.budget, recipe.price
    is_limited = budget is not None and budget.money is not None
    if is_limited and judges(recipe.grader) and price is not None and price.judge is None:
        raise UserError(
            "budget.money: a judge grades, and its price is not known; set price.judge.prompt and "
            "price.judge.completion (0 for a server of your own)"
        )


def judge_names(spec: Part) -> tuple[str, ...]:
    """The models that judge, each once; of a local directory its last part."""
    names = (str(judge.options.get("model")) for judge in judges(spec))
    short = (Path(name).name if Path(name).is_absolute() else name for name in names)
    return tuple(dict.fromkeys(short))


def _graders_inside(spec: Part) -> list[Part]:
    """The graders that a grader (first_of) asks in turn."""
    several = spec.options.get("graders")
    return [Part.model_validate(one) for one in several] if isinstance(several, list) else []


def shown_revision(recipe: Recipe, revision: str) -> str:
    """A teacher's revision for readers, who can make it again from what it names.

    The revision of a served model is a digest of its own revision and of the server's options that
    shape what it writes; where there are such options, both are named beside the digest.
    """
    name = model(recipe)
    if recipe.serve is None or name is None or not recipe.serve.shaping_args():
        return revision
    if revision != _served_revision(recipe.serve, name):
        return revision
    own = _own_revision(recipe.serve, name) or f"the model {Path(recipe.serve.model or name).name}"
    return f"{revision} (of {own} with {' '.join(recipe.serve.shaping_args())})"


def _own_revision(serve: Serve, model: str) -> str:
    """The revision of the directory that is served; empty for a hub id."""
    where = Path(locate(serve.model or model))
    return directory_revision(where) if where.is_dir() else ""


def _served_revision(serve: Serve, model: str) -> str:
    """The revision of a model that we serve: its directory and the options that shape samples."""
    name = serve.model or model
    revision = _own_revision(serve, model)
    options = serve.shaping_args()
    if not options and (revision or serve.model is None):
        return revision
    return digest([revision or name, options])[:12]


def writer(recipe: Recipe) -> Part:
    """The part that writes: the teacher, or what tops up its recorded traces."""
    below = recipe.teacher.options.get("top_up")
    return Part.model_validate(below) if isinstance(below, Mapping) else recipe.teacher


def _completed(recipe: Recipe, spec: Part, addresses: Sequence[str], drawn: str) -> Part:
    known = plugins.options(TEACHERS, spec.kind, "teacher")
    options = spec.options
    more: dict[str, object] = {}
    if "seed" in known and "seed" not in options:
        more["seed"] = recipe.seed
    if "endpoints" in known and addresses:
        more["endpoints"] = tuple(addresses)
    if "revision" in known and not options.get("revision"):
        served = recipe.serve and _served_revision(recipe.serve, str(options.get("model", "")))
        more["revision"] = drawn if served is None else served
    if "patience_seconds" in known and recipe.serve is not None:
        patience = options.get("patience_seconds")
        patience = patience if isinstance(patience, int | float) else 600.0
        # A restart takes as long as a start.
        more["patience_seconds"] = max(patience, recipe.serve.start_seconds + 60)
    if isinstance(below := options.get("top_up"), Mapping):
        more["top_up"] = _completed(recipe, Part.model_validate(below), addresses, drawn)
    return spec.model_copy(update=more)
