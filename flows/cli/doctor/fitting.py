"""Which bundled recipes fit a machine, and why others do not.

In: facts about the machine. Out: one `Fit` for every recipe of `polytrace build`, `train`,
`evaluate` and `finetune-eval`.
"""

from dataclasses import dataclass
from typing import NamedTuple

from support.plugins import Plugin

COMMANDS = ("build", "train", "evaluate", "finetune-eval")
GB, GIB = 10**9, 1 << 30
ROOM = 0.9  # of a device's memory: the rest is fragmentation, as in diffusion/training/estimate.py
DEMO_MEMORY, DEMO_DISK = 3 * GIB, GB
# What runs on the CPU with the bundled models, and what there is to know of each.
SMALL = {
    "demo": "the bundled teacher on the CPU, minutes",
    "miniature": "the same for hours; can be stopped",
    "choice_recorded": "a minute on the CPU",
    "code_recorded": "a minute on the CPU",
    "gsm8k_recorded": "CPU; set source.path",
    "gsm8k_real": "CPU; set source.path",
    "recorded_traces": "CPU; set source.path",
    "openr1_recorded": "on the CPU; reads the hub",
    "own": "set source.path, and teacher.path to a small model",
    "train tiny_nap": "CPU, minutes",
    "train tiny_long_cot": "CPU, minutes",
    "train miniature_nap": "CPU, minutes",
    "train miniature_long_cot": "CPU, minutes",
    "evaluate tiny_base": "CPU, minutes",
    "evaluate tiny_smoke": "CPU, minutes",
    "evaluate tiny_demo": "CPU, minutes",
    "evaluate miniature": "a day on the CPU",
    "finetune-eval tiny": "CPU, minutes",
    "finetune-eval tiny_demo": "CPU, minutes",
    "finetune-eval miniature": "a day on the CPU",
}
# Those whose weights only a clone of the repository holds (support/paths.py).
OF_CLONES = frozenset(
    {
        *("train miniature_nap", "train miniature_long_cot", "evaluate miniature"),
        *("finetune-eval miniature", "finetune-eval tiny_demo"),
    }
)
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
    """The machine; sizes in bytes. `packages` are versions, None if one is not installed.

    `training` is the memory that a device needs when a recipe of `polytrace train` trains a model
    of the Hub, by recipe and by the number of devices. `is_clone`: whether all bundled weights are
    here, which a wheel lacks in part. `evaluation` is the memory for evaluating
    that model. `corpus` is the disk space of the paper's corpus. `plugins`
    are parts of recipes that other packages have.
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
    is_clone: bool
    has_hub_token: bool
    prefect: str
    sandbox: str
    endpoints: tuple[Endpoint, ...]
    training: dict[str, dict[int, int]]
    evaluation: dict[str, int]
    corpus: int
    plugins: tuple[Plugin, ...] = ()


def fits(facts: Facts) -> tuple[Fit, ...]:
    """Every bundled recipe: those of `build` by their names, others after their command."""
    no_server = _served(facts)
    disk = f"about {size(facts.corpus)} of disk"
    full = f"{disk}, {size(facts.disk)} are free" if facts.disk < facts.corpus else no_server
    all_ = (
        *(_bundled(facts, name, note) for name, note in SMALL.items()),
        Fit("gsm8k_vllm", no_server is None, no_server or _server(facts)),
        Fit("nap_103k", full is None, full or f"{_server(facts)}; {disk}, and the hub"),
        *(_training(facts, name) for name in facts.training),
        *(_paper(facts, name, training) for name, training in PAPER.items()),
    )
    return tuple(sorted(all_, key=lambda one: COMMANDS.index(command(one.recipe))))


def command(recipe: str) -> str:
    """The command that takes a recipe; `build` is not written before its own."""
    return recipe.partition(" ")[0] if " " in recipe else "build"


def _bundled(facts: Facts, recipe: str, note: str) -> Fit:
    problem = _small(facts)
    if problem is None and recipe in OF_CLONES and not facts.is_clone:
        problem = "its weights are in a clone of the repository alone"
    return Fit(recipe, problem is None, problem or note)


def _small(facts: Facts) -> str | None:
    if facts.memory < DEMO_MEMORY:
        return f"needs {size(DEMO_MEMORY)} of memory"
    return f"needs {size(DEMO_DISK)} of disk" if facts.disk < DEMO_DISK else None


def _served(facts: Facts) -> str | None:
    """Why there is no server for a teacher; None if there is one or vLLM can be started."""
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
        needs = [_on(need, count) for count, need in sizes.items()]
        return Fit(name, False, "needs " + ", or ".join(needs))
    need, least = sizes[len(facts.gpus)], min(gpu.memory for gpu in facts.gpus)
    each = _on(need, len(facts.gpus))
    if need > ROOM * least:
        return Fit(name, False, f"needs {each}, here {size(least)}")
    return Fit(name, True, each)


def _paper(facts: Facts, recipe: str, training: str) -> Fit:
    """An evaluation of what a training makes, or the experiment that does both."""
    if recipe.startswith("finetune-eval"):
        fit = _training(facts, training)
        reason = f"as {fit.recipe}" if fit.fits else f"{fit.recipe} does not fit"
        return Fit(recipe, fit.fits, reason)
    need = facts.evaluation[training]
    if max((gpu.memory for gpu in facts.gpus), default=0) * ROOM < need:
        return Fit(recipe, False, f"needs a GPU that holds {size(need)} of weights")
    return Fit(recipe, True, f"{size(need)} of weights on one GPU")


def size(number: int) -> str:
    """A number of bytes in GB."""
    return f"{number / GB:,.0f} GB"


def _on(need: int, count: int) -> str:
    return f"{size(need)} on one GPU" if count == 1 else f"{size(need)} on each of {count} GPUs"
