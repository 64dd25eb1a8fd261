"""The files that hold a model's weights, which must be safetensors. In: a folder. Out: the files.

Every other format is a pickle, and loading a pickle can run any code. This is checked before a
model is loaded, because transformers also loads pickles, adapters beside a model, and kernels: code
on the Hub that a config names.
"""

from collections.abc import Iterator
from pathlib import Path

from support.errors import UserError
from support.files import read_json

SUFFIX = ".safetensors"
ADAPTER = "adapter_config.json"  # transformers would load what it names into the model
CONFIG = "config.json"
_IMPLEMENTATION = ("attn_implementation", "experts_implementation")


def weight_files(folder: Path) -> list[Path]:
    """The files that the checkpoint's index names, or its one file; others are not looked at.

    UserError if there are none, or the index names anything but safetensors in the folder, or the
    config names kernels on the Hub.
    """
    if (folder / ADAPTER).exists():
        raise UserError(
            f"{folder}: holds an adapter ({ADAPTER}), which is not loaded; merge it into its model"
        )
    try:
        facts = read_json(folder / CONFIG)
    except (OSError, ValueError):
        facts = None  # who reads the config says so
    refuse_kernels(facts, folder)
    index, whole = folder / f"model{SUFFIX}.index.json", folder / f"model{SUFFIX}"
    if whole.exists() and not index.exists():
        return [whole]
    if not index.exists():
        files = sorted(folder.glob(f"*{SUFFIX}"))
        if not files:
            raise UserError(
                f"{folder}: holds no safetensors; other formats are pickles and are not loaded"
            )
        return files
    try:
        names = set(read_json(index)["weight_map"].values())
        strangers = sorted(name for name in names if not _is_ours(name))
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise UserError(f"{index}: cannot be read: {error}; fetch it again") from None
    if not names:
        raise UserError(f"{index}: names no file of weights; fetch it again")
    if strangers:
        raise UserError(
            f"{index}: names {strangers[0][:200]!r}, which is no safetensors file of this folder; "
            "it is not loaded"
        )
    return sorted(folder / name for name in names)


def refuse_kernels(facts: object, folder: Path) -> None:
    """UserError for a config with which transformers would fetch and run code of the Hub."""
    for key, name in _implementations(facts):
        if "/" in name:
            raise UserError(
                f"{folder / CONFIG}: {key} is {name[:200]!r}, which is code on the Hub and is not "
                "run; take that key out"
            )


def _implementations(facts: object) -> Iterator[tuple[str, str]]:
    """How a config wants its layers computed: keys and names, those of its parts too."""
    waiting: list[object] = [facts]
    while waiting:
        here = waiting.pop()
        if isinstance(here, list):
            waiting += here
        elif isinstance(here, dict):
            waiting += here.values()
            for key, value in here.items():
                if key.endswith(_IMPLEMENTATION):  # a name, or one for each part of the model
                    named = value.values() if isinstance(value, dict) else (value,)
                    yield from ((key, one) for one in named if isinstance(one, str))


def _is_ours(name: str) -> bool:
    return name.endswith(SUFFIX) and "/" not in name and "\\" not in name and "\0" not in name
