"""The files that hold a model's weights, which must be safetensors. In: a folder. Out: the files.

Every other format is a pickle, and loading a pickle can run any code. This is checked before a
model is loaded, because transformers also loads pickles, and adapters beside a model.
"""

from pathlib import Path

from support.errors import UserError
from support.files import read_json

SUFFIX = ".safetensors"
ADAPTER = "adapter_config.json"  # transformers would load what it names into the model


def weight_files(folder: Path) -> list[Path]:
    """The files that the checkpoint's index names, or its one file; others are not looked at.

    UserError if there are none, or the index names anything but safetensors in the folder.
    """
    if (folder / ADAPTER).exists():
        raise UserError(
            f"{folder}: holds an adapter ({ADAPTER}), which is not loaded; merge it into its model"
        )
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


def _is_ours(name: str) -> bool:
    return name.endswith(SUFFIX) and "/" not in name and "\\" not in name and "\0" not in name
