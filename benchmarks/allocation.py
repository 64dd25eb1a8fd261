"""Samples where they pay: canvases a teacher's token, and whether the server stays as busy.

`python -m benchmarks.allocation`. Two teachers: the loopback server, whose pass rates are known and
follow Beta(0.5, 0.5) over prompts, a fifth of whose samples repeat another and a twentieth are cut
off; and the bundled model on problems it was not trained on. Twelve samples of every prompt are
drawn once; every rule is then replayed on them, because a sample's text depends on its own seed
alone. The fixed allocations choose paths for the same mix. `PER_ROUND` and the numbers of `give_up`
were chosen in a simulation, before any of these samples was drawn. Needs no GPU; about ten minutes.
"""

import json
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean as mean
from statistics import median
from typing import NamedTuple

from benchmarks.lines import Line, median_line, report
from curation.canvases import assembly, top_up
from curation.canvases.rules import Rules
from curation.canvases.token_counter import TokenCounter
from curation.context import Job
from curation.run_store import shards
from curation.stages import prompt_stage, shard_stages, trace_stage
from schemas import arrow
from schemas.recipe import Recipe, validate_recipe
from schemas.records import Draws, Grade, GradedTrace, Prompt, Stage
from tests.servers.loopback import Behaviour, Loopback

SEEDS = (1, 2, 3)
FIXED = (3, 6, 12)
MOST = 12
PER_ROUND = 1
PRIOR = (0.5, 0.5)  # of the served prompts' pass rates: a beta distribution
TEXTS = Behaviour(duplicate_share=0.2, length_share=0.05)
SERVED_PROMPTS, LOCAL_PROMPTS = 500, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """A wanted mix: [at least, at most] right paths of three, and when a prompt is given up."""

    name: str
    correct: tuple[int, int]
    give_up: int

    def samples(self, per_round: int, most: int, *, give_up: bool) -> dict[str, object]:
        """The recipe's key; with `per_round` = `most`, a fixed number of samples."""
        until = {"correct": list(self.correct), "give_up": self.give_up if give_up else None}
        return {"per_round": per_round, "most": most, "until": until}


MIXES = (
    Mix(name="mixed", correct=(1, 2), give_up=4),
    Mix(name="right", correct=(3, 3), give_up=1),
)


