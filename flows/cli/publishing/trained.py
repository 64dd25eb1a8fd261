"""The model of a training, as `polytrace publish` sends it.

In: the folder of a training that has ended, or `model/` or `adapter/` in it. Out: every file of the
model's folder, if it is whole and holds no code and no pickle.
"""

import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from curation.publish.plan import WHOLE, Publication, RepoKind, files_of
from diffusion.training.training_log import STEPS, SUMMARY
from flows.model_cards import CARD
from scorers.weights import ADAPTER, SUFFIX, weight_files
from support.capacity import raise_if_out_of_memory
from support.errors import UserError
from support.files import read_json

MODEL, ADAPTED = "model", "adapter"
_CONFIG = "config.json"
_ALLOWED = re.compile(
    r"(\w[\w.-]*\.(safetensors|json|jinja|txt|model|tiktoken|md)|LICENSE|NOTICE)", re.ASCII
)
_DIGEST = re.compile("[0-9a-f]{16}")


def training_of(run: Path) -> Path | None:
    """The folder of the training that `run` is, or is the model of; None where it is neither."""
    run = run.absolute()
    if run.name in (MODEL, ADAPTED) and any((run / name).exists() for name in (_CONFIG, ADAPTER)):
        return run.parent
    marks = (SUMMARY, STEPS, MODEL, ADAPTED)
    return run if any((run / name).exists() for name in marks) else None


def trained_model(run: Path, training: Path) -> Publication:
    """What is published of `run`, which is a training, or the folder of its model.

    Raises: UserError where the training has not ended, the model has no card, a file is missing or
    damaged, or a file may not be published.
    """
    digest = _digest(training)
    folder = run
    if run.absolute() == training:
        folder = run / (MODEL if (run / MODEL).is_dir() else ADAPTED)
    if not folder.is_dir():
        raise UserError(f"{run}: holds no {MODEL}/ and no {ADAPTED}/; polytrace train makes them")
    for file in sorted(folder.rglob("*")):
        if file.is_dir() or not _ALLOWED.fullmatch(file.name):
            raise UserError(
                f"{file}: not published: a model is safetensors, JSON and text, without code, "
                "pickles, folders and hidden files; move it out of the folder"
            )
    _check_whole(folder)
    return Publication(
        kind=RepoKind.MODEL,
        folder=folder,
        files=files_of(folder),
        digest=digest,
        message=f"Polytrace {folder.absolute().name}, training {digest}",
        former=WHOLE,
    )


def _digest(training: Path) -> str:
    """What identifies a training that has ended: its settings, its base model and its corpus."""
    file = training / SUMMARY
    if not file.exists():
        raise UserError(
            f"{training}: not published, for there is no {SUMMARY}: the training has not ended; "
            "polytrace train goes on with it"
        )
    facts = _read(file)
    digest = facts.get("digest") if isinstance(facts, dict) else None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise UserError(_damaged(file, "its digest is not 16 hex digits"))
    return digest


def _check_whole(folder: Path) -> None:
    """UserError where a file of a model or an adapter is missing or damaged, or names a path."""
    if not (folder / CARD).is_file() or not (folder / CARD).stat().st_size:
        raise UserError(
            f"{folder}: not published, for it has no card ({CARD}); polytrace finetune-eval trains "
            "and evaluates a model, and writes its card"
        )
    if (folder / ADAPTER).exists():
        wanted = [folder / ADAPTER, folder / f"adapter_model{SUFFIX}"]
    else:
        wanted = [folder / _CONFIG, *weight_files(folder)]
        if not list(folder.glob("tokenizer*")):
            wanted.append(folder / "tokenizer.json")
    for file in wanted:
        if not file.is_file():
            raise UserError(f"{file}: is missing; train again, with another --out")
    for file in sorted(folder.iterdir()):
        if file.suffix == ".json":
            _refuse_path(file, _read(file))
        elif file.suffix == SUFFIX:
            try:
                with safe_open(file, "numpy") as weights:
                    weights.keys()
            except (OSError, SafetensorError) as error:
                raise_if_out_of_memory(error)
                raise UserError(_damaged(file, error)) from None


def _refuse_path(file: Path, facts: object) -> None:
    """UserError where an adapter names its base model by a path, which nobody else has."""
    key = {ADAPTER: "base_model_name_or_path", "base_model.json": "path"}.get(file.name)
    named = facts.get(key) if key is not None and isinstance(facts, dict) else None
    if isinstance(named, str) and Path(named).is_absolute():
        raise UserError(
            f"{file}: not published, for it names the base model by a path of this machine; "
            f"publish the {MODEL}/ beside it, which holds the base model, too"
        )


def _read(file: Path) -> Any:
    try:
        return read_json(file)
    except (OSError, ValueError) as error:
        raise UserError(_damaged(file, error)) from None


def _damaged(file: Path, why: object) -> str:
    return f"{file}: is damaged ({why}); train again, with another --out"
