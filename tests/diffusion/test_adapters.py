"""LoRA adapters beside their base model: the tokens of the merged one, and what is refused."""

import importlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

import polytrace
from diffusion import models
from diffusion.decoding import Rule
from diffusion.decoding.decode import decode
from diffusion.decoding.rules.confidence import Confidence
from diffusion.decoding.rules.fast_dllm import FastDllm
from diffusion.evaluation.evaluate import evaluate_cells
from diffusion.evaluation.settings import Evaluation, System
from diffusion.models.conversion.adapters import BaseModel
from diffusion.models.network.denoiser import Dlm
from diffusion.settings import Lora, ModelReference, Precision, Settings
from diffusion.training.train import fine_tune
from scorers.revision import directory_revision
from support.errors import UserError
from tests.diffusion.checkpoints import make, weights_of, write_corpus
from tests.diffusion.decodes import canvas, requests
from tests.diffusion.layouts import LAYOUTS

KINDS = ("llada", "dream", "masked_lm", *LAYOUTS)
MODULES = {"masked_lm": ["Wqkv", "Wo"]}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """A base model of a kind, and an adapter for it that peft wrote."""
    made: dict[str, tuple[Path, Path]] = {}

    def of(kind: str) -> tuple[Path, Path]:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            base = make(kind, folder / "base")
            _, adapted = peft_model(kind, base)
            # peft writes copies of embeddings for LLaDA, and cannot read LLaDA-MoE's config.json.
            embeddings = False if kind == "llada_moe" else "auto"
            adapted.save_pretrained(folder / "adapter", save_embedding_layers=embeddings)
            made[kind] = base, folder / "adapter"
        return made[kind]

    return of


def peft_model(kind: str, base: Path) -> tuple[Dlm, Any]:
    """The base with random adapters as peft computes it, and peft's model of it."""
    dlm = models.load_model(str(base))
    torch.manual_seed(1)
    modules = MODULES.get(kind, ["q_proj", "v_proj", "o_proj"])
    adapted = get_peft_model(
        dlm.denoiser.net, LoraConfig(r=3, lora_alpha=7, target_modules=modules)
    )
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    for name, parameter in adapted.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return dlm, adapted


@torch.no_grad()
def features(dlm: Dlm) -> torch.Tensor:
    ids_BT = torch.randint(5, 900, (2, 14), generator=torch.Generator().manual_seed(1))
    return dlm.denoiser.features(ids_BT, torch.arange(ids_BT.numel()), None)


def commits(dlm: Dlm, rule: Rule) -> list[list[tuple[int, int, int]]]:
    dlm.denoiser.eval()
    rows = decode(dlm, canvas(dlm), requests(dlm), rule, steps=9)
    return [[(one.step, one.position, one.token) for one in row.commits] for row in rows]


