"""One build: the recipe, the run directory, and the parts that the recipe names.

Parts are created when they are first used. Stages take a `Job`, which every process makes from
three plain values (recipe JSON, run directory, limit), so that a stage can run anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from curation import components
from curation.canvases.rules import Rules
from curation.canvases.token_counter import TokenCounter
from curation.components import FILTERS, GRADERS, SOURCES, part
from curation.filters import Filter
from curation.graders import Grader, KeepsReplies, check
from curation.sampling import journal
from curation.sampling.replies import Replies
from curation.sampling.spending import REPLIES, Allowance, judge_tokens_of_run, tokens_of_run
from curation.sources import Source
from curation.stage_progress import StageProgress
from curation.teachers import Teacher
from curation.teachers.openai.wire import UNSTATED, published_name
from curation.vllm_servers import servers
from curation.vllm_servers.servers import Servers
from schemas.recipe import Part, Recipe
from schemas.records import Stage
from support.errors import UserError
from support.paths import locate

if TYPE_CHECKING:  # torch is loaded only by the process that scores
    from scorers.seqdep.device_pool import Scorers


@dataclass(frozen=True)
class Job:
    """A recipe that is being built in a directory; `limit` caps the rows that are read.

    `shown`: whether progress is shown, which it is not in a cluster's worker.
    """

    recipe: Recipe
    run: Path
    limit: int | None = None
    shown: bool = True

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """The recipe's prompt sources, in order."""
        specs = self.recipe.source
        names = ["source"] if len(specs) == 1 else [f"source.{i}" for i in range(len(specs))]
        return _sources(specs, names)

    @cached_property
    def evaluation(self) -> tuple[Source, ...]:
        """The evaluation sets that the corpus must not contain."""
        names = [f"decontaminate.{i}" for i in range(len(self.recipe.decontaminate))]
        for spec, name in zip(self.recipe.decontaminate, names, strict=True):
            path = spec.options.get("path")
            local = isinstance(path, str) and "://" not in path
            if local and not Path(locate(str(path))).expanduser().exists():
                raise UserError(
                    f"{name}.path {path!r}: no such file or folder; set it, or build without "
                    "evaluation sets by --set decontaminate=[]"
                )
        return _sources(self.recipe.decontaminate, names)

    @cached_property
    def teacher(self) -> Teacher:
        """The recipe's teacher without the addresses of `serve:`, for keys and checks.

        `running_teacher` is the one that samples.
        """
        return components.teacher(self.recipe, (), self._drawn_revision)

    @cached_property
    def _drawn_revision(self) -> str:
        """The revision of the samples that the run holds of the teacher's model, if it has one.

        So a build that moves from `serve:` to an endpoint of the same model keeps its samples.
        """
        if (name := components.model(self.recipe)) is None:
            return ""
        trace = journal.last_of(self.run / Stage.TRACES, published_name(name))
        return "" if trace is None or trace.revision == UNSTATED else trace.revision

    @cached_property
    def summariser(self) -> Teacher:
        """The teacher as it writes summaries."""
        return components.summariser(self.recipe, (), self._drawn_revision)

    @cached_property
    def _servers(self) -> Servers | None:
        """The servers of `serve:`; `_addresses` starts them."""
        spec, name = self.recipe.serve, components.model(self.recipe)
        if spec is None or name is None:
            return None
        return Servers(spec, locate(spec.model or name), name, self.run / "serve")

    @cached_property
    def _addresses(self) -> tuple[str, ...]:
        return self._servers.start() if self._servers else ()

    def running_teacher(self, stage: Stage) -> Teacher:
        """The teacher of a stage that samples, with its servers running."""
        make = components.summariser if stage is Stage.SUMMARIES else components.teacher
        return make(self.recipe, self._addresses, self._drawn_revision)

    @cached_property
    def allowance(self) -> Allowance | None:
        """What the recipe's budget leaves to spend, earlier runs counted; None without a budget."""
        if (budget := self.recipe.budget) is None:
            return None
        judged = judge_tokens_of_run(self.run)
        return Allowance(budget, self.recipe.price, tokens_of_run(self.run), judged, self.run)

    @property
    def server_failure(self) -> str | None:
        """Why the servers of `serve:` will not be started again; None where they may be."""
        return self._servers.failure if self._servers else None

    @cached_property
    def counter(self) -> TokenCounter:
        """Token counts under the recipe's tokenizers."""
        return TokenCounter([locate(path) for path in self.recipe.canvas.tokenizer])

    @cached_property
    def rules(self) -> Rules:
        """What the traces of a prompt must satisfy to become a canvas."""
        return Rules.of(self.recipe)

    @cached_property
    def filters(self) -> tuple[Filter, ...]:
        """The recipe's filters, in order; `fit` lets them learn anew for every release."""
        specs = enumerate(self.recipe.filters)
        return tuple(part(FILTERS, spec, f"filters.{i}") for i, spec in specs)

    @cached_property
    def scorers(self) -> "Scorers | None":
        """The autoregressive scorer on its devices, if the recipe has one."""
        spec = self.recipe.scorer
        if spec is None:
            return None
        from scorers.seqdep.device_pool import ModelSpec, Scorers  # imports PyTorch

        model = ModelSpec(
            path=locate(spec.path),
            chat=spec.prompt == "chat",
            trust_remote_code=spec.trust_remote_code,
            dtype=spec.dtype or "",
        )
        return Scorers(model, spec.devices)

    @cached_property
    def bars(self) -> StageProgress:
        """Progress of the stages."""
        return StageProgress(shown=self.shown)

    @cached_property
    def grader(self) -> Grader:
        """The recipe's grader; one that keeps replies has them in the run directory."""
        grader: Grader = part(GRADERS, self.recipe.grader, "grader")
        check(grader)
        if isinstance(grader, KeepsReplies):
            grader.keep(self._replies)
        return grader

    @cached_property
    def _replies(self) -> Replies:
        return Replies(self.run / Stage.GRADED / REPLIES, self.allowance)

    def close(self) -> None:
        """Stop the servers, what the grader has started, and the progress bars."""
        self.bars.end(*Stage)
        if "_servers" in self.__dict__ and self._servers is not None:
            self._servers.close()
        if "grader" in self.__dict__:
            self.grader.close()
        if "_replies" in self.__dict__:
            self._replies.close()
        if (scorers := self.__dict__.get("scorers")) is not None:
            scorers.close()

    def check(self) -> None:
        """Make every part but scorer and servers, so that a mistake shows before any work."""
        _ = (self.sources, self.evaluation, self.teacher, self.counter, self.rules, self.filters)
        _ = self.grader
        components.check_teacher(self.recipe)
        components.check_price(self.recipe)
        components.check_traces(self.recipe, self.sources)
        components.check_labels(self.recipe, self.sources)
        for number, spec in enumerate(self.recipe.filters):
            if spec.kind != "seqdep":
                continue
            if self.recipe.scorer is None:
                raise UserError(
                    f"filters.{number}: seqdep needs a scorer; set scorer.path or take it out"
                )
            if self.recipe.paths == 1 and spec.options.get("level", "path") == "path":
                raise UserError(
                    f"filters.{number}: one path has no SeqDep at path level; set level=step"
                )

    def check_servers(self) -> None:
        """UserError where the servers of `serve:` cannot be started on this machine."""
        if self.recipe.serve is not None:
            servers.check_interpreter(self.recipe.serve)
            _ = self._servers  # their GPUs and addresses; nothing is started

    def check_scorer(self) -> None:
        """UserError where the scorer cannot be loaded. Takes seconds: PyTorch and the weights."""
        _ = self.scorers


def _sources(specs: Sequence[Part], names: Sequence[str]) -> tuple[Source, ...]:
    """The sources of recipe sections; UserError where two have one label: counts are kept by it."""
    sources: tuple[Source, ...] = tuple(map(partial(part, SOURCES), specs, names))
    labels: set[str] = set()
    for name, source in zip(names, sources, strict=True):
        if source.label in labels:
            raise UserError(
                f"{name}.label: {source.label!r} is the label of another source; "
                f"give each a label of its own"
            )
        labels.add(source.label)
    return sources
