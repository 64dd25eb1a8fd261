"""What a build says at its end: the object that `polytrace build --json` prints."""

from pydantic import BaseModel, ConfigDict, Field


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class PromptCount(_Frozen):
    """Rows read = prompts released + prompts rejected."""

    read: int = Field(alias="in")
    released: int
    rejected: int


class TraceCount(_Frozen):
    """Traces had = traces on released canvases + traces rejected."""

    had: int = Field(alias="in")
    kept: int
    rejected: int


class Outcome(_Frozen):
    """The end of a build; `reasons` are the most frequent rejections, for people."""

    run_dir: str
    prompts: PromptCount
    traces: TraceCount
    canvases: int
    seconds: float
    reused: bool = Field(default=False, description="Nothing had to be done.")
