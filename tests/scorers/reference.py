"""SeqDep as it is defined, without packing: the reference that `measure` is compared with."""

from collections.abc import Sequence
from math import fsum

import torch

from scorers.seqdep.causal_lm import Scorer
from scorers.seqdep.measurement import (
    Measured,
    ScoredInstance,
    SeqDepSettings,
    _measured,
    _parts,
)
from scorers.seqdep.packing import Document, Segment, Terms


@torch.inference_mode()
def measure_separately(scorer: Scorer, item: ScoredInstance, settings: SeqDepSettings) -> Measured:
    """What `measure` must give, by one plain forward pass for each term."""

    def term(before: Sequence[int], segment: Sequence[int]) -> float:
        ids_1T = torch.tensor([[*before, *segment]], device=scorer.model.device)
        logits_TV = scorer.model(input_ids=ids_1T, use_cache=False).logits[0]
        logits_TV = logits_TV.to(torch.promote_types(logits_TV.dtype, torch.float32))
        rows_T = logits_TV[len(before) - 1 : -1].log_softmax(-1)
        return fsum(float(row[i]) for row, i in zip(rows_T, segment, strict=True))

    def both(document: Document, segments_N: Sequence[Segment]) -> Terms:
        x, response = document.prompt_T, document.response_T
        joint, alone = [], []
        for begin, first, end in segments_N[1:]:
            scored = response[first:end]
            joint.append(term(x + response[:first], scored) if scored else 0.0)
            alone.append(term(x + response[begin:first], scored) if scored else 0.0)
        return Terms(tuple(joint), tuple(alone))

    parts = _parts(scorer, item, settings)
    return _measured(
        parts, [tuple(both(d, s) for s in d.segmentations) if d else () for d in parts.documents()]
    )
