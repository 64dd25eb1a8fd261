"""The revision of a model directory: a short hash of the files in it.

A path says where a model is, not what it is. Traces and scores carry this hash, so that replaced
weights, an edited chat template or another tokenizer are never taken for the former model.
"""

import hashlib
from difflib import get_close_matches
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from support.capacity import raise_if_out_of_memory
from support.errors import UserError, first_line
from support.files import sha256

# What is read when a model and its tokenizer are loaded; no logs, cards and optimiser states.
SHAPING = (
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "chat_template.*",
    "*.jinja",
    "*.model",
    "*.tiktoken",
    "*.py",
    "model*.safetensors",
    "model*.safetensors.index.json",
    "pytorch_model*.bin",
    "pytorch_model*.bin.index.json",
    "adapter_config.json",
    "adapter_model.safetensors",
)


def directory_revision(path: Path) -> str:
    """12 hex digits over names and contents of the files that shape the model in `path`.

    Cached in the process as long as names, sizes and times of the files stay the same. Raises
    UserError if `path` is no directory, holds no such file, or one of them cannot be read.
    """
    if not path.is_dir():
        raise UserError(f"{path}: no such model directory; give the path of a local one")
    try:
        files = sorted(one for one in path.iterdir() if one.is_file() and _shapes(one.name))
        stats = [file.stat() for file in files]
    except OSError as error:
        raise UserError(f"{path}: cannot read the model directory: {error.strerror}") from None
    if not files:
        raise UserError(f"{path}: holds no model (no config.json, no weights)")
    state = tuple((f.name, s.st_size, s.st_mtime_ns) for f, s in zip(files, stats, strict=True))
    return _hash(path.resolve(), state)


@cache
def fetched(name: str, what: str, *, code: bool, commit: str | None = None) -> Path:
    """The snapshot of a model on the Hub, at a `commit`; `code`: fetch its Python files, too.

    The Hub is asked once in a process, so that what is planned and what is loaded are the same
    files, also if others are published meanwhile. `what` names it in the UserError that is raised
    if it cannot be fetched.
    """
    from huggingface_hub import snapshot_download

    kinds = [kind for kind in SHAPING if kind != "*.py" or code]
    try:
        return Path(
            snapshot_download(
                name, revision=commit, allow_patterns=kinds, ignore_patterns=["*.bin*"]
            )
        )
    except Exception as error:  # offline, unknown, gated: each has its own class
        raise_if_out_of_memory(error)
        raise UserError(
            f"{what}: is no local directory{_near(Path(name))}, and the hub did not give it "
            f"({first_line(error)}); check name and network"
        ) from None


def _near(path: Path) -> str:
    """A question that names the directory beside `path` with the most similar name, if any."""
    beside = [one.name for one in path.parent.glob("*/")] if path.parent.is_dir() else []
    close = get_close_matches(path.name, beside, n=1)
    return f" (did you mean {path.parent / close[0]}?)" if close else ""


def _shapes(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in SHAPING)


@cache
def _hash(path: Path, state: tuple[tuple[str, int, int], ...]) -> str:
    whole = hashlib.sha256()
    for name, _, _ in state:
        try:
            digest = sha256(path / name)
        except OSError as error:
            raise UserError(f"{path / name}: cannot read: {error.strerror}") from None
        whole.update(f"{name}\0{digest}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()[:12]
