"""The command `polytrace train`: fine-tune a model on a corpus.

This module is imported when the command line starts, so the command imports heavy packages itself.
"""

import os
from pathlib import Path
from typing import Annotated

import typer

from flows.recipe_files import TRAININGS, as_yaml, completion, settings_of
from flows.trust import AllowAddress, Untrusted, on_command_line


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A YAML file, or the name of a bundled recipe.",
            autocompletion=completion(TRAININGS),
        ),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe key, such as epochs=1."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run directory (default: runs/NAME, with the name in the recipe)."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Train nothing: print the work, memory and time to expect."),
    ] = False,
    gpus: Annotated[
        str | None,
        typer.Option(
            metavar="COUNTxKIND", help="With --dry-run: the devices, such as 8xa800-80gb."
        ),
    ] = None,
    untrusted: Untrusted = False,
    allow_address: AllowAddress = None,
) -> None:
    """Fine-tune a masked-diffusion language model on a released corpus.

    `form: canvas` trains on P paths side by side (NAP), `form: long_cot` on the same paths as one
    left-to-right text. LLaDA, Dream and any masked language model of transformers can be trained;
    OUT/model holds the result in the model's own layout. If the command is stopped, running it
    again continues where it stopped. Bundled recipes: tiny_nap, tiny_long_cot, llada_nap,
    llada_long_cot, dream_nap, dream_long_cot.

    On several GPUs: accelerate launch --config_file flows/recipes/train/accelerate/fsdp2.yaml
    -m flows.cli train llada_nap --set corpus=runs/nap_103k

    Examples: polytrace train tiny_nap --set corpus=runs/demo ·
    polytrace train llada_nap --set corpus=runs/nap_103k --dry-run --gpus 8xa800-80gb
    """
    checks = on_command_line(untrusted, allow_address)
    settings = settings_of(recipe, set_ or ())
    if checks is not None:
        checks.settings(settings, recipe)
    if dry_run:
        from diffusion.training.estimate import estimate, parse_devices

        count, kind = parse_devices(gpus) if gpus else (1, None)
        typer.echo(estimate(settings, count, kind).text())
        return
    from diffusion.training.train import fine_tune
    from support.files import lock, replace_text

    run = out or Path("runs") / settings.name
    is_main = os.environ.get("RANK", "0") == "0"
    if not is_main:
        fine_tune(settings, run)
        return
    _hint_at_gpus()
    with lock(run):
        summary = fine_tune(settings, run, say=lambda text: typer.echo(text, err=True))
        replace_text(run / "recipe.yaml", as_yaml(settings))
    held_out = summary.validation.loss if summary.validation else None
    typer.echo(
        f"tuned in {summary.steps} steps on {summary.instances} of {summary.rows} rows; "
        f"last loss {summary.loss:.3f}"
        + (f", validation {held_out:.3f}" if held_out is not None else "")
        + f"\n  model    {run}/model\n  curves   {run}/training.jsonl"
        + (f", {run}/validation.jsonl" if held_out is not None else "")
    )


def _hint_at_gpus() -> None:
    import torch

    if torch.cuda.device_count() > 1 and "WORLD_SIZE" not in os.environ:
        typer.echo(
            f"one of {torch.cuda.device_count()} GPUs is used; for all of them: accelerate launch "
            "--config_file flows/recipes/train/accelerate/fsdp2.yaml -m flows.cli train …",
            err=True,
        )
