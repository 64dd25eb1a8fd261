"""Single texts from Python: the canvas format, grades, and SeqDep under a language model."""

import atexit
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from support.errors import UserError

if TYPE_CHECKING:
    from curation.seqdep_report.kept_scores import TextScores
    from schemas.canvas import Parsed
    from scorers.answers.grade import Answer, GradePool
    from scorers.seqdep.causal_lm import Scorer


def render_canvas(paths: Sequence[str], summary: str) -> str:
    r"""The canvas of paths and a summary, as one text (Eq. 5, Li et al. 2026).

    ValueError without a path, or where a part holds a marker of the format.

    >>> render_canvas(["2 + 2 = 4", "It is 4"], "The answer is 4").partition("<summary>")[0]
    '<think 1>\n2 + 2 = 4\n</think 1>\n<think 2>\nIt is 4\n</think 2>\n'
    """
    from schemas.canvas import render

    return render(paths, summary)


def parse_canvas(text: str) -> "Parsed":
    """The paths and the summary of a canvas: exactly the inverse of `render_canvas`.

    ValueError where the text is no canvas.

    >>> parse_canvas(render_canvas(["2 + 2 = 4", "It is 4"], "The final answer is 4")).paths
    ('2 + 2 = 4', 'It is 4')
    """
    from schemas.canvas import parse

    return parse(text)


def grade(text: str, gold: str, prompt: str = "") -> "Answer":
    r"""The answer that a text gives, and whether it is the gold one.

    `grade` is correct, wrong, unparsed (no answer was found, or one of the two cannot be read) or
    timeout; `answer` as it stands in the text, which the solution ends with at `text[:end]`.
    Options of a multiple choice are read from `prompt`. What plain rules do not decide goes to
    math-verify, in processes that live until this one ends.

    >>> found = grade(r"So x = 1/2, and the answer is \boxed{\frac{1}{2}}.", "0.5")
    >>> str(found.grade), found.answer
    ('correct', '\\frac{1}{2}')
    """
    from scorers.answers.grade import Attempt

    return _graders().grade([Attempt(text, gold, prompt)])[0]


def load_scorer(
    model: str, *, device: str | None = None, chat: bool = True, trust_remote_code: bool = False
) -> "Scorer":
    """A causal language model that scores texts.

    Args:
        model: A local directory, an id on the Hugging Face hub, or a bundled one (`tiny/teacher`).
        device: cpu, cuda, cuda:1 … (default: a GPU if there is one).
        chat: Put prompts through the model's chat template, if it has one.
        trust_remote_code: Run code that comes with the model.

    Raises UserError where it cannot be had, or is no whole causal language model.

    >>> load_scorer("tiny/teacher").context
    4096
    """
    from scorers.seqdep.device_pool import ModelSpec
    from support.paths import locate

    return ModelSpec(path=locate(model), chat=chat, trust_remote_code=trust_remote_code).load(
        device
    )


def score_texts(
    texts: Sequence[str],
    scorer: "Scorer | str",
    *,
    prompts: Sequence[str] | None = None,
    step_tokens: int = 64,
    window_tokens: int = 64,
    batch_tokens: int = 16384,
) -> "list[TextScores]":
    """SeqDep (Eq. 4, Li et al. 2026) of every text, in order: what a segment owes to those before.

    `step` and `window` of every text, `path` and `summary_gain` where it is a canvas; each level
    has nats a segment, nats a token and the gain of every segment. `reason` is not empty where
    nothing could be scored. Of what exceeds the scorer's context the part that fits is scored, and
    `is_cut` says so.

    Args:
        texts: N texts.
        scorer: From `load_scorer`, or the name of its model.
        prompts: N prompts, which are seen and not scored (default: none).
        step_tokens: The longest step; a longer one is split.
        window_tokens: The length of a window.
        batch_tokens: Tokens of one forward pass, at most.

    >>> text = "Tom has 3 boxes of 4 pens. 3 * 4 = 12. He loses 2. 12 - 2 = 10. The answer is 10."
    >>> [scores] = score_texts([text], "tiny/teacher", prompts=["How many pens are left?"])
    >>> scores.step.nats_per_token > 0, len(scores.step.tokens) - len(scores.step.gains)
    (True, 1)
    """
    from curation.seqdep_report.documents import document
    from curation.seqdep_report.score import score_documents
    from scorers.seqdep.measurement import SeqDepSettings

    if prompts is not None and len(prompts) != len(texts):
        raise UserError(f"prompts: {len(prompts)} for {len(texts)} texts; give one for each")
    settings = SeqDepSettings(
        batch_tokens=batch_tokens,
        step_tokens=step_tokens,
        window_tokens=window_tokens,
        keep_part=True,
        canvas_steps=True,
    )
    loaded = load_scorer(scorer) if isinstance(scorer, str) else scorer
    pairs = zip(prompts or [""] * len(texts), texts, strict=True)
    batch = [document(row, 1, prompt, text) for row, (prompt, text) in enumerate(pairs, 1)]
    return list(score_documents(batch, loaded, settings))


@cache
def _graders() -> "GradePool":
    from scorers.answers.grade import GradePool

    pool = GradePool()
    atexit.register(pool.close)
    return pool
