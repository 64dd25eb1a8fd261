"""The facts of `polytrace doctor`, and their text and JSON.

`examine` gathers the facts of this machine; `fitting.py` says which bundled recipes fit it. No key
is sent or shown. A process of its own (`_devices.py`) loads PyTorch, while this one looks around.
"""

import asyncio
import json
import platform
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, groupby, repeat
from pathlib import Path
from typing import Any

from flows.cli.doctor.fitting import PAPER, Endpoint, Facts, Fit, Gpu, command, fits, size
from flows.cli.doctor.isolating import isolation_of_programs
from support import capacity
from support.errors import PolytraceError, UserError
from support.paths import OF_CHECKOUTS, ROOT
from support.plugins import Plugin, installed
from support.processes import DEVNULL, PIPE, Child
from support.redact import public_address

DEVICES = Path(__file__).with_name("_devices.py")
NEEDED = ("torch", "transformers", "prefect", "datasets", "pyarrow")
SECONDS = 3.0  # that an endpoint has to answer
MOST_ENDPOINTS = 4  # that the screen shows
COLUMNS, LABEL = 80, 13
USUAL_GPUS = (1, 8)
PLUGGABLE = (
    *(
        "curation.sources",
        "curation.teachers",
        "curation.graders",
        "curation.filters",
        "curation.exports",
        "diffusion.models",
    ),
    *("diffusion.decoding.rules", "diffusion.evaluation.benchmarks"),
)
# Of a token: its text, in the journal, in five stages and in the release's four forms.
TOKEN_BYTES = 4 * 10


def broken(facts: Facts) -> str | None:
    """What is missing although nothing works without it; None if nothing is."""
    lacking = [name for name in NEEDED if facts.packages.get(name) is None]
    if lacking:
        return f"broken installation: {', '.join(lacking)} not installed; run make venv"
    if facts.teacher is None:
        return "broken installation: tiny/teacher holds no weights; check out the repository again"
    return None


def text(facts: Facts) -> str:
    """About 30 lines of 80 columns; recipes with the same statement share a line."""
    packages = ", ".join(f"{k} {v or 'not installed'}" for k, v in facts.packages.items())
    lines = [
        ("polytrace", f"{facts.polytrace}, Python {facts.python}"),
        ("packages", packages),
        (
            "machine",
            f"{facts.cores} cores, {size(facts.memory)} of memory, {size(facts.disk)} free here",
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
        ("sandbox", facts.sandbox),
        ("prefect", facts.prefect),
        *(("endpoint", _endpoint(one)) for one in facts.endpoints[:MOST_ENDPOINTS]),
    ]
    if more := len(facts.endpoints[MOST_ENDPOINTS:]):
        lines.append(("endpoint", f"and {more} more"))
    lines += [("plug-in", _plugin(one)) for one in facts.plugins]
    labels = chain(["recipes"], repeat(""))
    lines += zip(labels, _recipes(fits(facts)), strict=False)
    return "\n".join(_line(*line) for line in lines)


def _plugin(one: Plugin) -> str:
    unused = "; not used, because Polytrace has one of this name" if one.is_hidden else ""
    return f"{one.family[:-1]} {one.kind} of {one.owner}{unused}"


def _recipes(recipes: Sequence[Fit]) -> Iterator[str]:
    """Statements about the recipes, in order, each with the names that it holds for."""
    for (first, fit, said), alike in groupby(
        recipes, key=lambda one: (command(one.recipe), one.fits, one.said)
    ):
        names = ", ".join(one.recipe.removeprefix(f"{first} ") for one in alike)
        lead = "" if first == "build" else f"{first} "
        yield f"{lead}{names}: {'fits' if fit else 'no'}; {said}"


def _line(label: str, value: str) -> str:
    return textwrap.fill(
        value,
        COLUMNS,
        initial_indent=f"{label:>{LABEL}}  ",
        subsequent_indent=" " * (LABEL + 2),
        max_lines=4 if label == "sandbox" else 2,  # its reason is a whole sentence
        placeholder=" …",
    )


def _gpus(facts: Facts) -> str:
    if facts.gpus:
        kinds = Counter(facts.gpus).items()
        return ", ".join(f"{n} x {gpu.name}, {size(gpu.memory)}" for gpu, n in kinds)
    if facts.driver_gpus:
        return f"{facts.driver_gpus}, but this torch is built for the CPU alone"
    return "none: models run on the CPU"


def _endpoint(one: Endpoint) -> str:
    state = one.problem or f"serves {', '.join(one.models) or 'no model'}"
    return f"{one.url}: {state}"


def as_json(facts: Facts) -> str:
    """The facts and what fits, as one object."""
    data: dict[str, Any] = asdict(facts)
    data["gpus"] = [gpu._asdict() for gpu in facts.gpus]
    data["plugins"] = [one._asdict() for one in facts.plugins]
    data["endpoints"] = [one._asdict() for one in facts.endpoints]
    data["recipes"] = [one._asdict() for one in fits(facts)]
    return json.dumps(data, ensure_ascii=False)


def examine(endpoints: Sequence[str] = ()) -> Facts:
    """The facts of this machine; each endpoint is asked what it serves.

    Raises PolytraceError if PyTorch cannot be loaded.
    """
    with Child[str](
        (sys.executable, "-P", str(DEVICES)),
        grace=0.0,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        text=True,
    ) as devices:
        prefect, has_hub_token = _prefect(), _has_hub_token()
        servers = tuple(served(one) for one in endpoints)
        evaluation, corpus = _evaluation_bytes(), _corpus_bytes()
        gpus = _gpus_of(devices)
    from curation.vllm_servers.launch import visible_gpus

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
        is_clone=all((ROOT / one).is_dir() or Path(one).is_dir() for one in OF_CHECKOUTS),
        has_hub_token=has_hub_token,
        sandbox=isolation_of_programs(),
        prefect=prefect,
        endpoints=servers,
        training=_training_bytes({*USUAL_GPUS, len(gpus)} - {0}),
        evaluation=evaluation,
        corpus=corpus,
        plugins=tuple(chain.from_iterable(map(installed, PLUGGABLE))),
    )


