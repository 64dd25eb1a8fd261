"""The flows that `prefect.yaml` deploys: what the command line does, by names and simple values.

In: names of recipes, as a form in the Prefect UI asks for them. Out: directories. A build that has
released a corpus emits `polytrace.corpus.released`, which starts what waits for it.
"""

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.events import emit_event

from curation import browse
from flows.build import build as build_flow
from flows.cli import RECIPES
from flows.experiment import find_experiment
from flows.finetune_eval import finetune_eval as finetune_eval_flow
from flows.recipe_files import find_recipe
from flows.reporting import REPORT
from schemas.errors import NothingReleasedError
from schemas.manifest import MANIFEST_FILE, RELEASE_FOLDER, Manifest
from schemas.recipe import load

RELEASED = "polytrace.corpus.released"


@flow(name="build-recipe")
def build(
    recipe: str = "demo",
    overrides: list[str] | None = None,
    out: str | None = None,
    limit: int | None = None,
) -> str:
    """Build a corpus from a recipe; the same run goes on where it stopped.

    Args:
        recipe: A bundled recipe's name (see flows/recipes), or the path of a YAML file.
        overrides: Keys to change, as in `teacher.endpoints=http://gpu1:8000/v1`.
        out: The run directory; `runs/<name>` when not given.
        limit: Read at most this many rows of the sources.
    """
    chosen = load(find_recipe(recipe, RECIPES), overrides or ())
    run = Path(out) if out else Path("runs") / chosen.name
    outcome = build_flow(chosen, str(run), limit)
    if not outcome.canvases:
        raise NothingReleasedError(f"nothing was released; top reasons: {browse.top_reasons(run)}")
    manifest = Manifest.load(run / MANIFEST_FILE)
    _show(run, manifest)
    if not outcome.reused:
        emit_event(
            RELEASED,
            resource={
                "prefect.resource.id": f"polytrace.corpus.{manifest.name}",
                "prefect.resource.name": manifest.name,
            },
            payload={"run": str(run.resolve()), "build": manifest.build},
        )
    return str(run)


@flow(name="finetune-eval-recipe")
def finetune_eval(
    experiment: str = "tiny",
    corpus: str = "runs/demo",
    overrides: list[str] | None = None,
    accelerate_config: str | None = None,
) -> str:
    """Fine-tune on a corpus, evaluate, and write the paper's tables and a page.

    Args:
        experiment: A bundled experiment's name (see flows/recipes/experiments), or a YAML file.
        corpus: The run directory of a build.
        overrides: Keys to change.
        accelerate_config: An accelerate config file for the trainings (default: one process).
    """
    chosen = find_experiment(experiment, tuple(overrides or ()))
    folder = finetune_eval_flow(chosen, corpus, None, accelerate_config)
    create_markdown_artifact(
        key=_key(chosen.name, "experiment"),
        markdown=(Path(folder) / "report.md").read_text(encoding="utf-8"),
        description=f"What {corpus} is worth; the page is {folder}/{REPORT}",
    )
    return folder


def _show(run: Path, manifest: Manifest) -> None:
    """The corpus in the Prefect UI: what was dropped where, and the card."""
    counts = [("all", "prompt", "read", manifest.prompts.in_)]
    counts += [(str(one.stage), one.kind, one.reason, one.count) for one in manifest.rejected]
    counts.append(("release", "prompt", "released", manifest.canvases))
    rows = [
        {"stage": stage, "what": what, "reason": reason, "count": count}
        for stage, what, reason, count in counts
    ]
    tokens = manifest.tokens
    create_table_artifact(
        key=_key(manifest.name, "funnel"),
        table=rows,
        description=f"{manifest.canvases:,} canvases, {tokens.paths + tokens.summaries:,} tokens; "
        f"page {run}/{REPORT}, card {run}/{RELEASE_FOLDER}/README.md",
    )
    card = (run / RELEASE_FOLDER / "README.md").read_text(encoding="utf-8")
    body = card.split("\n---\n", 1)[-1]  # without the Hub's metadata
    create_markdown_artifact(key=_key(manifest.name, "card"), markdown=body)


def _key(name: str, what: str) -> str:
    """An artifact's key: lower-case letters, digits and dashes."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
    return f"{'-'.join(filter(None, kept.split('-'))) or 'run'}-{what}"
