"""What `report.html` shows of an evaluation: tables, claims, pictures, and decoded canvases.

In: a directory of `polytrace evaluate`, and the tokenizers of its models. Out: `Evaluated`, plain
values that a template prints. Texts are as a model wrote them; the template escapes them.
"""

import base64
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from diffusion import models
from diffusion.evaluation.rows import read_rows
from diffusion.paper.cells import EvaluationCell, EvaluationCells
from diffusion.paper.claims import claims
from diffusion.paper.figures import draw
from diffusion.paper.parallelism import parallelism
from diffusion.paper.tables import tables
from diffusion.paper.tables_page import evaluated_parts
from diffusion.settings import ModelReference
from schemas.records import Grade
from support.display.tables import Table
from support.errors import UserError

MOST_DECODES = 48  # rows of all cells together


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG as a data URI (None: not drawn), and why a part of it is missing."""

    caption: str
    data: str | None
    missing: str


@dataclass(frozen=True, slots=True)
class Decode:
    """A decoded row, commit by commit.

    `slots[n]` are the columns of slot n. Commit k put `text[k]` into the column `position[k]` at
    the step `step[k]` with `confidence[k]`; `is_fill[k]`: it is fill or an end of turn. At the end
    of the step `taken_back[k]` it was masked again; None if it stayed.
    """

    system: str
    problem: str
    gold: str
    mark: str
    passes: int
    slots: tuple[tuple[int, ...], ...]
    step: tuple[int, ...]
    position: tuple[int, ...]
    confidence: tuple[float | None, ...]
    text: tuple[str, ...]
    is_fill: tuple[bool, ...]
    taken_back: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Everything the page says of an evaluation."""

    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...]
    decodes: tuple[Decode, ...]
    left_out: int  # cells of which no row is shown
    unread: tuple[str, ...]  # systems without a tokenizer

    def thinned(self) -> "Evaluated":
        """The same with every second decode."""
        kept = self.decodes[::2]
        dropped = len({one.system for one in self.decodes} - {one.system for one in kept})
        return replace(self, decodes=kept, left_out=self.left_out + dropped)


def evaluated(run: Path, tokenizers: Mapping[str, Any]) -> Evaluated:
    """What the page shows; words of a system whose name is not in `tokenizers` are dots."""
    cells = EvaluationCells([run])
    with TemporaryDirectory() as folder:
        pictures = tuple(
            Picture(
                one.caption,
                _data_uri(Path(folder) / f"{one.name}.png") if one.name else None,
                one.missing,
            )
            for one in draw(cells, Path(folder))
        )
    shown = cells.all[:MOST_DECODES]
    each = min(2, max(1, MOST_DECODES // len(shown)))  # rows of a cell
    systems = dict.fromkeys(cell.result.system for cell in shown)
    return Evaluated(
        evaluated_parts([*tables(cells), *parallelism(cells), claims(cells)]),
        pictures,
        tuple(one for cell in shown for one in _decodes(cell, tokenizers, each)),
        len(cells.all) - len(shown),
        tuple(name for name in systems if name not in tokenizers),
    )


def tokenizers_of(systems: Mapping[str, ModelReference]) -> dict[str, Any]:
    """The tokenizers of systems whose models are directories of this machine."""
    tokenizers = {}
    for system, model in systems.items():
        with suppress(UserError):
            if (folder := models.local_directory(model)) is None:  # nothing is fetched for a page
                continue
            config = models.read_config(folder)
            _, family = models.family_of(config)
            tokenizers[system], _ = models.tokenizer_of(family, folder, config, False)
    return tokenizers


def _decodes(cell: EvaluationCell, tokenizers: Mapping[str, Any], count: int) -> Iterator[Decode]:
    columns = ["id", "gold", "grade", "nfe", "end_ids", "steps_K", "positions_K"]
    columns += ["confidences_K", "tokens_K", "slots_K", "taken_back_K"]
    rows = read_rows(cell.run / cell.result.rows, columns).slice(0, count).to_pylist()
    tokenizer = tokenizers.get(cell.result.system)
    for row in rows:
        slots: dict[int, set[int]] = {}
        for slot, position in zip(row["slots_K"], row["positions_K"], strict=True):
            slots.setdefault(slot, set()).add(position)
        steps = cell.result.steps
        yield Decode(
            system=f"{cell.result.system}, " + ("own steps" if steps is None else f"{steps} steps"),
            problem=row["id"],
            gold=row["gold"],
            mark="right" if row["grade"] == Grade.CORRECT else "wrong",
            passes=row["nfe"],
            slots=tuple(tuple(sorted(slots[n])) for n in sorted(slots)),
            step=tuple(row["steps_K"]),
            position=tuple(row["positions_K"]),
            confidence=tuple(
                round(value, 3) if math.isfinite(value) else None for value in row["confidences_K"]
            ),
            text=tuple(
                "▪" if tokenizer is None else str(tokenizer.decode([token]))
                for token in row["tokens_K"]
            ),
            is_fill=tuple(token in row["end_ids"] for token in row["tokens_K"]),
            taken_back=tuple(row["taken_back_K"] or [None] * len(row["steps_K"])),
        )


def _data_uri(file: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode("ascii")