def _gpus_of(process: Child[str]) -> tuple[Gpu, ...]:
    """The devices that the process of `_devices.py` prints."""
    out, err = process.communicate()
    if process.returncode == 0:
        return tuple(Gpu(*one) for one in json.loads(out.splitlines()[-1]))
    last = (err.strip().splitlines() or [""])[-1]
    if process.returncode < 0 or not last:
        last = f"torch cannot be loaded (its process ended with status {process.returncode})"
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
    return public_address(url) if url else "embedded server, started for each build"


def _training_bytes(counts: set[int]) -> dict[str, dict[int, int]]:
    """Memory of a device, for every bundled recipe that trains a model of the Hub."""
    from diffusion.memory import SHAPES, training
    from flows.recipe_files import TRAININGS, settings_of

    sizes = {}
    for name in sorted(file.stem for file in TRAININGS.glob("*.yaml")):
        settings = settings_of(name, ())
        if (shape := SHAPES.get(settings.model.path)) is not None:
            sizes[name] = {
                count: training(shape, settings, shape.parameters, 1, count).total
                for count in sorted(counts)
            }
    return sizes


def _evaluation_bytes() -> dict[str, int]:
    """Memory of the models that `PAPER` evaluates, by the recipe that trains them."""
    from diffusion.memory import SHAPES, evaluation
    from flows.recipe_files import settings_of

    trainings = dict.fromkeys(PAPER.values())
    return {name: evaluation(SHAPES[settings_of(name, ()).model.path]) for name in trainings}


def _corpus_bytes() -> int:
    """What the run directory of nap_103k holds at most, its tokens counted by the recipe."""
    from schemas.recipe import load_recipe

    recipe = load_recipe(ROOT / "flows" / "recipes" / "nap_103k.yaml")
    (most,) = [one.options["most"] for one in recipe.filters if one.kind == "count"]
    tokens = recipe.paths * recipe.canvas.slot_tokens + recipe.canvas.summary_tokens
    return int(str(most)) * tokens * TOKEN_BYTES


def served(endpoint: str) -> Endpoint:
    """What a server lists as its models, or in a few words why it does not; no key is sent."""
    from curation.teachers.openai.client import UnavailableError, address
    from support.display.text import one_line, shorten

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

    from curation.teachers.openai.client import Connection

    async with aiohttp.ClientSession(trust_env=False) as session:
        return await Connection(session, url).get(f"{url}/models")
