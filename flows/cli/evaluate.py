"""The command `polytrace evaluate`: decode a benchmark and grade the answers.

This module is imported when the command line starts, so the command imports heavy packages itself.
"""

from pathlib import Path
from typing import Annotated

import typer

from flows.recipe_files import EVALUATIONS, completion
from flows.trust import AllowAddress, Untrusted, on_command_line


def evaluate(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A YAML file, or the name of a bundled recipe.",
            autocompletion=completion(EVALUATIONS),
        ),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a recipe key, such as limit=100 or processes=4.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run directory (default: runs/NAME, with the name in the recipe)."),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Decode the I-th of N shares alone, one of several jobs."),
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Decode nothing: count what all shards have decoded.")
    ] = False,
    untrusted: Untrusted = False,
    allow_address: AllowAddress = None,
) -> None:
    """Decode a benchmark with every system of a recipe, grade the answers, and count.

    A system is a model (a directory or a Hub id), a decoding rule (ar_order, confidence,
    random_order, blockwise, fast_dllm, entropy_threshold, parallel_forced, prophet; p2 and remdm,
    which take tokens back) and a form: a canvas, of which the summary is scored, or one text.
    OUT/results.json holds accuracy with its 95 % interval, ARness and tokens a step. OUT/cells
    holds every decoded row with its commits. If the command is stopped, running it again continues
    where it stopped. The problems are shared by one process on each GPU, or by `processes`; jobs of
    a cluster take a --shard each, and --merge counts in the end. Bundled recipes: tiny_base,
    tiny_smoke, tiny_demo, paper_dream, paper_llada, miniature.

    Examples: polytrace evaluate tiny_base --set limit=50 ·
    polytrace evaluate tiny_base --set benchmark.kind=gsm8k --set benchmark.path=test.jsonl
    """
    from diffusion.evaluation.evaluate import evaluate_cells, evaluate_shard, merge_shards
    from diffusion.evaluation.settings import Evaluation
    from diffusion.evaluation.shards.plan import Shard
    from flows.recipe_files import as_yaml, find_recipe
    from support.errors import UserError
    from support.files import lock, replace_text
    from support.signals import stop_at_once
    from support.yaml_file import load

    checks = on_command_line(untrusted, allow_address)
    evaluation = load(find_recipe(recipe, EVALUATIONS), set_ or (), Evaluation)
    if checks is not None:
        checks.settings(evaluation, recipe)
    run = out or Path("runs") / evaluation.name
    share = None if shard is None else Shard.parse(shard)
    if share and merge:
        raise UserError("--shard and --merge: merge once all shards have ended; give one of them")

    def say(text: str) -> None:
        typer.echo(text, err=True)

    with lock(run, shared=share is not None):
        stop_at_once()
        if share is not None:
            evaluate_shard(evaluation, run, share, say=say)
            then = f"once all {share.shards} shards have ended: the same with --merge"
            typer.echo(f"rows     {run}/cells; {then}")
            return
        replace_text(run / "recipe.yaml", as_yaml(evaluation))
        if merge:
            merge_shards(evaluation, run)
        else:
            evaluate_cells(evaluation, run, say=say)
    typer.echo(f"results  {run}/results.json, {run}/results.parquet\nrows     {run}/cells")
