"""Variants of NAP's training beside the plain one. In: cells. Out: a table.

A variant is a NAP model that was trained in another way, which the recipe names (`variant`). It is
in no other table but those of single cells.
"""

from diffusion.data.layout import Form
from diffusion.decoding import Order
from diffusion.evaluation.settings import Training
from diffusion.paper.cells import EvaluationCell, EvaluationCells, Trainings
from diffusion.paper.trainings import accuracy, canvas_of, gain, gain_of_copies
from diffusion.paper.wording import NONE, about_seeds, name_of, percent, points, share
from support.display.tables import Table

PLAIN = "plain"


def variants(cells: EvaluationCells) -> tuple[Table, ...]:
    """One table, with the plain training first at each number of steps; none without a variant."""
    shown = [one for one in cells.all if one.result.variant and _is_shown(one, cells)]
    places = dict.fromkeys(
        (one.subject, one.result.order, one.result.steps, one.result.paths, one.result.tuned_paths)
        for one in sorted(
            shown, key=lambda one: (one.subject, one.result.order, one.result.steps or 0)
        )
    )
    rows = []
    compared: list[EvaluationCell] = []
    for subject, order, steps, paths, tuned_paths in places:
        names = dict.fromkeys(one.result.variant for one in shown if one.subject == subject)
        found = {
            name: cells.find(
                *(subject, Training.NAP, order, steps, paths, tuned_paths), variant=name
            )
            for name in ("", *names)
        }
        for name, group in found.items():
            compared += group
            if group or not name:
                where = (name_of(subject), NONE if steps is None else str(steps), str(order))
                rows.append((*where, str(paths), *_row(name, group, found[""])))
    if not rows:
        return ()
    return (
        Table(
            title="Variants of NAP's training",
            header=(
                *("model", "steps", "decoded by", "paths", "training", "accuracy"),
                *("difference to plain", "of a path, mean", "of the vote", "of some path"),
                *("diversity", "copies", "copies more than plain"),
            ),
            rows=tuple(rows),
            note="Differences are to the plain training at the same number of steps, on the same "
            "problems, in percentage points. The table of paths says what the other columns "
            f"are. {about_seeds(compared)}".rstrip(),
        ),
    )


def _is_shown(one: EvaluationCell, cells: EvaluationCells) -> bool:
    cell = one.result
    return (
        (cell.training, cell.form, cell.cache) == (Training.NAP, Form.CANVAS, None)
        and cell.order is not Order.OTHER
        and cell.fill is cells.fill(one.subject)
    )


def _row(name: str, group: Trainings, plain: Trainings) -> tuple[str, ...]:
    path, vote, oracle, copies = (
        percent(canvas_of(group, figure)) for figure in ("path", "vote", "oracle", "copies")
    )
    return (
        *(name or PLAIN, percent(accuracy(group))),
        *(points(gain(group, plain)) if name else NONE, path, vote, oracle),
        *(share(canvas_of(group, "diversity")), copies),
        points(gain_of_copies(group, plain)) if name else NONE,
    )
