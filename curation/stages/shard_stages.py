"""From traces to scored canvases: one function for each stage, over one shard.

Every function is idempotent: where a marker has the fingerprint of the inputs and its files are
whole, nothing is done. `prompt_stage.py` and `trace_stage.py` come first, `release_stage.py` last.
"""

from collections.abc import Iterator, Sequence

from curation.canvases import assembly
from curation.context import Job
from curation.graders import AsksServer, Submission
from curation.run_store import shards
from curation.run_store.shards import ShardMarker
from curation.stages import fingerprints, prompt_stage, sampling_rounds
from schemas import arrow
from schemas.records import Canvas, Grade, GradedTrace, Rejection, Scores, Stage, Trace

GRADE_BATCH = 256  # traces between two moves of the progress bar
ASSEMBLE_BATCH = 64  # prompts between two moves


def check_grader(job: Job) -> None:
    """Ask the server of the grader, if it has one, before anything is sampled for it.

    Where all samples are there, grading comes first, and asks by itself if it has to. Raises
    ShortError where the server does not answer, UserError where it would refuse every request.
    """
    if not isinstance(job.grader, AsksServer):
        return
    source_index = prompt_stage.up_to_date_index(job)
    if source_index is None or not all(
        fingerprints.up_to_date_marker(job, Stage.TRACES, index)
        for index in range(source_index.shards)
    ):
        job.grader.reach()


def grade(job: Job, index: int) -> ShardMarker:
    """Grade the traces of a shard."""
    fingerprint = fingerprints.fingerprint(job, Stage.GRADED, index)
    if marker := shards.matching_marker(job.run, Stage.GRADED, index, fingerprint):
        return marker
    prompts = {prompt.id: prompt for prompt in fingerprints.load_bare_prompts(job, index)}
    traces = list(arrow.records(Trace, shards.read(job.run, Stage.TRACES, index)))
    job.bars.add(Stage.GRADED, more=len(traces))
    graded: list[GradedTrace] = []
    # Of a server all is asked at once: the slowest reply of each batch would hold up the next.
    most = max(1, len(traces)) if isinstance(job.grader, AsksServer) else GRADE_BATCH
    for start in range(0, len(traces), most):
        batch = traces[start : start + most]
        submissions = [Submission(prompts[trace.prompt_id], trace) for trace in batch]
        graded += sampling_rounds.graded(job.grader, submissions)
        job.bars.add(Stage.GRADED, len(batch))
    data = arrow.table(GradedTrace, graded)
    # It is made again from what is there in a second, so nothing waits for the disk.
    return shards.write(job.run, Stage.GRADED, index, fingerprint, data, (), durable=False)


def assemble(job: Job, index: int) -> ShardMarker:
    """Join the graded traces of a shard into canvases."""
    fingerprint = fingerprints.fingerprint(job, Stage.CANVASES, index)
    if marker := shards.matching_marker(job.run, Stage.CANVASES, index, fingerprint):
        return marker
    by_prompt: dict[str, list[GradedTrace]] = {}
    for graded in arrow.records(GradedTrace, shards.read(job.run, Stage.GRADED, index)):
        by_prompt.setdefault(graded.trace.prompt_id, []).append(graded)
    canvases: list[Canvas] = []
    rejections: list[Rejection] = []
    prompts = fingerprints.load_bare_prompts(job, index)  # the chosen traces will be on the canvas
    refused = {one.prompt_id for one in shards.rejections(job.run, Stage.TRACES, index)}
    job.bars.add(Stage.CANVASES, more=len(prompts))
    pairs = [(prompt, by_prompt.get(prompt.id, [])) for prompt in prompts]
    texts = (text for pair in pairs for text in assembly.texts_to_count(*pair, job.rules))
    counter = job.counter.ahead(texts)
    for number, (prompt, traces) in enumerate(pairs, 1):
        correct = [graded for graded in traces if graded.grade is Grade.CORRECT]
        answer = job.grader.final_answer(prompt, correct)
        is_refused = prompt.id in refused
        group = assembly.assemble(prompt, traces, job.rules, counter, answer, is_refused=is_refused)
        rejections.extend(group.rejections)
        if group.canvas is not None:
            canvases.append(group.canvas)
        if number % ASSEMBLE_BATCH == 0:
            job.bars.add(Stage.CANVASES, ASSEMBLE_BATCH)
    job.bars.add(Stage.CANVASES, len(pairs) % ASSEMBLE_BATCH)
    data = arrow.table(Canvas, canvases)
    return shards.write(
        job.run, Stage.CANVASES, index, fingerprint, data, rejections, durable=False
    )


def score(job: Job, index: int) -> ShardMarker:
    """Measure the SeqDep of a shard's canvases and of their long-CoT forms."""
    fingerprint = fingerprints.fingerprint(job, Stage.SCORED, index)
    if marker := shards.matching_marker(job.run, Stage.SCORED, index, fingerprint):
        return marker
    canvases = list(load_canvases(job, index))
    data = arrow.table(Scores, _scores(job, canvases))
    return shards.write(job.run, Stage.SCORED, index, fingerprint, data, ())


def _scores(job: Job, canvases: Sequence[Canvas]) -> list[Scores]:
    spec, scorers = job.recipe.scorer, job.scorers
    if spec is None or scorers is None:
        return [Scores(prompt_id=canvas.prompt.id) for canvas in canvases]
    from scorers.seqdep.measurement import ScoredInstance, SeqDepSettings

    texts = [
        ScoredInstance(
            prompt=canvas.prompt.text,
            text=assembly.long_cot_text(canvas),
            paths=tuple(path.text for path in canvas.paths),
            summary=canvas.summary,
        )
        for canvas in canvases
    ]
    settings = SeqDepSettings(
        batch_tokens=spec.batch_tokens,
        step_tokens=spec.step_tokens,
        window_tokens=spec.window_tokens,
        keep_part=spec.keep_part,
        siblings=spec.siblings,
    )
    told = job.bars.add_sized(Stage.SCORED, [one.characters for one in texts])
    measured = scorers.score(texts, settings, progress=told)
    return [
        Scores(
            prompt_id=canvas.prompt.id,
            path=one.path,
            step=one.step,
            window=one.window,
            summary_gain=one.summary_gain,
            siblings=one.siblings,
            scorer=scorers.facts.name,
            scorer_revision=scorers.facts.revision,
        )
        for canvas, one in zip(canvases, measured, strict=True)
    ]


def load_canvases(job: Job, index: int) -> Iterator[Canvas]:
    """The canvases of a shard, with the summaries they are released with."""
    return arrow.records(Canvas, shards.read(job.run, fingerprints.canvas_stage(job.recipe), index))


def shard_corpus(job: Job, index: int) -> Iterator[tuple[Canvas, Scores]]:
    """The canvases of a shard with their scores, in order."""
    scores = arrow.records(Scores, shards.read(job.run, Stage.SCORED, index))
    return zip(load_canvases(job, index), scores, strict=True)
