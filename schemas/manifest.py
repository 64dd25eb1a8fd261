"""The manifest of a run: every file with its sha256, and every count.

It is written last, so a run that has a manifest is complete. The same recipe and traces give the
same bytes: it holds no time and no path of a machine. The file ends in a checksum of itself, which
detects any changed byte.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from schemas import former
from schemas.arrow import SCHEMA_VERSION
from schemas.facts import (
    Count,
    Decontamination,
    EditionFacts,
    Fact,
    FileFacts,
    FilterFacts,
    Grades,
    ModelFacts,
    Package,
    PromptCounts,
    Rejected,
    ReleaseFile,
    ScorerFacts,
    Shard,
    SourceFacts,
    TeacherFacts,
    TokenCounts,
    TraceCounts,
    has_more,
)
from schemas.records import Stage
from support.display.invalid_values import describe
from support.errors import DamagedError, NewerError, UserError
from support.files import replace_text

MANIFEST_FILE = "manifest.json"
RECIPE_FILE = "recipe.yaml"
UNFINISHED_FILE = "recipe.unfinished.yaml"  # of a second build, until it has ended
RELEASE_FOLDER = "release"
_REMEDY = "delete the file and run the same polytrace build again"


class Manifest(Fact):
    """All facts of a run. `files` names what is neither a shard nor a release file.

    `masks` = `paths` * `slot_tokens` + `summary_tokens` (METHOD section 1), without the
    `header_tokens`. `grader` is the kind that graded the traces. `build` hashes all that the
    release was made of; a released file has the build id of its edition in its name.
    """

    schema_version: int = SCHEMA_VERSION
    polytrace: str
    name: str
    recipe_digest: str = Field(pattern=r"^[0-9a-f]{16}$")
    build: str = Field(pattern=r"^[0-9a-f]{8,12}$")
    notice: str | None = None
    sources: tuple[SourceFacts, ...]
    decontamination: tuple[Decontamination, ...] = ()
    teacher: TeacherFacts
    grader: str = "math"
    scorer: ScorerFacts | None = None
    tokenizers: tuple[ModelFacts, ...]
    paths: Annotated[int, Field(ge=1)]
    slot_tokens: Annotated[int, Field(ge=1)]
    summary_tokens: Annotated[int, Field(ge=1)]
    masks: Count
    header_tokens: Count
    prompts: PromptCounts
    traces: TraceCounts
    canvases: Count
    rejected: tuple[Rejected, ...] = ()
    filters: tuple[FilterFacts, ...] = ()
    grades: Grades
    tokens: TokenCounts
    shards: tuple[Shard, ...] = ()
    editions: tuple[EditionFacts, ...] = ()
    release: tuple[ReleaseFile, ...] = ()
    files: tuple[FileFacts, ...] = ()
    packages: tuple[Package, ...] = ()

    def named(self) -> Iterator[FileFacts]:
        """Every file that the manifest names, with its sha256."""
        yield from self.shards
        yield from self.release
        yield from self.files

    def files_of(self, build: str) -> tuple[ReleaseFile, ...]:
        """The released files of an edition."""
        return tuple(file for file in self.release if f"-{build}-" in file.path)

    def rejections(self) -> Iterator[FileFacts]:
        """The files of every stage's rejected prompts and traces."""
        return (file for file in self.named() if file.is_rejections)

    def check(self) -> list[str]:
        """What is inconsistent, one line each: sums that do not hold, files named twice."""
        problems = []
        for name, left, parts in self._equations():
            if left != sum(parts.values()):
                right = " + ".join(f"{value} {part}" for part, value in parts.items())
                problems.append(f"{name} are {left}, but {right}")
        times = Counter(file.path for file in self.named())
        problems += [f"{path} is named {n} times" for path, n in sorted(times.items()) if n > 1]
        return problems

    def _equations(self) -> Iterator[tuple[str, int, dict[str, int]]]:
        """(name, count, its parts by name) for every count that is the sum of others."""
        prompts, traces = self.prompts, self.traces
        counted = Counter[str]()
        at_release = Counter[str]()
        for entry in self.rejected:
            counted[entry.kind] += entry.count
            if entry.stage is Stage.RELEASE and entry.kind == "prompt":
                at_release[entry.reason] += entry.count
        parts = {"released": prompts.released, "rejected": prompts.rejected}
        yield "prompts in", prompts.in_, parts
        yield "traces in", traces.in_, {"kept": traces.kept, "rejected": traces.rejected}
        recorded = sum(source.traces for source in self.sources)
        parts = {"recorded in sources": recorded, "sampled": traces.sampled}
        yield "traces in", traces.in_, parts
        yield "prompts in", prompts.in_, {"rows in sources": sum(s.rows for s in self.sources)}
        yield "rejected prompts", prompts.rejected, {"counted by reason": counted["prompt"]}
        yield "rejected traces", traces.rejected, {"counted by reason": counted["trace"]}
        yield "released prompts", prompts.released, {"canvases": self.canvases}
        rows = sum(file.rows for file in self.release)
        yield "canvases", self.canvases, {"rows in release files": rows}
        yield "kept traces", traces.kept, {"paths on canvases": self.paths * self.canvases}
        yield "graded paths", self.grades.total, {"kept traces": traces.kept}
        slots = self.paths * self.slot_tokens
        yield "masks", self.masks, {"in slots": slots, "in the summary": self.summary_tokens}
        left = [*(f.seen for f in self.filters[1:]), self.canvases]
        drops = Counter[str]()
        for number, (one, passed) in enumerate(zip(self.filters, left, strict=False), 1):
            drops.update({d.reason: d.count for d in one.dropped})
            parts = {"passed": passed, "dropped": sum(d.count for d in one.dropped)}
            yield f"canvases seen by filter {number}", one.seen, parts
        for reason, count in sorted(drops.items()):
            parts = {"rejected at the release stage": at_release[reason]}
            yield f"prompts dropped by filters as {reason!r}", count, parts

    def text(self) -> str:
        """The manifest as JSON, ending in its own checksum."""
        return _text(self._facts())

    def _facts(self) -> dict[str, object]:
        facts = self.model_dump(mode="json", by_alias=True)
        if self.grader == "math":
            del facts["grader"]  # as manifests without a named grader are, so that those stay whole
        return facts

    def checksum(self) -> str:
        """The SHA-256 of all facts, which the file ends in; it differs between builds."""
        return _checksum(self._facts())

    def save(self, path: Path) -> None:
        """Write the file atomically and durably: after a crash it is the new or the old file."""
        replace_text(path, self.text())

    @classmethod
    def load(cls, path: Path) -> "Manifest":
        """Read a manifest; UserError where there is none, DamagedError where it was changed."""
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"{path}: no manifest, so no complete run; run polytrace build"
            ) from None
        except OSError as error:
            raise UserError(f"{path}: cannot read the manifest: {error.strerror}") from None
        try:
            facts = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise DamagedError(f"{path}: not valid JSON ({error}); {_REMEDY}") from None
        if not isinstance(facts, dict):
            raise DamagedError(f"{path}: not a manifest; {_REMEDY}")
        version = facts.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise NewerError(path)
        is_whole = facts.pop("checksum", None) == _checksum(facts)
        try:
            manifest = cls.model_validate_json(json.dumps(former.renamed(facts)))
        except ValidationError as error:
            if is_whole:
                raise NewerError(path) if has_more(error) else _of_other(path, facts) from None
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise DamagedError(f"{path}: {describe(first, where)}; {_REMEDY}") from None
        as_written_by_0_1 = _text(former.renamed(manifest._facts(), former.FORMER))
        if data not in (manifest.text().encode(), as_written_by_0_1.encode()):
            if is_whole:
                raise _of_other(path, facts)
            raise DamagedError(f"{path}: was changed after the build (checksum); {_REMEDY}")
        return manifest


def _of_other(path: Path, facts: dict[str, object]) -> UserError:
    return UserError(
        f"{path}: was made by another version of Polytrace ({facts.get('polytrace')}), "
        "whose manifests hold other facts; run the same polytrace build again"
    )


def _text(facts: dict[str, object]) -> str:
    return json.dumps(facts | {"checksum": _checksum(facts)}, ensure_ascii=False, indent=1) + "\n"


def _checksum(facts: dict[str, object]) -> str:
    body = json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()
