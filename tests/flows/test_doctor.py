"""What `polytrace doctor` says, about this machine and about others."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from curation.teachers.openai.client import MOST_PAGE
from curation.teachers.openai.reply_body import MB
from diffusion.memory import SHAPES
from diffusion.models import family_of
from diffusion.training.estimate import shape_of
from flows.cli.doctor.examine import (
    DEVICES,
    _corpus_bytes,
    _evaluation_bytes,
    _gpus_of,
    _training_bytes,
    as_json,
    broken,
    served,
    text,
)
from flows.cli.doctor.fitting import GB, GIB, OF_CLONES, SMALL, Endpoint, Facts, Gpu, fits
from schemas.recipe import load_recipe
from support.errors import PolytraceError
from support.paths import OF_CHECKOUTS, ROOT
from support.processes import PIPE, Child
from tests.flows.commands import run, script

LAPTOP = Facts(
    python="3.11.7",
    polytrace="0.1.0",
    packages={
        "torch": "2.13.0",
        "transformers": "5.19.0",
        "prefect": "3.7.7",
        "datasets": "5.2.0",
        "pyarrow": "26.0.1",
        "vllm": None,
    },
    cores=2,
    memory=16 * GIB,
    disk=80 * GB,
    gpus=(),
    driver_gpus=0,
    teacher=11_400_000,
    is_clone=True,
    has_hub_token=False,
    prefect="embedded server, started for each build",
    sandbox="user namespaces and seccomp, for grader.kind=code",
    endpoints=(),
    training={"llada_nap": {1: 138 * GB, 8: 30 * GB}, "dream_nap": {1: 130 * GB, 8: 24 * GB}},
    evaluation={"llada_nap": 32 * GB, "dream_nap": 30 * GB},
    corpus=4 * GB,
)
CONFIGS: list[dict[str, Any]] = [  # of GSAI-ML/LLaDA-8B-Instruct and Dream-org/Dream-v0-Instruct-7B
    {
        "model_type": "llada",
        "block_type": "llama",
        "activation_type": "silu",
        "layer_norm_type": "rms",
        "rope": True,
        "d_model": 4096,
        "n_layers": 32,
        "n_heads": 32,
        "n_kv_heads": 32,
        "mlp_hidden_size": 12288,
        "embedding_size": 126464,
        "max_sequence_length": 4096,
        "rope_theta": 500000.0,
        "rms_norm_eps": 1e-5,
        "weight_tying": False,
    },
    {
        "model_type": "Dream",
        "hidden_act": "silu",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "max_position_embeddings": 131072,
        "num_attention_heads": 28,
        "num_hidden_layers": 28,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "vocab_size": 152064,
        "mask_token_id": 151666,
        "pad_token_id": 151643,
    },
]
SERVED = (Endpoint("http://gpu1:8000/v1", ("Qwen/Qwen2.5-7B-Instruct",)),)
DEAD = (Endpoint("http://gpu1:8000/v1", (), "connection refused"),)
H100 = (Gpu("NVIDIA H100 80GB HBM3", 85 * GB),)
WITH_VLLM = {**LAPTOP.packages, "vllm": "0.32.0"}
STATION = replace(
    LAPTOP, gpus=H100 * 8, driver_gpus=8, packages=WITH_VLLM, cores=64, memory=1000 * GIB
)


def fitting(facts: Facts) -> set[str]:
    return {one.recipe for one in fits(facts) if one.fits}


def why(facts: Facts, recipe: str) -> str:
    (found,) = [one for one in fits(facts) if one.recipe == recipe]
    assert not found.fits
    return found.said


def test_a_laptop_runs_what_is_small() -> None:
    assert fitting(LAPTOP) == set(SMALL)
    assert why(LAPTOP, "gsm8k_vllm").startswith("needs a server")
    assert "138 GB on one GPU, or 30 GB on each of 8" in why(LAPTOP, "train llada_nap")
    assert why(LAPTOP, "evaluate paper_dream") == "needs a GPU that holds 30 GB of weights"
    assert why(LAPTOP, "finetune-eval dream") == "train dream_nap does not fit"


def test_an_installation_without_all_weights_fits_no_recipe_that_needs_them() -> None:
    installed = replace(LAPTOP, is_clone=False)
    assert fitting(installed) == SMALL.keys() - OF_CLONES
    assert why(installed, "finetune-eval tiny_demo").startswith("its weights are in a clone")
    assert "finetune-eval tiny" in fitting(installed)


def test_recipes_that_need_a_clone_are_those_that_name_its_weights() -> None:
    folders = {"train": "train", "evaluate": "evaluate", "experiments": "finetune-eval"}
    texts = {
        f"{name} {path.stem}": path.read_text()
        for folder, name in folders.items()
        for path in (ROOT / "flows" / "recipes" / folder).glob("*.yaml")
    }
    needing = {
        name for name, held in texts.items() if any(weights in held for weights in OF_CHECKOUTS)
    }
    for name, held in texts.items():
        if name.startswith("finetune-eval "):
            experiment = yaml.safe_load(held)
            used = {f"train {one['recipe']}" for one in experiment["train"]}
            needing |= {name} if used & needing else set()
    assert needing == OF_CLONES


def test_every_bundled_recipe_is_named() -> None:
    folder = ROOT / "flows" / "recipes"
    folders = {"": "", "train": "train ", "evaluate": "evaluate ", "experiments": "finetune-eval "}
    files = [
        (lead, file) for name, lead in folders.items() for file in (folder / name).glob("*.yaml")
    ]
    facts = replace(LAPTOP, training=_training_bytes({1, 8}))
    assert sorted(one.recipe for one in fits(facts)) == sorted(f"{a}{b.stem}" for a, b in files)
    shown = " ".join(text(facts).split())
    assert [file.stem for _, file in files if file.stem not in shown] == []


def test_a_server_that_answers_is_a_teacher() -> None:
    assert {"gsm8k_vllm", "nap_103k"} <= fitting(replace(LAPTOP, endpoints=SERVED))
    assert "that answers" in why(replace(LAPTOP, endpoints=DEAD), "gsm8k_vllm")
    full = replace(LAPTOP, endpoints=SERVED, disk=2 * GB)
    assert why(full, "nap_103k") == "about 4 GB of disk, 2 GB are free"


def test_gpus_serve_and_train_as_far_as_they_go() -> None:
    assert fitting(STATION) == {one.recipe for one in fits(STATION)}
    assert "serve.python" in why(replace(STATION, packages=LAPTOP.packages), "gsm8k_vllm")
    assert "gsm8k_vllm" in fitting(replace(STATION, endpoints=DEAD))
    one = replace(STATION, gpus=H100)
    assert "needs 138 GB on one GPU, here 85 GB" in why(one, "train llada_nap")
    assert "evaluate paper_llada" in fitting(one)
    assert why(replace(one, gpus=(Gpu("old", 31 * GB),)), "evaluate paper_llada").endswith(
        "weights"
    )
    tight = replace(STATION, gpus=(*H100 * 7, Gpu("old", 31 * GB)))
    assert "here 31 GB" in why(tight, "train llada_nap")


def test_what_is_too_small_is_said() -> None:
    assert why(replace(LAPTOP, memory=GIB), "demo") == "needs 3 GB of memory"
    assert why(replace(LAPTOP, disk=GB // 2), "train tiny_nap") == "needs 1 GB of disk"


@pytest.mark.parametrize(
    "facts",
    [
        LAPTOP,
        STATION,
        replace(LAPTOP, endpoints=SERVED * 3 + DEAD * 9, driver_gpus=4),
        replace(STATION, endpoints=(Endpoint("http://" + "x" * 300, ("m" * 60,) * 9),) * 9),
        replace(STATION, gpus=tuple(Gpu(f"NVIDIA {i}" * 9, 85 * GB) for i in range(8))),
    ],
)
def test_it_is_one_screen(facts: Facts) -> None:
    """What is said of endpoints comes on top: two lines for each of four."""
    assert len(text(replace(facts, endpoints=())).splitlines()) <= 32
    lines = text(facts).splitlines()
    assert len(lines) <= 32 + 9
    assert max(map(len, lines)) <= 80


def test_only_a_broken_installation_is_one() -> None:
    assert broken(LAPTOP) is None
    said = broken(replace(LAPTOP, packages={**LAPTOP.packages, "torch": None}))
    assert said is not None and "torch not installed" in said
    assert "tiny/teacher" in (broken(replace(LAPTOP, teacher=None)) or "")


def test_json_is_the_same_as_one_object() -> None:
    found = json.loads(as_json(replace(STATION, endpoints=DEAD)))
    assert found["endpoints"] == [
        {"url": "http://gpu1:8000/v1", "models": [], "problem": "connection refused"}
    ]
    assert found["gpus"][0] == {"name": "NVIDIA H100 80GB HBM3", "memory": 85 * GB}
    assert {one["recipe"] for one in found["recipes"]} == {one.recipe for one in fits(STATION)}


@contextmanager
def answering(status: int, body: bytes, wait: threading.Event | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.headers["Authorization"] is None
            if wait is not None:
                wait.wait()
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "models", "says"),
    [
        (200, b'{"data": [{"id": "a"}, {"id": "b\\u001b[2J\\n"}]}', 2, None),
        (200, b"[]", 0, "lists no models"),
        (200, b"[" * 100_000, 0, "lists no models"),
        (401, b"no", 0, "wants a key"),
        (302, b"", 0, "answers 302"),
    ],
)
def test_a_server_is_asked_what_it_serves(
    status: int, body: bytes, models: int, says: str | None
) -> None:
    with answering(status, body) as url:
        found = served(url)
    assert len(found.models) == models
    assert all(name.isprintable() for name in found.models)
    assert found.url == f"{url}/v1"
    assert (says or "") in (found.problem or "")


def test_a_server_that_is_silent_or_gone_or_none() -> None:
    silence = threading.Event()
    with answering(200, b"", silence) as url:
        assert served(url).problem == "no answer within 3 s"
        silence.set()
    assert served("http://127.0.0.1:9").problem == "connection refused"
    found = served("http://me:hunter2@host")
    assert "hunter2" not in str(found)
    assert "hunter2" not in str(served("ftp://x/?token=hunter2"))


def test_a_server_that_sends_without_end_is_not_heard_out() -> None:
    """Chunks with no length before them, for as long as somebody reads."""
    sent = 0

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal sent
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while sent < 40 * MOST_PAGE:
                    sent += self.wfile.write(b"x" * MB)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = served(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert found.problem == "answers with more than 16 MB"
    assert sent < 3 * MOST_PAGE


@pytest.mark.parametrize(
    ("profile", "says"),
    [
        ('PREFECT_API_URL = "http://me:hunter2@prefect:4200/api"', "http://prefect:4200/api"),
        ('PREFECT_LOGGING_LEVEL = "INFO"', "embedded server, started for each build"),
        ("PREFECT_API_URL = 5", "its settings cannot be read; prefect config validate says more"),
    ],
)
def test_an_address_of_a_prefect_profile_is_said(
    profile: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    text = f'active = "prod"\n[profiles.prod]\n{profile}\n'
    (tmp_path / "profiles.toml").write_text(text)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))  # read where Prefect is imported
    code = "from flows.cli.doctor.examine import _prefect; print(_prefect())"
    done = script(code, cwd=tmp_path)
    assert done.stdout == f"{says}\n"
    assert "hunter2" not in done.stderr


def test_the_estimate_knows_the_models_and_the_corpus() -> None:
    """The figures of the test facts are of the size that is computed."""
    found = _training_bytes({1, 8})
    assert 100 * GB < found["llada_nap"][1] < 160 * GB
    assert 15 * GB < found["llada_nap"][8] < 50 * GB
    assert _evaluation_bytes() == {"llada_nap": 32_062_324_736, "dream_nap": 30_462_466_048}
    assert GB < _corpus_bytes() < 20 * GB
    assert load_recipe(ROOT / "flows" / "recipes" / "nap_103k.yaml").name == "nap_103k"


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config["model_type"])
def test_the_shapes_are_those_of_the_networks(config: dict[str, Any]) -> None:
    _, family = family_of(config)
    with torch.device("meta"):
        net = family.blank(config, torch.float32, False)
    assert shape_of(net) in SHAPES.values()


@pytest.mark.parametrize(
    ("torch", "says"),
    [
        (
            "raise ImportError('libcudart.so.12: no\\nsuch file')",
            "loaded (libcudart.so.12: no such",
        ),
        ("import os; os.abort()", "loaded (its process ended with status -6)"),
        ("class cuda:\n def device_count(): raise RuntimeError('CUDA error 999')", "GPUs (CUDA er"),
    ],
)
def test_a_broken_torch_is_told(torch: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(torch)
    command = [sys.executable, "-P", str(DEVICES)]
    more = {"PYTHONPATH": str(tmp_path)}
    with (
        Child[str](command, grace=0.0, env=more, stdout=PIPE, stderr=PIPE, text=True) as asked,
        pytest.raises(PolytraceError) as caught,
    ):
        _gpus_of(asked)
    assert says in str(caught.value)
    assert str(caught.value).startswith("broken installation: torch cannot ")


def test_the_command_itself_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from flows.cli.doctor.examine import examine\n"
        "examine(); print('torch' in sys.modules)"
    )
    done = script(code, cwd=tmp_path)
    assert done.stdout == "False\n"


def test_on_this_machine_no_secret_is_shown(tmp_path: Path) -> None:
    done = run(
        *("doctor", "--json", "--endpoint", "http://127.0.0.1:9"),
        cwd=tmp_path,
        HF_TOKEN="hf_hushhush",
        HF_HOME=str(tmp_path),
        HOME=str(tmp_path),
        PREFECT_API_URL="http://me:hunter2@prefect:4200/api",
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["has_hub_token"] is True
    assert found["prefect"] == "http://prefect:4200/api"
    assert found["endpoints"][0]["problem"] == "connection refused"
    assert not [secret for secret in ("hush", "hunter2") if secret in done.stdout + done.stderr]
