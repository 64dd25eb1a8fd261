"""The sampling service: every shard closed once and whole, nothing paid for twice, nothing lost."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from threading import Thread

import pytest

from curation.sampling import service
from curation.sampling.journal import read
from curation.sampling.service import FinishedShard, Progress, Shard, run
from curation.sampling.shard_state import ShardState
from curation.teachers import Failure, Outcomes, Request, SampleBudget, Shortfall, Skipped
from schemas.records import FinishReason, Prompt, Trace
from support.errors import DamagedError


class Scripted:
    """A teacher whose behaviour is a function of each request; every wish of it is kept."""

    name = "scripted"
    revision = "1"
    note = ""
    is_record = False

    def __init__(self, tag: str = "", shuffle: int | None = None) -> None:
        self.tag = tag
        self.shuffle = shuffle
        self.asked: list[tuple[str, int]] = []
        self.passed: list[str] = []

    def wanted(self, prompt: Prompt, samples: int) -> SampleBudget:
        most = 0 if prompt.text == "none" else samples
        return SampleBudget(most, most)

    def key(self, prompt: Prompt, index: int) -> str:
        return f"{self.tag}/{prompt.id}/{index}"

    def trace(self, prompt: Prompt, index: int) -> Trace:
        return Trace(
            prompt_id=prompt.id,
            index=index,
            key=self.key(prompt, index),
            text=f"{self.tag} {prompt.text} {index}",
            teacher=self.name,
            revision=self.revision,
            temperature=1.0,
            top_p=1.0,
            max_tokens=10,
            seed=None,
            hint=None,
            finish_reason=FinishReason.STOP,
            prompt_tokens=1,
            completion_tokens=2,
        )

    def outcome(self, prompt: Prompt, index: int) -> Trace | Failure:
        return self.trace(prompt, index)

    async def sample(self, requests: Iterable[Request], shortfall: Shortfall) -> Outcomes:
        wishes = ((r.prompt, i) for r in self._passing(requests) for i in r.missing)
        if self.shuffle is not None:
            wishes_list = list(wishes)
            Random(self.shuffle).shuffle(wishes_list)
            wishes = (wish for wish in wishes_list)
        for prompt, index in wishes:
            self.asked.append((prompt.id, index))
            yield self.outcome(prompt, index)

    def _passing(self, requests: Iterable[Request]) -> Iterable[Request]:
        for request in requests:
            self.passed.append(request.prompt.id)
            yield request


class Parquet:
    """Stands for the shard files: what was closed, by shard, and in which order."""

    def __init__(self) -> None:
        self.traces: dict[int, Sequence[Trace]] = {}
        self.failures: dict[int, Sequence[Failure]] = {}
        self.closed: list[int] = []

    def have(self, index: int) -> Sequence[Trace]:
        return self.traces.get(index, ())

    def close(self, shard: FinishedShard) -> None:
        self.closed.append(shard.index)
        self.traces[shard.index] = tuple(shard.traces)
        self.failures[shard.index] = tuple(shard.failures)


def prompt(name: str, text: str = "q") -> Prompt:
    return Prompt(id=name, text=text, gold="1", source="s", row=1, license="l")


def shards(count: int = 3, size: int = 4) -> list[Shard]:
    return [Shard(index=s, prompts=[prompt(f"{s}-{n}") for n in range(size)]) for s in range(count)]


def go(
    teacher: Scripted,
    parts: Iterable[Shard],
    folder: Path,
    parquet: Parquet,
    samples: int = 2,
    progress: Callable[[Progress], None] | None = None,
) -> Progress:
    return run(
        teacher,
        parts,
        samples=samples,
        folder=folder,
        have=parquet.have,
        close=parquet.close,
        progress=progress,
    )


def in_order(teacher: Scripted, shard: Shard, samples: int = 2) -> tuple[Trace, ...]:
    return tuple(
        teacher.trace(one, i)
        for one in shard.prompts
        for i in range(teacher.wanted(one, samples).maximum)
    )


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_each_shard_is_closed_once_in_order_whatever_the_order_of_arrival(
    tmp_path: Path, seed: int | None
) -> None:
    teacher, parquet = Scripted(shuffle=seed), Parquet()
    seen: list[Progress] = []
    end = go(teacher, shards(), tmp_path, parquet, progress=seen.append)
    assert sorted(parquet.closed) == [0, 1, 2]
    assert all(parquet.traces[s.index] == in_order(teacher, s) for s in shards())
    assert end == Progress(shards=3, wanted=24, done=24, completion_tokens=48)
    assert seen[-1] == end and [p.done for p in seen[:24]] == list(range(1, 25))
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"0000{n}.jsonl.done" for n in range(3)]


def test_shards_are_read_lazily_and_closed_on_the_way(tmp_path: Path) -> None:
    parquet = Parquet()
    ahead: list[int] = []

    def lazily() -> Iterable[Shard]:
        for shard in shards(count=20):
            ahead.append(shard.index - len(parquet.closed))
            yield shard

    go(Scripted(), lazily(), tmp_path, parquet)
    assert parquet.closed == list(range(20))
    assert max(ahead) <= 4  # one is being closed, few wait for it


def test_a_second_run_asks_for_nothing_and_changes_nothing(tmp_path: Path) -> None:
    parquet, again = Parquet(), Scripted()
    go(Scripted(), shards(), tmp_path, parquet)
    before = dict(parquet.traces)
    end = go(again, shards(), tmp_path, parquet)
    assert again.asked == [] and len(again.passed) == 12
    assert parquet.traces == before and parquet.closed == [0, 1, 2] * 2
    assert end == Progress(shards=3, wanted=24, done=24, reused=24)


def test_more_samples_and_other_settings_reuse_what_fits_and_keep_the_rest(tmp_path: Path) -> None:
    parquet = Parquet()
    go(Scripted(), shards(1), tmp_path, parquet, samples=1)
    more = Scripted()
    go(more, shards(1), tmp_path, parquet, samples=2)
    assert more.asked == [(f"0-{n}", 1) for n in range(4)]
    other = Scripted(tag="other")
    go(other, shards(1), tmp_path, parquet)
    assert len(other.asked) == 8 and parquet.traces[0] == in_order(other, shards(1)[0])
    back = Scripted()  # the former settings again: all of it is still in the journal
    go(back, shards(1), tmp_path, parquet)
    assert back.asked == [] and parquet.traces[0] == in_order(back, shards(1)[0])
    assert len(read(tmp_path / "00000.jsonl.done").traces) == 16


class Failing(Scripted):
    """Raises after some outcomes."""

    def outcome(self, prompt: Prompt, index: int) -> Trace | Failure:
        if len(self.asked) > 10:
            raise ConnectionError("the server is gone")
        return self.trace(prompt, index)


def test_an_error_of_the_teacher_keeps_all_that_came(tmp_path: Path) -> None:
    parquet, again = Parquet(), Scripted()
    with pytest.raises(ConnectionError, match="gone"):
        go(Failing(), shards(), tmp_path, parquet)
    assert parquet.closed == [0]
    assert len(read(tmp_path / "00001.jsonl").traces) == 2
    end = go(again, shards(), tmp_path, parquet)
    assert len(again.asked) == 14 and end.reused == 10
    assert all(parquet.traces[s.index] == in_order(again, s) for s in shards())


class Short(Scripted):
    """Delivers sample 0 of the first shard and then loses interest."""

    async def sample(self, requests: Iterable[Request], shortfall: Shortfall) -> Outcomes:
        for request in requests:
            if request.shard > 0:
                return
            yield self.trace(request.prompt, 0)


def test_what_is_not_delivered_is_a_failure_and_the_journal_stays_open(tmp_path: Path) -> None:
    parquet, again = Parquet(), Scripted()
    end = go(Short(), shards(), tmp_path, parquet)
    assert end == Progress(shards=3, wanted=24, done=4, failures=20, short=20, completion_tokens=8)
    assert sorted(parquet.closed) == [0, 1, 2]
    assert [(f.prompt_id, f.index) for f in parquet.failures[0]] == [
        (f"0-{n}", 1) for n in range(4)
    ]
    assert {f.reason for f in parquet.failures[2]} == {"not_delivered"}
    assert [p.name for p in tmp_path.iterdir()] == ["00000.jsonl"]
    go(again, shards(), tmp_path, Parquet())  # the journal alone is enough
    assert len(again.asked) == 20


class Refusing(Scripted):
    """Refuses one prompt for good, and says everything twice."""

    async def sample(self, requests: Iterable[Request], shortfall: Shortfall) -> Outcomes:
        for request in requests:
            for index in request.missing:
                if request.prompt.id == "0-1":
                    failure = Failure(
                        prompt_id="0-1", index=index, reason="too_long", detail="", retryable=False
                    )
                    yield failure
                yield self.trace(request.prompt, index)
                yield self.trace(request.prompt, index)
            yield self.trace(prompt("stranger"), 0)


def test_second_outcomes_and_strangers_are_ignored(tmp_path: Path) -> None:
    parquet = Parquet()
    end = go(Refusing(), shards(1), tmp_path, parquet)
    assert end == Progress(shards=1, wanted=8, done=6, failures=2, completion_tokens=12)
    assert [f.index for f in parquet.failures[0]] == [0, 1]
    assert len(read(tmp_path / "00000.jsonl.done").traces) == 6


def test_shards_without_prompts_or_wishes_are_closed_too(tmp_path: Path) -> None:
    parquet = Parquet()
    parts = [Shard(index=0, prompts=[]), Shard(index=1, prompts=[prompt("a", "none")])]
    assert go(Scripted(), parts, tmp_path, parquet) == Progress(shards=2)
    assert parquet.traces == {0: (), 1: ()}
    assert list(tmp_path.iterdir()) == []
    assert go(Scripted(), [], tmp_path, Parquet()) == Progress()


class WrongKey(Scripted):
    def outcome(self, prompt: Prompt, index: int) -> Trace | Failure:
        return Scripted(tag="other").trace(prompt, index)


def test_mistakes_of_the_program_are_loud(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has key other/0-0/0"):
        go(WrongKey(), shards(), tmp_path, Parquet())
    twice = [Shard(index=0, prompts=[prompt("a"), prompt("a")])]
    with pytest.raises(ValueError, match="twice"):
        go(Scripted(), twice, tmp_path, Parquet())


def test_two_journals_of_one_shard_are_not_guessed_at(tmp_path: Path) -> None:
    for name in ("00000.jsonl", "00000.jsonl.done"):
        (tmp_path / name).write_text("")
    with pytest.raises(DamagedError, match="append the one to the other"):
        go(Scripted(), shards(1), tmp_path, Parquet())


def test_a_close_that_fails_leaves_the_journal_open(tmp_path: Path) -> None:
    class FullDisk(Parquet):
        def close(self, shard: FinishedShard) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        go(Scripted(), shards(1), tmp_path, FullDisk())
    again = Scripted()
    go(again, shards(1), tmp_path, Parquet())
    assert again.asked == []


def test_damaged_journal_lines_are_counted_and_sampled_again(tmp_path: Path) -> None:
    teacher, again, parquet = Scripted(), Scripted(), Parquet()
    go(teacher, shards(1), tmp_path, Parquet())
    done = tmp_path / "00000.jsonl.done"
    lines = done.read_bytes().splitlines(keepends=True)
    done.write_bytes(b"".join([*lines[:3], b"???\n", *lines[4:-1], lines[-1][:20]]))
    end = go(again, shards(1), tmp_path, parquet)
    assert (end.damaged, end.reused, len(again.asked)) == (1, 6, 2)
    assert parquet.traces[0] == in_order(teacher, shards(1)[0])


class Slow(Scripted):
    """One trace, then a long wait."""

    def __init__(self, seconds: float, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self.seconds = seconds
        self.meanwhile = meanwhile

    async def sample(self, requests: Iterable[Request], shortfall: Shortfall) -> Outcomes:
        (request, *_) = requests
        yield self.trace(request.prompt, 0)
        await asyncio.sleep(self.seconds)
        self.meanwhile()


def test_traces_are_committed_while_the_teacher_is_waited_for(tmp_path: Path) -> None:
    found: list[Trace] = []
    teacher = Slow(1.2, lambda: found.extend(read(tmp_path / "00000.jsonl").traces))
    go(teacher, shards(1), tmp_path, Parquet())
    assert found == [teacher.trace(prompt("0-0"), 0)]


def test_a_disk_that_fails_ends_the_run_though_the_teacher_waits(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        go(Slow(60, lambda: None), shards(1), tmp_path / "file", Parquet())


def test_any_thread_may_run_it(tmp_path: Path) -> None:
    ends: list[Progress] = []
    thread = Thread(target=lambda: ends.append(go(Scripted(), shards(), tmp_path, Parquet())))
    thread.start()
    thread.join()
    assert [end.done for end in ends] == [24]


KILLED = """
import importlib.util, os, signal, sys, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("scripted", sys.argv[1])
test = importlib.util.module_from_spec(spec)
sys.modules["scripted"] = test
spec.loader.exec_module(test)

