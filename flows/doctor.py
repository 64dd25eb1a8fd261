"""What this machine can do, and which bundled recipes fit it: `polytrace doctor`.

In: facts about the machine (`examine` gathers them). Out: a text, or the same as JSON, and every
recipe with whether it fits and why. No key is sent or shown. PyTorch is loaded by a process of its
own (`_devices.py`), while this one looks at the rest.
"""

import asyncio
import json
import platform
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from flows import capacity
from schemas.errors import PolytraceError, UserError
from schemas.paths import ROOT
from schemas.secrets import bare

DEVICES = Path(__file__).with_name("_devices.py")
COMMANDS = ("build", "train", "evaluate", "finetune-eval")
NEEDED = ("torch", "transformers", "prefect", "datasets", "pyarrow")
SECONDS = 3.0  # that an endpoint has to answer
MOST_ENDPOINTS = 4  # that the screen shows
COLUMNS, LABEL = 80, 13
GB, GIB = 10**9, 1 << 30
USUAL_GPUS = (1, 8)
ROOM = 0.9  # of a device's memory: the rest is fragmentation, as in diffusion/estimate.py
DEMO_MEMORY, DEMO_DISK = 3 * GIB, GB
# Of a token: its text, in the journal, in five stages and in the release's four forms.
TOKEN_BYTES = 4 * 10
# What runs on the CPU with the bundled models, and what there is to know of each.
SMALL = {
    "demo": "the bundled teacher on the CPU, minutes",
    "miniature": "the same for hours; can be stopped",
    "gsm8k_recorded": "minutes on the CPU; set source.path",
    "recorded_traces": "minutes on the CPU; set source.path",
    "openr1_recorded": "on the CPU; reads the hub",
    "own": "set source.path, and teacher.path to a small model",
    "train tiny_nap": "minutes on the CPU",
    "train tiny_long_cot": "minutes on the CPU",
    "evaluate tiny_base": "minutes on the CPU",
    "evaluate tiny_smoke": "minutes on the CPU",
    "evaluate miniature": "hours on the CPU",
    "finetune-eval tiny": "minutes on the CPU",
    "finetune-eval miniature": "hours on the CPU",
}
# An evaluation or an experiment, and the training of the model that it names.
PAPER = {
    "evaluate paper_llada": "llada_nap",
    "evaluate paper_dream": "dream_nap",
    "finetune-eval llada": "llada_nap",
    "finetune-eval dream": "dream_nap",
}


class Gpu(NamedTuple):
    """A device of torch's; memory in bytes."""

    name: str
    memory: int


class Endpoint(NamedTuple):
    """A server: what it serves, or why that is not known."""

    url: str
    models: tuple[str, ...]
    problem: str | None = None


