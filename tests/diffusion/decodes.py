"""What tests of decoding share: a random model, a small layout, prompts, and what is committed."""

from pathlib import Path

from diffusion import models
from diffusion.data.layout import CanvasLayout, Form, encode_prompt, layout_of
from diffusion.decoding.decode import Decoded, Request
from diffusion.models.network.denoiser import Dlm
from tests.diffusion.checkpoints import make

ASKED = ("What is 2 + 3?", "Leo has 7 apples and eats 3. How many are left?", "12 * 4", "Why?")


def decoder(kind: str, folder: Path) -> Dlm:
    """A random model of a kind, ready to decode; its files are written into `folder`."""
    loaded = models.load_model(str(make(kind, folder)))
    loaded.denoiser.eval()
    return loaded


def canvas(dlm: Dlm, paths: int = 2, slot_tokens: int = 9, summary_tokens: int = 5) -> CanvasLayout:
    """A small canvas in a model's tokens."""
    return layout_of(
        dlm.tokenizer,
        dlm.fill_id,
        form=Form.CANVAS,
        paths=paths,
        slot_tokens=slot_tokens,
        summary_tokens=summary_tokens,
    )


def requests(dlm: Dlm, count: int = len(ASKED)) -> list[Request]:
    """Prompts of several lengths."""
    return [Request(text, encode_prompt(dlm.tokenizer, text)) for text in ASKED[:count]]


def order(row: Decoded) -> list[tuple[int, int, int]]:
    """Step, position and token of every commit, in the order in which they came."""
    return [(one.step, one.position, one.token) for one in row.commits]
