"""The fine-tuning flow: one task, which is one `polytrace train` in a process of its own.

In: settings of a fine-tuning (the recipe's fields) and a run directory. Out: its summary.
The process is the command that a person would type, started through `accelerate launch` where an
accelerate config is named, so that a flow trains on as many GPUs as a command does. What is done is
known from the run directory alone: a flow may be stopped anywhere and started again.
"""

import json
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

from prefect import flow, task

from diffusion.settings import Settings
from diffusion.training_log import SUMMARY
from flows.tuning import as_yaml
from schemas.durable import replace_text
from schemas.errors import PolytraceError, StoppedError, UserError

_ERRORS: dict[int, type[PolytraceError]] = {2: UserError, 3: StoppedError}


@task(name="train", task_run_name="train {run}")
def train(recipe: str, run: str, accelerate_config: str | None) -> dict[str, Any]:
    """`polytrace train` on the recipe file; its summary, or the error that it ended with."""
    start = [sys.executable, "-m"]
    if accelerate_config is not None:
        start += ["accelerate.commands.launch", "--config_file", accelerate_config, "-m"]
    command = [*start, "flows.cli", "train", recipe, "--out", run]
    said: deque[str] = deque(maxlen=50)
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                sys.stderr.write(line)
                said.append(line.rstrip())
        except BaseException:
            process.terminate()  # it saves a checkpoint
            raise
    if process.returncode:
        ours = [line for line in said if line.startswith("polytrace: ")]
        last = (ours or list(said) or [""])[-1].removeprefix("polytrace: ")
        error = _ERRORS.get(process.returncode, PolytraceError)
        raise error(last or f"training ended with status {process.returncode}")
    summary: dict[str, Any] = json.loads((Path(run) / SUMMARY).read_text(encoding="utf-8"))
    return summary


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
    run = Path(out) if out else Path("runs") / settings.name
    recipe = run / "flow-recipe.yaml"
    replace_text(recipe, as_yaml(settings))
    return train(str(recipe), str(run), accelerate_config)
