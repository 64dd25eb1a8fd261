"""Structured masking: the probabilities of the public NAP code, and what it is refused for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffusion.data.layout import Form
from diffusion.settings import ModelReference, Precision, Settings, StructuredMasking
from diffusion.training.estimate import estimate
from diffusion.training.objective import draw_mask, structured_probabilities
from diffusion.training.train import fine_tune
from support.errors import UserError
from tests.diffusion.checkpoints import make, write_corpus


@pytest.mark.parametrize(
    ("ratio", "masking", "expected"),
    [
        (0.5, StructuredMasking(), [*[0.45] * 3, *[0.45] * 3, 1, 1, 1]),
        (0.1, StructuredMasking(), [*[0.09] * 6, 0.09, 0.135, 0.18]),
        (
            0.8,
            StructuredMasking(r_max=1.0, alpha=0.1, kappa_paths=0.5, kappa_summary=0.0),
            [*[0.8, 1.0, 1.0] * 2, 0.8, 0.8, 0.8],
        ),
    ],
)
def test_probabilities_are_those_of_the_rule(
    ratio: float, masking: StructuredMasking, expected: list[float]
) -> None:
    found = structured_probabilities(ratio, (3, 3, 3), masking)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_masks_follow_the_probabilities_and_the_seed() -> None:
    p_L = structured_probabilities(0.15, (30, 30, 12), StructuredMasking(kappa_paths=3.0))
    masks = np.array([draw_mask(72, p_L, 0, 0, number).numpy() for number in range(3000)])
    np.testing.assert_allclose(masks.mean(0), p_L, atol=0.05)
    assert (draw_mask(72, p_L, 0, 0, 7).numpy() == masks[7]).all()


def test_a_training_takes_it_and_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    settings = Settings(
        name="small",
        model=ModelReference(path=str(make("llada", tmp_path / "model"))),
        corpus=str(write_corpus(tmp_path / "corpus", rows=4, validation=2)),
        slot_tokens=30,
        summary_tokens=12,
        epochs=2,
        batch=2,
        precision=Precision.FLOAT32,
    )
    structured = replace(settings, structured_masking=StructuredMasking())
    for name, chosen in (("plain", settings), ("a", structured), ("b", structured)):
        fine_tune(chosen, tmp_path / name)
    plain, a, b = (
        (tmp_path / name / "training.jsonl").read_bytes() for name in ("plain", "a", "b")
    )
    assert a == b != plain
    blocks = ModelReference(path=str(make("sdar", tmp_path / "blocks")))
    with pytest.raises(UserError, match="structured_masking: a model of the family sdar sees"):
        estimate(replace(structured, model=blocks), 1, None)
    with pytest.raises(ValueError, match="structured_masking: form long_cot has one text"):
        replace(structured, form=Form.LONG_COT)
    with pytest.raises(ValueError, match=r"structured_masking\.alpha: 2 is not within 0 and 1"):
        StructuredMasking(alpha=2)
