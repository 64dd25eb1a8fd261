"""The tables of single cells: the paths of every canvas, and every cell as it is."""

from diffusion.data.layout import Form
from diffusion.decoding.sampling import Fill
from diffusion.evaluation.canvas_paths import CanvasIntervals
from diffusion.paper.cells import EvaluationCell, EvaluationCells
from diffusion.paper.trainings import accuracy, arness_of, canvas_of, gain_over_vote
from diffusion.paper.wording import NONE, name_of, percent, points, share, training_of, two
from support.display.tables import Table
from support.stats import Interval


def paths_of_canvases(cells: EvaluationCells) -> tuple[Table, ...]:
    """One table, a row for each cell of canvases; none where there is no canvas."""
    rows = []
    for one in cells.all:
        cell = one.result
        if cell.form is Form.CANVAS:
            shown = [
                percent(canvas_of((one,), name)) for name in ("path", "vote", "oracle", "copies")
            ]
            path, vote, oracle, copies = shown
            rows.append(
                (
                    *(cell.system, name_of(one.subject), training_of(one)),
                    *(NONE if cell.steps is None else str(cell.steps), str(cell.paths)),
                    *(percent(accuracy((one,))), path, vote),
                    *(points(gain_over_vote((one,))), oracle),
                    *(share(canvas_of((one,), "diversity")), copies),
                )
            )
    if not rows:
        return ()
    return (
        Table(
            title="Paths of a canvas",
            header=(
                *("system", "model", "tuned on", "steps", "paths", "accuracy of the summary"),
                *("of a path, mean", "of the vote", "summary - vote", "of some path"),
                *("diversity", "copies"),
            ),
            rows=tuple(rows),
            note=PATHS,
        ),
    )


PATHS = (
    "Paths are graded as the summary is. Vote: the answer of most paths is right; of answers with "
    "as many votes, that of the first path is taken, and a path without an answer does not vote. "
    "Some path: at least one is right (oracle, pass@P). Diversity: the share of pairs of paths "
    "whose answers differ, from 0 to 1. Copies: canvases whose paths are all the same word for "
    "word. Intervals: Wilson for shares of canvases, bootstrap over canvases for the mean path "
    "and diversity. `-`: one path, or rows of a version that did not grade paths."
)


def every_cell(cells: EvaluationCells) -> Table:
    """Every cell, in order."""

    def line(one: EvaluationCell) -> tuple[str, ...]:
        cell = one.result
        form = f"canvas, P = {cell.paths}" if cell.form is Form.CANVAS else "text"
        fill = "fill last" if cell.fill is Fill.LAST else None
        hints = f"{cell.path_hints} path hints" if cell.path_hints else None
        rule = ", ".join(filter(None, (cell.rule, cell.cache, fill, cell.sampling, hints)))
        return (
            *(cell.system, name_of(one.subject), training_of(one), rule, form),
            *(str(cell.count), f"{cell.nfe:.1f}", percent(accuracy((one,)))),
            *(map(_value, one.canvas) if has_canvas else ()),
            *(str(cell.unread), f"{cell.tokens_per_step:.2f}"),
            *(f"{cell.content_tokens_per_step:.2f}", share(arness_of((one,)))),
            *map(two, (cell.corrected, cell.content_arness, cell.local)),
            " / ".join(map(two, cell.by_slot)),
            *([f"{cell.churn:.1%}"] if is_churned else []),
        )

    has_canvas = any(one.result.form is Form.CANVAS for one in cells.all)
    is_churned = any(one.result.churn for one in cells.all)
    about = (_CANVAS if has_canvas else "") + (_CHURN if is_churned else "")
    return Table(
        title="Every cell",
        header=(
            *("system", "model", "tuned on", "rule", "form", "n", "passes", "accuracy"),
            *(CanvasIntervals._fields if has_canvas else ()),
            *("without an answer", "tokens a step", "content a step", "ARness"),
            *("above chance", "of content", "Local-ARness@1", "ARness in each slot"),
            *(["taken back"] if is_churned else []),
        ),
        rows=tuple(map(line, cells.all)),
        note="ARness is Global-ARness@1, read ascending within a step; above chance: 0 is what "
        "random subsets of the same sizes score, 1 strict left to right. Rows without a readable "
        f"answer count as wrong. {about}{_computed(cells)}",
    )


_CANVAS = (
    "Copies to oracle are about the paths of a canvas; the table of paths says what they are, with "
    "intervals. "
)

_CHURN = (
    "Taken back is the share of all commits that a rule took back; ARness and tokens are those of "
    "the commits that stayed. "
)


def _computed(cells: EvaluationCells) -> str:
    """The machine of all cells, or that of each system if there are several."""
    systems: dict[str, list[str]] = {}
    for one in cells.all:
        machine = one.result.computed or "a machine that was not recorded (Polytrace 0.1)"
        systems.setdefault(str(machine), []).append(one.result.system)
    if len(systems) == 1:
        return f"Computed on {next(iter(systems))}."
    each = (f"on {name}: {', '.join(dict.fromkeys(of))}" for name, of in systems.items())
    return f"Computed {'; '.join(each)}. Only cells that were computed alike are compared."


def _value(one: Interval | None) -> str:
    return two(one and one.value)