class Fit(NamedTuple):
    """Whether a recipe can be run here, and why not."""

    recipe: str
    fits: bool
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The machine; sizes in bytes. `packages` are versions, None where one is not installed.

    `training` is what a device holds when a recipe of `polytrace train` tunes a model of the hub,
    by recipe and by how many devices there are; `evaluation` is what one holds when that model is
    evaluated; `corpus` is what the paper's corpus takes on the disk.
    """

    python: str
    polytrace: str
    packages: dict[str, str | None]
    cores: int
    memory: int
    disk: int
    gpus: tuple[Gpu, ...]
    driver_gpus: int
    teacher: int | None
    has_hub_token: bool
    prefect: str
    endpoints: tuple[Endpoint, ...]
    training: dict[str, dict[int, int]]
    evaluation: dict[str, int]
    corpus: int


def broken(facts: Facts) -> str | None:
    """What is missing that nothing works without."""
    lacking = [name for name in NEEDED if facts.packages.get(name) is None]
    if lacking:
        return f"broken installation: {', '.join(lacking)} not installed; run make venv"
    if facts.teacher is None:
        return "broken installation: tiny/teacher holds no weights; check out the repository again"
    return None


def fits(facts: Facts) -> tuple[Fit, ...]:
    """Every bundled recipe: those of `build` by their names, others after their command."""
    small = _small(facts)
    served = _served(facts)
    lacks_disk = facts.disk < facts.corpus
    size = f"about {_size(facts.corpus)} of disk"
    full = served if not lacks_disk else f"{size}, {_size(facts.disk)} are free"
    large = (
        Fit("gsm8k_vllm", served is None, served or _server(facts)),
        Fit("nap_103k", full is None, full or f"{_server(facts)}; {size}, and the hub"),
        *(_training(facts, name) for name in facts.training),
        *(_paper(facts, name, training) for name, training in PAPER.items()),
    )
    all_ = (*(Fit(name, small is None, small or said) for name, said in SMALL.items()), *large)
    return tuple(sorted(all_, key=lambda one: COMMANDS.index(_command(one.recipe))))


def _command(recipe: str) -> str:
    """The command that takes a recipe; `build` is not written before its own."""
    return recipe.partition(" ")[0] if " " in recipe else "build"


def _small(facts: Facts) -> str | None:
    if facts.memory < DEMO_MEMORY:
        return f"needs {_size(DEMO_MEMORY)} of memory"
    return f"needs {_size(DEMO_DISK)} of disk" if facts.disk < DEMO_DISK else None


def _served(facts: Facts) -> str | None:
    """Why no teacher can be asked for traces; None where one can."""
    has_gpus = bool(facts.gpus) or facts.driver_gpus > 0
    if any(one.models for one in facts.endpoints):
        return None
    if has_gpus and facts.packages.get("vllm") is not None:
        return None
    if facts.endpoints:
        return "needs a server that answers (teacher.endpoints)"
    if has_gpus:
        return "needs vLLM (serve.python names an environment) or --endpoint URL"
    return "needs a server (try --endpoint URL), or GPUs and vLLM here"


def _server(facts: Facts) -> str:
    answering = sum(bool(one.models) for one in facts.endpoints)
    if answering:
        return f"{answering} server{'s' if answering > 1 else ''} would be asked"
    return "serve={} starts vLLM here"


def _training(facts: Facts, recipe: str) -> Fit:
    """A model of the hub with the paper's settings, sharded over the devices that there are."""
    name, sizes = f"train {recipe}", facts.training[recipe]
    if not facts.gpus:
        needs = [f"{_size(size)} on each of {n} GPUs" for n, size in sizes.items()]
        return Fit(name, False, "needs " + ", or ".join(needs))
    need, least = sizes[len(facts.gpus)], min(gpu.memory for gpu in facts.gpus)
    each = f"{_size(need)} on each of {len(facts.gpus)} GPUs"
    if need > ROOM * least:
        return Fit(name, False, f"needs {each}, here {_size(least)}")
    return Fit(name, True, each)


def _paper(facts: Facts, recipe: str, training: str) -> Fit:
    """An evaluation of what a training makes, or the experiment that does both."""
    if recipe.startswith("finetune-eval"):
        fit = _training(facts, training)
        said = f"as {fit.recipe}" if fit.fits else f"{fit.recipe} does not fit"
        return Fit(recipe, fit.fits, said)
    need = facts.evaluation[training]
    if max((gpu.memory for gpu in facts.gpus), default=0) * ROOM < need:
        return Fit(recipe, False, f"needs a GPU that holds {_size(need)} of weights")
    return Fit(recipe, True, f"{_size(need)} of weights on one GPU")


