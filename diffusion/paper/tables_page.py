"""One page of tables and pictures. In: run directories of evaluations. Out: a folder.

`tables.md` holds Tables 1 to 5, the paths of canvases, variants of a training, accuracy under
parallelism, the claims and Figures 1, 2 and 4, with each picture as PNG and SVG beside it.
Figures 3 and 7 are about a corpus, and are taken from the folder of a SeqDep report.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from diffusion.paper.cells import EvaluationCells
from diffusion.paper.claims import claims
from diffusion.paper.figures import Figure, draw
from diffusion.paper.parallelism import parallelism
from diffusion.paper.tables import tables
from diffusion.paper.wording import NONE
from support.display.tables import Table
from support.errors import UserError
from support.files import replace_text

PAGE = "tables.md"
_SEQDEP = ("seqdep.png", "seqdep.svg", "report.md")


def write_page(runs: Sequence[Path], out: Path, seqdep: Path | None = None) -> Path:
    """Write the page; UserError if a run holds no results, or `seqdep` is no SeqDep report."""
    if seqdep and (missing := [name for name in _SEQDEP if not (seqdep / name).is_file()]):
        raise UserError(f"{seqdep}: holds no {missing[0]}; make it by polytrace seqdep-report")
    cells = EvaluationCells(runs)
    *paper_tables, every_cell = tables(cells)
    out.mkdir(parents=True, exist_ok=True)
    pictures = [_picture(figure) for figure in draw(cells, out)]
    parts = [
        "# Tables and figures\n\n"
        "In the form of Li et al. 2026; their figures stand in the columns `paper`, where the "
        "model is theirs. Accuracies are percentages with 95 % intervals (Wilson), differences "
        "have paired bootstrap intervals over problems, where no note says otherwise. `-`: not "
        "evaluated.\n",
        *(one.markdown() for one in (*paper_tables, *parallelism(cells), claims(cells))),
        *pictures,
        _corpus(seqdep, out),
        every_cell.markdown(),
    ]
    replace_text(out / PAGE, "\n".join(parts))
    return out / PAGE


def in_short(runs: Sequence[Path]) -> str:
    """All tables but that of every cell, for a terminal: what was evaluated, nothing else."""
    cells = EvaluationCells(runs)
    parts = evaluated_parts((*tables(cells)[:-1], *parallelism(cells), claims(cells)))
    return "\n\n".join(table.text(gap=3) for table in parts)


def evaluated_parts(tables: Iterable[Table]) -> tuple[Table, ...]:
    """What was evaluated: rows with an interval, and the columns that these do not leave empty."""
    parts = []
    for table in tables:
        if rows := [row for row in table.rows if any("[" in cell for cell in row)]:
            kept = [n for n, _ in enumerate(table.header) if any(row[n] != NONE for row in rows)]
            header, *rows = (tuple(row[n] for n in kept) for row in (table.header, *rows))
            parts.append(replace(table, header=header, rows=tuple(rows)))
    return tuple(parts)


def _picture(figure: Figure) -> str:
    drawn = [f"![{figure.caption}]({figure.name}.png)"] if figure.name else []
    missing = [figure.missing] if figure.missing else []
    return "\n\n".join([f"## {figure.caption}", *drawn, *missing]) + "\n"


def _corpus(seqdep: Path | None, out: Path) -> str:
    title = "## Figures 3 and 7. Sequential dependence of the corpus\n\n"
    if seqdep is None:
        return f"{title}Not given; `polytrace seqdep-report` makes them of a corpus.\n"
    for name in _SEQDEP[:2]:
        shutil.copyfile(seqdep / name, out / f"figures_3_and_7{Path(name).suffix}")
    report = (seqdep / "report.md").read_text(encoding="utf-8")
    body = report.partition("\n")[2].replace("(seqdep.png)", "(figures_3_and_7.png)")
    return f"{title}{body.strip()}\n"
