"""A released corpus as training instances. In: a run, a release or a Hub id. Out: token ids.

An instance whose text exceeds its slot, contains a special token or does not fit the model's
context is refused with a reason; no text is ever cut.

Axes: N slots, T tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from diffusion.data.layout import CanvasLayout, Form, Ids, encode, encode_prompt
from diffusion.data.path_hints import hint_of
from diffusion.data.turns import special_token_ids
from schemas.arrow import SCHEMA_VERSION
from schemas.canvas import long_cot
from support.capacity import raise_if_out_of_memory
from support.errors import UserError, first_line

HUB = "hub:"
_COLUMNS = ("id", "prompt", "paths", "summary")


class Instance(NamedTuple):
    """One training instance: the prompt's ids, and the ids of every slot's text without fill.

    `hints`: what the header of each path shows, empty where it shows none; () without any.
    """

    id: str
    prompt: Ids
    texts: tuple[Ids, ...]
    hints: tuple[str, ...] = ()

    def tokens(self, layout: CanvasLayout) -> int:
        """Length of its row in tokens."""
        return len(self.prompt) + layout.tokens

    @property
    def content_tokens(self) -> int:
        """Tokens of the texts, without fill."""
        return sum(map(len, self.texts))


class Refusal(NamedTuple):
    """Why the model cannot be trained on an instance: a fixed `reason`, and a sentence."""

    id: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A split in a model's tokens: instances + refusals = rows of the split."""

    instances: tuple[Instance, ...]
    refused: tuple[Refusal, ...]


class ReleasedRow(NamedTuple):
    """The columns of a released row that training reads."""

    id: str
    prompt: str
    paths: tuple[str, ...]
    summary: str


def locate_release(name: str) -> Path:
    """The folder that holds `data/`: a run's release, the release itself, or a Hub dataset's."""
    if name.startswith(HUB):
        return _fetched(name.removeprefix(HUB))
    folder = Path(name)
    for release in (folder / "release", folder):
        if (release / "data").is_dir():
            return release
    what = "no such folder" if not folder.is_dir() else "holds no release (data/*.parquet)"
    raise UserError(f"corpus {name}: {what}; give a finished run, its release, or hub:ORG/NAME")


def files_of(release: Path, split: str) -> list[Path]:
    """The Parquet files of a split, in order."""
    return sorted((release / "data").glob(f"{split}-*.parquet"))


def rows(release: Path, split: str, limit: int | None = None) -> Iterator[ReleasedRow]:
    """The rows of a split; UserError if a file is no release, or has another schema version."""
    count = 0
    for file in files_of(release, split):
        try:
            with pq.ParquetFile(file) as opened:
                _check(opened.schema_arrow, file)
                for batch in opened.iter_batches(batch_size=1000, columns=list(_COLUMNS)):
                    for row in batch.to_pylist():
                        if count == limit:
                            return
                        count += 1
                        paths = tuple(path["text"] for path in row["paths"])
                        yield ReleasedRow(row["id"], row["prompt"], paths, row["summary"])
        except (OSError, pa.ArrowException) as error:
            raise_if_out_of_memory(error)
            raise UserError(f"{file}: cannot be read: {error}; build or fetch it again") from None


def _check(schema: pa.Schema, file: Path) -> None:
    version = (schema.metadata or {}).get(b"polytrace.schema")
    if version is None or not set(_COLUMNS) <= set(schema.names):
        raise UserError(f"{file}: is no file of a Polytrace release; give a run or its release")
    if version != str(SCHEMA_VERSION).encode():
        raise UserError(
            f"{file}: has schema version {version.decode(errors='replace')}, this code reads "
            f"{SCHEMA_VERSION}; build the corpus again, or use the version that made it"
        )


def encode_rows(
    texts: Iterator[ReleasedRow],
    layout: CanvasLayout,
    tokenizer: Any,
    *,
    form: Form,
    paths: int,
    context: int | None,
    mask_id: int,
    hints: Sequence[str] = (),
    tokens_more: int = 0,
) -> Encoded:
    """Rows in a model's tokens: the first `paths` paths of each, in the given form.

    A path that begins with one of `hints` is given it. A row may have up to `tokens_more` tokens
    more than `layout`, because of the headers of its own.
    """
    special = special_token_ids(tokenizer) | {layout.fill_id, mask_id}
    instances: list[Instance] = []
    refused: list[Refusal] = []
    for row in texts:
        if len(row.paths) < paths:
            detail = f"has {len(row.paths)} paths, {paths} are asked for"
            refused.append(Refusal(row.id, "too_few_paths", detail))
            continue
        chosen = row.paths[:paths]
        slots = (*chosen, row.summary) if form is Form.CANVAS else (long_cot(chosen, row.summary),)
        instance = Instance(
            row.id,
            encode_prompt(tokenizer, row.prompt),
            tuple(encode(tokenizer, text) for text in slots),
            tuple(hint_of(text, hints) for text in chosen) if hints else (),
        )
        refusal = _refusal(instance, layout, special, context, mask_id, tokens_more)
        if refusal is None:
            instances.append(instance)
        else:
            refused.append(refusal)
    return Encoded(instances=tuple(instances), refused=tuple(refused))


def _refusal(
    instance: Instance,
    layout: CanvasLayout,
    special: frozenset[int],
    context: int | None,
    mask_id: int,
    tokens_more: int,
) -> Refusal | None:
    if mask_id in instance.prompt:
        return Refusal(instance.id, "special_token", "the prompt spells out the mask token")
    for number, (text, length) in enumerate(zip(instance.texts, layout.slots, strict=True), 1):
        if len(text) > length:
            detail = f"slot {number}: {len(text)} tokens, {length} fit"
            return Refusal(instance.id, "slot_too_short", detail)
        if not special.isdisjoint(text.tolist()):
            detail = f"slot {number}: its text spells out a special token"
            return Refusal(instance.id, "special_token", detail)
    tokens = layout.tokens + tokens_more
    if context is not None and len(instance.prompt) + tokens > context:
        detail = (
            f"prompt of {len(instance.prompt)} and answer of {tokens} tokens, "
            f"the model sees {context}"
        )
        return Refusal(instance.id, "exceeds_context", detail)
    return None


def _fetched(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        files = ["data/*.parquet", "README.md"]
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=files))
    except Exception as error:  # offline, unknown, gated: each has its own class
        raise_if_out_of_memory(error)
        raise UserError(
            f"corpus {HUB}{name}: the hub did not give it ({first_line(error)})"
        ) from None
