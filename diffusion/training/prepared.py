"""What a training needs before its first step. In: settings. Out: a model and encoded instances."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from diffusion import models
from diffusion.data import corpus
from diffusion.data.canvas_layouts import CanvasLayouts
from diffusion.data.corpus import Encoded
from diffusion.data.layout import CanvasLayout
from diffusion.models.network.denoiser import Dlm
from diffusion.settings import Attention, Settings
from support.errors import NothingReleasedError, UserError
from support.files import sha256


class Prepared(NamedTuple):
    """A model, the layout of its rows, and both splits of the corpus in its tokens.

    `layouts` lays out rows with shuffled paths or with hints; None: every row has `layout`.
    """

    dlm: Dlm
    layout: CanvasLayout
    train: Encoded
    validation: Encoded
    layouts: CanvasLayouts | None = None


def fingerprint(settings: Settings) -> str:
    """16 hex digits that change with the settings, the model's files and the corpus's files."""
    digest = hashlib.blake2b(settings.digest().encode(), digest_size=8)
    digest.update(models.located(settings.model).revision.encode())
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


def check_objective(settings: Settings) -> int | None:
    """The block of a block-causal model, or None; UserError if the settings do not suit the model.

    A block-causal model is trained with the objective of block diffusion, any other with that of
    masked diffusion (METHOD section 4).
    """
    model = models.located(settings.model)
    if model.adapter is not None and settings.lora is not None:
        raise UserError(
            f"lora: {settings.model.path} is an adapter, and no adapter is trained on top of "
            "another one; leave lora out, or train on a model into which it is merged"
        )
    known = models.identify(model.folder)
    if known.block is None and settings.attention is Attention.FLEX:
        raise UserError(
            f"attention: flex is for block-causal models, and one of the family {known.name} sees "
            "the whole row; leave it out"
        )
    if known.block is not None and settings.structured_masking is not None:
        raise UserError(
            f"structured_masking: a model of the family {known.name} sees earlier paths clean, so "
            "masks of several paths never meet; leave it out, or take a model that sees the whole "
            "row"
        )
    return known.block


def layouts_of(
    settings: Settings, layout: CanvasLayout, tokenizer: Any
) -> tuple[CanvasLayouts | None, int]:
    """What lays out rows unlike `layout`, if rows do, and how many more tokens one may have."""
    if not (settings.shuffle_paths or settings.path_hints):
        return None, 0
    layouts = CanvasLayouts(tokenizer, layout)
    more = layouts.tokens_more(settings.path_hints, is_shuffled=settings.shuffle_paths)
    return layouts, more


def prepare(settings: Settings) -> Prepared:
    """Load the model and encode the corpus.

    Raises UserError if either cannot be used, NothingReleasedError if no instance fits.
    """
    release = corpus.locate_release(settings.corpus)
    if not corpus.files_of(release, "train"):
        raise UserError(f"corpus {settings.corpus}: has no data/train-*.parquet")
    check_objective(settings)
    dlm = models.load_model(settings.model, merge=True)
    dlm.denoiser.uses_flex = settings.attention is Attention.FLEX
    layout = settings.layout(dlm.tokenizer, dlm.fill_id)

    layouts, tokens_more = layouts_of(settings, layout, dlm.tokenizer)

    def encoded(split: str, limit: int | None) -> Encoded:
        return corpus.encode_rows(
            corpus.rows(release, split, limit),
            layout,
            dlm.tokenizer,
            form=settings.form,
            paths=settings.paths,
            context=dlm.context,
            mask_id=dlm.mask_id,
            hints=settings.path_hints,
            tokens_more=tokens_more,
        )

    train = encoded("train", settings.limit)
    if not train.instances:
        reasons = ", ".join(f"{reason} {n}" for reason, n in refusals(train).items()) or "no rows"
        raise NothingReleasedError(
            f"corpus {settings.corpus}: no instance fits this model and layout ({reasons})"
        )
    return Prepared(dlm, layout, train, encoded("validation", settings.validation), layouts)


def refusals(encoded: Encoded) -> dict[str, int]:
    """How many instances were refused for each reason, most frequent first."""
    counts = Counter(refusal.reason for refusal in encoded.refused)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
