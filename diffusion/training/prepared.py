"""What a training needs before its first step. In: settings. Out: a model and encoded instances."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from diffusion import models
from diffusion.data import corpus
from diffusion.data.corpus import Encoded
from diffusion.data.layout import CanvasLayout
from diffusion.models.network.denoiser import Dlm
from diffusion.settings import Settings
from scorers.revision import directory_revision
from support.errors import NothingReleasedError, UserError
from support.files import sha256


class Prepared(NamedTuple):
    """A model, the layout of its rows, and both splits of the corpus in its tokens."""

    dlm: Dlm
    layout: CanvasLayout
    train: Encoded
    validation: Encoded


def fingerprint(settings: Settings) -> str:
    """16 hex digits that change with the settings, the model's files and the corpus's files."""
    digest = hashlib.blake2b(settings.digest().encode(), digest_size=8)
    model = models.directory_of(settings.model.path, settings.model.trust_remote_code)
    digest.update(directory_revision(model).encode())
    release = corpus.locate_release(settings.corpus)
    for split in ("train", "validation"):
        for file in corpus.files_of(release, split):
            digest.update(f"{file.name} {_sha256(file)}".encode())
    return digest.hexdigest()


def _sha256(file: Path) -> str:
    try:
        return sha256(file)
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None


def check_objective(settings: Settings) -> None:
    """Raise UserError if the model was not trained with the objective of this package.

    A block-causal model denoises a block behind clean ones. The objective here masks the whole
    answer at once, and would show it masks in blocks that it has only ever seen clean.
    """
    folder = models.directory_of(settings.model.path, settings.model.trust_remote_code)
    known = models.identify(folder)
    if known.block is not None:
        raise UserError(
            f"{folder}: a model of the family {known.name} denoises blocks of {known.block} tokens "
            "behind clean ones, and is not fine-tuned here, only evaluated; take a model that sees "
            "the whole row"
        )


def prepare(settings: Settings) -> Prepared:
    """Load the model and encode the corpus.

    Raises UserError if either cannot be used, NothingReleasedError if no instance fits.
    """
    release = corpus.locate_release(settings.corpus)
    if not corpus.files_of(release, "train"):
        raise UserError(f"corpus {settings.corpus}: has no data/train-*.parquet")
    check_objective(settings)
    dlm = models.load_model(settings.model.path, trust_remote_code=settings.model.trust_remote_code)
    layout = settings.layout(dlm.tokenizer, dlm.fill_id)

    def encoded(split: str, limit: int | None) -> Encoded:
        return corpus.encode_rows(
            corpus.rows(release, split, limit),
            layout,
            dlm.tokenizer,
            form=settings.form,
            paths=settings.paths,
            context=dlm.context,
            mask_id=dlm.mask_id,
        )

    train = encoded("train", settings.limit)
    if not train.instances:
        reasons = ", ".join(f"{reason} {n}" for reason, n in refusals(train).items()) or "no rows"
        raise NothingReleasedError(
            f"corpus {settings.corpus}: no instance fits this model and layout ({reasons})"
        )
    return Prepared(dlm, layout, train, encoded("validation", settings.validation))


def refusals(encoded: Encoded) -> dict[str, int]:
    """How many instances were refused for each reason, most frequent first."""
    counts = Counter(refusal.reason for refusal in encoded.refused)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
