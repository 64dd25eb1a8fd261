"""Hints of paths: how a text begins, shown in the header above it.

In training, a path's hint is the longest of the recipe's hints with which its text begins. When a
canvas is decoded, every slot gets another hint, so that its paths differ from the start.
"""

from collections.abc import Sequence

from schemas.canvas import MARKER


def hint_of(text: str, hints: Sequence[str]) -> str:
    """The longest hint with which a text begins; empty if it begins with none of them."""
    return max((hint for hint in hints if text.startswith(hint)), key=len, default="")


def check_hints(hints: Sequence[str]) -> None:
    """Raise ValueError if a hint is blank, stands there twice or holds a marker of a canvas."""
    for number, hint in enumerate(hints):
        if not hint.strip():
            raise ValueError(f"path_hints.{number}: blank; write how the text of a path begins")
        if marker := MARKER.search(hint):
            raise ValueError(
                f"path_hints.{number}: {hint!r} contains the canvas marker {marker.group()!r}"
            )
        if hint in hints[:number]:
            raise ValueError(f"path_hints.{number}: {hint!r} stands there twice")
