"""Name the state of a model directory: flows in a path, flows out a short hash of what is in it.

A path says where a model lies, not what it is. Traces and scores carry this hash instead, so that
replaced weights, an edited chat template or another tokenizer never pass for the former model.
"""

import hashlib
from difflib import get_close_matches
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from support.errors import UserError, first_line

# What loading a model and its tokenizer can read; logs, cards and optimiser states are left out.
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
)
_CHUNK_BYTES = 1 << 20


def directory_revision(path: Path) -> str:
    """12 hex digits over names and contents of the files that shape the model in `path`.

    Computed once per state of the files (names, sizes, times) and process. Raises UserError where
    `path` is no directory, holds no such file, or one of them cannot be read.
    """
    if not path.is_dir():
        raise UserError(f"{path}: no such model directory; give the path of a local one")
    try:
        files = sorted(entry for entry in path.iterdir() if _shapes(entry))
        stats = [file.stat() for file in files]
    except OSError as error:
        raise UserError(f"{path}: cannot read the model directory: {error.strerror}") from None
    if not files:
        raise UserError(f"{path}: holds no model (no config.json, no weights)")
    state = tuple((f.name, s.st_size, s.st_mtime_ns) for f, s in zip(files, stats, strict=True))
    return _hash(path.resolve(), state)


def fetched(name: str, what: str, *, code: bool) -> Path:
    """The snapshot of a model on the hub; what would be run is fetched only where it is allowed.

    `what` names it in the UserError that is raised where the hub does not give it.
    """
    from huggingface_hub import snapshot_download

    kinds = [kind for kind in SHAPING if kind != "*.py" or code]
    try:
        return Path(snapshot_download(name, allow_patterns=kinds, ignore_patterns=["*.bin*"]))
    except Exception as error:  # offline, unknown, gated: each is its own class
        raise UserError(
            f"{what}: is no local directory{_near(Path(name))}, and the hub did not give it "
            f"({first_line(error)}); check name and network"
        ) from None


def _near(path: Path) -> str:
    """A directory beside `path` that has nearly its name, as a question."""
    beside = [one.name for one in path.parent.glob("*/")] if path.parent.is_dir() else []
    close = get_close_matches(path.name, beside, n=1)
    return f" (did you mean {path.parent / close[0]}?)" if close else ""


def _shapes(entry: Path) -> bool:
    return entry.is_file() and any(fnmatch(entry.name, pattern) for pattern in SHAPING)


@cache
def _hash(path: Path, state: tuple[tuple[str, int, int], ...]) -> str:
    whole = hashlib.sha256()
    for name, _, _ in state:
        one = hashlib.sha256()
        try:
            with (path / name).open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    one.update(chunk)
        except OSError as error:
            raise UserError(f"{path / name}: cannot read: {error.strerror}") from None
        whole.update(f"{name}\0{one.hexdigest()}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()[:12]
