"""What this machine can do, in one screen: `polytrace doctor`.

In: facts about the machine (`examine` gathers them). Out: a text, or the same as JSON, and which
recipe fits, with the reason where one does not. No key is sent or shown.
"""

import asyncio
import json
import platform
import shutil
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from flows import capacity
from schemas.errors import PolytraceError, UserError
from schemas.paths import ROOT
from schemas.secrets import bare

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
LLADA_CONFIG = {  # of GSAI-ML/LLaDA-8B-Instruct: what its size follows from
    "model_type": "llada",
    "block_type": "llama",
    "activation_type": "silu",
    "layer_norm_type": "rms",
    "rope": True,
    "d_model": 4096,
    "n_layers": 32,
    "n_heads": 32,
    "n_kv_heads": 32,
    "mlp_hidden_size": 12288,
    "embedding_size": 126464,
    "max_sequence_length": 4096,
    "rope_theta": 500000.0,
    "rms_norm_eps": 1e-5,
    "weight_tying": False,
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

    `training` is what a device holds when LLaDA-8B is tuned, by how many there are; `corpus` is
    what the paper's corpus takes on the disk.
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
    training: dict[int, int]
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
    """The bundled recipes that differ in what they need."""
    small = _small(facts)
    served = _served(facts)
    lacks_disk = facts.disk < facts.corpus
    size = f"about {_size(facts.corpus)} of disk"
    full = served if not lacks_disk else f"{size}, {_size(facts.disk)} are free"
    return (
        Fit("demo", small is None, small or "the bundled teacher on the CPU, minutes"),
        Fit("miniature", small is None, small or "the same for hours; can be stopped"),
        Fit("gsm8k_vllm", served is None, served or _server(facts)),
        Fit("nap_103k", full is None, full or f"{_server(facts)}; {size}, and the hub"),
        Fit("train tiny", small is None, small or "minutes on the CPU"),
        _training(facts),
    )


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


def _training(facts: Facts) -> Fit:
    """LLaDA-8B with the paper's settings, sharded over the devices that there are."""
    if not facts.gpus:
        needs = [f"{_size(size)} on each of {n} GPUs" for n, size in facts.training.items()]
        return Fit("train llada_nap", False, "needs " + ", or ".join(needs))
    need, least = facts.training[len(facts.gpus)], min(gpu.memory for gpu in facts.gpus)
    each = f"{_size(need)} on each of {len(facts.gpus)} GPUs"
    if need > ROOM * least:
        return Fit("train llada_nap", False, f"needs {each}, here {_size(least)}")
    return Fit("train llada_nap", True, each)


def text(facts: Facts) -> str:
    """One screen: at most 24 lines of 80 columns."""
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
    for one in fits(facts):
        what = f"{one.recipe}: {'fits' if one.fits else 'no'}; {one.said}"
        found.append(_line("recipes" if one.recipe == "demo" else "", what))
    return "\n".join(found)


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
    """The facts of this machine; each endpoint is asked what it serves."""
    try:
        import torch

        from curation._launch import visible_gpus

        devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    except (ImportError, OSError) as error:
        raise PolytraceError(f"broken installation: torch cannot be loaded ({error})") from None
    gpus = tuple(Gpu(one.name, one.total_memory) for one in devices)
    weights = ROOT / "tiny" / "teacher" / "model.safetensors"
    return Facts(
        python=platform.python_version(),
        polytrace=_version("polytrace") or "from its folder",
        packages={name: _version(name) for name in (*NEEDED, "vllm")},
        cores=capacity.cores(),
        memory=capacity.memory(),
        disk=shutil.disk_usage(Path.cwd()).free,
        gpus=gpus,
        driver_gpus=len(visible_gpus()),
        teacher=weights.stat().st_size if weights.is_file() else None,
        has_hub_token=_has_hub_token(),
        prefect=_prefect(),
        endpoints=tuple(served(one) for one in endpoints),
        training=_training_bytes({*USUAL_GPUS, len(gpus)} - {0}),
        corpus=_corpus_bytes(),
    )


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


def _training_bytes(counts: set[int]) -> dict[int, int]:
    from diffusion.estimate import memory
    from flows.tuning import settings_of

    settings = settings_of("llada_nap", ())
    return {count: memory(LLADA_CONFIG, settings, count) for count in sorted(counts)}


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
