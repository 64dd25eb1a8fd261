"""The commands that decode and grade, and that print what came of it: `evaluate`, `tables`.

Imported when the command line starts, so that heavy packages are imported inside the command, as in
`cli.py`.
"""

from pathlib import Path
from typing import Annotated

import typer

RECIPES = Path(__file__).parent / "recipes" / "evaluate"


def evaluate(
    recipe: Annotated[str, typer.Argument(help="A YAML file, or the name of a bundled recipe.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in limit=100."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory (default: runs/NAME, the recipe's name).")
    ] = None,
) -> None:
    """Decode a benchmark with every system of a recipe, grade, and count.

    A system is a model (a directory or a hub id), a decoding rule (ar_order, confidence,
    random_order, blockwise, fast_dllm, parallel_forced) and a form: a canvas, of which the summary
    is scored, or one text. OUT/results.json holds accuracy with its 95 % interval, ARness and
    tokens a step; OUT/cells every decoded row with its commits. The same command goes on where it
    stopped. Bundled: tiny_base, tiny_smoke, tiny_demo, paper_dream, paper_llada, miniature.

    Examples: polytrace evaluate tiny_base --set limit=50 ·
    polytrace evaluate tiny_base --set benchmark.kind=gsm8k --set benchmark.path=test.jsonl
    """
    from diffusion.evaluate import evaluate as run_cells
    from diffusion.evaluation import Evaluation
    from flows.recipe_files import find_recipe
    from flows.signals import stop_at_once
    from flows.tuning import as_yaml
    from schemas.durable import lock, replace_text
    from schemas.yaml_file import load

    evaluation = load(find_recipe(recipe, RECIPES), set_ or (), Evaluation)
    run = out or Path("runs") / evaluation.name
    with lock(run):
        replace_text(run / "recipe.yaml", as_yaml(evaluation))
        stop_at_once()
        run_cells(evaluation, run, say=lambda text: typer.echo(text, err=True))
    typer.echo(f"results  {run}/results.json, {run}/results.parquet\nrows     {run}/cells")


def tables(
    runs: Annotated[list[Path], typer.Argument(help="Run directories of polytrace evaluate.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the page (default: tables, in the first run).")
    ] = None,
    seqdep: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="A report of polytrace seqdep-report: Figures 3, 7."),
    ] = None,
) -> None:
    """Print the paper's Tables 1 to 5 and Figures 1, 2, 3, 4 and 7 from what was evaluated.

    OUT/tables.md holds them, each accuracy with its 95 % interval and, where the model is the
    paper's, the paper's figure beside it; then each claim of the paper, tested pair by pair; then
    every cell as it is. Pictures are PNG and SVG. What was not evaluated stays empty there, and is
    not printed here.

    Examples: polytrace tables runs/tiny_base · polytrace tables runs/dream runs/llada --out page
    """
    from diffusion.tables_page import in_short, write_page

    page = write_page(runs, out or runs[0] / "tables", seqdep)
    typer.echo(f"{in_short(runs)}\n\npage     {page}")
