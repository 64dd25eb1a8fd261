"""SeqDep with a real model on real documents: its cost against a forward pass, bfloat16's error.

`python -m benchmarks.real_scoring [DOCUMENTS]`: SmolLM2-135M-Instruct of `make real-model`, in
float32 and bfloat16 on the CPU. DOCUMENTS (2) canvases of GSM8K's recorded samples (path level;
steps and windows on their long-CoT form, as in a build) and as many solutions of MATH-500 (steps
and windows) are timed. Ways take turns in one process, and their processor time is compared. The
error of bfloat16 is that of 12 documents of each kind.

- `packed` is `measure`, from texts to figures, with tokenisation.
- `forward` is what no method can avoid: transformers' own model and attention over as many tokens
  as the packed rows hold (up to a document; seconds a token are compared), and the log-probability
  of every token of a text, for which the output head is applied to these rows alone, some at a
  time. Its rows are prompt and text of documents of the same kinds. A pass holds as many tokens as
  one of ours. Rows of similar length share a pass and are cut to the shortest of them, so that
  nothing is padded. Tokenisation is not counted.
- `separate` is what lm_eval does: a row for each segment behind all that precedes it, and a row for
  each segment behind the prompt; sorted by length, padded, and with the output head on the
  segment's rows alone. It takes long, so the shorter document of each kind is scored, twice.

A hook on the model's embeddings counts the tokens that each way computes, padding included. On two
cores the whole run takes about four minutes.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from statistics import fmean, median, stdev
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.lines import NO_DATA, SHARED, Line, absent, median_line, ratio_line, report
from benchmarks.turns import THREADS
from schemas.canvas import long_cot
from schemas.records import Level
from scorers.seqdep import measurement
from scorers.seqdep.causal_lm import Batch, Scorer
from scorers.seqdep.loader import load_scorer
from scorers.seqdep.measurement import Measured, ScoredInstance, SeqDepSettings, measure
from tools.real_model import FOLDER, MISSING, is_made
from tools.sequentiality.inputs import rows

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TIMED = 2  # documents of each kind
COMPARED = 12  # of each kind, for the error of bfloat16
RUNS, SEPARATE_RUNS = 3, 2
PASS = 4096  # tokens, as ours on a CPU
HEAD_ROWS = 256  # of the output head at a time
SETTINGS = SeqDepSettings()
LEVELS = (Level.PATH, Level.STEP)
COLUMNS = ("6b_finetuning", "6b_verification", "175b_finetuning")
_RATIOS = ("real_packed_vs_forward", "real_speedup_vs_separate")
_RATES = ("real_packed_tokens_per_s", "real_forward_tokens_per_s")
_ERRORS = ("sd", "max", "mean")


class Row(NamedTuple):
    """Token ids, of which those from `first` on are scored."""

    ids_T: tuple[int, ...]
    first: int


class Counted:
    """A scorer, and how many tokens its model has computed."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer, self.tokens = scorer, 0
        scorer.model.get_input_embeddings().register_forward_hook(self._count)

    def _count(self, _module: object, inputs: tuple[Tensor], _output: object) -> None:
        self.tokens += inputs[0].numel()

    def of(self, work: Callable[[], object]) -> int:
        """The tokens that `work` computes."""
        before = self.tokens
        work()
        return self.tokens - before


class Way(NamedTuple):
    """A way of doing the work with a scorer."""

    name: str
    counted: Counted
    work: Callable[[], object]


class Spent(NamedTuple):
    """Processor seconds of every run of a way, and the tokens that a run computes."""

    seconds: list[float]
    tokens: int


class Corpus(NamedTuple):
    """Canvases and solutions in random order."""

    canvases: list[ScoredInstance]
    solutions: list[ScoredInstance]

    def first(self, documents: int) -> list[ScoredInstance]:
        """The first documents of both kinds."""
        return self.canvases[:documents] + self.solutions[:documents]


def main() -> None:
    """Measure and print."""
    documents = int(sys.argv[1]) if len(sys.argv) > 1 else TIMED
    reason = MISSING if not is_made() else NO_DATA if not SHARED.is_dir() else None
    if reason is not None:
        report("real_scoring", *_absent(reason))
        return
    torch.set_num_threads(min(THREADS, torch.get_num_threads()))
    corpus = real_documents()
    scorers = {
        name: Counted(load_scorer(str(FOLDER), dtype=dtype)) for name, dtype in DTYPES.items()
    }
    report("real_scoring", *lines(scorers, corpus, documents, max(documents, COMPARED)))


def real_documents() -> Corpus:
    """GSM8K's problems with three recorded samples each, and MATH-500's with their solutions."""
    canvases = []
    for row in rows("gsm8k", SHARED):
        paths = tuple(str(row[column]["solution"]) for column in COLUMNS)
        summary = f"The answer is {row['ground_truth'].rsplit('A: ', 1)[1]}."
        canvases.append(
            ScoredInstance(
                prompt=row["question"],
                text=long_cot(paths, summary),
                paths=paths,
                summary=summary,
            )
        )
    return Corpus(
        canvases,
        [ScoredInstance(prompt=r["problem"], text=r["text"]) for r in rows("math500", SHARED)],
    )


