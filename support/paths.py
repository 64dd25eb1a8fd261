"""Where bundled files lie. In: a path as a recipe names it. Out: the path to open."""

from pathlib import Path

from support.errors import UserError

ROOT = Path(__file__).resolve().parent.parent


def locate(path: str) -> str:
    """`path` as it is, or under the project's root where it only exists there.

    Recipes name bundled files ("tiny/teacher") so that they work from any folder; a hub id that is
    no file anywhere comes back unchanged.
    """
    bundled = ROOT / path
    try:
        return str(bundled) if not Path(path).exists() and bundled.exists() else path
    except OSError as error:  # a name that no file system takes
        raise UserError(f"{path[:80]!r}…: no path: {error.strerror}") from None
