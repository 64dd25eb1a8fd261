"""A canvas as a chat of two turns, which several trainers read.

The line holds `messages` (role and content), and `id` and `gold`, which no trainer looks at.
"""

from collections.abc import Sequence

from curation.exports import Line, RowRefusal
from curation.exports._markers import CHAT, find_marker
from schemas.records import Released


def turn(role: str, content: str) -> Line:
    """One turn of a chat."""
    return {"role": role, "content": content}


def messages(row: Released) -> Sequence[Line] | RowRefusal:
    """Prompt and canvas as two turns; refused if a text holds a token of chat templates."""
    if refusal := find_marker(row, CHAT):
        return refusal
    turns = [turn("user", row.prompt), turn("assistant", row.response)]
    return [{"messages": turns, "id": row.id, "gold": row.gold}]
