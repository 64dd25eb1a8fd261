"""What a build says at its end: the object that `polytrace build --json` prints."""

from pydantic import Field

from schemas.facts import Count, Fact, PromptCounts, TraceCounts


class Outcome(Fact):
    """The end of a build: where it lies, and the sums that hold."""

    run_dir: str
    prompts: PromptCounts
    traces: TraceCounts
    canvases: Count
    seconds: float
    experiment: str | None = Field(
        default=None, description="Directory of the experiment that the release was handed to."
    )
    said: tuple[str, ...] = Field(default=(), description="Sentences on what its figures can tell.")
    reused: bool = Field(default=False, description="Nothing had to be done.")
