"""The files that hold a model's weights: safetensors, or nothing. In: a folder. Out: the files.

Every other format is a pickle, and a pickle may run whatever it says. Whoever loads a model asks
here first, because transformers takes what it finds: pickles too, and adapters beside a model.
"""

import json
from pathlib import Path

from support.errors import UserError

SUFFIX = ".safetensors"
ADAPTER = "adapter_config.json"  # transformers would load what it names into the model


def weight_files(folder: Path) -> list[Path]:
    """The checkpoint's own: those of its index, or the one file, whatever lies beside them.

    UserError where there are none, or the index names anything but safetensors in the folder.
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
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        strangers = sorted(name for name in names if not _is_ours(name))
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise UserError(f"{index}: cannot be read: {error}; fetch it again") from None
    if strangers:
        raise UserError(
            f"{index}: names {strangers[0][:200]!r}, which is no safetensors file of this folder; "
            "it is not loaded"
        )
    return sorted(folder / name for name in names)


def _is_ours(name: str) -> bool:
    return name.endswith(SUFFIX) and "/" not in name and "\\" not in name and "\0" not in name
