"""The recipe: everything that determines a corpus. An unknown key is an error.

Sections that choose a part (`source`, `teacher`, `grader`, `filters`) hold `kind` and the options
of that part's `build`. The models also give the JSON schema of the form in Prefect's UI.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from schemas import former
from schemas.budget import Budget, Price
from schemas.canvas import MARKER
from schemas.precision import Precision
from schemas.release.section import Release
from schemas.release.statements import Statements
from schemas.samples import Rounds, Samples
from schemas.section import Section, shaping_options
from schemas.serve import Serve
from support import yaml_file

SUMMARY_PROMPT = """\
Several attempts at one problem; some may be wrong. The correct answer is {answer}.

Problem:
{problem}

{paths}

In at most 20 words, say what decides between the attempts, then end with: {closing}"""
# Keys of a recipe that shape no byte of the corpus (`serve` only in part: see `shaping`).
SHAPELESS = {"task_runner", "serve", "handoff", "price", "budget", "card"}


class Part(BaseModel):
    """`kind` and the options of that part's `build`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str

    @property
    def options(self) -> Mapping[str, object]:
        """Everything but `kind`."""
        return self.model_extra or {}


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str | Mapping) else value


Many = Annotated[tuple[Part, ...], BeforeValidator(_as_list), Field(min_length=1)]


class Summary(Section):
    """How the summary, which always ends in the gold answer, is written."""

    template: str = Field(
        default="The final answer is {answer}",
        description="Text of the summary; {answer} is the gold answer and must close it.",
    )
    by: Literal["template", "teacher"] = Field(
        default="template",
        description="Who writes it; a teacher's summary that does not end in the gold answer, or "
        "does not fit, is replaced by the template's.",
    )
    prompt: str = Field(
        default=SUMMARY_PROMPT,
        description="What the teacher is asked; {problem}, {paths}, {answer} and {closing} (the "
        "template's text) are filled in.",
    )
    attempts: int = Field(default=2, ge=1, le=100, description="Summaries asked for at most.")
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Tokens a reply may have, thinking included (default: canvas.summary_tokens).",
    )

    @model_validator(mode="after")
    def _ends_in_answer(self) -> "Summary":
        _, answer, tail = self.template.partition("{answer}")
        if not answer or any(c.isalnum() for c in tail):
            raise ValueError('must end in {answer}, as in "The final answer is {answer}"')
        if marker := MARKER.search(self.template):
            raise ValueError(f"template holds {marker[0]}, a marker of the canvas")
        if "{paths}" not in self.prompt or "{answer}" not in self.prompt:
            raise ValueError("prompt must hold {paths} and {answer}: a summary is of both")
        return self

    def text(self, answer: str) -> str:
        """The summary for a gold answer."""
        return self.template.replace("{answer}", answer)


class Groups(Section):
    """Which of a prompt's traces may stand together on a canvas."""

    min_correct: int = Field(default=1, ge=0, description="Least number of correct paths.")
    max_wrong: int | None = Field(
        default=None, ge=0, description="Most paths that may be not correct."
    )
    similarity: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="Two traces at least this similar are near-duplicates.",
    )

    def need_correct(self, paths: int) -> int:
        """Correct paths that both limits together ask for."""
        most_wrong = paths if self.max_wrong is None else min(self.max_wrong, paths)
        return max(self.min_correct, paths - most_wrong)


class CanvasSpec(Section):
    """Budgets in tokens, and the tokenizers in which they are counted (all must fit)."""

    slot_tokens: int = Field(default=330, ge=1)
    summary_tokens: int = Field(default=32, ge=1)
    tokenizer: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = ("tiny/teacher",)


class ScorerSpec(Section):
    """The autoregressive model that measures SeqDep."""

    path: str = "tiny/teacher"
    batch_tokens: int = Field(default=16384, ge=1, description="Tokens a forward pass may hold.")
    step_tokens: int = Field(default=64, ge=1, description="Longest step; a longer one is split.")
    window_tokens: int = Field(
        default=64, ge=1, description="Length of a window, the length control for steps."
    )
    prompt: Literal["chat", "raw"] = Field(
        default="chat",
        description="Prompts go through its chat template, if it has one, or are raw text.",
    )
    keep_part: bool = Field(
        default=False,
        description="Of what exceeds the scorer's context, score the part that fits and mark it "
        "(default: leave its scores empty).",
    )
    siblings: bool = Field(
        default=False,
        description="Measure every path given every other one; near-copies are named in the row.",
    )
    controls: int = Field(
        default=60,
        ge=0,
        description="Canvases at most on which the controls of the path level are measured: paths "
        "of other prompts, one path repeated (0: none; at least 30 say anything). It is one canvas "
        "in 20, and at least 30.",
    )
    devices: Annotated[tuple[str, ...] | None, BeforeValidator(_as_list)] = Field(
        default=None,
        description="Devices, each with a process of its own (default: every GPU, else the CPU).",
    )
    dtype: Precision | None = Field(
        default=None,
        description="The numbers it computes with (default: float32 on a CPU, else bfloat16).",
    )
    trust_remote_code: bool = False

    def shaping(self, *left_out: str) -> dict[str, Any]:
        """What shapes scores, as plain values; a dtype of null, as before that key, is nothing."""
        null = () if self.dtype else ("dtype",)
        return self.model_dump(mode="json", exclude={"devices", *null, *left_out})


