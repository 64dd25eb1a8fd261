"""Where a model's files are: a directory, the snapshot of a Hub id, or an adapter and its base.

In: a model as a recipe names it. Out: the directories, and a hash of what is in them.
"""

import re
from pathlib import Path
from typing import NamedTuple

from diffusion.models.conversion import adapters
from diffusion.models.conversion.adapters import BaseModel
from diffusion.settings import ModelReference
from scorers.revision import directory_revision, fetched
from support.errors import UserError
from support.paths import locate


class Located(NamedTuple):
    """What a model is called, the directory of the whole model, and that of an adapter for it."""

    name: str
    folder: Path
    adapter: Path | None = None

    @property
    def revision(self) -> str:
        """A hash of the model's files; of an adapter its own, then a plus, and that of its base."""
        whole = directory_revision(self.folder)
        return whole if self.adapter is None else f"{directory_revision(self.adapter)}+{whole}"


def located(model: ModelReference) -> Located:
    """The directories of a model or an adapter, fetched from the Hub if they are not local.

    UserError if they cannot be had, the base of an adapter is missing or is another model, or code
    would run of a base on the Hub that the adapter's files alone name.
    """
    folder = _directory(model.path, model.trust_remote_code)
    if not adapters.is_adapter(folder):
        if model.base_model is not None:
            raise UserError(f"base_model: {model.path} is no adapter and has no base; leave it out")
        return Located(model.path, folder)
    base = adapters.base_of(folder, model.base_model)
    if model.trust_remote_code and model.base_model is None and not _is_here(base.path):
        raise UserError(
            f"{folder}: its files name the base model {base.path}, whose code trust_remote_code "
            "would run; if you trust that one, too, give it as base_model"
        )
    # Of a repository, anybody can propose a commit: code is run of its own branch alone.
    commit = None if model.trust_remote_code else base.commit
    try:
        whole = _directory(base.path, model.trust_remote_code, commit)
    except UserError as error:
        raise UserError(f"{folder}: its base {error}, or give another base_model") from None
    adapters.check_base(folder, whole)
    return Located(f"{model.path} on {base.path}", whole, folder)


def base_model(model: ModelReference) -> BaseModel:
    """The model as an adapter that is trained on it names it: a Hub id, or where it is."""
    name, path, found = model.path, Path(model.path), located(model)
    is_own = path.is_dir() and not path.is_absolute()  # else a Hub id, or bundled with Polytrace
    is_commit = not _is_here(name) and re.fullmatch("[0-9a-f]{40}", found.folder.name)
    return BaseModel(
        path=str(path.resolve()) if is_own else name,
        revision=found.revision,
        commit=found.folder.name if is_commit else None,  # the Hub's snapshots have their names
    )


def local_directory(model: ModelReference) -> Path | None:
    """The directory of a whole model, if it is on this machine; nothing is fetched."""
    folder = Path(locate(model.path))
    if adapters.is_adapter(folder):
        folder = Path(locate(adapters.base_of(folder, model.base_model).path))
    return folder if folder.is_dir() else None


def _is_here(name: str) -> bool:
    return Path(locate(name)).is_dir()


def _directory(name: str, trust_remote_code: bool, commit: str | None = None) -> Path:
    """A local directory, or the snapshot of a Hub id at a commit."""
    if _is_here(name):
        return Path(locate(name))
    return fetched(name, f"model {name}", code=trust_remote_code, commit=commit)
