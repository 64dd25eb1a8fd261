"""What this machine can do, in one screen: `polytrace doctor`."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from schemas.paths import ROOT

PACKAGES = ("torch", "transformers", "datasets", "pyarrow", "polars", "prefect", "vllm")


def report() -> str:
    """One line a fact, and what to do where something is missing."""
    facts = [
        ("python", platform.python_version()),
        ("cores", str(os.cpu_count())),
        ("memory", _memory()),
        ("disk free", f"{shutil.disk_usage(Path.cwd()).free / 1e9:.0f} GB here"),
        ("accelerator", _accelerator()),
        *((name, _version(name)) for name in PACKAGES),
        ("tiny teacher", _teacher()),
        (
            "hub token",
            "present"
            if _hub_token()
            else "none (needed to publish, and for private or gated data)",
        ),
        ("prefect", os.environ.get("PREFECT_API_URL", "embedded server, started for each build")),
    ]
    return "\n".join(f"{name:>13}  {value}" for name, value in facts)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed" + (" (only needed to serve a teacher)" if name == "vllm" else "")


def _memory() -> str:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{total / 2**30:.0f} GiB"


def _accelerator() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none: models run on the CPU"
    count = torch.cuda.device_count()
    return f"{count} x {torch.cuda.get_device_name(0)}"


def _teacher() -> str:
    weights = ROOT / "tiny" / "teacher" / "model.safetensors"
    if weights.is_file():
        return f"present ({weights.stat().st_size / 1e6:.1f} MB)"
    return "missing: check out the repository again, or run python -m tiny.train_teacher"


def _hub_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None
