"""Say in one sentence that a run's traces are hardly ever right, and what to do then.

In: a finished run. Out: a sentence, or None where enough traces are right or too few were graded.
"""

import shlex
from collections import Counter
from pathlib import Path

from curation.inspect.terminal_view import top_reasons
from curation.release.rows import readable
from curation.release.writer import ROW_GROUP
from schemas.manifest import MANIFEST_FILE, Manifest
from schemas.records import Grade, Stage
from support.display.text import one_line

LEAST_GRADED = 20  # traces; of fewer, none may be right by chance
LEAST_RIGHT = 0.02  # share of right traces under which the sentence is said
MOSTLY = 0.5  # share of unread answers from which they are what is wrong
_REASON = "too_few_correct"


def nothing_released(run: Path) -> str:
    """Why a run released nothing, as one line."""
    reasons = f"nothing was released; top reasons: {top_reasons(run)}"
    return f"{reasons}; {few_correct(run) or _look(run)}"


def _look(run: Path) -> str:
    """The command that shows what was rejected most."""
    prompts = [one for one in Manifest.load(run / MANIFEST_FILE).rejected if one.kind == "prompt"]
    command = f"polytrace inspect {one_line(shlex.quote(str(run)))}"
    if prompts:
        most = max(prompts, key=lambda one: one.count)
        command += f" --reason {shlex.quote(one_line(most.reason))} --limit 5"
    return f"see why with `{command}`"


def few_correct(run: Path, name: str | None = None) -> str | None:
    """The sentence, with `name` for the run in the command that it advises (default: its path).

    DamagedError where a shard of grades cannot be read.
    """
    manifest = Manifest.load(run / MANIFEST_FILE)
    if manifest.grades.correct >= LEAST_RIGHT * max(1, manifest.traces.in_):
        return None  # so many are on the canvases alone
    grades: Counter[str] = Counter()
    problems: set[str] = set()
    solved: set[str] = set()
    for shard in manifest.shards:
        if shard.stage is not Stage.GRADED or shard.is_rejections:
            continue
        with readable(run / shard.path) as file:
            for batch in file.iter_batches(ROW_GROUP, columns=["trace.prompt_id", "grade"]):
                ids = batch.column("trace").field("prompt_id").to_pylist()
                found = batch.column("grade").to_pylist()
                grades.update(found)
                problems.update(ids)
                pairs = zip(ids, found, strict=True)
                solved.update(one for one, grade in pairs if grade == Grade.CORRECT)
    graded = grades.total()
    if graded < LEAST_GRADED or grades[Grade.CORRECT] >= LEAST_RIGHT * graded:
        return None
    is_record = manifest.teacher.is_record
    who = "the recorded traces solve" if is_record else "the teacher solves"
    solves = f"{who} {len(solved):,} of {len(problems):,} problems"
    look = f"look at the answers with `{_command(name or shlex.quote(str(run)), manifest)}`"
    if (unread := grades[Grade.UNPARSED]) >= MOSTLY * graded:
        ask = "" if is_record else 'ask for "The answer is …" in teacher.prompt, '
        more = "" if is_record else "raise teacher.max_tokens, "
        return (
            f"{solves}, because no answer could be read in {unread:,} of {graded:,} traces: "
            f"{look}, then {ask}{more}or choose another grader"
        )
    right = f"{grades[Grade.CORRECT]:,} of {graded:,} traces are right"
    stronger = "" if is_record else "a stronger teacher, a larger teacher.max_tokens or "
    return f"{solves} ({right}): {look}, then try {stronger}another grader or gold column"


def _command(name: str, manifest: Manifest) -> str:
    """The command that shows answers against the gold."""
    reasons = {r.reason: r.count for r in manifest.rejected if _is_of_groups(r.stage, r.kind)}
    command = f"polytrace inspect {one_line(name)}"
    if not reasons:
        return command
    reason = _REASON if _REASON in reasons else max(reasons, key=lambda name: reasons[name])
    return f"{command} --reason {reason} --limit 5"


def _is_of_groups(stage: Stage, kind: str) -> bool:
    return stage is Stage.CANVASES and kind == "prompt"