def text(facts: Facts) -> str:
    """About 30 lines of 80 columns; recipes of which the same is said share a line."""
    packages = ", ".join(f"{k} {v or 'not installed'}" for k, v in facts.packages.items())
    lines = [
        ("polytrace", f"{facts.polytrace}, Python {facts.python}"),
        ("packages", packages),
        (
            "machine",
            f"{facts.cores} cores, {_size(facts.memory)} of memory, {_size(facts.disk)} free here",
        ),
        ("GPUs", _gpus(facts)),
        (
            "tiny teacher",
            "missing" if facts.teacher is None else f"whole ({facts.teacher / 1e6:.1f} MB)",
        ),
        (
            "hub token",
            "yes" if facts.has_hub_token else "no (to publish, and for private or gated data)",
        ),
        ("prefect", facts.prefect),
        *(("endpoint", _endpoint(one)) for one in facts.endpoints[:MOST_ENDPOINTS]),
    ]
    if more := len(facts.endpoints[MOST_ENDPOINTS:]):
        lines.append(("endpoint", f"and {more} more"))
    found = [_line(*line) for line in lines]
    label = "recipes"
    for what in _recipes(fits(facts)):
        found.append(_line(label, what))
        label = ""
    return "\n".join(found)


def _recipes(found: Sequence[Fit]) -> Iterator[str]:
    """What is said of the recipes, in order; names of which the same is said stand together."""
    for (command, fit, said), alike in groupby(
        found, key=lambda one: (_command(one.recipe), one.fits, one.said)
    ):
        names = ", ".join(one.recipe.removeprefix(f"{command} ") for one in alike)
        lead = "" if command == "build" else f"{command} "
        yield f"{lead}{names}: {'fits' if fit else 'no'}; {said}"


def _line(label: str, value: str) -> str:
    return textwrap.fill(
        value,
        COLUMNS,
        initial_indent=f"{label:>{LABEL}}  ",
        subsequent_indent=" " * (LABEL + 2),
        max_lines=2,
        placeholder=" …",
    )


def _gpus(facts: Facts) -> str:
    if facts.gpus:
        kinds = Counter(facts.gpus).items()
        return ", ".join(f"{n} x {gpu.name}, {_size(gpu.memory)}" for gpu, n in kinds)
    if facts.driver_gpus:
        return f"{facts.driver_gpus}, but this torch is built for the CPU alone"
    return "none: models run on the CPU"


def _endpoint(one: Endpoint) -> str:
    said = one.problem or f"serves {', '.join(one.models) or 'no model'}"
    return f"{one.url}: {said}"


def _size(size: int) -> str:
    return f"{size / GB:,.0f} GB"


def as_json(facts: Facts) -> str:
    """The facts and what fits, as one object."""
    found: dict[str, Any] = asdict(facts)
    found["gpus"] = [gpu._asdict() for gpu in facts.gpus]
    found["endpoints"] = [one._asdict() for one in facts.endpoints]
    found["recipes"] = [one._asdict() for one in fits(facts)]
    return json.dumps(found, ensure_ascii=False)


