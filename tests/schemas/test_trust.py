"""What an untrusted recipe may not hold: the list is complete, and no spelling gets around it."""

import dataclasses
import inspect
import os
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from pydantic import BaseModel

from diffusion.evaluation.settings import Evaluation
from diffusion.settings import Settings
from flows.experiment import Experiment
from schemas.recipe import Part, Recipe
from schemas.trust.addresses import Allowed, parsed
from schemas.trust.check import refuse_untrusted
from schemas.trust.fields import FAMILIES, FREE, FROM_HUB, guarded
from schemas.trust.places import place_fault
from support import plugins
from support.errors import UserError

# Text in these fields names nothing that is started, reached or read.
HARMLESS = {
    *("name", "label", "license", "notice", "pretty_name"),  # are shown
    *("template", "prompt", "system", "hints", "path_hints", "stop"),  # are written and asked
    *("pattern", "text", "gold_after", "aliases", "labels", "unit"),  # are compared
    *("columns", "choices", "gold", "tests", "traces", "column", "correct", "model", "group"),
    *("model_name", "suppress", "defer", "finish_reason", "prompt_tokens", "currency", "kind"),
    *("config", "split", "revision"),  # of a dataset that `repo` names
    *("delimiter", "devices", "device", "batch"),
    *("modules", "base", "variant"),  # of a model; of tables
    "set",  # overrides of a recipe, which is checked with them
    *("teacher_license", "source_datasets", "intended_use", "personal_information"),  # on the card
}


