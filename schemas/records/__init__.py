"""The records of the pipeline: prompts, traces, graded traces, canvases, scores, rejections.

Frozen, slotted, keyword-only dataclasses, and nothing else. `schemas/arrow.py` turns them into
columns.
"""

from schemas.records.flow import (
    Canvas,
    Draws,
    GradedTrace,
    Prompt,
    Recorded,
    Rejection,
    Trace,
    Verdict,
)
from schemas.records.released import Message, Released, ReleasedPath
from schemas.records.scores import Scores, SeqDep, Siblings
from schemas.records.terms import (
    END_OF_THINKING,
    FinishReason,
    Grade,
    Level,
    Stage,
    StopReason,
)

__all__ = [
    "END_OF_THINKING",
    "Canvas",
    "Draws",
    "FinishReason",
    "Grade",
    "GradedTrace",
    "Level",
    "Message",
    "Prompt",
    "Recorded",
    "Rejection",
    "Released",
    "ReleasedPath",
    "Scores",
    "SeqDep",
    "Siblings",
    "Stage",
    "StopReason",
    "Trace",
    "Verdict",
]