def progress(now):
    time.sleep(0.02)
    if now.done == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

test.go(test.Scripted(), test.shards(10, 10), Path(sys.argv[2]), test.Parquet(), progress=progress)
"""


def test_kill_9_costs_no_committed_sample(tmp_path: Path) -> None:
    """Killed after 90 samples at 20 ms: those older than the commit interval are kept."""
    code = [sys.executable, "-c", KILLED, __file__, str(tmp_path), "90"]
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run(code, cwd=root, env={"PYTHONPATH": str(root)}, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    kept = sum(len(read(path).traces) for path in tmp_path.glob("*.jsonl*"))
    assert 90 - 51 <= kept <= 90  # a second's worth is 50
    again, parquet = Scripted(), Parquet()
    end = go(again, shards(10, 10), tmp_path, parquet)
    assert len(again.asked) == 200 - kept and end.reused == kept
    assert all(parquet.traces[s.index] == in_order(again, s) for s in shards(10, 10))


class Sparing(Scripted):
    """Two firm samples and two spare ones, of which odd prompts need one."""

    def wanted(self, prompt: Prompt, samples: int) -> SampleBudget:
        return SampleBudget(2, 4)

    async def sample(self, requests: Iterable[Request], shortfall: Shortfall) -> Outcomes:
        for request in requests:
            for index in request.missing:
                if index < 2 + shortfall(request.prompt, request.have):
                    self.asked.append((request.prompt.id, index))
                    yield self.trace(request.prompt, index)
                else:
                    yield Skipped(prompt_id=request.prompt.id, index=index)


def odd(prompt: Prompt, traces: Sequence[Trace]) -> int:
    return int(prompt.id[-1]) % 2


def test_spare_samples_count_only_when_they_come(tmp_path: Path) -> None:
    parquet, again = Parquet(), Sparing()
    end = run_sparing(Sparing(), tmp_path, parquet)
    assert end == Progress(shards=3, wanted=30, done=30, completion_tokens=60)
    indices = [[t.index for t in parquet.traces[0] if t.prompt_id == f"0-{n}"] for n in range(4)]
    assert indices == [[0, 1], [0, 1, 2]] * 2
    before = dict(parquet.traces)
    end = run_sparing(again, tmp_path, parquet)
    assert again.asked == [] and (end.reused, end.wanted) == (30, 30) and parquet.traces == before


def run_sparing(teacher: Sparing, folder: Path, parquet: Parquet) -> Progress:
    return run(
        teacher,
        shards(),
        samples=2,
        folder=folder,
        have=parquet.have,
        close=parquet.close,
        shortfall=odd,
    )


def test_a_firm_sample_may_not_be_left_out(tmp_path: Path) -> None:
    class Lazy(Sparing):
        async def sample(self, requests: Iterable[Request], shortfall: Shortfall) -> Outcomes:
            for request in requests:
                yield Skipped(prompt_id=request.prompt.id, index=0)

    with pytest.raises(ValueError, match="wanted in any case"):
        run_sparing(Lazy(), tmp_path, Parquet())


def test_a_refusal_survives_a_crash_and_is_told(tmp_path: Path) -> None:
    told: list[Failure | None] = []

    class Refusing(Scripted):
        async def sample(self, requests: Iterable[Request], shortfall: Shortfall) -> Outcomes:
            for request in requests:
                told.append(request.refusal)
                for index in request.missing:
                    if request.prompt.id == "0-0":
                        yield Failure(
                            prompt_id="0-0", index=index, reason="r", detail="d", retryable=False
                        )
                    elif request.prompt.id == "0-2":
                        raise ConnectionError("the server is gone")
                    else:
                        yield self.trace(request.prompt, index)

    with pytest.raises(ConnectionError):
        go(Refusing(), shards(1), tmp_path, Parquet())
    told.clear()
    again, parquet = Scripted(), Parquet()
    end = go(again, shards(1), tmp_path, parquet)
    assert (end.done, end.failures, end.short) == (6, 2, 0) and ("0-0", 0) not in again.asked
    assert [(f.reason, f.detail, f.index) for f in parquet.failures[0]] == [
        ("r", "d", 0),
        ("r", "d", 1),
    ]
    with pytest.raises(ConnectionError):
        go(Refusing(), [Shard(index=5, prompts=[prompt("0-0"), prompt("0-2")])], tmp_path, parquet)
    go(Refusing(), shards(1)[:1], tmp_path, Parquet())
    assert any(one is not None and one.reason == "r" for one in told)


def test_what_is_too_much_for_memory_is_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "HELD_CHARACTERS", 10)
    parquet, teacher = Parquet(), Scripted(shuffle=3)  # all shards are open at once
    spilled: list[int] = []
    spill = ShardState.spill

    def watched(book: ShardState) -> None:
        spilled.append(book.index)
        spill(book)

    monkeypatch.setattr(ShardState, "spill", watched)
    end = go(teacher, shards(), tmp_path, parquet)
    assert len(spilled) > 3 and end.done == 24
    assert all(parquet.traces[s.index] == in_order(teacher, s) for s in shards())
