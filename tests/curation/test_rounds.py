"""Samples in rounds: when a prompt has enough, what is drawn, and that later stages agree."""

import asyncio
import gc
import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curation.canvases.diverse_subset import exhaustive, greedy
from curation.canvases.rules import STOPS, Allocation, Rules
from curation.canvases.token_counter import TokenCounter
from curation.context import Job
from curation.filters import pass_rate
from curation.graders import Grader, Submission
from curation.graders.judge import JudgeGrader
from curation.release import verify
from curation.release.row_checks import row_problems
from curation.release.rows import read_rows
from curation.run_store import shards
from curation.sampling.limits import Limits
from curation.stages import prompt_stage, trace_stage
from curation.stages.drawn_samples import DrawnSamples
from curation.stages.sampling_rounds import RoundShortfall
from curation.teachers import (
    AT_A_TIME,
    Outcomes,
    Request,
    SampleBudget,
    SampleOutcome,
    Shortfall,
    Skipped,
    most_at_a_time,
    recorded,
    sample_budget,
    transformers_local,
)
from curation.teachers.local.rounds import Batch, in_rounds
from schemas import arrow
from schemas.recipe import Recipe, validate_recipe
from schemas.records import (
    Draws,
    FinishReason,
    Grade,
    GradedTrace,
    Prompt,
    Recorded,
    Rejection,
    Released,
    Stage,
    StopReason,
    Trace,
)
from schemas.samples import Rounds
from scorers.answers.grade import Answer
from support import plugins
from support.errors import ShortError, UserError
from tests.builds import contents, make
from tests.curation.samples import canvas, scores, write_run
from tests.servers.loopback import Behaviour, Loopback

BASE: dict[str, object] = {
    "name": "rounds",
    "source": {"kind": "jsonl", "path": "none.jsonl"},
    "teacher": {"kind": "transformers_local", "path": "tiny/teacher"},
}
IN_ROUNDS = "samples={per_round: 2, most: 8, until: {correct: [1, 2], give_up: 4}}"


def recipe(samples: object, **changes: object) -> Recipe:
    return validate_recipe(BASE | {"samples": samples} | changes, "here")