def loaded(adapter: Path, base: Path | None = None) -> Dlm:
    name = None if base is None else str(base)
    return models.load_model(ModelReference(path=str(adapter), base_model=name))


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_computes_what_peft_computes_and_decodes_as_the_merged_model(
    kind: str, folders: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    base, adapter = folders(kind)
    beside = loaded(adapter)
    plain = models.load_model(str(base))
    own, _ = peft_model(kind, base)
    assert torch.equal(features(beside), features(own))
    assert not torch.allclose(features(beside), features(plain), atol=1e-2)
    merged = models.load_model(ModelReference(path=str(adapter)), merge=True)
    models.save(merged, tmp_path / "merged")
    whole = models.load_model(str(tmp_path / "merged"))
    torch.testing.assert_close(features(beside), features(whole), atol=1e-4, rtol=1e-4)
    rule = FastDllm(block=4, threshold=0.03)
    assert commits(beside, rule) == commits(whole, rule)
    assert commits(beside, rule) != commits(plain, rule)


def test_names_of_the_familys_own_code_are_read(
    folders: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    """LLaDA's own classes call layers as its files do."""
    _base, adapter = folders("llada")
    own = {
        "self_attn.q_proj": "q_proj",
        "self_attn.v_proj": "v_proj",
        "self_attn.o_proj": "attn_out",
    }
    other = shutil.copytree(adapter, tmp_path / "other")
    renamed = {}
    for name, tensor in load_file(adapter / "adapter_model.safetensors").items():
        for ours, theirs in own.items():
            name = name.replace(ours, theirs)
        renamed[name.replace("model.layers.", "model.transformer.blocks.")] = tensor
    save_file(renamed, other / "adapter_model.safetensors")
    assert torch.equal(features(loaded(other)), features(loaded(adapter)))


def test_the_scale_is_that_of_the_config(
    folders: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    _, adapter = folders("dream")
    configs: list[dict[str, Any]] = [{}, {"use_rslora": True}, {"lora_alpha": 7 * 3**0.5}]
    found = [
        features(loaded(with_config(adapter, tmp_path / str(n), **changes)))
        for n, changes in enumerate(configs)
    ]
    torch.testing.assert_close(found[1], found[2])
    assert not torch.allclose(found[0], found[1], atol=1e-3)


def with_config(adapter: Path, to: Path, **changes: Any) -> Path:
    """A copy of an adapter with changed keys of its config."""
    shutil.copytree(adapter, to)
    file = to / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return to


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"peft_type": "IA3"}, "peft_type 'IA3'; only LORA is loaded"),
        ({"use_dora": True}, "use_dora: True: no plain LoRA; merge it"),
        ({"bias": "lora_only"}, "bias: 'lora_only': no plain LoRA"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save: \['lm_head'\]: no plain LoRA"),
        ({"alpha_pattern": {"q_proj": 4}}, r"alpha_pattern: .*: no plain LoRA"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights: 'pissa': no plain LoRA"),
        ({"something_later": 3}, "something_later: 3: no plain LoRA"),
        ({"lora_alpha": "all"}, "lora_alpha: 'all' is no number"),
        ({"lora_alpha": float("nan")}, "lora_alpha: nan is no number"),
        ({"r": 8}, "r: 8, and the weights have the rank 3; fetch both files again"),
        ({"base_model_name_or_path": None}, "names no base model; give it as base_model"),
        (
            {"base_model_name_or_path": "nowhere/at all"},
            "its base model nowhere/at all: is no local directory.* or give another base_model",
        ),
    ],
)
def test_what_is_no_plain_lora_is_refused(
    changes: dict[str, Any],
    says: str,
    folders: Callable[[str], tuple[Path, Path]],
    tmp_path: Path,
) -> None:
    _, adapter = folders("dream")
    with pytest.raises(UserError, match=says) as error:
        loaded(with_config(adapter, tmp_path / "other", **changes))
    assert str(tmp_path / "other") in str(error.value) and "\n" not in str(error.value)


def test_weights_that_do_not_fit_are_refused(
    folders: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    _base, adapter = folders("dream")
    weights = load_file(adapter / "adapter_model.safetensors")
    first = min(weights)
    prefix = "base_model.model."

    def refused(says: str, **tensors: torch.Tensor) -> None:
        other = shutil.copytree(adapter, tmp_path / str(len(list(tmp_path.iterdir()))))
        save_file(tensors, other / "adapter_model.safetensors")
        with pytest.raises(UserError, match=says):
            loaded(other)

    pair = {"lora_A": torch.ones(3, 32), "lora_B": torch.ones(32, 3)}

    def adapting(layer: str) -> dict[str, torch.Tensor]:
        return {f"{prefix}{layer}.{part}.weight": one.clone() for part, one in pair.items()}

    half = {name: one for name, one in weights.items() if name != first}
    refused("is no part of a pair", **half)
    refused("nothing in it is no part")
    refused("holds a number that is not finite", **{**weights, first: weights[first] / 0})
    for kind in (torch.int8, torch.float8_e4m3fn):
        refused(
            r"has the type \w+, and quantised weights", **weights | {first: weights[first].to(kind)}
        )
    refused("is no part of a pair", **weights, **{f"{prefix}lm_head.weight": torch.ones(2)})
    refused(r"adapts model\.layers\.7\.mlp\.up_proj", **adapting("model.layers.7.mlp.up_proj"))
    refused("which is no linear layer", **adapting("model.norm"))
    refused(
        r"\[3, 32\] and \[32, 3\], and the layer \[48, 32\]",
        **adapting("model.layers.0.mlp.up_proj"),
    )
    refused(r"the output head \(lm_head\)", **adapting("lm_head"))
    refused(
        "the layer", **{name: torch.tensor(1.0) for name in adapting("model.layers.0.mlp.up_proj")}
    )
    for damage in (b"damaged", None):
        other = shutil.copytree(adapter, tmp_path / ("damaged" if damage else "pickled"))
        (other / "adapter_model.safetensors").unlink()
        if damage is not None:
            (other / "adapter_model.safetensors").write_bytes(damage)
        else:
            torch.save(weights, other / "adapter_model.bin")
        says = "pickles and are not loaded" if damage is None else "cannot be read"
        with pytest.raises(UserError, match=says):
            loaded(other)


def test_another_base_is_refused(
    folders: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    base, adapter = folders("dream")
    with pytest.raises(
        UserError, match=r"adapts model\.layers\.0\.self_attn\.[qvo]_proj, which is no linear layer"
    ):
        loaded(adapter, folders("masked_lm")[0])
    with pytest.raises(UserError, match="is an adapter, too; merge that one first"):
        loaded(adapter, adapter)
    with pytest.raises(UserError, match="is no adapter and has no base; leave it out"):
        loaded(base, base)
    both = shutil.copytree(base, tmp_path / "both")
    for file in adapter.iterdir():
        shutil.copyfile(file, both / file.name)
    with pytest.raises(UserError, match="holds a model and an adapter"):
        models.located(ModelReference(path=str(both)))  # before its base is fetched


def test_code_of_a_base_that_the_adapter_alone_names_is_not_run(
    folders: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    """Nor is the base fetched: whoever made the adapter would choose what runs."""
    base, adapter = folders("dream")
    other = with_config(adapter, tmp_path / "other", base_model_name_or_path="someone/unknown")
    with pytest.raises(UserError, match=r"name the base model someone/unknown, whose code .* base"):
        models.located(ModelReference(path=str(other), trust_remote_code=True))
    trusted = ModelReference(path=str(other), trust_remote_code=True, base_model=str(base))
    assert models.located(trusted).folder == base
    own = ModelReference(path=str(adapter), trust_remote_code=True)  # its base is a directory here
    assert models.located(own).folder == base


def test_an_adapter_names_the_commit_of_a_base_on_the_hub(
    folders: Callable[[str], tuple[Path, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later commit of its base is another model; an adapter is not put beside that one."""
    base, adapter = folders("dream")
    commit = "0123456789" * 4
    asked: list[tuple[str, str | None]] = []
    snapshot = shutil.copytree(base, tmp_path / commit)

    def download(name: str, *, revision: str | None, **_: Any) -> str:
        asked.append((name, revision))
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    named = models.base_model(ModelReference(path="nobody/base"))
    assert named == BaseModel(path="nobody/base", revision=directory_revision(base), commit=commit)
    assert models.base_model(ModelReference(path=str(base))).commit is None
    of_hub = shutil.copytree(adapter, tmp_path / "adapter")
    models.write_base(of_hub, named)
    assert models.located(ModelReference(path=str(of_hub))).folder == snapshot
    assert asked == [("nobody/base", None), ("nobody/base", commit)]

    given = ModelReference(path=str(of_hub), base_model="nobody/base")
    assert models.located(given).folder == snapshot
    assert len(asked) == 2, "the same commit, which is there"
    assert models.located(replace(given, trust_remote_code=True)).folder == snapshot
    assert asked[2:] == [("nobody/base", None)], "a proposed commit may hold anybody's code"


@pytest.fixture(scope="module")
def trained(
    folders: Callable[[str], tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Settings, Path]:
    """A LoRA training of two steps, with a high rate."""
    folder = tmp_path_factory.mktemp("trained")
    settings = Settings(
        name="small",
        model=ModelReference(path=str(folders("llada")[0])),
        corpus=str(write_corpus(folder / "corpus", rows=12)),
        slot_tokens=30,
        summary_tokens=12,
        epochs=1,
        batch=6,
        learning_rate=0.05,
        precision=Precision.FLOAT32,
        micro_tokens=600,
        lora=Lora(rank=2),
    )
    fine_tune(settings, folder / "run", say=lambda _: None)
    return settings, folder / "run"


def test_what_was_trained_here_decodes_as_its_merged_model_and_knows_its_base(
    trained: tuple[Settings, Path], tmp_path: Path
) -> None:
    settings, run = trained
    base = Path(settings.model.path)
    assert json.loads((run / "adapter" / "base_model.json").read_text()) == {
        "path": str(base),
        "revision": directory_revision(base),
    }
    beside, whole = loaded(run / "adapter"), models.load_model(str(run / "model"))
    torch.testing.assert_close(features(beside), features(whole), atol=1e-4, rtol=1e-4)
    assert commits(beside, Confidence()) == commits(whole, Confidence())
    assert commits(whole, Confidence()) != commits(models.load_model(str(base)), Confidence())
    again = models.load_model(ModelReference(path=str(run / "adapter")), merge=True)
    models.save(again, tmp_path / "again")
    wanted, found = weights_of(run / "model"), weights_of(tmp_path / "again")
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    moved = shutil.copytree(base, tmp_path / "moved")
    assert commits(loaded(run / "adapter", moved), Confidence()) == commits(beside, Confidence())
    config = moved / "config.json"
    config.write_text(config.read_text() + "\n")
    other = shutil.copytree(run / "adapter", tmp_path / "adapter")
    known = {"path": str(moved), "revision": directory_revision(base)}
    (other / "base_model.json").write_text(json.dumps(known))
    with pytest.raises(UserError, match=r"was trained on a model of revision \w+, and .* has \w+"):
        loaded(other)
    for damaged in ('{"where": "?"}', '{"path": 3}', '{"path": ""}', '{"path": "a", "commit": 1}'):
        (other / "base_model.json").write_text(damaged)
        with pytest.raises(UserError, match=r"base_model\.json: cannot be read.*delete it"):
            loaded(other)


def test_an_adapter_is_trained_on_as_the_model_that_it_makes(
    trained: tuple[Settings, Path], tmp_path: Path
) -> None:
    settings, run = trained
    on_adapter, on_model = (
        replace(settings, model=ModelReference(path=str(run / name)), lora=None)
        for name in ("adapter", "model")
    )
    one, other = (
        fine_tune(chosen, tmp_path / name, say=lambda _: None)
        for name, chosen in (("a", on_adapter), ("b", on_model))
    )
    assert one.loss == other.loss and one.digest != other.digest
    with pytest.raises(UserError, match="no adapter is trained on top of another"):
        fine_tune(replace(on_adapter, lora=Lora()), tmp_path / "c")


def test_evaluations_lm_eval_and_the_door_take_adapters_and_name_both(
    trained: tuple[Settings, Path], tmp_path: Path
) -> None:
    settings, run = trained
    file = tmp_path / "problems.jsonl"
    file.write_text('{"question": "What is 2 + 1?", "answer": "3"}\n')
    systems = tuple(
        System(
            name=name,
            model=ModelReference(path=str(run / name)),
            rule={"kind": "confidence"},
            paths=2,
        )
        for name in ("adapter", "model")
    )
    evaluation = Evaluation(
        name="small",
        benchmark={"kind": "tiny", "path": str(file)},
        systems=systems,
        steps=(4,),
        masks=34,
        summary_tokens=4,
        precision=Precision.FLOAT32,
    )
    beside, whole = evaluate_cells(evaluation, tmp_path / "run", say=lambda _: None)
    base = settings.model.path
    revisions = [directory_revision(one) for one in (run / "adapter", Path(base), run / "model")]
    assert beside.model == f"{run / 'adapter'} on {base}"
    assert beside.revision == f"{revisions[0]}+{revisions[1]}"
    assert (whole.model, whole.revision) == (str(run / "model"), revisions[2])
    assert beside.arness == whole.arness and beside.rows != whole.rows

    harness = importlib.import_module("diffusion.lm_eval_model.model")
    arguments = f"path={run / 'adapter'},rule=confidence,masks=34,summary_tokens=4,paths=2"
    model = harness.Polytrace.create_from_arg_string(f"{arguments},base_model={base}", {})
    assert model.get_model_info()["polytrace"]["revision"] == beside.revision
    assert model.get_model_info()["polytrace"]["base_model"] == base

    dlm = polytrace.load_model(str(run / "adapter"), base_model=base, device="cpu")
    assert commits(dlm, Confidence()) == commits(loaded(run / "adapter"), Confidence())
