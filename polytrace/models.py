"""Masked-diffusion language models from Python: load, decode, train, evaluate."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from diffusion.decoding import Rule
    from diffusion.decoding.decode import Commit
    from diffusion.evaluation.answers import DecodedAnswer
    from diffusion.evaluation.arness import Arness
    from diffusion.evaluation.log_arness import LogArness
    from diffusion.evaluation.results import Result
    from diffusion.evaluation.settings import Part
    from diffusion.models.network.denoiser import Dlm
    from diffusion.training.training_log import TrainingSummary


def load_model(
    model: str,
    *,
    device: str | None = None,
    trust_remote_code: bool = False,
    base_model: str | None = None,
) -> "Dlm":
    """A masked-diffusion language model, ready to decode: LLaDA, Dream, any masked language model.

    Args:
        model: A local directory, an id on the Hugging Face hub, or a bundled one (`tiny/dlm`).
        device: cpu, cuda, cuda:1 … (default: an accelerator if there is one).
        trust_remote_code: Run code that comes with the model.
        base_model: What a LoRA adapter was trained on, if `model` is one and does not say so.

    Raises UserError where it cannot be had, its weights do not match, or it has no mask token.

    >>> model = load_model("tiny/dlm")
    >>> model.family, model.context
    ('dream', 1024)
    """
    from diffusion.evaluation.answers import load_decoder
    from diffusion.settings import ModelReference

    reference = ModelReference(
        path=model, trust_remote_code=trust_remote_code, base_model=base_model
    )
    return load_decoder(reference, device)


def decode(
    model: "Dlm",
    prompts: Sequence[str],
    rule: "str | Part | Rule" = "parallel_forced",
    *,
    steps: int = 0,
    form: Literal["canvas", "long_cot"] = "canvas",
    paths: int = 3,
    slot_tokens: int = 330,
    summary_tokens: int = 32,
    temperature: float = 0.0,
    seed: int = 0,
    top_p: float | None = None,
    top_k: int | None = None,
    tempered: bool = False,
    guidance: float = 0.0,
    suppress: Sequence[int | str] = (),
    defer: Sequence[int | str] = (),
    precision: Literal["float32", "bfloat16"] = "float32",
    batch: int = 32,
) -> "list[DecodedAnswer]":
    """Decode an answer to every prompt from masks alone, and keep the order in which it came.

    Of each answer, `texts` are its P paths and the summary (of the long-CoT form one text),
    `decoded.nfe` its forward passes, and `decoded.commits` every committed token: its step, its
    position (a column of the answer, headers counted), its confidence in [0, 1], its id, and the
    step at whose end it was taken back, None if it stayed.

    Args:
        model: From `load_model`.
        prompts: Put through the model's chat template, if it has one.
        rule: A kind of rule, `{"kind": …}` with its options, or a rule as an object.
        steps: Over how many steps a rule spreads its commits; rules that take as many as they need
            (`fast_dllm`, `entropy_threshold`) ignore it, for all others it is at least 1.
        form: `canvas`, or `long_cot` for one slot of as many masks.
        paths: P, the paths of a canvas.
        slot_tokens: Length of a path's slot, in the model's tokens.
        summary_tokens: Length of the summary's slot.
        temperature: 0 takes the likeliest token; else tokens are sampled, by `seed`.
        seed: What chance follows from; a prompt's place in the list is its name.
        top_p: Sample from the likeliest tokens whose probabilities reach it together.
        top_k: Sample from so many of the likeliest tokens.
        tempered: Confidences are those of the distribution that is sampled, as in Dream.
        guidance: Scale of classifier-free guidance; a second forward pass at every step.
        suppress: Tokens, or their ids, that are never predicted.
        defer: Tokens, or their ids, that come last.
        precision: Type of the computation.
        batch: Rows that are decoded at once.

    Raises UserError for an unknown rule or token, or where a row is longer than the model sees;
    ValueError where the rule needs `steps`, or a setting is out of range.

    >>> model = load_model("tiny/dlm")
    >>> [answer] = decode(model, ["What is 2 + 3?"], steps=39, slot_tokens=24, summary_tokens=12)
    >>> len(answer.texts), answer.decoded.nfe, len(answer.decoded.commits)
    (4, 39, 84)
    """
    from diffusion.data.layout import Form, encode_prompt, layout_of
    from diffusion.decoding.decode import Request
    from diffusion.decoding.sampling import Sampling
    from diffusion.evaluation.answers import answers
    from diffusion.evaluation.settings import RULES, part
    from diffusion.settings import Precision

    if isinstance(rule, str):
        rule = {"kind": rule}
    chosen: Rule = part(RULES, rule, "rule") if isinstance(rule, Mapping) else rule
    layout = layout_of(
        model.tokenizer,
        model.fill_id,
        form=Form(form),
        paths=paths,
        slot_tokens=slot_tokens,
        summary_tokens=summary_tokens,
    )
    requests = [
        Request(str(n), encode_prompt(model.tokenizer, text)) for n, text in enumerate(prompts)
    ]
    sampling = Sampling(
        temperature=temperature,
        seed=seed,
        top_p=top_p,
        top_k=top_k,
        tempered=tempered,
        guidance=guidance,
        suppress=tuple(suppress),
        defer=tuple(defer),
    )
    found: list[DecodedAnswer] = []
    for start in range(0, len(requests), batch):
        found += answers(
            model,
            layout,
            requests[start : start + batch],
            chosen,
            steps=steps,
            sampling=sampling,
            precision=Precision(precision),
            where="decode",
        )
    return found


def arness(commits: "Sequence[Commit]") -> "Arness | None":
    """How much an order of commits resembles left to right (Eqs. 2 and 3, Li et al. 2026).

    Of an answer's `decoded.commits`, or of some of them: Global-ARness@1 (`raw`), what chance would
    give (`chance`), `corrected` for it, and Local-ARness@1. None under two commits, or where all
    came in one step. Commits that were taken back do not count.

    >>> model, prompts = load_model("tiny/dlm"), ["What is 2 + 3?"]
    >>> [answer] = decode(model, prompts, "ar_order", steps=12, slot_tokens=24, summary_tokens=12)
    >>> arness(answer.decoded.commits).raw
    1.0
    """
    from diffusion.evaluation import arness as order

    stayed = [one for one in commits if one.taken_back is None]
    return order.arness([one.step for one in stayed], [one.position for one in stayed])


def arness_of_log(
    log: str | Path, *, mask_id: int | None = None, end_ids: Sequence[int] = ()
) -> "LogArness":
    """The ARness of the rows that any engine decoded, from a log of its commits or its states.

    Of all rows: `order` holds the means of Global-ARness@1 (`raw`), of chance, of `corrected` and
    of Local-ARness@1, with 95 % intervals (bootstrap over rows); `content` the same without the
    commits of `end_ids`. A position that was committed several times counts at its last commit.

    Args:
        log: Parquet or JSON Lines: a line a commit (row, step, position; also token and masks), a
            line a state (row, step, ids), or the rows that `evaluate` wrote.
        mask_id: The token of the mask, for a log of states.
        end_ids: Tokens that are no content: fill, padding, end of text.

    Raises UserError for a log that cannot be read, or in which no row has an order.

    >>> import json
    >>> with open("log.jsonl", "w") as log:
    ...     for at in range(8):
    ...         print(json.dumps({"row": 0, "step": at, "position": at}), file=log)
    >>> arness_of_log("log.jsonl").order.raw
    Interval(value=1.0, low=1.0, high=1.0)
    """
    from diffusion.evaluation import log_arness

    return log_arness.arness_of_log(Path(log), mask_id=mask_id, end_ids=end_ids)


def train(recipe: str | Path, *overrides: str, out: str | Path | None = None) -> "TrainingSummary":
    """Fine-tune a masked-diffusion language model on a corpus, in this process.

    The tuned model lies in `out/model`, the curves beside it. The same call goes on where it
    stopped. For several GPUs take the command `polytrace train` under `accelerate launch`.

    Args:
        recipe: A YAML file, or the name of a bundled recipe (`tiny_nap`, `llada_nap`, …).
        overrides: `key.sub=value`; `corpus=` is the run directory of `build`.
        out: The run directory (default: `runs/` and the recipe's name).

    Raises UserError for a mistake in the recipe or the corpus, StoppedError after SIGTERM, Ctrl-C
    or a full disk (the same call goes on).

    >>> summary = train("tiny_nap", "corpus=runs/demo", "epochs=1", "batch=8", out="runs/tuned")
    >>> summary.instances + sum(summary.refused.values()) == summary.rows
    True
    """
    from diffusion.training.train import fine_tune
    from flows.recipe_files import as_yaml, settings_of
    from support.files import lock, replace_text

    settings = settings_of(str(recipe), overrides)
    run = Path("runs") / settings.name if out is None else Path(out)
    with lock(run):
        summary = fine_tune(settings, run, say=partial(print, file=sys.stderr))
        replace_text(run / "recipe.yaml", as_yaml(settings))
    return summary


def evaluate(recipe: str | Path, *overrides: str, out: str | Path | None = None) -> "list[Result]":
    """Decode a benchmark with every system of a recipe, grade, and count.

    Of each system and number of steps: accuracy with its 95 % interval, ARness, tokens a step.
    Every decoded row lies in `out/cells`. The same call goes on where it stopped.

    Args:
        recipe: A YAML file, or the name of a bundled recipe (`tiny_base`, `paper_llada`, …).
        overrides: `key.sub=value`, as in `limit=100`.
        out: The run directory (default: `runs/` and the recipe's name).

    Raises UserError for a mistake in the recipe, DamagedError for rows that cannot be read.

    >>> results = evaluate("tiny_base", "limit=2", "steps=[39]", out="runs/evaluated")
    >>> results[0].count, 0 <= results[0].low <= results[0].accuracy <= results[0].high <= 1
    (2, True)
    """
    from diffusion.evaluation.evaluate import evaluate_cells
    from diffusion.evaluation.settings import Evaluation
    from flows.recipe_files import EVALUATIONS, as_yaml, find_recipe
    from support.files import lock, replace_text
    from support.yaml_file import load

    evaluation = load(find_recipe(str(recipe), EVALUATIONS), overrides, Evaluation)
    run = Path("runs") / evaluation.name if out is None else Path(out)
    with lock(run):
        replace_text(run / "recipe.yaml", as_yaml(evaluation))
        return evaluate_cells(evaluation, run, say=partial(print, file=sys.stderr))
