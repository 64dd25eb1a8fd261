"""Polytrace from Python: build parallel reasoning corpora, read, score, decode and train on them.

    import polytrace

    run = polytrace.build("demo", out="runs/demo", limit=24)
    run.canvases("train").head()

Nothing is loaded before it is used: `import polytrace` costs milliseconds. Mistakes of the caller
raise `UserError`, a ValueError whose message says what to do; every other error that is raised on
purpose is a `PolytraceError` too. The names and their signatures are what stays stable; modules
below them may move.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polytrace.corpora import Run, build, load_recipe
    from polytrace.models import arness, arness_of_log, decode, evaluate, load_model, train
    from polytrace.texts import grade, load_scorer, parse_canvas, render_canvas, score_texts
    from support.errors import PolytraceError, UserError

    __version__: str

__all__ = [
    "PolytraceError",
    "Run",
    "UserError",
    "__version__",
    "arness",
    "arness_of_log",
    "build",
    "decode",
    "evaluate",
    "grade",
    "load_model",
    "load_recipe",
    "load_scorer",
    "parse_canvas",
    "render_canvas",
    "score_texts",
    "train",
]

_HOMES = {
    "polytrace.corpora": ("Run", "build", "load_recipe"),
    "polytrace.models": ("arness", "arness_of_log", "decode", "evaluate", "load_model", "train"),
    "polytrace.texts": ("grade", "load_scorer", "parse_canvas", "render_canvas", "score_texts"),
    "support.errors": ("PolytraceError", "UserError"),
}


def __getattr__(name: str) -> Any:
    """A name of the list, loaded when it is first asked for (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("polytrace")
    for home, names in _HOMES.items():
        if name in names:
            return globals().setdefault(name, getattr(import_module(home), name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