class Recipe(Section):
    """A corpus, fully described."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = 0
    paths: int = Field(default=3, ge=1, le=64, description="P: traces on one canvas.")
    samples: Samples = Field(
        default=None,
        description="Traces sampled a prompt (default: paths), or rounds of samples until a "
        "group stands: per_round, most, until.",
    )
    shard_rows: int = Field(default=500, ge=1, description="Prompts in one shard.")
    source: Many
    decontaminate: Annotated[tuple[Part, ...], BeforeValidator(_as_list)] = ()
    teacher: Part
    grader: Part = Part(kind="math")
    serve: Serve | None = Field(
        default=None, description="Start the teacher's vLLM servers (default: they run already)."
    )
    price: Price | None = Field(default=None, description="What the teacher's tokens cost.")
    budget: Budget | None = Field(
        default=None, description="When sampling ends, with everything kept (default: never)."
    )
    summary: Summary = Summary()
    groups: Groups = Groups()
    canvas: CanvasSpec = CanvasSpec()
    scorer: ScorerSpec | None = ScorerSpec()
    filters: tuple[Part, ...] = ()
    release: Release = Release()
    card: Statements | None = Field(
        default=None,
        description="What the makers of the corpus state on its card: the teacher's license, "
        "intended use, where prompts come from, what the energy is estimated from.",
    )
    grow: bool = Field(
        default=False,
        description="Add what is new in the sources; what was released stays as it is.",
    )
    handoff: str | None = Field(
        default=None,
        description="Experiment that starts once a corpus is released: fine-tune, evaluate, print "
        "tables; a bundled name or a file.",
    )
    task_runner: Literal["threads", "dask", "ray"] = Field(
        default="threads",
        description="Who works on the shards: threads of this process, or a Dask or Ray cluster "
        "(POLYTRACE_DASK or POLYTRACE_RAY is its address; default: processes on this machine).",
    )

    @model_validator(mode="before")
    @classmethod
    def _under_todays_names(cls, data: object) -> object:
        return former.recipe(data) if isinstance(data, Mapping) else data

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if self.groups.min_correct > self.paths:
            raise ValueError(
                f"groups.min_correct is {self.groups.min_correct}, but paths is {self.paths}"
            )
        if isinstance(self.samples, int) and self.samples < self.paths:
            raise ValueError(f"samples is {self.samples}, fewer than paths ({self.paths})")
        if self.budget is not None and self.budget.money is not None and self.price is None:
            raise ValueError("budget.money: needs price.prompt and price.completion; set them")
        if isinstance(self.samples, Rounds) and (
            fault := self.samples.fault(
                self.paths, self.groups.need_correct(self.paths), self.groups.max_wrong
            )
        ):
            raise ValueError(fault)
        if self.grow and any(rule.kind == "count" for rule in self.filters):
            raise ValueError(
                "grow: a corpus that the filter count has filled cannot; leave one out"
            )
        return self

    def shaping(self) -> dict[str, Any]:
        """The fields that shape the corpus, as plain values; not those of where it is built."""
        facts = self.model_dump(mode="json", exclude=SHAPELESS)
        if self.serve is not None and (self.serve.model or self.serve.shaping_args()):
            facts["serve"] = {"model": self.serve.model, "args": self.serve.shaping_args()}
        del facts["grader"]
        if (grader := self.shaping_grader()) is not None:
            facts["grader"] = grader
        if self.scorer is not None:
            facts["scorer"] = self.scorer.shaping()
        facts["teacher"] = shaping_options(facts["teacher"], is_teacher=True)
        return facts

    def shaping_grader(self) -> dict[str, Any] | None:
        """The grader's options as plain values, but those that say how a server is reached.

        None for the grader of version 0.1, which stands in no digest of that version.
        """
        options = shaping_options(self.grader.model_dump(mode="json"))
        return None if options == {"kind": "math"} else options

    def digest(self) -> str:
        """A hash of every field that shapes the corpus."""
        return digest(former.recipe(self.shaping(), former.FORMER))


_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest(value: object) -> str:
    """16 hex digits over canonical JSON."""
    text = _CANONICAL.encode(value).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file with `key.sub=value` overrides; UserError says what is wrong."""
    return yaml_file.load(path, overrides, Recipe)


def validate_recipe(data: Mapping[str, object], where: str) -> Recipe:
    """A recipe from plain data; `where` names it in errors."""
    return yaml_file.validate(data, where, Recipe)
