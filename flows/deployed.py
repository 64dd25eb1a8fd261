"""The flows that `prefect.yaml` deploys. They do what the command line does.

In: names of recipes and datasets, and other simple values, as a form in the Prefect UI asks for
them. Out: directories, and addresses of what was published. A build that has released a corpus
emits the event `polytrace.corpus.released`, which can start other deployments. A mistake of the
user fails the flow run with one sentence; `runtime/deployed_run.py` says how else a run ends.
"""

from pathlib import Path
from typing import Annotated, Any, cast

from prefect import flow, get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.blocks.system import Secret
from prefect.events import emit_event
from prefect.flows import FlowStateHook
from pydantic import Field, WithJsonSchema

from curation.inspect.few_correct import nothing_released
from curation.publish import fsspec_folder, hub
from curation.publish.plan import check_destination, locked_release
from flows.artifacts import key, or_warning, show_corpus, show_page
from flows.build import run_build, run_stages
from flows.page import REPORT
from flows.progress import show_in_ui
from flows.recipe_files import EXPERIMENTS, RECIPES, find_recipe, names_of
from flows.runtime.deployed_run import end_after_timeout, in_one_sentence, seconds_allowed
from flows.runtime.runners import THREADS
from flows.trust import in_deployment
from schemas.manifest import MANIFEST_FILE, Manifest
from schemas.recipe import load_recipe
from support.errors import NothingReleasedError, UserError
from support.files import replace_text

RELEASED = "polytrace.corpus.released"
ANNOUNCED = "announced"  # in the run: the build whose event was emitted
BLOCK_NAME = r"^[a-z0-9-]+$"  # Prefect's rule; no token of the Hub matches it
YAML_PATH = r"\.ya?ml$"
PLAIN_URL = r"^[a-z0-9+.-]+://[^@?#]+$"  # without credentials, because the server stores it
TIMEOUT = seconds_allowed()
ENDS: list[FlowStateHook[..., Any]] = [end_after_timeout]


def choice(folder: Path) -> WithJsonSchema:
    """What the form offers: a bundled recipe of a folder, or the path of a YAML file."""
    return WithJsonSchema(
        {
            "anyOf": [
                {"title": "Bundled", "type": "string", "enum": [*names_of(folder)]},
                {"title": "Path of a YAML file", "type": "string", "pattern": YAML_PATH},
            ]
        }
    )


@flow(name="build-recipe", task_runner=THREADS, timeout_seconds=TIMEOUT, on_failure=ENDS)
@in_one_sentence
def build(
    recipe: Annotated[str, choice(RECIPES)] = "demo",
    overrides: list[str] | None = None,
    out: str | None = None,
    limit: Annotated[int | None, Field(ge=1)] = None,
    price_per_million_tokens: Annotated[float | None, Field(ge=0)] = None,
) -> str:
    """Build a corpus from a recipe; the same run goes on where it stopped.

    Args:
        recipe: A bundled recipe (see flows/recipes), or the path of a YAML file.
        overrides: Keys to change, as in `teacher.endpoints=http://gpu1:8000/v1`. Programs, code of
            models, and foreign addresses, variables and folders are refused, unless the deployment
            says otherwise.
        out: The run directory; `runs/<name>` when not given.
        limit: Read at most this many rows of the sources.
        price_per_million_tokens: What a million tokens written by the teacher cost, in any
            currency; the artifact NAME-tokens then says what the corpus cost.
    """
    chosen = load_recipe(find_recipe(recipe, RECIPES), overrides or ())
    if (checks := in_deployment(recipe, overrides)) is not None:
        checks.recipe(chosen, recipe)
    run = Path(out) if out else Path("runs") / chosen.name
    progress = key(chosen.name, "progress")
    start = run_stages if chosen.task_runner == "threads" else run_build  # a cluster's own flow
    outcome = start(chosen, run, limit, lambda meter: show_in_ui(progress, meter))
    if not outcome.canvases:
        raise NothingReleasedError(nothing_released(run))
    show_corpus(run, outcome.seconds, price_per_million_tokens)
    _announce(run)
    return str(run)


