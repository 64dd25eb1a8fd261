"""The command `polytrace finetune-eval`: fine-tune on a corpus and evaluate the models.

This module is imported when the command line starts, so the command imports heavy packages itself.
"""

from pathlib import Path
from typing import Annotated

import typer

from flows.recipe_files import EXPERIMENTS, completion
from flows.runtime.session import prefect
from flows.trust import AllowAddress, Untrusted, on_command_line


def finetune_eval(
    experiment: Annotated[
        str,
        typer.Argument(
            help="A YAML file, or the name of a bundled experiment.",
            autocompletion=completion(EXPERIMENTS),
        ),
    ],
    corpus: Annotated[Path, typer.Option(help="The run directory of a build.")],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a recipe key, such as evaluate.recipe=…."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The experiment's directory (default: runs/NAME-BUILD).")
    ] = None,
    accelerate_config: Annotated[
        Path | None, typer.Option(help="Train on several GPUs with this accelerate config.")
    ] = None,
    untrusted: Untrusted = False,
    allow_address: AllowAddress = None,
) -> None:
    """Fine-tune on a corpus, evaluate the models, and print the paper's tables.

    An experiment names recipes of polytrace train and of polytrace evaluate, and the model that
    scores the corpus. OUT/report.md holds the result, OUT/tables the tables and pictures. If the
    command is stopped, running it again continues where it stopped. A build whose recipe has
    `handoff: EXPERIMENT` starts the experiment itself. Bundled experiments: tiny_demo, tiny, dream,
    llada, miniature.

    Example: polytrace finetune-eval tiny_demo --corpus runs/demo
    """
    from flows.experiment import default_out, evaluation, find_experiment, trainings
    from schemas.manifest import MANIFEST_FILE, Manifest
    from support.errors import UserError

    checks = on_command_line(untrusted, allow_address)
    chosen = find_experiment(experiment, tuple(set_ or ()))
    if checks is not None:
        checks.experiment(chosen, experiment)
    if not corpus.is_dir():
        raise UserError(f"{corpus}: no such run directory")
    manifest = Manifest.load(corpus / MANIFEST_FILE)
    folder = out or default_out(chosen, manifest.build)
    settings = trainings(chosen, str(corpus))
    to_evaluate = evaluation(chosen, settings, folder)  # mistakes show before hours of work
    folder.mkdir(parents=True, exist_ok=True)
    with prefect(folder):
        from flows.finetune_eval import finetune_eval as flow

        config = str(accelerate_config) if accelerate_config else None
        flow(chosen, str(corpus), str(folder), config)
    from diffusion.paper.cells import EvaluationCells
    from diffusion.paper.tables_page import in_short

    evaluated = folder / "evaluation"
    typer.echo(in_short([evaluated]))
    typer.echo(
        f"\nreport   {folder}/report.md\ntables   {folder}/tables/tables.md\n"
        f"page     {folder}/report.html (open it in a browser)"
    )
    from flows import closing

    if closing.applies(manifest, to_evaluate):
        tuned = [closing.tuned(one, folder) for one in settings]
        pages = [f"{one}/report.html" for one in (corpus, folder)]
        full = chosen.short_for
        longer = f"polytrace finetune-eval {full} --corpus {corpus}" if full else ""
        if (compared := closing.comparison(EvaluationCells([evaluated]))) is not None:
            typer.echo("\n" + closing.closing_lines(manifest, tuned, compared, pages, longer))
