"""The first stage: one outcome for every row, in order, whatever the bytes are."""

import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curation.prompts.decontaminate import build_index
from curation.prompts.dedup import prompt_id
from curation.prompts.prompt_reader import read_prompts
from curation.sources import Row, Source
from schemas.arrow import records, table
from schemas.records import Prompt, Recorded, Rejection, Stage
from support.errors import UserError
from support.plugins import build


def source(path: Path, kind: str = "jsonl", **options: object) -> Source:
    made: Source = build("curation.sources", kind, {"path": str(path), **options}, "source")
    return made


def pool(path: Path, *rows: tuple[str, str]) -> Source:
    path.write_text("".join(json.dumps({"problem": p, "answer": a}) + "\n" for p, a in rows))
    return source(path, license="mit")


def read(
    *sources: Source, evaluation: tuple[Source, ...] = (), limit: int | None = None
) -> list[Prompt | Rejection]:
    judged = read_prompts(sources, build_index(evaluation), traces=True, limit=limit)
    return [one.outcome for one in judged]


def outcome(one: Prompt | Rejection) -> str:
    return one.reason if isinstance(one, Rejection) else "kept"


def test_one_outcome_a_row_in_order_across_sources(tmp_path: Path) -> None:
    first = pool(
        tmp_path / "a.jsonl",
        ("What is 1 + 1?", ""),
        ("What is 1 + 1?", "2"),
        ("what is 1+1", "2"),
        ("Find 7 times 8.", "56"),
    )
    second = pool(
        tmp_path / "b.jsonl",
        ("What is 1 + 1?", "2"),
        ("What is 1 + 1?", "11"),
        ("Find 9 + 9.", "18"),
    )
    evaluation = pool(tmp_path / "eval.jsonl", ("find 7 times 8", "56"))
    found = read(first, second, evaluation=(evaluation,))
    assert [(one.source, one.row, outcome(one)) for one in found] == [
        ("a.jsonl", 1, "missing_gold"),
        ("a.jsonl", 2, "kept"),  # the damaged row before it did not cost it
        ("a.jsonl", 3, "duplicate_normalised"),
        ("a.jsonl", 4, "contaminated_exact"),
        ("b.jsonl", 1, "duplicate_exact"),
        ("b.jsonl", 2, "duplicate_conflicting_gold"),
        ("b.jsonl", 3, "kept"),
    ]
    rejected = [one for one in found if isinstance(one, Rejection)]
    assert all(one.stage is Stage.PROMPTS and one.index is None for one in rejected)
    assert all("row 2 of a.jsonl" in one.detail for one in rejected if "duplicate" in one.reason)
    assert rejected[2].detail == "equal to row 1 of evaluation set eval.jsonl"
    assert rejected[0].prompt_id == prompt_id("What is 1 + 1?")
    assert found[1] == Prompt(
        id=prompt_id("What is 1 + 1?"),
        text="What is 1 + 1?",
        gold="2",
        source="a.jsonl",
        row=2,
        license="mit",
    )


def test_the_limit_counts_rows_read(tmp_path: Path) -> None:
    first = pool(tmp_path / "a.jsonl", ("1 + 1", ""), ("1 + 2", "3"))
    second = pool(tmp_path / "b.jsonl", ("1 + 2", "3"), ("1 + 3", "4"), ("1 + 4", "5"))
    for limit in range(7):
        found = read(first, second, limit=limit)
        assert len(found) == min(limit, 5)
        assert found == read(first, second)[:limit]


class Counting:
    """A source that says how far it was read."""

    label = "counting"
    license = "mit"
    given = 0

    def fingerprint(self) -> str:
        return ""

    def has_traces(self) -> bool:
        return False

    def first_traces(self) -> tuple[Recorded, ...]:
        return ()

    def rows(self, *, traces: bool, most: int | None = None) -> Iterator[Row]:
        for number in range(1, 10_001):
            self.given = number
            yield Row(number=number, text=f"{number} + {traces}", gold="1")


def test_it_reads_no_further_than_asked() -> None:
    counting = Counting()
    stream = read_prompts([counting], build_index([]), traces=False, limit=None)
    next(stream)
    assert counting.given == 1
    assert len(list(read_prompts([counting], build_index([]), traces=False, limit=5))) == 5
    assert counting.given == 5


