"""Prompts to texts: what evaluations and lm_eval's harness share.

In: a model, a frame, a rule, and a batch of prompts. Out: for every prompt the text of every slot,
and the decoded row it was read from.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch

from diffusion import heap, models
from diffusion.decoding import Rule
from diffusion.decoding.caching import FAMILIES, Caching
from diffusion.decoding.loop import Decoded, Request, Sampling, decode
from diffusion.denoiser import Dlm
from diffusion.evaluation import path_tokens
from diffusion.frame import Form, Frame, frame_of
from diffusion.settings import Model, Precision
from schemas.errors import UserError


class Answer(NamedTuple):
    """The text of every slot before its first fill, and the row."""

    texts: tuple[str, ...]
    decoded: Decoded

    @property
    def scored(self) -> str:
        """A canvas's summary; of the long-CoT form all there is."""
        return self.texts[-1]


def load(model: Model, device: str | None = None) -> Dlm:
    """The model ready to decode, by default on an accelerator where there is one."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu":
        heap.keep()
    dlm = models.load(model.path, device=device, trust_remote_code=model.trust_remote_code)
    dlm.denoiser.eval()
    return dlm


def frame_for(dlm: Dlm, form: Form, *, paths: int, masks: int, summary_tokens: int) -> Frame:
    """What is written into: at most M masks, a canvas's paths of one length."""
    if form is Form.LONG_COT:
        paths, summary_tokens = 1, 0
    return frame_of(
        dlm.tokenizer,
        dlm.fill_id,
        form=form,
        paths=paths,
        slot_tokens=path_tokens(masks, summary_tokens, paths),
        summary_tokens=summary_tokens,
    )


def answers(
    dlm: Dlm,
    frame: Frame,
    requests: Sequence[Request],
    rule: Rule,
    *,
    steps: int,
    sampling: Sampling,
    precision: Precision,
    where: str,
    caching: Caching | None = None,
) -> list[Answer]:
    """Decode one batch; `where` names it in the UserError for a row longer than the model sees."""
    longest = max(len(request.prompt) for request in requests) + frame.tokens
    if dlm.context is not None and longest > dlm.context:
        raise UserError(
            f"{where}: a prompt and {frame.tokens} answer tokens are {longest} tokens, and the "
            f"model sees {dlm.context}; lower masks"
        )
    if caching is not None and dlm.family not in FAMILIES:
        raise UserError(
            f"{where}.cache: a model of the family {dlm.family} keeps nothing; leave it out"
        )
    is_half = precision is Precision.BFLOAT16
    device = dlm.denoiser.net.device.type
    with torch.autocast(device, torch.bfloat16) if is_half else nullcontext():
        decoded = decode(
            dlm, frame, requests, rule, steps=steps, sampling=sampling, caching=caching
        )
    return [
        Answer(tuple(str(dlm.tokenizer.decode(ids)) for ids in frame.contents(one.ids_C)), one)
        for one in decoded
    ]
