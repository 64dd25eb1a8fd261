"""Records go to Arrow and back unchanged."""

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import arrow
from schemas.records import (
    Canvas,
    FinishReason,
    Grade,
    GradedTrace,
    Level,
    Prompt,
    Recorded,
    Rejection,
    Scores,
    SeqDep,
    Siblings,
    Stage,
    Trace,
)

ALL = (Recorded, Prompt, Trace, GradedTrace, Canvas, SeqDep, Siblings, Scores, Rejection)


@pytest.mark.parametrize("record", ALL)
def test_columns_are_the_fields(record: type) -> None:
    assert arrow.schema_of(record).names == [field.name for field in dataclasses.fields(record)]


@given(data=st.data())
def test_any_prompt_and_trace_survive(data: st.DataObject) -> None:
    text = st.text(st.characters(exclude_categories=["Cs"]))
    recorded = st.builds(
        Recorded,
        text=text,
        model=st.none() | text,
        correct=st.none() | st.booleans(),
        finish_reason=st.sampled_from(FinishReason),
    )
    prompt = data.draw(
        st.builds(
            Prompt,
            id=text,
            text=text,
            gold=text,
            source=text,
            row=st.integers(0, 2**62),
            license=text,
            recorded=st.lists(recorded, max_size=3).map(tuple),
        )
    )
    assert list(arrow.records(Prompt, arrow.table(Prompt, [prompt]))) == [prompt]


def test_nested_and_null_fields_survive(tmp_path: Path) -> None:
    trace = Trace(
        prompt_id="p",
        index=0,
        key="k",
        text="\x00é",
        teacher="t",
        revision="r",
        temperature=None,
        top_p=1.0,
        max_tokens=None,
        seed=2**63 - 1,
        hint=None,
        finish_reason=FinishReason.LENGTH,
        prompt_tokens=None,
        completion_tokens=3,
    )
    graded = GradedTrace(trace=trace, text="x", grade=Grade.TIMEOUT, answer=None)
    prompt = Prompt(id="p", text="q", gold="1", source="s", row=1, license="mit")
    canvas = Canvas(
        prompt=prompt,
        paths=(graded, graded),
        answer="1",
        summary="s",
        summary_by="template",
        path_tokens=(1, 1),
        summary_tokens=2,
        similarity=0.5,
    )
    step = SeqDep(level=Level.STEP, nats=None, nats_per_token=None, gains=(), tokens=(4,))
    scores = Scores(
        prompt_id="p",
        path=None,
        step=step,
        window=None,
        summary_gain=None,
        scorer="m",
        scorer_revision="r",
        siblings=Siblings(gains_per_token=((None, 0.5), (0.25, None)), near_copies=((0, 1),)),
    )
    drop = Rejection(
        stage=Stage.CANVASES, prompt_id="p", source="s", row=1, index=None, reason="r", detail="d"
    )
    bare = dataclasses.replace(scores, step=None, siblings=None)
    many: dict[Any, list[Any]] = {
        Canvas: [canvas] * 3,
        Scores: [bare, scores, bare, scores, scores],
        Rejection: [drop],
    }
    for record, rows in many.items():
        table = arrow.table(record, rows)
        table.validate(full=True)
        plain = pa.Table.from_pylist([dataclasses.asdict(row) for row in rows], table.schema)
        assert table.equals(plain, check_metadata=True)
        assert list(arrow.records(record, table)) == rows
        pq.write_table(table, tmp_path / "rows.parquet")
        assert list(arrow.records(record, pq.read_table(tmp_path / "rows.parquet"))) == rows
        assert list(arrow.records(record, table.slice(1))) == rows[1:]
        assert list(arrow.records(record, arrow.table(record, []))) == []