LINE = st.one_of(
    st.binary(max_size=60).map(lambda b: b.replace(b"\n", b"")),
    st.builds(
        lambda p, g: json.dumps({"problem": p, "answer": g}).encode(),
        st.one_of(
            st.none(), st.integers(), st.text(max_size=20), st.sampled_from(["1+1", "1 + 1"])
        ),
        st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=10), st.booleans()),
    ),
    st.text(st.characters(categories=["Cs", "Ll"]), max_size=5).map(
        lambda t: json.dumps({"problem": t, "answer": t, "g": [t, None, 1]}).encode()
    ),
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(LINE, max_size=12))
def test_any_bytes_are_conserved(tmp_path: Path, lines: list[bytes]) -> None:
    path = tmp_path / "any.jsonl"
    lines = [b'{"problem": "What is 5 + 6?", "answer": 11, "g": ["x"]}', *lines]
    path.write_bytes(b"\n".join(lines))
    rows = [n for n, line in enumerate(lines, 1) if line.strip()]
    found = read(source(path, traces={"column": "g"}))
    assert [one.row for one in found] == rows
    kept = [one for one in found if isinstance(one, Prompt)]
    assert len({one.id for one in kept}) == len(kept)
    # what comes out can be stored and read back
    assert list(records(Prompt, table(Prompt, kept))) == kept
    dropped = [one for one in found if isinstance(one, Rejection)]
    assert list(records(Rejection, table(Rejection, dropped))) == dropped
    assert all(one.reason and one.detail and "\n" not in one.detail for one in dropped)


def test_rejections_without_text_have_ids_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"problem": "1 + 1", "answer": 2}\nbroken\nbroken\n')
    found = read(source(path))
    ids = [one.prompt_id for one in found if isinstance(one, Rejection)]
    assert len(set(ids)) == 2 and all(len(one) == 20 for one in ids)
    assert found == read(source(path))


def test_traces_come_along(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"problem": "1 + 1", "answer": 2, "g": ["two"]}\n')
    (with_traces,) = read(source(path, traces={"column": "g"}))
    assert isinstance(with_traces, Prompt) and with_traces.recorded == (Recorded(text="two"),)
    (bare,) = read_prompts(
        [source(path, traces={"column": "g"})], build_index([]), traces=False, limit=None
    )
    assert isinstance(bare.outcome, Prompt) and bare.outcome.recorded == ()


def test_a_source_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    good = pool(tmp_path / "a.jsonl", ("1 + 1", "2"))
    empty = pool(tmp_path / "b.jsonl")
    with pytest.raises(UserError, match=r"b\.jsonl: holds no rows"):
        read(good, empty)
    with pytest.raises(UserError, match=r"b\.jsonl: holds no rows"):
        read(good, evaluation=(empty,))
    assert len(read(good, empty, limit=1)) == 1


def test_memory_stays_flat() -> None:
    tracemalloc.start()
    peaks = []
    for limit in (1000, 5000):
        tracemalloc.reset_peak()
        assert (
            sum(1 for _ in read_prompts([Counting()], build_index([]), traces=False, limit=limit))
            == limit
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 4000 < 100  # bytes a prompt


def test_recorded_traces_lose_their_evaluation_prompts(shared_data: Path) -> None:
    recorded = source(shared_data / "traces" / "recorded_traces.jsonl")
    evaluation = (
        source(shared_data / "gsm8k" / "test.jsonl", "gsm8k"),
        source(shared_data / "math500" / "test.jsonl"),
    )
    found = read(recorded, evaluation=evaluation)
    assert Counter(map(outcome, found)) == {
        "contaminated_exact": 305,
        "contaminated_ngram": 4,
        "not_self_contained": 11,
        "kept": 130,
    }
    raw = [json.loads(line) for line in (shared_data / "traces" / "recorded_traces.jsonl").open()]
    exact = Counter(
        row["source"]
        for row, one in zip(raw, found, strict=True)
        if outcome(one) == "contaminated_exact"
    )
    assert exact == {"gsm8k_openai_p4": 300, "qwen_math_p8": 5}


def test_gsm8k_train_is_clean(shared_data: Path) -> None:
    train = source(shared_data / "gsm8k" / "train.jsonl", "gsm8k")
    test = source(shared_data / "gsm8k" / "test.jsonl", "gsm8k")
    found = read(train, evaluation=(test,))
    assert Counter(map(outcome, found)) == {"kept": 7470, "contaminated_ngram": 3}


def test_the_two_real_openr1_rows(shared_data: Path) -> None:
    found = read(source(shared_data / "openr1" / "openr1_real_traces.jsonl", "openr1_math"))
    assert [outcome(one) for one in found] == ["missing_gold", "missing_gold"]
