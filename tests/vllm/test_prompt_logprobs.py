"""SeqDep against vLLM's prompt_logprobs: another engine's opinion of the same terms."""

import json
import urllib.request
from pathlib import Path

import pytest

from benchmarks.real_vllm import NAME, RealVLLM
from scorers.seqdep import loader
from scorers.seqdep.packing import Document, Segment, score_documents
from scorers.seqdep.segments import token_slice
from scorers.seqdep.segments.step import steps

pytestmark = pytest.mark.vllm

TEXT = "3 * 12 = 36\n36 + 24 = 60. So there are 60 apples.\nThe answer is 60."


def nats(server: RealVLLM, ids: list[int], first: int) -> float:
    """log p of the tokens from `first` on, as vLLM sees them."""
    body = {"model": NAME, "prompt": ids, "max_tokens": 1, "prompt_logprobs": 0}
    request = urllib.request.Request(
        f"{server.url}/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        found = json.loads(reply.read())["choices"][0]["prompt_logprobs"]
    return float(sum(found[at][str(ids[at])]["logprob"] for at in range(first, len(ids))))


def test_the_terms_are_vllms(vllm_server: RealVLLM, tiny_teacher: Path) -> None:
    scorer = loader.load_scorer(str(tiny_teacher))
    x = scorer.prompt_ids("Tom has 3 boxes of 12 apples and 24 more. How many?")
    ids, starts = scorer.encode(TEXT)
    slices = [token_slice(starts, span) for span in steps(TEXT, starts, 64)]
    segments = tuple(Segment(s.start, s.start, s.stop) for s in slices)
    document = Document(prompt_T=x, response_T=ids, segmentations=(segments,))
    ((terms,),) = score_documents(scorer, [document], batch_tokens=4096, finished=lambda _: None)
    assert len(terms.joint) == len(segments) - 1 >= 3
    for segment, joint, alone in zip(segments[1:], *terms, strict=True):
        tokens = segment.end - segment.first
        behind_all = nats(vllm_server, [*x, *ids[: segment.end]], len(x) + segment.first)
        behind_x = nats(vllm_server, [*x, *ids[segment.first : segment.end]], len(x))
        assert joint == pytest.approx(behind_all, abs=1e-4 * tokens)
        assert alone == pytest.approx(behind_x, abs=1e-4 * tokens)
