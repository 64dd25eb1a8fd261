"""The fine-tuning flow. Its one task runs `polytrace train` in a process of its own.

In: the settings of a fine-tuning (the fields of its recipe) and a run directory. Out: its summary.
The run directory alone says what is done, so a flow can be stopped at any moment and started again.
"""

import json
from pathlib import Path
from typing import Any

from prefect import flow, task

from diffusion.settings import Settings
from diffusion.training.prepared import fingerprint
from diffusion.training.training_log import SUMMARY, read_summary
from flows.recipe_files import as_yaml
from flows.runtime.commands import run_command
from flows.trust import of_parameter
from support.files import replace_text


@task(name="train", task_run_name="train {run}")
def train(recipe: str, run: str, accelerate_config: str | None) -> dict[str, Any]:
    """`polytrace train` on the recipe file; its summary, or the error that it ended with."""
    run_command(["train", recipe, "--out", run], accelerate_config)
    return _summary(Path(run))


@flow(name="finetune")
def finetune(
    settings: Settings, out: str | None = None, accelerate_config: str | None = None
) -> dict[str, Any]:
    """Fine-tune a masked-diffusion language model on a released corpus.

    Args:
        settings: What to train, as in the recipes of `flows/recipes/train`.
        out: The run directory; `runs/<name>` when not given.
        accelerate_config: An accelerate config file for DDP or FSDP2 (default: one process).
    """
    if (checks := of_parameter()) is not None:
        checks.settings(settings, f"the training {settings.name}")
    return tune(settings, Path(out) if out else Path("runs") / settings.name, accelerate_config)


def tune(settings: Settings, run: Path, accelerate_config: str | None) -> dict[str, Any]:
    """The train task for these settings, unless they are trained already; inside a flow.

    A process that finds nothing to do would need seconds to find it.
    """
    recipe = run / "flow-recipe.yaml"
    replace_text(recipe, as_yaml(settings))
    if read_summary(run, fingerprint(settings)) is not None:
        return _summary(run)
    return train(str(recipe), str(run), accelerate_config)


def _summary(run: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((run / SUMMARY).read_text(encoding="utf-8"))
    return summary