def fields(kind: Any, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every field below a type that can hold text, with its annotation."""
    if isinstance(kind, type) and issubclass(kind, Part):
        return  # its kinds are looked at one by one
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield from fields(field.annotation, (*names, name))
    elif dataclasses.is_dataclass(kind):
        assert isinstance(kind, type)
        hints = get_type_hints(kind)
        for one in dataclasses.fields(kind):
            yield from fields(hints[one.name], (*names, one.name))
    elif (isinstance(kind, type) and issubclass(kind, Enum | int | float)) or kind is type(None):
        return
    elif kind is str or kind is Any:
        yield names, kind
    elif get_origin(kind) is Literal:
        return
    elif get_origin(kind) in (dict, Mapping, typing.get_origin(Mapping[str, str])):
        yield names, kind
    elif get_args(kind):
        for inner in get_args(kind):
            if inner is not Ellipsis and not isinstance(inner, str):
                yield from fields(inner, names)


def all_fields() -> Iterator[tuple[tuple[str, ...], Any]]:
    for section in (Recipe, Settings, Evaluation, Experiment):
        yield from fields(section, ())
    for family, package in FAMILIES.items():
        for kind in plugins.kinds(package):
            make = plugins._make(package, kind, family)
            hints = get_type_hints(make) if inspect.isfunction(make) else {}
            hints = hints or get_type_hints(make)
            for name in inspect.signature(make).parameters:
                yield from fields(hints[name], (family, name))


def test_every_field_that_holds_text_is_checked_or_known_to_be_harmless() -> None:
    unknown = {
        ".".join(names)
        for names, _ in all_fields()
        if names[-1] not in FREE and guarded(names) is None and names[-1] not in HARMLESS
    }
    # These are mappings whose keys are checked: `kind`, and the options of that kind.
    assert unknown == {"systems.rule", "benchmark"}


def test_every_kind_that_may_be_fetched_from_the_hub_is_known() -> None:
    optional = set()
    for package in set(FAMILIES.values()):
        for kind in plugins.kinds(package):
            options = inspect.signature(plugins._make(package, kind, "x")).parameters
            if "path" in options and options["path"].default is None:
                optional.add(kind)
    assert optional == {*FROM_HUB, "tiny"}  # the last is bundled


def refused(data: dict[str, Any], *allow: str) -> str:
    """What the check says; empty where it refuses nothing."""
    try:
        refuse_untrusted(data, "x.yaml", Allowed(allow), "trust it")
    except UserError as error:
        return str(error)
    return ""


def served(**options: object) -> dict[str, Any]:
    return {"teacher": {"kind": "openai_server", **options}}


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost:8000/v1",
        "http://LOCALHOST",
        "http://127.0.0.1:8000/v1",
        "http://127.3.2.1",
        "https://[::1]:8000/v1",
        "http://[0:0:0:0:0:0:0:1]/v1",
        "http://gpu1:8000/v1",
        "https://GPU1",
        "https://api.openai.com/v1",
        "https://api.openai.com:443/v1",
        "http://[fd00::7]:8000/v1",
        "http://10.0.0.7:8000/v1",
    ],
)
def test_addresses_of_this_machine_and_allowed_ones_pass(address: str) -> None:
    allowed = ("gpu1", "https://api.openai.com", "[FD00:0::7]:8000", "10.0.0.7:8000")
    assert refused(served(endpoints=address), *allowed) == ""
    assert refused(served(endpoints=(address,)), *allowed) == ""


@pytest.mark.parametrize(
    "address",
    [
        "http://evil.example/v1",
        "http://localhost.evil.example/v1",
        "http://127.0.0.1.evil.example/v1",
        "http://localhost.",
        "http://localhost@evil.example/v1",
        "http://localhost:80@evil.example/v1",
        "http://gpu1%40evil.example/v1",
        "http://evil.example/@localhost",
        "http://evil.example#@localhost/v1",
        "http://evil.example\\@localhost/v1",
        "http://localhost\\.evil.example/v1",
        "http://evil.example?@localhost/",
        "http:/evil.example/v1",
        "http:evil.example",
        "//evil.example/v1",
        "http:///evil.example/v1",
        "http://2130706433/v1",
        "http://0x7f.1/v1",
        "http://0177.0.0.1/v1",
        "http://127.1/v1",
        "http://0.0.0.0/v1",
        "http://[::]/v1",
        "http://[::ffff:10.0.0.1]/v1",
        "http://[fe80::1%25eth0]/v1",
        "http://169.254.169.254/latest",
        "http://ⓛocalhost/v1",
        "http://127。0。0。1/v1",
        "http://localho\u017ft/v1",  # in lower case an s
        "http://local\thost/v1",
        "http://localhost\n.evil.example/v1",
        " http://localhost/v1",
        "http://localhost:0/v1",
        "http://localhost:99999/v1",
        "ftp://localhost/x",
        "file:///etc/passwd",
        "http://api.openai.com/v1",
        "https://api.openai.com:8443/v1",
        "https://api.openai.com.evil.example/v1",
        "http://gpu1:8001/v1",
        "",
    ],
)
def test_other_addresses_and_other_spellings_are_refused(address: str) -> None:
    allowed = ("gpu1:8000", "https://api.openai.com")
    assert "teacher.endpoints: " in refused(served(endpoints=address), *allowed)
    both = ["http://localhost/v1", address]
    assert "teacher.endpoints: " in refused(served(endpoints=both), *allowed)


@pytest.mark.parametrize("value", [b"http://evil.example", {"http://evil.example"}, {"a": 1}, 7])
def test_an_address_that_is_no_text_is_refused(value: object) -> None:
    assert "teacher.endpoints: " in refused(served(endpoints=value))


@pytest.mark.parametrize("text", ["a b", "http://a/path", "user@a", "*", "", "gpu1:0", "[::g]"])
def test_a_mistake_in_an_allowed_address_is_a_sentence(text: str) -> None:
    with pytest.raises(UserError, match="--allow-address"):
        Allowed([text])


def test_plain_addresses_are_read_as_they_are() -> None:
    address = parsed("S3://bucket/key/part-0.parquet")
    assert address is not None and (address.scheme, address.host) == ("s3", "bucket")
    assert refused({"source": [{"kind": "jsonl", "path": "s3://bucket/x"}]}, "s3://bucket") == ""
    assert "not allowed" in refused(
        {"source": [{"kind": "jsonl", "path": "s3://bucket/x"}]}, "bucket"
    )


OPENAI = "https://api.openai.com/v1"
FOREIGN = "is only sent to https://"


@pytest.mark.parametrize(
    ("variable", "endpoints", "says"),
    [
        ("VLLM_API_KEY", "http://gpu1/v1", ""),
        ("VLLM_API_KEY", None, ""),  # the servers that the build starts
        ("OPENAI_API_KEY", OPENAI, ""),
        ("OPENAI_API_KEY", "http://api.openai.com/v1", FOREIGN),
        ("OPENAI_API_KEY", "http://gpu1/v1", FOREIGN),
        ("OPENAI_API_KEY", "http://localhost/v1", FOREIGN),
        ("OPENAI_API_KEY", None, FOREIGN),
        ("HF_TOKEN", ["https://huggingface.co/v1", "http://gpu1/v1"], FOREIGN),
        ("AWS_SECRET_ACCESS_KEY", "http://gpu1/v1", "use one of"),
        ("PATH", None, "use one of"),
        (b"PATH", None, "sends this environment variable"),
        (["VLLM_API_KEY", "PATH"], None, "use one of"),
    ],
)
def test_a_key_is_sent_to_its_own_servers_alone(
    variable: object, endpoints: object, says: str
) -> None:
    options = {"api_key_env": variable, "endpoints": endpoints}
    said = refused(served(**options), "gpu1", "api.openai.com", "huggingface.co")
    assert (said == "") if not says else ("teacher.api_key_env: " in said and says in said)


@pytest.mark.parametrize(
    "data",
    [
        {"serve": {"python": "python3"}},
        {"serve": {"python": ""}},
        {"serve": {"host": "0.0.0.0"}},
        {"serve": {"host": "::"}},
        {"serve": {"model": "/models/private"}},
        {"serve": {"args": ["--trust-remote-code"]}},
        {"serve": {"args": ["--trust-rem"]}},  # argparse knows it by its beginning
        {"serve": {"args": ["--middleware=evil.run"]}},
        {"serve": {"args": ["--max-model-len", "64", "other/model"]}},
        {"serve": {"args": ["--max-model-len", "--config=x.yaml"]}},
        {"serve": {"args": ["--max-model-len=64 --config x"]}},
        {"serve": {"args": ["--kv-transfer-config.kv_connector_module_path", "evil"]}},
        {"serve": {"args": ["-cc.x=1"]}},
        {"serve": {"args": ["--enforce-eager", "other/model"]}},
        {"scorer": {"path": "x", "trust_remote_code": True}},
        {"teacher": {"kind": "transformers_local", "path": "x", "trust_remote_code": "yes"}},
        {"teacher": {"kind": "transformers_local", "path": "x", "trust_remote_code": 1}},
        {"grader": {"kind": "code", "allow_weak_sandbox": "on"}},
        {"grader": {"kind": "first_of", "graders": [{"kind": "code", "allow_weak_sandbox": True}]}},
        {"grader": {"kind": "judge", "teacher": {"kind": "openai_server", "endpoints": "http://e.x"}}},
        {"teacher": {"kind": "recorded", "top_up": {"kind": "x", "endpoints": "http://e.x"}}},
        {"teacher": {"kind": "recorded", "top_up": {"kind": "x", "api_key_env": "HOME"}}},
        {"teacher": {"kind": b"openai_server"}},
        {"teacher": {"kind": "x", b"endpoints": "http://e.x"}},
        {"source": [{"kind": "jsonl", "path": "/etc/passwd"}]},
        {"source": [{"kind": "jsonl", "path": "../up.jsonl"}]},
        {"source": [{"kind": "jsonl", "path": "inside/../../up.jsonl"}]},
        {"source": [{"kind": "jsonl", "path": "~/.netrc"}]},
        {"source": [{"kind": "jsonl", "path": "./~/.netrc"}]},
        {"source": [{"kind": "canvases", "path": ".//./~root/run"}]},
        {"seqdep": {"web": "./~/notes.jsonl"}},
        {"source": [{"kind": "jsonl", "path": "file:///etc/passwd"}]},
        {"source": [{"kind": "jsonl", "path": "local:///etc/passwd"}]},
        {"source": [{"kind": "jsonl", "path": "simplecache::http://localhost/x"}]},
        {"source": [{"kind": "jsonl", "path": "zip://a.csv::http://localhost/x.zip"}]},
        {"source": [{"kind": "jsonl", "path": "memory://x"}]},
        {"source": [{"kind": "jsonl", "path": ["a.jsonl", "/etc/passwd"]}]},
        {"source": [{"kind": "gsm8k"}]},
        {"source": [{"kind": "gsm8k", "path": None}]},
        {"source": [{"kind": "hub", "repo": "org/name"}]},
        {"source": [{"kind": "hub", "repo": "text"}]},
        {"source": [{"kind": "hub", "repo": "../x"}]},
        {"source": [{"kind": "hub", "repo": "inside/data"}]},
        {"decontaminate": [{"kind": "jsonl", "path": "/etc/passwd"}]},
        {"canvas": {"tokenizer": ("tiny/teacher", "org/name")}},
        {"canvas": {"tokenizer": ("/etc",)}},
        {"scorer": {"path": "org/name"}},
        {"scorer": {"path": "org/name/"}},
        {"scorer": {"path": "org/name:Q4_K_M"}},
        {"scorer": {"path": "name"}},
        {"scorer": {"path": "../name"}},
        {"task_runner": "ray"},
        {"trackers": ("tensorboard", "wandb")},
        {"handoff": "../evil.yaml"},
        {"corpus": "hub:org/name"},
        {"corpus": "/data/private"},
        {"seqdep": {"model": "org/name"}},
        {"seqdep": {"web": "hub:org/name"}},
        {"seqdep": {"long_cot": ("mine=/etc/passwd",)}},
        {"seqdep": {"long_cot": ("mine=hub:org/name",)}},
        {"seqdep": {"long_cot": ("mine=http://e.x/y",)}},
        {"systems": [{"model": {"path": "org/name"}}]},
        {"systems": [{"model": {"path": "tiny/dlm", "base_model": "../x"}}]},
        {"benchmark": {"kind": "gpqa"}},
        {"benchmark": {"kind": "tiny", "path": "/etc/passwd"}},
        {"serve": {}, "teacher": {"kind": "openai_server", "model": "org/name"}},
        {"serve": {"model": "org/name/weights.gguf"}},  # vLLM fetches the file from the Hub
        {"serve": {}, "teacher": {"kind": "openai_server", "model": "org/name/weights.gguf"}},
        {"serve": {}, "teacher": {"kind": "recorded", "top_up": {"kind": "x", "model": "/etc"}}},
    ],
    ids=str,
)  # fmt: skip
def test_what_could_harm_is_refused(
    data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    (tmp_path / "inside" / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    said = refused(data)
    assert said.startswith("x.yaml is not trusted: ") and said.endswith("if you trust it: trust it")
    assert "\n" not in said


@pytest.mark.parametrize(
    "data",
    [
        {"serve": {"args": ["--max-model-len", "4096", "--dtype=bfloat16", "--enforce-eager"]}},
        {"serve": {"args": ("--max_model_len=4096",), "host": "127.0.0.1", "python": None}},
        {"source": [{"kind": "jsonl", "path": "inside/x"}], "scorer": {"path": "tiny/teacher"}},
        {"teacher": {"kind": "x", "extra": {"path": "/any", "endpoints": "anything"}}},
        {"corpus": "runs/demo", "trackers": ("tensorboard",), "model": {"path": "tiny/dlm"}},
        {"handoff": "tiny", "short_for": "tiny", "task_runner": "threads"},
        {"seqdep": {"long_cot": ("mine=inside/x.jsonl", "inside/y.jsonl"), "web": None}},
        {"scorer": {"path": "inside", "trust_remote_code": False}},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_harm_is_not_refused(
    data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path)
    assert refused(data) == ""


def test_many_faults_are_one_sentence() -> None:
    data = {"source": [{"kind": "jsonl", "path": f"/etc/{n}"} for n in range(20)]}
    assert "and 15 more" in refused(data) and len(refused(data)) < 1000


def test_the_hub_of_the_environment_is_the_one_to_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"source": [{"kind": "hub", "repo": "org/name"}]}
    assert refused(data, "huggingface.co") == ""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9999")
    assert refused(data) == ""
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    assert "mirror.example is not allowed" in refused(data, "huggingface.co")


def test_links_that_lead_out_are_followed_before_they_are_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    monkeypatch.chdir(home)
    assert place_fault("data") is None and place_fault(".") is None
    (home / "link").symlink_to(tmp_path / "secret")
    assert "outside" in str(place_fault("link"))
    assert place_fault("data") is None
    (home / "data" / "deep").mkdir()
    (home / "data" / "deep" / "x.jsonl").symlink_to("../../../secret")
    assert "holds a link" in str(place_fault("data"))
    os.unlink(home / "data" / "deep" / "x.jsonl")
    (home / "data" / "x.jsonl").symlink_to(home / "data" / "y.jsonl")
    assert place_fault("data") is None


def test_a_link_behind_a_link_does_not_lead_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`corpus: run` reads run/data/*.parquet, wherever run/data lies."""
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True)
    (home / "other").mkdir()
    (tmp_path / "private.parquet").write_text("x")
    monkeypatch.chdir(home)
    (home / "run" / "data").symlink_to("../other")
    (home / "other" / "back").symlink_to("../run")  # a circle ends
    assert place_fault("run") is None
    (home / "other" / "train-0.parquet").symlink_to(tmp_path / "private.parquet")
    assert "holds a link that leads out" in str(place_fault("run"))
    assert "holds a link that leads out" in refused({"corpus": "run"})
