"""The flow from a released corpus to tables: fine-tune, evaluate, score, print.

In: an experiment and a run that released a corpus. Out: a directory with a folder for each
training, whose model has a card, `evaluation`, `seqdep`, `tables` and `report.md`. Every step is a
command that continues where it stopped and does nothing if nothing has changed, and so does the
flow.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow, task

from diffusion.evaluation.results import read_results
from diffusion.paper.tables_page import write_page
from diffusion.settings import Settings
from flows.experiment import Experiment, SeqDep, default_out, evaluation, folder_of, trainings
from flows.finetune import tune
from flows.model_cards import write_model_cards
from flows.page import REPORT, write_report
from flows.recipe_files import as_yaml
from flows.runtime.commands import run_command
from flows.trust import of_parameter
from schemas.manifest import MANIFEST_FILE, Manifest
from support.display.tables import Table
from support.files import lock, replace_text

REPORT_PAGE = "report.md"


@task(name="evaluate", task_run_name="evaluate {out}")
def evaluate(recipe: str, out: str) -> None:
    """`polytrace evaluate`."""
    run_command(["evaluate", recipe, "--out", out])


@task(name="seqdep", task_run_name="seqdep {corpus}")
def seqdep(spec: SeqDep, corpus: str, out: str) -> None:
    """`polytrace seqdep-report`."""
    arguments = ["seqdep-report", corpus, "--model", spec.model, "--out", out]
    arguments += ["--limit", str(spec.limit)]
    if spec.web is not None:
        arguments += ["--web", spec.web]
    for name in spec.long_cot:
        arguments += ["--long-cot", name]
    run_command(arguments)


@task(name="tables")
def tables(evaluated: str, out: str, seqdep_folder: str | None) -> str:
    """The page of tables and figures."""
    folder = Path(seqdep_folder) if seqdep_folder else None
    return str(write_page([Path(evaluated)], Path(out), folder))


@flow(name="finetune-eval")
def finetune_eval(
    experiment: Experiment,
    corpus: str,
    out: str | None = None,
    accelerate_config: str | None = None,
) -> str:
    """Fine-tune on a corpus, evaluate the models, and write the paper's tables and figures.

    Args:
        experiment: What to train and to evaluate, as in `flows/recipes/experiments`.
        corpus: The run directory of a build that released a corpus.
        out: The experiment's directory; `runs/<name>-<build>` when not given.
        accelerate_config: An accelerate config file for the trainings (default: one process).
    """
    if (checks := of_parameter()) is not None:
        checks.experiment(experiment, f"the experiment {experiment.name}")
    manifest = Manifest.load(Path(corpus) / MANIFEST_FILE)
    folder = Path(out) if out else default_out(experiment, manifest.build)
    settings = trainings(experiment, corpus)
    to_evaluate = evaluation(experiment, settings, folder)
    with lock(folder):
        summaries = [tune(one, folder / folder_of(one), accelerate_config) for one in settings]
        recipe = folder / "evaluation-recipe.yaml"
        replace_text(recipe, as_yaml(to_evaluate))
        evaluate(str(recipe), str(folder / "evaluation"))
        scored = None
        if experiment.seqdep is not None:
            scored = str(folder / "seqdep")
            seqdep(experiment.seqdep, corpus, scored)
        write_model_cards(
            {
                folder / folder_of(one): (one, summary)
                for one, summary in zip(settings, summaries, strict=True)
            },
            manifest,
            to_evaluate,
            read_results(folder / "evaluation"),
        )
        page = tables(str(folder / "evaluation"), str(folder / "tables"), scored)
        write_report(folder / REPORT, Path(corpus), folder / "evaluation")
        replace_text(
            folder / REPORT_PAGE, _report(experiment, corpus, manifest, settings, summaries, page)
        )
    return str(folder)


def _report(
    experiment: Experiment,
    corpus: str,
    manifest: Manifest,
    settings: Sequence[Settings],
    summaries: Sequence[dict[str, Any]],
    page: str,
) -> str:
    """The text of `report.md`: the corpus, the trainings, and the tables."""
    lines = [
        f"# {experiment.name}: what the corpus {manifest.name} is worth",
        "",
        f"Corpus: `{corpus}`, build {manifest.build}, {manifest.canvases} canvases "
        f"({manifest.prompts.in_} prompts read, {manifest.prompts.rejected} rejected).",
        "",
    ]
    rows = []
    for one, summary in zip(settings, summaries, strict=True):
        held_out = (summary.get("validation") or {}).get("loss")
        loss = "-" if held_out is None else f"{held_out:.3f}"
        counts = (str(one.paths), str(summary["instances"]), str(summary["steps"]))
        losses = (f"{summary['loss']:.3f}", loss)
        rows.append((one.name, str(one.form), *counts, *losses, one.model.path))
    header = ("training", "form", "paths", "instances", "steps", "last loss", "validation loss")
    table = Table(header=(*header, "from"), rows=tuple(rows), left=(0, 1, 7))
    text = Path(page).read_text(encoding="utf-8")
    shifted = re.sub("^#", "##", text, flags=re.MULTILINE).replace("](figure", "](tables/figure")
    return "\n".join([*lines, table.markdown(), shifted])