@pytest.mark.parametrize(
    ("samples", "changes", "message"),
    [
        ({"per_round": 0, "most": 6}, {}, "samples.per_round is 0; give 1 or more"),
        ({"per_round": 4, "most": 3}, {}, "most is 3, fewer than per_round (4)"),
        ({"per_round": 1}, {}, "samples.most: missing; add it"),
        ({"per_round": 1, "moist": 3}, {}, "did you mean 'most'?"),
        ({"per_round": 1, "most": 2}, {}, "samples.most is 2, too few for 3 distinct"),
        ({"per_round": 1, "most": 6, "until": {"distinct": 2}}, {}, "fewer than paths (3)"),
        ({"per_round": 1, "most": 6, "until": {"correct": 1}}, {}, "[at least, at most]"),
        ({"per_round": 1, "most": 6, "until": {"correct": [2, 1]}}, {}, "at most 1 is less"),
        ({"per_round": 1, "most": 6, "until": {"correct": [1, 4]}}, {}, "a canvas has 3 paths"),
        ({"per_round": 1, "most": 6, "until": {"correct": [0, 2]}}, {}, "groups.min_correct"),
        ({"per_round": 1, "most": 6, "until": {"give_up": 7}}, {}, "more than most (6)"),
        (
            {"per_round": 1, "most": 6, "until": {"give_up": 2}},
            {"groups": {"min_correct": 0}},
            "samples.until.give_up: no kind of trace is wanted",
        ),
        (
            {"per_round": 1, "most": 6, "until": {"correct": [2, 2]}},
            {"groups": {"max_wrong": 0, "min_correct": 0}},
            "groups.min_correct and groups.max_wrong ask for",
        ),
        (2, {}, "samples is 2, fewer than paths (3)"),
        ("many", {}, "samples"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(
    samples: object, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        recipe(samples, **changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_mix_is_by_default_that_of_groups() -> None:
    plan = Allocation.of(recipe({"per_round": 1, "most": 6}, groups={"min_correct": 2}))
    assert (plan.distinct, plan.right, plan.other) == (3, 2, 0)
    plan = Allocation.of(
        recipe({"per_round": 1, "most": 9, "until": {"distinct": 5, "correct": [1, 2]}})
    )
    assert (plan.distinct, plan.right, plan.other) == (5, 1, 1)


def test_a_number_of_samples_keeps_digest_and_fingerprints() -> None:
    one, other = recipe(6), recipe("6")
    assert one.digest() == other.digest() == recipe(6).digest()
    assert repr(Rules.of(one)) == repr(Rules.of(recipe({"per_round": 3, "most": 6})))
    assert one.digest() != recipe({"per_round": 6, "most": 6}).digest()


@pytest.mark.parametrize(
    ("drawn", "kept", "reason"),
    [
        (3, "RRW", StopReason.GROUP_STANDS),
        (8, "RRW", StopReason.GROUP_STANDS),  # at the end, too
        (3, "RRR", None),
        (4, "RRR", StopReason.GIVEN_UP),  # none of four is wrong
        (4, "WW", StopReason.GIVEN_UP),
        (4, "", StopReason.GIVEN_UP),
        (4, "RW", None),  # both kinds are there, a third path is not
        (8, "RW", StopReason.MOST_REACHED),
    ],
)
def test_when_a_prompt_gets_no_other_round(
    drawn: int, kept: str, reason: StopReason | None
) -> None:
    until = {"correct": [1, 2], "give_up": 4}
    plan = Allocation.of(recipe({"per_round": 1, "most": 8, "until": until}))
    assert plan.stop_reason(drawn, [letter == "R" for letter in kept]) is reason


def test_the_mix_binds_the_choice() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    for _ in range(50):
        similarity_KK = rng.random((7, 7))
        similarity_KK = (similarity_KK + similarity_KK.T) / 2
        correct = [bool(bit) for bit in rng.integers(0, 2, 7)]
        need, other = min(1, sum(correct)), min(2, 7 - sum(correct))
        for choose in (exhaustive, greedy):
            chosen = choose(1 - similarity_KK, correct, 4, need, other)
            right = sum(correct[k] for k in chosen)
            assert len(set(chosen)) == 4
            assert right >= need and 4 - right >= other


def prompt(name: str, *traces: str) -> Prompt:
    return Prompt(
        id=name,
        text=name,
        gold="1",
        source="s",
        row=1,
        license="l",
        recorded=tuple(Recorded(text=text) for text in traces),
    )


class Few:
    """A teacher from elsewhere that has at most three samples of a prompt."""

    name = revision = "few"
    note = ""
    is_record = False

    def wanted(self, prompt: Prompt, samples: int) -> SampleBudget:
        return SampleBudget(min(3, samples), min(3, samples))

    def key(self, prompt: Prompt, index: int) -> str:
        return f"{prompt.id}{index}"

    def sample(self, requests: Iterable[Request], shortfall: Shortfall) -> Outcomes:
        raise NotImplementedError


def test_what_each_teacher_gives_in_rounds() -> None:
    rounds = Rounds(per_round=2, most=8)
    assert sample_budget(Few(), prompt("p"), rounds) == SampleBudget(2, 3)
    assert sample_budget(Few(), prompt("p"), 2) == SampleBudget(2, 2)
    kept = recorded.build()
    assert sample_budget(kept, prompt("p", "a", "b", "c"), rounds) == (3, 3)  # and no others
    topped = recorded.RecordedTeacher("full", Few())
    assert sample_budget(topped, prompt("p", "a"), rounds) == SampleBudget(1, 4)
    topped = recorded.RecordedTeacher("full", Few())
    assert sample_budget(topped, prompt("p", *"abcdefghij"), rounds) == (10, 10)


def made(request: Request, index: int) -> Trace:
    return Trace(
        prompt_id=request.prompt.id,
        index=index,
        key=request.keys[index],
        text=f"{request.prompt.id} {index}",
        teacher="t",
        revision="r",
        temperature=None,
        top_p=None,
        max_tokens=None,
        seed=None,
        hint=None,
        finish_reason=FinishReason.STOP,
        prompt_tokens=None,
        completion_tokens=None,
    )


def request(name: str, have: Sequence[int] = ()) -> Request:
    keys = tuple(f"{name}{i}" for i in range(6))
    empty = Request(
        prompt=prompt(name),
        shard=0,
        position=0,
        wanted=SampleBudget(2, 6),
        missing=tuple(i for i in range(6) if i not in have),
        keys=keys,
    )
    return Request(
        prompt=empty.prompt,
        shard=0,
        position=0,
        wanted=empty.wanted,
        missing=empty.missing,
        keys=keys,
        have=tuple(made(empty, i) for i in have),
    )


def sampled(
    block: Sequence[Request], needs: dict[str, int]
) -> tuple[list[list[tuple[str, range]]], list[SampleOutcome]]:
    """The batches of a block whose prompts need so many samples, and the outcomes."""
    batches: list[list[tuple[str, range]]] = []

    def sample(batch: Batch) -> Iterator[SampleOutcome]:
        batches.append([(one.request.prompt.id, one.indices) for one in batch])
        for one in batch:
            yield from (made(one.request, i) for i in one.indices if i in one.request.missing)

    def shortfall(prompt: Prompt, traces: Sequence[Trace]) -> int:
        assert [t.index for t in traces] == list(range(len(traces)))
        return 0 if len(traces) >= needs[prompt.id] else 2

    return batches, list(in_rounds(block, shortfall, sample))


def test_a_round_holds_the_prompts_that_still_lack() -> None:
    needs = {"a": 2, "b": 6, "c": 4}
    batches, outcomes = sampled([request(name) for name in needs], needs)
    assert batches == [
        [("a", range(2)), ("b", range(2)), ("c", range(2))],
        [("b", range(2, 4)), ("c", range(2, 4))],
        [("b", range(4, 6))],
    ]
    skipped = {(o.prompt_id, o.index) for o in outcomes if isinstance(o, Skipped)}
    assert skipped == {("a", 2), ("a", 3), ("a", 4), ("a", 5), ("c", 4), ("c", 5)}
    assert sum(isinstance(o, Trace) for o in outcomes) == 12


def test_a_resumed_block_samples_the_same_batches() -> None:
    needs = {"a": 2, "b": 6, "c": 4}
    batches, outcomes = sampled([request("a", [0, 1]), request("b", [0, 1]), request("c")], needs)
    assert [len(batch) for batch in batches] == [3, 2, 1]
    assert {(o.prompt_id, o.index) for o in outcomes if isinstance(o, Trace)} == {
        *(("b", i) for i in range(2, 6)),
        *(("c", i) for i in range(4)),
    }
    batches, _ = sampled([request("a", [0, 1]), request("b", [0, 1]), request("c", [0, 1])], needs)
    assert [len(batch) for batch in batches] == [2, 1]  # nothing is missing in the first round


def test_a_local_block_gives_the_same_bytes_whatever_is_there(tiny_teacher: Path) -> None:
    teacher = transformers_local.build(str(tiny_teacher), max_tokens=72)
    texts = ["Ann has 3 apples and buys 4 more. How many apples has she?", "What is 2 + 2?", "7?"]
    prompts = [replace(prompt(f"p{n}"), text=text) for n, text in enumerate(texts)]
    rules = Rules.of(recipe({"per_round": 2, "most": 6, "until": {"give_up": 4}}))
    counter = TokenCounter(["tiny/teacher"])

    def draw(have: Sequence[Trace]) -> dict[str, Trace]:
        known = {trace.key: trace for trace in have}
        requests = []
        for position, one in enumerate(prompts):
            keys = tuple(teacher.key(one, index) for index in range(6))
            requests.append(
                Request(
                    prompt=one,
                    shard=0,
                    position=position,
                    wanted=sample_budget(teacher, one, Rounds(per_round=2, most=6)),
                    missing=tuple(index for index, key in enumerate(keys) if key not in known),
                    keys=keys,
                    have=tuple(known[key] for key in keys if key in known),
                    in_rounds=True,
                )
            )

        async def all_of_it() -> list[SampleOutcome]:
            shortfall = RoundShortfall(Counting(), rules, counter)
            return [outcome async for outcome in teacher.sample(requests, shortfall)]

        fresh = [one for one in asyncio.run(all_of_it()) if isinstance(one, Trace)]
        return known | {trace.key: trace for trace in fresh}

    whole = draw(())
    assert 6 < len(whole) < 18
    for cut in (1, 5, len(whole) - 1):
        assert draw(list(whole.values())[:cut]) == whole


class Counting(Grader):
    """Grades by the last word, and counts."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def grade(self, submissions: Sequence[Submission]) -> list[Answer]:
        self.seen += [one.trace.key for one in submissions]
        return [
            Answer(
                grade=Grade.CORRECT if one.trace.text.endswith("1") else Grade.WRONG,
                answer="1",
                end=len(one.trace.text),
            )
            for one in submissions
        ]

    def fingerprint(self) -> object:
        return 1


def test_each_trace_is_graded_once_while_sampling() -> None:
    rules = Rules.of(recipe({"per_round": 2, "most": 6, "until": {"correct": [3, 3]}}))
    grader = Counting()
    shortfall = RoundShortfall(grader, rules, TokenCounter(["tiny/teacher"]))
    one = request("a", range(6))
    assert shortfall(one.prompt, one.have[:2]) == 2
    assert shortfall(one.prompt, one.have[:4]) == 2
    assert grader.seen == ["a0", "a1", "a2", "a3"]
    assert not shortfall._open  # two more are the last, which nobody asks about
    assert shortfall(one.prompt, one.have) == 0


@pytest.mark.slow
def test_a_build_in_rounds_agrees_with_its_later_stages(tmp_path: Path) -> None:
    run = tmp_path / "run"
    overrides = (IN_ROUNDS, "scorer=null", "shard_rows=16")
    make(run, "demo", *overrides, limit=40)
    assert verify.find_problems(run) == []
    rows = [row for file in run.glob("release/data/*.parquet") for row in read_rows(file)]
    reasons = {row.stop_reason for row in rows}
    assert StopReason.GROUP_STANDS in reasons
    # Nothing was graded otherwise afterwards: every prompt stopped where the rule says.
    assert reasons <= {StopReason.GROUP_STANDS, StopReason.GIVEN_UP, StopReason.MOST_REACHED}
    for row in rows:
        assert row.samples_drawn is not None and row.first_round_drawn == 2
        assert row.samples_drawn % 2 == 0 and len(row.paths) <= row.samples_drawn <= 8
        if row.stop_reason is StopReason.GROUP_STANDS:
            assert 1 <= row.correct_paths <= 2  # the wanted mix
    details = [r.detail for r in rejections(run) if r.index is None and r.stage is Stage.CANVASES]
    assert details and all("samples are right; why no more: " in detail for detail in details)
    assert not any(STOPS[StopReason.GRADED_AGAIN] in detail for detail in details)
    assert not any("_" in detail.partition("why no more: ")[2] for detail in details), "words"
    again = tmp_path / "again"
    make(again, "demo", *overrides, limit=40)
    assert contents(run / "traces") == contents(again / "traces")
    assert contents(run / "release") == contents(again / "release")


def rejections(run: Path) -> Iterator[Rejection]:
    for file in sorted(run.glob("rejected/*.parquet")):
        yield from arrow.records(Rejection, pq.read_table(file))


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(Behaviour(duplicate_share=0.3, length_share=0.1)) as started:
        yield started


def served_job(folder: Path, url: str, **changes: Any) -> Job:
    folder.mkdir()
    rows = [{"q": f"What is {n}? [gold {n}]", "a": str(n)} for n in range(30)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    teacher = {"kind": "openai_server", "model": "loop", "endpoints": url, "seeds": True}
    columns = {"prompt": "q", "gold": "a"}
    source = {"kind": "jsonl", "path": str(folder / "prompts.jsonl"), "columns": columns}
    samples = {"per_round": 2, "most": 8, "until": {"correct": [1, 2], "give_up": 6}}
    one = recipe(
        samples,
        source=source,
        teacher=teacher | changes,
        scorer=None,
        shard_rows=10,
        canvas={"slot_tokens": 2000},
    )
    return Job(recipe=one, run=folder / "run", shown=False)


def traces_of(job: Job) -> dict[str, str]:
    index = prompt_stage.read_prompts(job)
    try:
        trace_stage.sample_traces(job, index)
    finally:
        job.close()
    return {
        trace.key: trace.text
        for i in range(index.shards)
        for trace in arrow.records(Trace, shards.read(job.run, Stage.TRACES, i))
    }


def test_a_server_gives_the_same_samples_in_any_order(server: Loopback, tmp_path: Path) -> None:
    calm = traces_of(served_job(tmp_path / "calm", server.url))
    assert 60 < len(calm) < 240
    server.set(Behaviour(duplicate_share=0.3, length_share=0.1, jitter_s=0.05))
    assert traces_of(served_job(tmp_path / "wild", server.url, in_flight=7)) == calm
    grouped = traces_of(served_job(tmp_path / "grouped", server.url, requests="group"))
    assert 60 < len(grouped) < 240


def test_a_run_that_goes_on_draws_the_same_samples(server: Loopback, tmp_path: Path) -> None:
    whole = traces_of(served_job(tmp_path / "whole", server.url))
    job = served_job(tmp_path / "cut", server.url)
    seen = 0

    class Cut(Exception):
        pass

    def stop(done: object) -> None:
        nonlocal seen
        seen += 1
        if seen > 60:
            raise Cut

    job.bars.add = lambda *args, **more: stop(args)  # type: ignore[method-assign]
    server.forget()
    with pytest.raises(Cut):
        traces_of(job)
    assert sum(one.n for one in server.served()) < len(whole)
    assert traces_of(Job(recipe=job.recipe, run=job.run, shown=False)) == whole


class Slow(Counting):
    """Takes a while for a prompt, and remembers how many prompts it graded at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.threads: set[int] = set()
        self._lock = threading.Lock()

    def grade(self, submissions: Sequence[Submission]) -> list[Answer]:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.threads.add(threading.get_ident())
        time.sleep(0.05)
        with self._lock:
            self.now -= 1
        return super().grade(submissions)


def test_a_slow_grader_grades_several_groups_outside_the_loop(
    server: Loopback, tmp_path: Path
) -> None:
    job = served_job(tmp_path / "slow", server.url)
    grader = Slow()
    job.__dict__["grader"] = grader
    assert len(traces_of(job)) >= 60
    assert grader.most > 2  # at a time
    assert threading.get_ident() not in grader.threads
    assert len(grader.seen) == len(set(grader.seen))


class MostlyAtOnce(Slow):
    """Needs no time for most prompts, as rules do, and a while for the others."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0

    def at_once(self, submissions: Sequence[Submission]) -> list[Answer] | None:
        assert threading.current_thread() is threading.main_thread()
        if submissions[0].prompt.row % 4 == 0:
            self.waited += 1
            return None
        return Counting.grade(self, submissions)


def test_what_is_graded_at_once_needs_no_thread(server: Loopback, tmp_path: Path) -> None:
    plain, quick = Counting(), MostlyAtOnce()
    found: list[dict[str, str]] = []
    for grader in (plain, quick):
        job = served_job(tmp_path / str(len(found)), server.url)
        job.__dict__["grader"] = grader
        found.append(traces_of(job))
    assert found[0] == found[1]
    assert sorted(plain.seen) == sorted(quick.seen)
    assert quick.waited and quick.most


def test_graders_that_only_wait_wait_for_many_groups() -> None:
    judge = {"kind": "judge", "teacher": {"kind": "openai_server", "endpoints": "http://h/v1"}}
    judge["teacher"]["model"] = "m"  # type: ignore[index]
    waits = {"graders": [{"kind": "math"}, judge]}
    works = {"graders": [{"kind": "math"}, {"kind": "regex", "pattern": "x"}, judge]}
    rules = Rules.of(recipe({"per_round": 2, "most": 6}))
    for options, most in ((waits, JudgeGrader.most_at_a_time), (works, AT_A_TIME)):
        grader = plugins.build("curation.graders", "first_of", options, "grader")
        shortfall = RoundShortfall(grader, rules, TokenCounter(["tiny/teacher"]))
        drawn = DrawnSamples(shortfall, transformers_local.build("tiny/teacher"), 2)
        assert most_at_a_time(Limits(None).shortfall(drawn)) == most


class Gone(Counting):
    """Cannot grade, as when a judge's server is gone: all that wait learn it at once."""

    def __init__(self) -> None:
        super().__init__()
        self._wait = threading.Barrier(8)

    def grade(self, submissions: Sequence[Submission]) -> list[Answer]:
        with suppress(threading.BrokenBarrierError):
            self._wait.wait(2)
        raise ShortError("grader: gone")


def test_a_grader_that_fails_in_many_threads_is_told_once(
    server: Loopback, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The errors of all other groups are no tracebacks on the screen."""
    job = served_job(tmp_path / "gone", server.url)
    job.__dict__["grader"] = Gone()
    with pytest.raises(ShortError, match="grader: gone"):
        traces_of(job)
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def test_another_until_draws_more_and_pays_for_none_twice(server: Loopback, tmp_path: Path) -> None:
    job = served_job(tmp_path / "more", server.url)
    first = traces_of(job)
    server.forget()
    samples = {"per_round": 2, "most": 8, "until": {"distinct": 6, "correct": [1, 3]}}
    more = job.recipe.model_copy(update={"samples": Rounds.model_validate(samples)})
    second = traces_of(Job(recipe=more, run=job.run, shown=False))
    assert first.items() < second.items()
    assert sum(one.n for one in server.served()) == len(second) - len(first)


def test_a_refused_prompt_is_rejected_once_for_each_wanted_sample(
    server: Loopback, tmp_path: Path
) -> None:
    server.set(Behaviour(refuse_substring="What is 7?"))
    job = served_job(tmp_path / "refused", server.url)
    traces_of(job)
    refused = [r for i in range(3) for r in shards.rejections(job.run, Stage.TRACES, i)]
    assert [(r.reason, r.index) for r in refused] == [
        ("refused_by_server", 0),
        ("refused_by_server", 1),
    ]


def test_a_release_without_the_columns_is_read(tmp_path: Path, built_runs: Any) -> None:
    run = built_runs.path("demo", "scorer=null", limit=40)
    (file,) = run.glob("release/data/train-*.parquet")
    old = tmp_path / "train.parquet"
    data = pq.read_table(file)
    pq.write_table(data.select(arrow.WITHOUT_DRAWS.names), old, write_page_checksum=True)
    before, now = list(read_rows(old)), list(read_rows(file))
    assert [row.id for row in before] == [row.id for row in now]
    assert {row.samples_drawn for row in before} == {None}
    assert {row.samples_drawn for row in now} == {6}
    assert {row.stop_reason for row in now} == {StopReason.FIXED}
    assert isinstance(now[0], Released)


def test_graded_traces_are_those_of_the_batch_stage(server: Loopback, tmp_path: Path) -> None:
    from curation.stages import shard_stages

    job = served_job(tmp_path / "same", server.url)
    while_sampling: dict[str, GradedTrace] = {}
    call = RoundShortfall._next_round

    def remember(
        self: RoundShortfall, prompt: Prompt, traces: Sequence[Trace], fresh: Sequence[GradedTrace]
    ) -> int:
        while_sampling.update((one.trace.key, one) for one in fresh)
        return call(self, prompt, traces, fresh)

    RoundShortfall._next_round = remember  # type: ignore[method-assign]
    try:
        traces_of(job)
    finally:
        RoundShortfall._next_round = call  # type: ignore[method-assign]
    assert len(while_sampling) > 50
    for index in range(3):
        shard_stages.grade(job, index)
        graded = arrow.records(GradedTrace, shards.read(job.run, Stage.GRADED, index))
        for one in graded:
            if one.trace.key in while_sampling:
                assert one == while_sampling.pop(one.trace.key)
    job.close()
    assert not while_sampling


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, ""),
        ({"at_least": 0.5}, ""),  # 1 of 2 in the first round
        ({"at_least": 0.5, "over": "all"}, "pass_rate_below"),  # 2 of 8
        ({"at_most": 0.4}, "pass_rate_above"),
        ({"at_most": 0.25, "over": "all"}, ""),
    ],
)
def test_the_filter_reads_the_first_round_unless_told(options: dict[str, Any], reason: str) -> None:
    draws = Draws(
        drawn=8,
        correct=2,
        first_round_drawn=2,
        first_round_correct=1,
        stop_reason=StopReason.MOST_REACHED,
    )
    verdict = pass_rate.build(**options).judge(replace(canvas(0), draws=draws), scores(0))
    assert verdict.reason == reason and verdict.keep is (not reason)
    unknown = pass_rate.build(**options).judge(canvas(0), scores(0))
    assert unknown.reason == "pass_rate_unknown"
    with pytest.raises(UserError, match="give shares from 0"):
        pass_rate.build(at_least=0.9, at_most=0.1)


@pytest.mark.parametrize(
    ("correct", "drawn"), [(7, 25), (29, 100), (55, 100), (15, 22), (0, 3), (3, 3)]
)
def test_the_limits_of_the_filter_are_inclusive(correct: int, drawn: int) -> None:
    """0.28 x 25 is 7.000000000000001 in floating point."""
    share = correct / drawn
    draws = Draws(
        drawn=drawn,
        correct=correct,
        first_round_drawn=drawn,
        first_round_correct=correct,
        stop_reason=StopReason.FIXED,
    )
    rule = pass_rate.build(at_least=share, at_most=share)
    assert rule.judge(replace(canvas(0), draws=draws), scores(0)).keep


def test_impossible_counts_in_a_row_are_problems(tmp_path: Path) -> None:
    draws = Draws(
        drawn=4,
        correct=3,
        first_round_drawn=2,
        first_round_correct=1,
        stop_reason=StopReason.GROUP_STANDS,
    )
    manifest = write_run(tmp_path / "run", [(replace(canvas(4), draws=draws), scores(4))])
    (row,) = [r for f in (tmp_path / "run").glob("release/data/*.parquet") for r in read_rows(f)]
    assert list(row_problems(row, manifest, None)) == []
    for changes in (
        {"samples_drawn": 2},
        {"samples_correct": 0},
        {"pass_rate": 0.5},
        {"first_round_correct": 3},
        {"first_round_drawn": 5},
    ):
        assert list(row_problems(replace(row, **changes), manifest, None)), changes