def examine(endpoints: Sequence[str] = ()) -> Facts:
    """The facts of this machine; each endpoint is asked what it serves.

    Raises PolytraceError where PyTorch cannot be loaded.
    """
    with subprocess.Popen(
        (sys.executable, "-P", str(DEVICES)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as asked:
        prefect, has_hub_token = _prefect(), _has_hub_token()
        servers = tuple(served(one) for one in endpoints)
        gpus = _gpus_of(asked)
    from curation._launch import visible_gpus

    weights = ROOT / "tiny" / "teacher" / "model.safetensors"
    return Facts(
        python=platform.python_version(),
        polytrace=_version("polytrace") or "from its folder",
        packages={name: _version(name) for name in (*NEEDED, "vllm")},
        cores=capacity.cores(),
        memory=capacity.memory(),
        disk=shutil.disk_usage(Path.cwd()).free,
        gpus=gpus,
        driver_gpus=len(visible_gpus(otherwise=lambda: len(gpus))),
        teacher=weights.stat().st_size if weights.is_file() else None,
        has_hub_token=has_hub_token,
        prefect=prefect,
        endpoints=servers,
        training=_training_bytes({*USUAL_GPUS, len(gpus)} - {0}),
        evaluation=_evaluation_bytes(),
        corpus=_corpus_bytes(),
    )


def _gpus_of(asked: "subprocess.Popen[str]") -> tuple[Gpu, ...]:
    """The devices that the process of `_devices.py` tells of."""
    out, err = asked.communicate()
    if asked.returncode == 0:
        return tuple(Gpu(*one) for one in json.loads(out.splitlines()[-1]))
    last = (err.strip().splitlines() or [""])[-1]
    if asked.returncode < 0 or not last:
        last = f"torch cannot be loaded (its process ended with status {asked.returncode})"
    raise PolytraceError(f"broken installation: {last}")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _has_hub_token() -> bool:
    from huggingface_hub import get_token

    try:
        return get_token() is not None
    except Exception:  # of an exchange or a refresh of tokens: there is none to use
        return False


def _prefect() -> str:
    """Where the API is, by the variable or by Prefect's own settings; no user or password."""
    try:
        from prefect.settings import get_current_settings

        url = get_current_settings().api.url
    except ImportError:
        return "not installed"
    except (OSError, ValueError):  # a profile or a variable; what it says may hold a password
        return "its settings cannot be read; prefect config validate says more"
    return bare(url) if url else "embedded server, started for each build"


def _training_bytes(counts: set[int]) -> dict[str, dict[int, int]]:
    """For every bundled recipe that tunes a model of the hub."""
    from diffusion.memory import SHAPES, training
    from flows.tuning import RECIPES, settings_of

    found = {}
    for name in sorted(file.stem for file in RECIPES.glob("*.yaml")):
        settings = settings_of(name, ())
        if (shape := SHAPES.get(settings.model.path)) is not None:
            found[name] = {
                count: training(shape, settings, shape.parameters, 1, count).total
                for count in sorted(counts)
            }
    return found


def _evaluation_bytes() -> dict[str, int]:
    """The weights of the models that `PAPER` evaluates, by the recipe that tunes them."""
    from diffusion.memory import SHAPES, evaluation
    from flows.tuning import settings_of

    trainings = dict.fromkeys(PAPER.values())
    return {name: evaluation(SHAPES[settings_of(name, ()).model.path]) for name in trainings}


def _corpus_bytes() -> int:
    """What the run directory of nap_103k holds at most, its tokens counted by the recipe."""
    from schemas.recipe import load

    recipe = load(ROOT / "flows" / "recipes" / "nap_103k.yaml")
    (most,) = [one.options["most"] for one in recipe.filters if one.kind == "count"]
    tokens = recipe.paths * recipe.canvas.slot_tokens + recipe.canvas.summary_tokens
    return int(str(most)) * tokens * TOKEN_BYTES


def served(endpoint: str) -> Endpoint:
    """What a server lists as its models, or in a few words why it does not; no key is sent."""
    from curation.teachers._http import UnavailableError, address
    from curation.terminal import one_line, shorten

    try:
        url = address(endpoint)
    except UserError as error:  # may hold a key: what it holds is not shown
        return Endpoint("(not shown)", (), str(error).replace(endpoint, "this"))
    try:
        status, content = asyncio.run(asyncio.wait_for(_models(url), SECONDS))
        if status in (401, 403):
            return Endpoint(url, (), f"answers {status}; it wants a key (teacher.api_key_env)")
        if status != 200:
            return Endpoint(url, (), f"answers {status} to /models")
        names = [str(one["id"]) for one in json.loads(content)["data"]]
    except TimeoutError:
        return Endpoint(url, (), f"no answer within {SECONDS:g} s")
    except UnavailableError as error:
        return Endpoint(url, (), shorten(one_line(str(error)), 100))
    except (ValueError, LookupError, TypeError, RecursionError):
        return Endpoint(url, (), "answers, but lists no models; is it an OpenAI-compatible server?")
    return Endpoint(url, tuple(shorten(one_line(name), 60) for name in names[:9]))


async def _models(url: str) -> tuple[int, bytes]:
    import aiohttp

    from curation.teachers._http import Connection

    async with aiohttp.ClientSession(trust_env=False) as session:
        return await Connection(session, url).get(f"{url}/models")