def lines(
    scorers: Mapping[str, Counted], corpus: Corpus, documents: int, compared: int
) -> Iterator[Line]:
    """All lines: `documents` of each kind are timed, `compared` are scored in both types."""
    timed = corpus.first(documents)
    short = [min(kind[:documents], key=lambda one: len(one.text)) for kind in corpus]
    rounded = scorers["bfloat16"]  # it is the faster one, and counts the same tokens
    tokens = rounded.of(partial(measure, rounded.scorer, timed, SETTINGS))
    passes = forward_passes(rounded.scorer, corpus, tokens)
    pairs: list[Way] = []
    rare: list[Way] = []
    for name, counted in scorers.items():
        scorer = counted.scorer
        measure(scorer, short, SETTINGS)  # warm
        pairs += [
            Way(f"packed_{name}", counted, partial(measure, scorer, timed, SETTINGS)),
            Way(f"forward_{name}", counted, partial(plain_forward, scorer, passes)),
        ]
        rare += [
            Way(f"short_{name}", counted, partial(measure, scorer, short, SETTINGS)),
            Way(f"separate_{name}", counted, partial(separate, scorer, short)),
        ]
    spent = processor_seconds(pairs, RUNS) | processor_seconds(rare, SEPARATE_RUNS)
    for name in scorers:
        yield from _speed(name, spent)
    yield ratio_line(
        "real_bfloat16_speedup",
        spent["packed_float32"].seconds,
        spent["packed_bfloat16"].seconds,
        unit="ratio of processor seconds",
        baseline="packed in float32",
    )
    rest = corpus.first(compared)
    yield from errors(*(measure(scorers[name].scorer, rest, SETTINGS) for name in DTYPES))


def _speed(name: str, spent: Mapping[str, Spent]) -> Iterator[Line]:
    """The lines of one type."""
    unit = "ratio of processor seconds"
    packed, forward = spent[f"packed_{name}"], spent[f"forward_{name}"]
    yield ratio_line(
        f"{_RATIOS[0]}_{name}",
        [one / packed.tokens for one in packed.seconds],
        [one / forward.tokens for one in forward.seconds],
        unit=f"{unit} a token",
        better="lower",
        target=1.1,
        baseline=f"transformers' forward pass over {forward.tokens:,} tokens, with the "
        f"log-probabilities of texts, {median(forward.seconds):.1f} s; the packed rows hold "
        f"{packed.tokens:,}",
    )
    for line, way in zip(_RATES, (packed, forward), strict=True):
        rates = [way.tokens / one for one in way.seconds]
        yield median_line(f"{line}_{name}", rates, "tokens a processor second", digits=0)
    separately, short = spent[f"separate_{name}"], spent[f"short_{name}"]
    yield ratio_line(
        f"{_RATIOS[1]}_{name}",
        separately.seconds,
        short.seconds,
        unit=unit,
        baseline=f"two rows a segment, batched and padded: {separately.tokens:,} tokens where "
        f"packed rows hold {short.tokens:,}, {median(separately.seconds):.1f} s",
    )


def processor_seconds(ways: Sequence[Way], runs: int) -> dict[str, Spent]:
    """What every way takes; they take turns, and take turns in being first."""
    spent = {way.name: Spent([], 0) for way in ways}
    for number in range(runs):
        for name, counted, work in reversed(ways) if number % 2 else ways:
            began = time.process_time()
            tokens = counted.of(work)
            spent[name].seconds.append(time.process_time() - began)
            spent[name] = spent[name]._replace(tokens=tokens)
            print(f"{name} {spent[name].seconds[-1]:.2f} s", os.getloadavg()[0], file=sys.stderr)
    return spent


def forward_passes(scorer: Scorer, corpus: Corpus, tokens: int) -> list[list[Row]]:
    """Passes of rows of one length, of the first documents that give `tokens` tokens or more."""
    taken: list[Row] = []
    passes: list[list[Row]] = []
    for item in chain.from_iterable(zip(corpus.canvases, corpus.solutions, strict=False)):
        if sum(len(row.ids_T) for one in passes for row in one) >= tokens:
            break
        prompt_T = scorer.prompt_ids(item.prompt)
        taken.append(Row(prompt_T + scorer.encode(item.text).ids_T, len(prompt_T)))
        passes = _in_passes(taken)
    return passes


