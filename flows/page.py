"""`report.html`: one page about a corpus and, if there is one, its evaluation.

In: a finished run, and possibly an evaluation. Out: one HTML file that needs no other file and no
network. This module is imported when the command line starts, so heavy packages are imported inside
its functions.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from curation.inspect.html_report import CorpusPage, Curve
    from diffusion.paper.decode_page import Evaluated

REPORT = "report.html"
MOST_BYTES = 5_000_000
HEAD_BYTES = 1024  # of a page, in which it names its manifest
_WIDTH, _HEIGHT = 310, 110  # of a curve


class _Drawn(NamedTuple):
    """A curve in the coordinates of its picture."""

    level: str
    points: tuple[tuple[str, str, str], ...]
    zero: str
    low: str
    high: str
    said: str


def write_report(file: Path, run: Path, evaluation: Path | None = None) -> None:
    """Write the page as a file, atomically; raises the errors of `page`."""
    from support.files import replace_text

    replace_text(file, page(run, evaluation))


def is_fresh(run: Path) -> bool:
    """Whether the run's page belongs to its manifest; a build may be killed between the two.

    The page holds the manifest's checksum. File times would be wrong after a clock was set back,
    and the build id is not enough: another recipe may give the same canvases, and the page shows
    the recipe too.
    """
    from schemas.manifest import MANIFEST_FILE, Manifest

    try:
        with (run / REPORT).open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError:
        return False
    made_of = Manifest.load(run / MANIFEST_FILE).checksum()
    return f'<meta name="polytrace-manifest" content="{made_of}">'.encode() in head


def page(run: Path, evaluation: Path | None = None) -> str:
    """The page as text; UserError if the run is not finished, or there is no evaluation."""
    import dataclasses
    from base64 import b64encode
    from hashlib import sha256
    from importlib.resources import files

    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    from curation.inspect.html_report import corpus_page
    from support.display.digits import rounded
    from support.display.text import visible

    corpus = corpus_page(run)
    evaluated = None if evaluation is None else _evaluated(evaluation)
    script = files("data_cards").joinpath("report.js").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, autoescape=True)
    environment.filters["rounded"] = rounded
    template = environment.from_string(
        files("data_cards").joinpath("report.html.j2").read_text(encoding="utf-8")
    )

    def render(corpus: "CorpusPage", evaluated: "Evaluated | None") -> str:
        data: dict[str, Any] = {"canvases": [dataclasses.asdict(one) for one in corpus.canvases]}
        if evaluated is not None:
            data["decodes"] = [
                dataclasses.asdict(one)
                | {
                    "problem": visible(one.problem),
                    "gold": visible(one.gold),
                    "text": [visible(text) for text in one.text],
                }
                for one in evaluated.decodes
            ]
        return template.render(
            c=corpus,
            e=evaluated,
            curves=[_drawn(one) for one in corpus.curves],
            data=Markup(_safe(data)),
            script=Markup(script),
            script_hash=b64encode(sha256(script.encode()).digest()).decode(),
        )

    text = render(corpus, evaluated)
    while len(text.encode()) > MOST_BYTES:  # keep every second one, so that the choice stays even
        if evaluated is not None and len(evaluated.decodes) > 1 and len(corpus.canvases) < 10:
            evaluated = evaluated.thinned()
        elif len(corpus.canvases) > 1:
            corpus = dataclasses.replace(corpus, canvases=corpus.canvases[::2])
        else:
            break
        text = render(corpus, evaluated)
    return text


def _evaluated(evaluation: Path) -> "Evaluated":
    from diffusion.evaluation.results import read_results
    from diffusion.evaluation.settings import Evaluation
    from diffusion.paper.decode_page import evaluated, tokenizers_of
    from support.yaml_file import load

    read_results(evaluation)  # raises UserError if there is no evaluation
    recipe = evaluation / "recipe.yaml"
    systems = load(recipe, [], Evaluation).systems if recipe.is_file() else ()
    return evaluated(evaluation, tokenizers_of({one.name: one.model for one in systems}))


def _safe(data: Any) -> str:
    """JSON in which no text can end the script element that holds it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _drawn(curve: "Curve") -> _Drawn:
    low, high = min(0.0, *curve.gains), max(0.0, *curve.gains)
    span = (high - low) or 1.0
    step = _WIDTH / max(1, len(curve.gains) - 1)

    def y(value: float) -> str:
        return f"{10 + _HEIGHT * (high - value) / span:.1f}"

    points = tuple(
        (f"{n * step:.1f}", y(gain), f"segment {n + 2}: {gain:+.3f} nats a token")
        for n, gain in enumerate(curve.gains)
    )
    return _Drawn(
        curve.level,
        points,
        y(0.0),
        f"{low:.2f}",
        f"{high:.2f}",
        "; ".join(text for _, _, text in dict.fromkeys((points[0], points[-1]))),
    )