def _announce(run: Path) -> None:
    """Emit the event of a release once; later, where an earlier flow died before it could."""
    manifest = Manifest.load(run / MANIFEST_FILE)
    mark = run / ANNOUNCED
    if mark.is_file() and mark.read_text(encoding="utf-8") == manifest.build:
        return
    emit_event(
        RELEASED,
        resource={
            "prefect.resource.id": f"polytrace.corpus.{manifest.name}",
            "prefect.resource.name": manifest.name,
        },
        payload={"run": str(run.resolve()), "build": manifest.build},
    )
    replace_text(mark, manifest.build)


@flow(name="finetune-eval-recipe", timeout_seconds=TIMEOUT, on_failure=ENDS)
@in_one_sentence
def finetune_eval(
    experiment: Annotated[str, choice(EXPERIMENTS)] = "tiny",
    corpus: str = "runs/demo",
    overrides: list[str] | None = None,
    accelerate_config: str | None = None,
) -> str:
    """Fine-tune on a corpus, evaluate, and write the paper's tables and a page.

    Args:
        experiment: A bundled experiment's name (see flows/recipes/experiments), or a YAML file.
        corpus: The run directory of a build.
        overrides: Keys to change.
        accelerate_config: An accelerate config file for the trainings (default: one process).
    """
    # They import PyTorch, for which the other flows need not wait.
    from flows.experiment import find_experiment
    from flows.finetune_eval import finetune_eval as start

    chosen = find_experiment(experiment, tuple(overrides or ()))
    if (checks := in_deployment(experiment, overrides)) is not None:
        checks.experiment(chosen, experiment)
    folder = start(chosen, corpus, None, accelerate_config)
    with or_warning("the tables"):
        create_markdown_artifact(
            key=key(chosen.name, "experiment"),
            markdown=(Path(folder) / "report.md").read_text(encoding="utf-8"),
            description=f"What {corpus} is worth",
        )
    show_page(Path(folder) / REPORT, key(chosen.name, "experiment-report"), "Tables and canvases")
    return folder


@flow(name="publish-recipe", timeout_seconds=TIMEOUT, on_failure=ENDS)
@in_one_sentence
def publish(
    run: str,
    repo: str | None = None,
    to: Annotated[str | None, Field(pattern=PLAIN_URL)] = None,
    public: bool = False,
    revision: str | None = None,
    token_block: Annotated[str | None, Field(pattern=BLOCK_NAME)] = None,
) -> str:
    """Publish a run's release on the Hugging Face Hub, or to a folder on S3; nothing twice.

    Args:
        run: The run directory of a build that released a corpus.
        repo: The dataset, ORG/NAME; made if it does not exist.
        to: In place of `repo`: a folder, as s3://BUCKET/PREFIX; credentials from the environment.
        public: Everybody may read the dataset; private when not set.
        revision: A tag for the commit, as v1; beside the recipe's digest.
        token_block: Name of a Prefect Secret block that holds the Hub's token; the worker's
            environment (HF_TOKEN) when not given. Never the token itself.
    """
    check_destination(repo, to, public=public, tag=revision, collection=None)
    say = get_run_logger().info
    if to is not None:
        address, what = fsspec_folder.publish(Path(run), to, say=say), "a copy of the release"
    else:
        token = _secret(token_block) if token_block else None
        there = hub.HubDestination(repo=str(repo), public=public, tag=revision)
        address = hub.publish(locked_release(Path(run), say), there, say=say, token=token).commit
        what = f"{repo} ({'public' if public else 'private'})"
    manifest = Manifest.load(Path(run) / MANIFEST_FILE)
    with or_warning("the address"):
        create_link_artifact(
            address,
            address,
            key=key(manifest.name, "published"),
            description=f"{what}: build {manifest.build}",
        )
    return address


def _secret(block: str) -> str:
    """The token in a Secret block of the server; it is written nowhere."""
    try:
        token = cast("Secret[Any]", Secret.load(block)).get()
    except ValueError:
        raise UserError(
            f"token_block {block!r}: no such Secret block; make one in the UI under Blocks"
        ) from None
    if not isinstance(token, str) or not token:
        raise UserError(f"token_block {block!r}: holds no text; write the token into it")
    return token
