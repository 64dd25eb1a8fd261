"""What a cell is computed with; a cell never holds rows of different machines.

Sums that are rounded in another order give other digits, and sometimes another token. The order
depends on the device, the attention kernel, the type, the version of PyTorch, and the number of
rows that are decoded together (docs/adr/0022).
"""

import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from diffusion.evaluation.settings import Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """Kind and name of the device, attention kernel, type, PyTorch's version, rows at once."""

    device: str
    device_name: str
    attention: str
    dtype: str
    torch: str
    batch: int

    def __str__(self) -> str:
        """As tables and logs name it."""
        rows = "one row" if self.batch == 1 else f"{self.batch} rows"
        return (
            f"{self.device} ({self.device_name}), {self.attention} attention, {self.dtype}, "
            f"PyTorch {self.torch}, {rows} at once"
        )


def default_device() -> str:
    """An accelerator where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def computed(evaluation: Evaluation, attention: str) -> Computed:
    """What this process decodes with, for a model with that attention kernel."""
    device = default_device()
    return Computed(
        device=device,
        device_name=torch.cuda.get_device_name() if device == "cuda" else _processor(),
        attention=attention,
        dtype=str(evaluation.precision),
        torch=str(torch.__version__),
        batch=evaluation.rows_at_once,
    )


def _processor() -> str:
    """The processor's name, as Linux has it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
