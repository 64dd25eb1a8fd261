"""ARness of every family: the page's table holds each family, and the tool measures each."""

import re

import pytest
import torch

from diffusion.models import families
from support.paths import ROOT
from tools import family_arness

PAGE = (ROOT / "docs" / "arness.md").read_text()


def printed() -> list[list[str]]:
    """The cells of the page's table."""
    section = PAGE.partition("## Every family under its own sampler")[2]
    lines = [one for one in section.splitlines() if one.startswith("|")]
    return [re.split(r" \| ", one.strip("| ")) for one in lines]


def test_the_pages_table_holds_every_family() -> None:
    header, _, *lines = printed()
    assert tuple(header) == family_arness.HEADER
    assert {one[0].strip("`") for one in lines} == set(families()) == set(family_arness.OWN)
    assert all("random" in one[1] for one in lines)


@pytest.mark.parametrize("kind", ["llada", "dream", "masked_lm", "a2d-qwen3", "sdar", "llada2"])
def test_a_family_is_measured_under_its_own_sampler(kind: str) -> None:
    """Checkpoint, sampler and rule are the page's; the figures are of other rows."""
    torch.manual_seed(0)
    for name, dlm in family_arness.smoke([kind]):
        found = family_arness.line(dlm, name, rows=4, masks=12)
        [wanted] = [one for one in printed() if one[1] == name]
        assert list(found[:4]) == wanted[:4]
        raw, chance = (float(found[n].partition(" ")[0]) for n in (5, 6))
        assert 0 <= raw <= 1 and 0 < chance < 1
        if kind in ("llada", "masked_lm", "a2d-qwen3"):
            assert float(found[4]) == 1
        else:
            assert float(found[4]) >= 1
