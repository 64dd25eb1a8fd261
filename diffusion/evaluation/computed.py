"""What a cell is computed with; a cell never holds rows of different machines.

Sums that are rounded in another order give other digits, and sometimes another token. The order
depends on the device, the attention kernel, the type, the version of PyTorch, the number of rows
that are decoded together and, on a CPU, the number of threads (docs/adr/0022 and 0030).
"""

import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from diffusion.evaluation.settings import MOST_ROWS, Evaluation
from diffusion.memory import rows_within
from diffusion.models.network import attention
from diffusion.settings import Precision
from diffusion.training.estimate import shape_of
from support.capacity import free_memory

OWN = "sdpa"
PRODUCTS = "sdpa or products"  # the latter for short rows (diffusion/models/network/attention.py)


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """Kind and name of the device, attention kernel, type, PyTorch's version, rows at once.

    `threads` are those of a process on a CPU; None on a GPU, and in results of earlier versions.
    """

    device: str
    device_name: str
    attention: str
    dtype: str
    torch: str
    batch: int
    threads: int | None = None

    def __str__(self) -> str:
        """As tables and logs name it."""
        rows = "one row" if self.batch == 1 else f"{self.batch} rows"
        threads = ""
        if self.threads is not None:
            threads = f", {self.threads} thread{'' if self.threads == 1 else 's'}"
        return (
            f"{self.device} ({self.device_name}), {self.attention} attention, {self.dtype}, "
            f"PyTorch {self.torch}, {rows} at once{threads}"
        )

    def facts(self) -> dict[str, Any]:
        """Its fields, without one that says nothing: digests of earlier versions stay."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def default_device() -> str:
    """An accelerator where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def computed(
    evaluation: Evaluation, attention: str, batch: int, device: str | None = None
) -> Computed:
    """What this process decodes with on a device, for a model with that attention kernel."""
    device = device or default_device()
    kind = torch.device(device).type
    is_half = evaluation.precision is Precision.BFLOAT16
    return Computed(
        device=kind,
        device_name=torch.cuda.get_device_name(device) if kind == "cuda" else _processor(),
        attention=PRODUCTS if is_half and attention == OWN and kind == "cpu" else attention,
        dtype=str(evaluation.precision),
        torch=str(torch.__version__),
        batch=batch,
        threads=torch.get_num_threads() if kind == "cpu" else None,
    )


def attention_of(net: Any) -> str:
    """The attention kernel that a network runs with: transformers' name, or ours, which is SDPA."""
    kernel = str(net.config._attn_implementation)
    return OWN if kernel == attention.NAME else kernel


def rows_that_fit(net: Any, evaluation: Evaluation, longest: int, device: str, sharing: int) -> int:
    """An estimate of how many rows are decoded together on a device: a power of two.

    `net` may be on the device `meta`; `longest` is the length of the longest prompt in characters,
    of which a token has two at least. A device's free memory is shared by so many processes. More
    rows than cores make a CPU no faster, so it gets half of the most.
    """
    kind = torch.device(device).type
    free = torch.cuda.mem_get_info(device)[0] if kind == "cuda" else free_memory()
    tokens = longest // 2 + evaluation.masks + 64  # headers
    most = MOST_ROWS if kind == "cuda" else MOST_ROWS // 2
    return rows_within(free // sharing, shape_of(net), tokens, evaluation.precision, most)


def _processor() -> str:
    """The processor's name, as Linux has it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
