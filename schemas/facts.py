"""The parts of a manifest: strict, frozen groups of facts, plain values only.

In: what a build counted and wrote. Out: the sections of `manifest.json` (see `manifest.py`).
"""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from schemas.records import Stage

REJECTED_FOLDER = "rejected"


def _relative(path: str) -> str:
    """A POSIX path that stays inside the run."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or str(pure) != path:
        raise ValueError("must be a relative path inside the run, with forward slashes")
    return path


Kind = Literal["prompt", "trace", "summary"]
"""What a rejection is of."""
Count = Annotated[int, Field(ge=0)]
RunPath = Annotated[str, Field(min_length=1), AfterValidator(_relative)]


class Fact(BaseModel):
    """A strict, frozen group of facts."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, validate_by_name=True, allow_inf_nan=False
    )

    @field_validator("*")
    @classmethod
    def _is_unicode(cls, value: object) -> object:
        if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
            raise ValueError("holds a lone surrogate, which UTF-8 cannot carry")
        return value


def has_more(error: ValidationError) -> bool:
    """Whether what is not valid holds a fact that this version does not know."""
    return any(one["type"] == "extra_forbidden" for one in error.errors())


class SourceFacts(Fact):
    """A prompt source, and the rows and recorded traces read from it, before any is rejected.

    `traces` is 0 where the teacher uses no recorded traces.
    """

    label: str
    license: str
    fingerprint: str
    rows: Count
    traces: Count = 0


class Decontamination(Fact):
    """An evaluation set, its rows, and the prompts that were found in it."""

    label: str
    rows: Count
    exact: Count
    ngram: Count


class ModelFacts(Fact):
    """A model or a tokenizer and its revision."""

    name: str
    revision: str


class MeanFacts(Fact):
    """A mean over documents with its 95 % interval, which is None for fewer than 30 documents."""

    mean: float
    low: float | None
    high: float | None


class ControlFacts(Fact):
    """The path level of the first `documents` canvases and its two controls, in nats a token.

    `others` are canvases made of paths of other prompts, `repeated` canvases of one path repeated;
    None where undefined. `tells` says whether the scorer tells the two apart. If it does not, it
    could not see a dependence between paths, and its path level says nothing.
    """

    documents: Count
    canvases: MeanFacts | None
    others: MeanFacts | None
    repeated: MeanFacts | None
    tells: bool


class ScorerFacts(ModelFacts):
    """The model that measured SeqDep; `controls` is None where the recipe asks for none."""

    controls: ControlFacts | None = None


class TeacherFacts(ModelFacts):
    """What wrote the traces; None where a record does not say.

    `part` is the part of a long generation that became the trace: "full" or "after_think".
    """

    kind: str
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    part: str | None = None

    @property
    def is_record(self) -> bool:
        """Whether it hands out traces of the sources, whose models are named path by path."""
        return self.kind == self.name == self.revision == "recorded"


class PromptCounts(Fact):
    """`in` = `released` + `rejected`."""

    in_: Count = Field(validation_alias="in", serialization_alias="in")
    released: Count
    rejected: Count


class TraceCounts(Fact):
    """`in` = `kept` + `rejected`; kept traces stand on released canvases.

    `sampled` of those in were written for this corpus, the others were recorded in its sources.
    """

    in_: Count = Field(validation_alias="in", serialization_alias="in")
    kept: Count
    rejected: Count
    sampled: Count = 0


class Rejected(Fact):
    """Prompts or traces that one stage dropped for one reason."""

    stage: Annotated[Stage, Field(strict=False)]
    kind: Kind
    reason: str
    count: Annotated[int, Field(ge=1)]


class Dropped(Fact):
    """Canvases that a filter dropped for one reason."""

    reason: str
    count: Count


class FilterFacts(Fact):
    """A filter: its options as "key=value", what it learnt, what it saw and what it dropped."""

    kind: str
    options: tuple[str, ...]
    frozen: str
    seen: Count
    dropped: tuple[Dropped, ...]


class FileFacts(Fact):
    """A file of the run; `path` is relative to the run."""

    path: RunPath
    bytes: Count
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @property
    def is_rejections(self) -> bool:
        """Whether it is a Parquet file of what a stage dropped."""
        return self.path.startswith(f"{REJECTED_FOLDER}/") and self.path.endswith(".parquet")


class Shard(FileFacts):
    """A Parquet file of one stage over one shard: its rows, or what it dropped (`rejected/`)."""

    stage: Annotated[Stage, Field(strict=False)]
    index: Count
    rows: Count


class ReleaseFile(FileFacts):
    """A Parquet file of the released dataset."""

    split: Literal["train", "validation"]
    rows: Count


class EditionFacts(Fact):
    """What was added to a corpus at one time; `build` stands in the names of its files.

    `rows` were read, and `canvases` of them released; `shards` follow those of the edition before.
    """

    build: str = Field(pattern=r"^[0-9a-f]{8,12}$")
    shards: Count
    rows: Count
    canvases: Count


class Grades(Fact):
    """Paths by grade."""

    correct: Count = 0
    wrong: Count = 0
    unparsed: Count = 0
    timeout: Count = 0

    @property
    def total(self) -> int:
        """All paths."""
        return self.correct + self.wrong + self.unparsed + self.timeout


class TokenCounts(Fact):
    """Tokens on the released canvases under the widest tokenizer, without headers and fill."""

    paths: Count
    summaries: Count


class Package(Fact):
    """An installed package that shapes the result."""

    name: str
    version: str
