"""The `serve` section of a recipe: vLLM servers that a build starts and watches.

It also says which options of the servers shape what the teacher writes. An option that Polytrace
sets itself is an error, which says what to set instead.
"""

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from schemas.section import Section

# Options of vLLM's server that change what a model writes.
SHAPING_ARGS = (
    "chat-template",
    "dtype",
    "generation-config",
    "hf-overrides",
    "kv-cache-dtype",
    "load-format",
    "lora-modules",
    "override-generation-config",
    "quantization",
    "reasoning-parser",
    "revision",
    "speculative-config",
    "tokenizer",
    "tokenizer-revision",
)


def _as_words(value: object) -> object:
    """Options as text, because YAML reads the 4096 of `[--max-model-len, 4096]` as a number."""
    if not isinstance(value, list | tuple):
        return value
    return [str(v) if isinstance(v, int | float) and not isinstance(v, bool) else v for v in value]


# Options of vLLM's server that Polytrace sets, and what to set in the recipe instead.
_SERVER_OPTIONS = {
    "--model": "set serve.model",
    "--served-model-name": "the teacher's model name is taken; take it out",
    "--host": "set serve.host",
    "--port": "a free one is chosen; take it out",
    "--uds": "the server is spoken to over TCP; take it out",
    "--tensor-parallel-size": "set serve.gpus_per_server",
    "-tp": "set serve.gpus_per_server",
    "--api-key": "a recipe is published; set VLLM_API_KEY in the environment",
    "--hf-token": "a recipe is published; set HF_TOKEN in the environment",
    "--ssl-keyfile": "the server is spoken to over plain HTTP; take it out",
    "--ssl-certfile": "the server is spoken to over plain HTTP; take it out",
}


class Serve(Section):
    """vLLM servers that a build starts, watches, restarts and ends."""

    model: str | None = Field(
        default=None, description="Directory or hub id that is served (default: teacher.model)."
    )
    python: str | None = Field(
        default=None,
        description="Interpreter of the environment that holds vLLM (default: this one).",
    )
    servers: int | None = Field(
        default=None,
        ge=1,
        description="Servers (default: as many as the visible GPUs allow; one without a GPU).",
    )
    gpus_per_server: int = Field(
        default=1, ge=1, description="GPUs of one server (tensor parallel)."
    )
    args: Annotated[tuple[str, ...], BeforeValidator(_as_words)] = Field(
        default=(),
        description='More options of vLLM\'s server, such as ["--max-model-len", "4096"].',
    )
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to bind; any other than 127.0.0.1 opens the server to the network.",
    )
    start_seconds: float = Field(
        default=1800, gt=0, description="Longest wait until a server answers, in seconds."
    )
    restarts: int = Field(
        default=5,
        ge=0,
        description="How often in a row (less than an hour apart) a server is started again.",
    )

    def shaping_args(self) -> tuple[str, ...]:
        """The options in `args` that change what the model writes, with their values."""
        kept: list[str] = []
        is_kept = False
        for arg in self.args:
            if arg.startswith("--"):
                is_kept = arg.partition("=")[0].removeprefix("--").replace("_", "-") in SHAPING_ARGS
            if is_kept:
                kept.append(arg)
        return tuple(kept)

    @model_validator(mode="after")
    def _sets_none_of_ours(self) -> "Serve":
        for arg in self.args:
            name = arg.partition("=")[0].replace("_", "-")
            if name in _SERVER_OPTIONS:
                raise ValueError(f"args: {name} does not belong here: {_SERVER_OPTIONS[name]}")
        return self
