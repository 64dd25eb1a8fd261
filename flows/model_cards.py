"""The card of a fine-tuned model: what it was trained on, and what its evaluation found.

In: an experiment's trainings, their summaries, and the results of its evaluation. Out: `README.md`
in every trained model's folder, with the accuracies as `model-index` metadata, which the Hub shows
beside the model. The same results give the same bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from curation.release.documents.provenance import license_of_card
from curation.release.markdown import code, escape
from diffusion.evaluation.results import Result
from diffusion.evaluation.settings import Evaluation
from diffusion.settings import Settings
from schemas.manifest import Manifest
from support.display.digits import rounded
from support.display.tables import Table
from support.files import replace_text
from support.paths import locate

CARD = "README.md"
TAGS = ("polytrace", "diffusion-language-model", "masked-diffusion", "parallel-reasoning")


def write_model_cards(
    trained: Mapping[Path, tuple[Settings, Mapping[str, Any]]],
    manifest: Manifest,
    evaluation: Evaluation,
    results: Sequence[Result],
) -> list[Path]:
    """Write the card of every trained model that lies in its folder; the cards' paths.

    Args:
        trained: By the folder of a training: its settings and its summary.
        manifest: Of the corpus that the models were trained on.
        evaluation: Of the experiment; it names the models by their folders.
        results: Of that evaluation.
    """
    written = []
    for folder, (settings, summary) in trained.items():
        for model in (folder / "model", folder / "adapter"):
            if not model.is_dir():
                continue
            systems = {
                (one.name, one.base_name)
                for one in evaluation.systems
                if Path(one.model.path).resolve() == model.resolve()
            }
            own = [one for one in results if (one.system, one.base) in systems]
            text, card = render_model_card(settings, summary, manifest, own), model / CARD
            if not card.is_file() or card.read_text(encoding="utf-8") != text:
                replace_text(card, text)
            written.append(card)
    return written


def render_model_card(
    settings: Settings, summary: Mapping[str, Any], manifest: Manifest, results: Sequence[Result]
) -> str:
    """The text of a trained model's `README.md`."""
    lines = [
        "---",
        _metadata(settings, results),
        "---",
        "",
        f"# {escape(settings.name)}",
        "",
        *_training(settings, summary, manifest),
        "",
        "## Evaluation",
        "",
    ]
    if results:
        lines += [_table(results), "", *_remarks(results)]
    else:
        lines.append("The experiment evaluated no system that decodes this model.")
    lines += [
        "",
        "## How to load it",
        "",
        "```python",
        "import polytrace",
        "",
        'model = polytrace.load_model("path/of/this/folder")',
        "```",
    ]
    return "\n".join(lines) + "\n"


def _base(settings: Settings) -> tuple[str, str | None, str | None]:
    """The base model's name, its Hub id and its license; None where they are not known."""
    path = settings.model.path
    folder = Path(locate(path))
    if folder.is_dir():
        return folder.name, None, license_of_card(folder / CARD)
    return path, path, None


def _metadata(settings: Settings, results: Iterable[Result]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    _, hub_id, license = _base(settings)
    found = [
        EvalResult(
            task_type="text-generation",
            dataset_type=one.benchmark,
            dataset_name=one.benchmark,
            metric_type="accuracy",
            metric_name=f"accuracy: {_named(one)}",
            metric_value=round(one.accuracy, 4),
        )
        for one in results
    ]
    data = ModelCardData(
        language="en",
        license=license,
        base_model=hub_id,
        pipeline_tag="text-generation",
        tags=list(TAGS),
        model_name=settings.name if found else None,
        eval_results=found or None,
    )
    return data.to_yaml(line_break="\n").rstrip("\n")


def _training(settings: Settings, summary: Mapping[str, Any], manifest: Manifest) -> list[str]:
    name, hub_id, license = _base(settings)
    of_loss = (summary.get("validation") or {}).get("loss")
    terms = f"its card states the license {escape(license)}" if license else "its license applies"
    kind = "adapters (LoRA)" if settings.lora is not None else "all weights"
    held_out = "not measured" if of_loss is None else f"{of_loss:.3f}"
    lines = [
        f"A masked-diffusion language model: {code(name)} fine-tuned on a parallel reasoning "
        f"corpus, with {kind} trained.",
        "",
        f"- **Base**: {code(hub_id or name)}; {terms}.",
        f"- **Corpus**: {escape(manifest.name)}, build {code(manifest.build)}, "
        f"{manifest.canvases:,} canvases of {manifest.paths} paths; recipe digest "
        f"{code(manifest.recipe_digest)}.",
        f"- **Form**: {code(str(settings.form))}, {settings.paths} paths of "
        f"{settings.slot_tokens} tokens and a summary of {settings.summary_tokens}.",
        f"- **Training**: {summary['instances']:,} instances, {summary['steps']:,} steps of "
        f"{settings.batch}, learning rate {settings.learning_rate:g}, seed {settings.seed}. Last "
        f"loss {summary['loss']:.3f} nats a masked token; on held-out rows: {held_out}.",
    ]
    if manifest.notice:
        lines.append(f"- **Notice of the corpus**: {escape(manifest.notice)}")
    return lines


def _named(one: Result) -> str:
    steps = "steps by rule" if one.steps is None else f"{one.steps} steps"
    return f"{one.system}, {one.form}, {steps}"


def _table(results: Iterable[Result]) -> str:
    rows = tuple(
        (
            escape(one.system),
            one.benchmark,
            escape(one.rule),
            str(one.form),
            str(one.steps or "by rule"),
            str(one.count),
            f"{one.accuracy:.1%} [{one.low:.1%}, {one.high:.1%}]",
            rounded(one.nfe),
            rounded(one.tokens_per_step),
            "-" if one.arness is None else f"{one.arness:.3f}",
        )
        for one in results
    )
    header = ("system", "benchmark", "rule", "form", "steps", "problems", "accuracy [95 %]")
    costs = ("forward passes", "tokens a step", "Global-ARness@1")
    return Table(header=(*header, *costs), rows=rows, left=(0, 1, 2, 3)).markdown()


def _remarks(results: Iterable[Result]) -> list[str]:
    machines = {(one.device_name or one.device, one.dtype) for one in results if one.device}
    lines = [
        "Intervals are Wilson's. Forward passes are the mean of a problem. Answers that could not "
        "be read count as wrong."
    ]
    if machines:
        told = sorted(f"{device} in {dtype}" for device, dtype in machines)
        lines.append(f"Decoded on {escape('; '.join(told))}.")
    return lines