class Yield(NamedTuple):
    """What an allocation brought: canvases of the wanted mix, for so many samples and tokens.

    Then mean shares of right samples: over the prompts, in what was drawn and in the first round;
    over the released prompts, in all twelve samples; and of the released paths.
    """

    canvases: int
    samples: int
    tokens: int
    drawn_rate: float
    first_rate: float
    released_rate: float
    paths_rate: float

    @property
    def per_ktoken(self) -> float:
        """Canvases for 1,000 tokens of the teacher."""
        return 1000 * self.canvases / self.tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Prompts with twelve graded samples each, and a counter that knows their texts."""

    recipe: Recipe
    groups: Sequence[tuple[Prompt, Sequence[GradedTrace]]]
    counter: TokenCounter

    def replay(self, mix: Mix, samples: Mapping[str, object]) -> Yield:
        """What an allocation would have drawn and made."""
        changes = {"samples": samples, "groups": {"min_correct": mix.correct[0]}}
        rules = Rules.of(Recipe.model_validate(self.recipe.model_dump() | changes))
        assert rules.allocation is not None
        most, canvases, tokens, paths_right = rules.allocation.most, 0, 0, 0
        all_draws: list[Draws] = []
        released: list[float] = []
        for prompt, traces in self.groups:
            count = rules.allocation.per_round
            while more := top_up.next_round(traces[:count], rules, self.counter):
                count = min(most, count + more)
            canvas = assembly.assemble(prompt, traces[:count], rules, self.counter).canvas
            if canvas is not None:
                right = sum(path.grade is Grade.CORRECT for path in canvas.paths)
                if mix.correct[0] <= right <= mix.correct[1]:
                    canvases += 1
                    paths_right += right
                    released.append(mean(one.grade is Grade.CORRECT for one in traces))
            all_draws.append(rules.allocation.draws(traces[:count], (), is_refused=False))
            tokens += sum(one.trace.completion_tokens or 0 for one in traces[:count])
        return Yield(
            canvases=canvases,
            samples=sum(one.drawn for one in all_draws),
            tokens=tokens,
            drawn_rate=mean(one.correct / one.drawn for one in all_draws),
            first_rate=mean(one.first_round_correct / one.first_round_drawn for one in all_draws),
            released_rate=mean(released),
            paths_rate=paths_right / (3 * canvases),
        )


def main() -> None:
    """Measure and print."""
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Loopback(TEXTS) as server:
        for teacher in ("loopback", "bundled"):
            url = server.url if teacher == "loopback" else None
            corpora = [drawn(Path(folder) / f"{teacher}{seed}", seed, url) for seed in SEEDS]
            for mix in MIXES:
                lines += compared(teacher, corpora, mix)
                lines += biased(teacher, corpora, mix)
        for in_flight, prompts in ((64, 800), (512, 2_000)):
            lines.append(busy(server, Path(folder) / f"busy{in_flight}", in_flight, prompts))
    report("allocation", *lines)


def compared(teacher: str, corpora: Sequence[Corpus], mix: Mix) -> Iterator[Line]:
    """Rules in rounds against the best fixed number of samples, corpus by corpus."""
    fixed = {
        n: [one.replay(mix, mix.samples(n, n, give_up=False)) for one in corpora] for n in FIXED
    }
    best = max(FIXED, key=lambda n: median(found.per_ktoken for found in fixed[n]))
    said = ", ".join(f"n = {n}: {_said(found, corpora)}" for n, found in fixed.items())
    for per_round, give_up in ((PER_ROUND, True), (PER_ROUND, False), (2, True), (3, True)):
        samples = mix.samples(per_round, MOST, give_up=give_up)
        found = [one.replay(mix, samples) for one in corpora]
        pairs = zip(found, fixed[best], strict=True)
        rule = f"{per_round} a round" + (f", given up after {mix.give_up}" if give_up else "")
        is_chosen = (per_round, give_up) == (PER_ROUND, True)
        yield median_line(
            f"canvases_per_ktoken_vs_fixed_{teacher}_{mix.name}"
            + ("" if is_chosen else f"_{per_round}_a_round" + ("" if give_up else "_no_give_up")),
            [ours.per_ktoken / theirs.per_ktoken for ours, theirs in pairs],
            f"ratio to fixed n = {best}",
            digits=2,
            target=1.5 if is_chosen else None,
            baseline=f"{rule}: {_said(found, corpora)}; {said}",
        )


def biased(teacher: str, corpora: Sequence[Corpus], mix: Mix) -> Iterator[Line]:
    """What stopping early does to pass rates and to the released mix."""
    rules = {
        "rounds": mix.samples(PER_ROUND, MOST, give_up=True),
        "rounds_no_give_up": mix.samples(PER_ROUND, MOST, give_up=False),
        "fixed_6": mix.samples(6, 6, give_up=False),
    }
    true = mean(
        mean(one.grade is Grade.CORRECT for one in traces)
        for corpus in corpora
        for _, traces in corpus.groups
    )
    for name, samples in rules.items():
        found = [one.replay(mix, samples) for one in corpora]
        rates = {
            "over what was drawn": mean(one.drawn_rate for one in found),
            "over the first round": mean(one.first_rate for one in found),
            "of the released prompts, over twelve samples": mean(
                one.released_rate for one in found
            ),
            "of the released paths": mean(one.paths_rate for one in found),
        }
        yield median_line(
            f"pass_rate_over_drawn_less_true_{teacher}_{mix.name}_{name}",
            [one.drawn_rate - true for one in found],
            "difference of shares",
            better="lower",
            digits=3,
            baseline=f"all prompts, twelve samples {true:.3f}; "
            + ", ".join(f"{what} {rate:.3f}" for what, rate in rates.items()),
        )


def _said(found: Sequence[Yield], corpora: Sequence[Corpus]) -> str:
    prompts = sum(len(one.groups) for one in corpora)
    canvases, samples = sum(f.canvases for f in found), sum(f.samples for f in found)
    rate = median(one.per_ktoken for one in found)
    return f"{rate:.2f} ({canvases / prompts:.0%} of prompts, {samples / prompts:.1f} samples)"


def made_recipe(folder: Path, seed: int, url: str | None, samples: object, prompts: int) -> Recipe:
    """A recipe for one of the teachers; its prompts are written into `folder`."""
    folder.mkdir()
    rng = random.Random(seed)
    columns = {"prompt": "question", "gold": "answer"}
    teacher: dict[str, object] = {"kind": "transformers_local", "path": "tiny/teacher"}
    canvas, path = {"slot_tokens": 48, "summary_tokens": 12}, "tiny/prompts/test.jsonl"
    teacher["max_tokens"] = 72
    if url is not None:
        teacher = {"kind": "openai_server", "model": "loop", "endpoints": url, "seeds": True}
        canvas, path = {"slot_tokens": 400, "summary_tokens": 12}, str(folder / "prompts.jsonl")
        with Path(path).open("w") as file:
            for n in range(prompts):
                right = f"[gold {2 * n}] [right {rng.betavariate(*PRIOR):.3f}]"
                row = {"question": f"What is {n} + {n}? {right}", "answer": str(2 * n)}
                file.write(json.dumps(row) + "\n")
    return validate_recipe(
        {
            "name": "benchmark",
            "seed": seed,
            "samples": samples,
            "source": {"kind": "jsonl", "path": path, "columns": columns},
            "teacher": teacher,
            "canvas": canvas | {"tokenizer": "tiny/teacher"},
            "scorer": None,
        },
        "benchmark",
    )


def drawn(folder: Path, seed: int, url: str | None) -> Corpus:
    """Twelve samples of every prompt."""
    prompts = SERVED_PROMPTS if url else LOCAL_PROMPTS
    recipe = made_recipe(folder, seed, url, {"per_round": MOST, "most": MOST}, prompts)
    job = Job(recipe=recipe, run=folder / "run", limit=prompts, shown=False)
    source_index = prompt_stage.read_prompts(job)
    trace_stage.sample_traces(job, source_index)
    by_prompt: dict[str, list[GradedTrace]] = {}
    asked: list[Prompt] = []
    for index in range(source_index.shards):
        shard_stages.grade(job, index)
        asked += arrow.records(Prompt, shards.read(job.run, Stage.PROMPTS, index))
        for graded in arrow.records(GradedTrace, shards.read(job.run, Stage.GRADED, index)):
            by_prompt.setdefault(graded.trace.prompt_id, []).append(graded)
    groups = [(prompt, by_prompt[prompt.id]) for prompt in asked if prompt.id in by_prompt]
    texts = (text for group in groups for text in assembly.texts_to_count(*group, job.rules))
    corpus = Corpus(recipe=recipe, groups=groups, counter=job.counter.ahead(texts))
    job.close()
    return corpus


def busy(server: Loopback, folder: Path, in_flight: int, prompts: int) -> Line:
    """Tokens a second of rounds against six samples for all, while prompts are left to begin.

    At the end of a run, a few prompts wait for their last rounds one after another, whatever its
    length; a run of this size would be measured by that.
    """
    server.set(Behaviour(duplicate_share=0.2, length_share=0.05, latency_s=in_flight / 256))
    ways: dict[str, object] = {
        "rounds": MIXES[0].samples(2, MOST, give_up=True),
        "fixed": 6,
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    folder.mkdir()
    for turn in range(3):
        for name, samples in ways.items():
            count = prompts if name == "rounds" else prompts * 2 // 3  # about as many samples
            where = folder / f"{turn}{name}"
            recipe = made_recipe(where, turn, server.url, samples, count)
            options = {**recipe.teacher.model_dump(), "in_flight": in_flight, "top_up": 0}
            recipe = Recipe.model_validate(recipe.model_dump() | {"teacher": options})
            job = Job(recipe=recipe, run=where / "run", shown=False)
            job.check()
            source_index = prompt_stage.read_prompts(job)
            server.forget()
            trace_stage.sample_traces(job, source_index)
            job.close()
            if turn:  # the first loads what the others find loaded
                rates[name].append(_rate(server))
    ratios = [ours / theirs for ours, theirs in zip(rates["rounds"], rates["fixed"], strict=True)]
    said = f"{median(rates['rounds']):.0f} samples/s; fixed n = 6, {median(rates['fixed']):.0f}"
    return median_line(
        f"rounds_vs_fixed_samples_per_s_at_{in_flight}",
        ratios,
        "ratio of samples/s",
        digits=2,
        target=0.97,
        baseline=said,
    )


def _rate(server: Loopback) -> float:
    """Samples a second from the first request to the first of the last prompt."""
    served = server.served()
    begun: dict[str, float] = {}
    for one in served:
        begun.setdefault(one.prompt, one.arrived)
    start, end = min(begun.values()), max(begun.values())
    ended = sum(one.n for one in served if one.ended is not None and one.ended <= end)
    return ended / (end - start)


if __name__ == "__main__":
    main()
