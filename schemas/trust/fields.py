"""Every field of a recipe that an untrusted recipe may not set freely, and why: the only list.

A row holds the last names of a field's dotted place, without numbers: `model.path` is also
`systems.0.model.path`. The first row that fits counts. A field that fits no row can neither start a
program, nor reach an address, nor read a file; `tests/schemas/test_trust.py` compares the list with
all fields that there are.
"""

from dataclasses import dataclass
from enum import StrEnum


class Check(StrEnum):
    """How the values of a field are checked."""

    OFF = "off"  # nothing but false or null is allowed
    ONLY = "only"  # one of some values
    OPTIONS = "options"  # options of vLLM's server
    LOOPBACK = "loopback"  # an address of this machine
    ADDRESSES = "addresses"  # servers
    VARIABLE = "variable"  # an environment variable, whose value is sent to `endpoints` beside it
    FILES = "files"  # a file or a folder of this machine, or a URL
    MODEL = "model"  # a directory of this machine, or a model on the Hub
    CORPUS = "corpus"  # files, or hub:NAME
    SERIES = "series"  # a corpus, or NAME=CORPUS
    DATASET = "dataset"  # a dataset on the Hub


@dataclass(frozen=True, slots=True)
class Guarded:
    """A field, its check, what it could do, and what to do instead."""

    place: str
    check: Check
    why: str
    instead: str = "take it out"
    only: tuple[str, ...] = ()


_READS = "reads what is there"
_ROWS = (
    Guarded("serve.python", Check.OFF, "starts this program"),
    Guarded("serve.args", Check.OPTIONS, "can load code, read files and open ports"),
    Guarded("serve.host", Check.LOOPBACK, "opens the server to the network"),
    Guarded("trust_remote_code", Check.OFF, "runs code that comes with a model"),
    Guarded("allow_weak_sandbox", Check.OFF, "runs programs of the teacher without a full sandbox"),
    Guarded("api_key_env", Check.VARIABLE, "sends this environment variable to a server"),
    Guarded("endpoints", Check.ADDRESSES, "sends prompts to this address"),
    Guarded(
        "task_runner",
        Check.ONLY,
        "opens ports through which a cluster takes code",
        only=("threads",),
    ),
    Guarded("trackers", Check.ONLY, "sends curves to another server", only=("tensorboard",)),
    Guarded("serve.model", Check.MODEL, _READS),
    Guarded("scorer.path", Check.MODEL, _READS),
    Guarded("model.path", Check.MODEL, _READS),
    Guarded("base_model", Check.MODEL, _READS),
    Guarded("seqdep.model", Check.MODEL, _READS),
    Guarded("canvas.tokenizer", Check.MODEL, _READS),
    Guarded("corpus", Check.CORPUS, _READS),
    Guarded("seqdep.web", Check.CORPUS, _READS),
    Guarded("seqdep.long_cot", Check.SERIES, _READS),
    Guarded("repo", Check.DATASET, _READS),
    Guarded("path", Check.FILES, _READS),
    Guarded("handoff", Check.FILES, "names an experiment, which is checked as well"),
    Guarded("short_for", Check.FILES, "names an experiment"),
    Guarded("recipe", Check.FILES, "names a recipe, which is checked as well"),
)
_BY_PLACE = {row.place: row for row in _ROWS}

FREE = ("extra",)
"""Fields below which nothing is checked: they are sent to a server as they are."""

FAMILIES = {
    "source": "curation.sources",
    "decontaminate": "curation.sources",
    "teacher": "curation.teachers",
    "top_up": "curation.teachers",
    "grader": "curation.graders",
    "graders": "curation.graders",
    "filters": "curation.filters",
    "benchmark": "diffusion.evaluation.benchmarks",
    "rule": "diffusion.decoding.rules",
}
"""Fields whose `kind` chooses a part. A part of another package has options that nobody knows."""

FROM_HUB = ("gsm8k", "openr1_math", "math500", "gpqa")
"""Kinds that are fetched from the Hub where they have no `path`."""

KEYS: dict[str, tuple[str, ...]] = {
    "OPENAI_API_KEY": ("https://api.openai.com",),
    "HF_TOKEN": ("https://huggingface.co", "https://router.huggingface.co"),
    "VLLM_API_KEY": (),
    "TEACHER_KEY": (),
    "JUDGE_KEY": (),
}
"""The variables that `api_key_env` may name, and the only servers that get each.

Those without a server of their own may go to every address that is allowed.
"""

SERVER_OPTIONS = {
    **dict.fromkeys(
        (
            *("max-model-len", "max-num-seqs", "max-num-batched-tokens", "block-size", "seed"),
            *("gpu-memory-utilization", "swap-space", "cpu-offload-gb"),
            *("dtype", "kv-cache-dtype", "quantization", "max-logprobs"),
        ),
        True,
    ),
    **dict.fromkeys(("enforce-eager", "enable-prefix-caching", "enable-chunked-prefill"), False),
}
"""Options of vLLM's server that only change how it computes, and whether each has a value."""


def guarded(place: tuple[str, ...]) -> Guarded | None:
    """The row for a field, by the names on the way to it."""
    for row in (".".join(place[-2:]), place[-1]):
        if row in _BY_PLACE:
            return _BY_PLACE[row]
    return None