def _in_passes(taken: Iterable[Row]) -> list[list[Row]]:
    """The rows in passes of similar length, each cut to the shortest of its pass."""
    groups: list[list[Row]] = []
    for row in sorted(taken, key=lambda row: -len(row.ids_T)):
        if groups and (len(groups[-1]) + 1) * len(row.ids_T) <= PASS:
            groups[-1].append(row)
        else:
            groups.append([row])
    return [[Row(row.ids_T[: len(one[-1].ids_T)], row.first) for row in one] for one in groups]


@torch.inference_mode()
def plain_forward(scorer: Scorer, passes: Sequence[Sequence[Row]]) -> list[Tensor]:
    """Log-probabilities of the texts of all rows, with the model as transformers has it."""
    found = []
    for one in passes:
        ids_BT = torch.tensor([row.ids_T for row in one])
        is_text_BT = torch.zeros_like(ids_BT, dtype=torch.bool)
        for b, row in enumerate(one):
            is_text_BT[b, row.first - 1 : -1] = True  # a token is predicted by the one before it
        hidden_BTH = scorer.model.base_model(input_ids=ids_BT, use_cache=False).last_hidden_state
        head = scorer.model.get_output_embeddings()
        pairs = zip(
            hidden_BTH[is_text_BT].split(HEAD_ROWS),
            ids_BT.roll(-1, 1)[is_text_BT].split(HEAD_ROWS),
            strict=True,
        )
        found += [-cross_entropy(head(h).float(), ids, reduction="none") for h, ids in pairs]
    return found


def separate(scorer: Scorer, items: Sequence[ScoredInstance]) -> list[float]:
    """The gains of all segments that `measure` scores, in nats, from two rows for each."""
    asked: list[Row] = []
    for item in items:
        for document in measurement._parts(scorer, item, SETTINGS).documents():
            if document is None:
                continue
            x, response = document.prompt_T, document.response_T
            # Levels may share a segment.
            later = dict.fromkeys(s for each in document.segmentations for s in each[1:])
            for begin, first, end in later:
                asked.append(Row(x + response[:end], len(x) + first))
                asked.append(Row(x + response[begin:end], len(x) + first - begin))
    terms = [0.0] * len(asked)
    queue = sorted(range(len(asked)), key=lambda i: -len(asked[i].ids_T))
    while queue:
        size = max(1, PASS // len(asked[queue[0]].ids_T))
        taken, queue = queue[:size], queue[size:]
        sums = _padded_pass(scorer, [asked[i] for i in taken])
        for i, value in zip(taken, sums, strict=True):
            terms[i] = value
    return [a - b for a, b in zip(terms[::2], terms[1::2], strict=True)]


def _padded_pass(scorer: Scorer, taken: Sequence[Row]) -> list[float]:
    """The summed log-probability of each row's scored tokens, from one padded pass."""
    width = len(taken[0].ids_T)
    ids_BT = torch.tensor([row.ids_T + (0,) * (width - len(row.ids_T)) for row in taken])
    scored = [
        torch.arange(b * width + row.first, b * width + len(row.ids_T))
        for b, row in enumerate(taken)
    ]
    places_R = torch.cat(scored)
    log_probs_R = scorer.log_probs(
        Batch(ids_BT=ids_BT, rows_R=places_R - 1, targets_R=ids_BT.flatten()[places_R])
    )
    return [float(one.double().sum()) for one in log_probs_R.split([len(one) for one in scored])]


def errors(exact: Sequence[Measured], rounded: Sequence[Measured]) -> Iterator[Line]:
    """How far the figures of documents in bfloat16 lie from those in float32, nats a token."""
    for level in LEVELS:
        pairs = [
            (a.nats_per_token, b.nats_per_token)
            for a, b in zip(
                (getattr(one, level) for one in exact),
                (getattr(one, level) for one in rounded),
                strict=True,
            )
            if a is not None and a.nats_per_token is not None
        ]
        differences = [b - a for a, b in pairs]
        found = (stdev(differences), max(map(abs, differences)), abs(fmean(differences)))
        what = ("standard deviation over documents", "largest of a document", "of their mean")
        for name, value, said in zip(_ERRORS, found, what, strict=True):
            yield Line(
                name=f"real_bfloat16_error_{level}_{name}",
                value=round(value, 5),
                unit="nats a token",
                better="lower",
                baseline=f"{said}; {len(pairs)} documents, whose mean in float32 is "
                f"{fmean(a for a, _ in pairs):.3f}",
                n=len(pairs),
            )


def _absent(reason: str) -> Iterator[Line]:
    for name in DTYPES:
        yield from absent([f"{_RATIOS[0]}_{name}"], reason, lower=(f"{_RATIOS[0]}_{name}",))
        yield from absent([f"{one}_{name}" for one in (_RATIOS[1], *_RATES)], reason)
    yield from absent(["real_bfloat16_speedup"], reason)
    names = [f"real_bfloat16_error_{level}_{name}" for level in LEVELS for name in _ERRORS]
    yield from absent(names, reason, lower=names)


if __name__ == "__main__":
    main()
