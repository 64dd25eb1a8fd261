"""Decode prompts to texts, for evaluations and for lm_eval's harness.

In: a model, a layout, a rule, and a batch of prompts. Out: for every prompt the text of every slot,
and the decoded row that it was read from.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch

from diffusion import models
from diffusion.data.canvas_layouts import CanvasLayouts
from diffusion.data.layout import CanvasLayout, Form, Ids, encode_prompt, layout_of
from diffusion.data.turns import special_token_ids
from diffusion.decoding import Rule
from diffusion.decoding.blocks import rule_inside_blocks
from diffusion.decoding.decode import Decoded, Request, Sampling, decode
from diffusion.decoding.kv_cache import CacheSettings
from diffusion.evaluation.benchmarks import Problem
from diffusion.evaluation.computed import default_device
from diffusion.evaluation.settings import path_tokens
from diffusion.models.network.denoiser import Dlm
from diffusion.settings import ModelReference, Precision
from diffusion.training.objective import generator
from support.capacity import keep_few_kernels, keep_freed
from support.errors import UserError


class DecodedAnswer(NamedTuple):
    """The text of every slot (`texts_of`), and the row as it was decoded."""

    texts: tuple[str, ...]
    decoded: Decoded

    @property
    def scored(self) -> str:
        """The text that is graded: a canvas's summary, or the whole long-CoT text."""
        return self.texts[-1]


def load_decoder(model: ModelReference, device: str | None = None) -> Dlm:
    """The model, ready to decode, by default on an accelerator if there is one."""
    device = device or default_device()
    if device == "cpu":
        keep_freed()
        keep_few_kernels()
    dlm = models.load_model(model, device=device)
    dlm.denoiser.eval()
    return dlm


def layout_for(
    dlm: Dlm, form: Form, *, paths: int, masks: int, summary_tokens: int
) -> CanvasLayout:
    """The layout of an answer of at most `masks` masks, in which all paths have one length."""
    if form is Form.LONG_COT:
        paths, summary_tokens = 1, 0
    return layout_of(
        dlm.tokenizer,
        dlm.fill_id,
        form=form,
        paths=paths,
        slot_tokens=path_tokens(masks, summary_tokens, paths),
        summary_tokens=summary_tokens,
    )


def requests_of(
    dlm: Dlm, layout: CanvasLayout, problems: Sequence[Problem], hints: Sequence[str], seed: int
) -> list[Request]:
    """What is decoded for each problem; with `hints`, its slots show some of them."""
    layouts = CanvasLayouts(dlm.tokenizer, layout)

    def own(name: str) -> CanvasLayout | None:
        return layouts.layout(draw_hints(hints, layouts.paths, seed, name)) if hints else None

    return [Request(p.id, encode_prompt(dlm.tokenizer, p.prompt), own(p.id)) for p in problems]


def draw_hints(hints: Sequence[str], paths: int, seed: int, problem: str) -> tuple[str, ...]:
    """The hint of each path of a problem, drawn without replacement."""
    drawn = torch.randperm(len(hints), generator=generator(seed, "hints", problem))
    return tuple(hints[number] for number in drawn[:paths].tolist())


def answers(
    dlm: Dlm,
    layout: CanvasLayout,
    requests: Sequence[Request],
    rule: Rule,
    *,
    steps: int,
    sampling: Sampling,
    precision: Precision,
    where: str,
    caching: CacheSettings | None = None,
) -> list[DecodedAnswer]:
    """Decode one batch; `where` names it in a UserError.

    Raises UserError for a row that exceeds the context, for a rule or a cache with which the model
    cannot be decoded, a cache that guidance does not allow, and a token of `sampling` that the
    model does not have.
    """
    for request in requests:
        check_length(dlm, request.layout or layout, len(request.prompt), where)
    check_decodable(rule, dlm.denoiser.block, caching, where)
    if caching is not None:
        try:
            caching.check(rule)
            caching.check_model(dlm)
        except ValueError as error:
            raise UserError(f"{where}.{error}") from None
    try:
        sampling.check(is_cached=caching is not None)
        ids = len(dlm.denoiser.net.get_output_embeddings().weight)
        sampling.suppressed_and_deferred(dlm.tokenizer, ids)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    is_half = precision is Precision.BFLOAT16
    device = dlm.denoiser.net.device.type
    with torch.autocast(device, torch.bfloat16) if is_half else nullcontext():
        decoded = decode(
            dlm, layout, requests, rule, steps=steps, sampling=sampling, caching=caching
        )
    texts = texts_of(dlm, layout, [one.ids_C for one in decoded])
    return [DecodedAnswer(*pair) for pair in zip(texts, decoded, strict=True)]


def check_length(dlm: Dlm, layout: CanvasLayout, prompt: int, where: str) -> None:
    """Raise UserError if the model does not see a prompt of so many tokens and its answer."""
    longest = prompt + layout.tokens
    if dlm.context is not None and longest > dlm.context:
        raise UserError(
            f"{where}: a prompt and {layout.tokens} answer tokens are {longest} tokens, and the "
            f"model sees {dlm.context}; lower masks"
        )


def check_decodable(
    rule: Rule, block: int | None, caching: CacheSettings | None, where: str
) -> None:
    """Raise UserError if a model with blocks of `block` tokens has no such rule or cache."""
    try:
        if block is not None:
            rule_inside_blocks(rule, block)
        if caching is not None:
            caching.check_block(block)
    except ValueError as error:
        raise UserError(f"{where}.{error}") from None


def texts_of(dlm: Dlm, layout: CanvasLayout, rows: Sequence[Ids]) -> list[tuple[str, ...]]:
    """The text of every slot of decoded rows [C], up to its fill or the end of the turn.

    Special tokens in it are left out, because a grader would take them for a part of the answer.
    """
    known = np.array(sorted(special_token_ids(dlm.tokenizer)))
    return [
        tuple(
            str(dlm.tokenizer.decode(ids[~np.isin(ids, known)]))
            for ids in layout.contents(ids_C, dlm.end_ids)
        )
        for ids_C in rows
    ]
