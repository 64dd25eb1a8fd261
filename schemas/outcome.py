"""The result of a build: the object that `polytrace build --json` prints."""

from pydantic import Field

from schemas.facts import Count, Fact, PromptCounts, TraceCounts


class Spending(Fact):
    """What a teacher and a judge have cost a run so far; `money` is None without a price.

    Of `uncounted` samples the server did not tell the tokens: each counts as `max_tokens`.
    """

    prompt_tokens: Count
    completion_tokens: Count
    judge_prompt_tokens: Count = 0
    judge_completion_tokens: Count = 0
    uncounted: Count = 0
    money: float | None = None


class Outcome(Fact):
    """The result of a build: its run directory, counts, and messages."""

    run_dir: str
    prompts: PromptCounts
    traces: TraceCounts
    canvases: Count
    seconds: float
    experiment: str | None = Field(
        default=None, description="Directory of the experiment that the release was handed to."
    )
    spent: Spending | None = Field(
        default=None,
        description="What teacher and judge cost, where the recipe has a price or a budget.",
    )
    said: tuple[str, ...] = Field(default=(), description="Sentences on what its figures can tell.")
    reused: bool = Field(default=False, description="Nothing had to be done.")
