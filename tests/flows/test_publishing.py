"""`polytrace publish` of models and reports, and collections: by the real client, against a Hub on
loopback. What is common to all kinds is tested with datasets (tests/curation/test_hub.py).
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path

import pytest
import yaml

from diffusion.evaluation.settings import Evaluation, System
from diffusion.paper.tables_page import write_page
from diffusion.settings import ModelReference
from diffusion.training.train import fine_tune
from diffusion.training.training_log import SUMMARY
from flows.model_cards import write_model_cards
from flows.page import REPORT, write_report
from flows.recipe_files import settings_of
from scorers.revision import directory_revision
from support.paths import ROOT
from tests.builds import BuiltRuns
from tests.curation import samples
from tests.curation.test_hub import Done, publish
from tests.diffusion.checkpoints import write_corpus
from tests.servers.hub import Fault, File, HubServer

pytestmark = pytest.mark.slow

MODEL = "org/tuned"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training with adapters that has ended, with its cards; read only."""
    folder = tmp_path_factory.mktemp("trained") / "tiny_nap"
    corpus = write_corpus(folder.parent / "corpus")
    sets = ("lora.rank=2", f"corpus={corpus}", "epochs=1", "slot_tokens=30", "precision=float32")
    settings = settings_of("tiny_nap", sets)
    with chdir(folder.parent):  # where tiny/dlm is no folder, but is bundled
        fine_tune(settings, folder, say=lambda _: None)
    system = System(
        name="NAP",
        model=ModelReference(path=str(folder / "model")),
        rule={"kind": "parallel_forced"},
        base="tiny",
    )
    evaluation = Evaluation(
        name="e", benchmark={"kind": "tiny"}, systems=(system,), steps=(52,), masks=156
    )
    summary = json.loads((folder / SUMMARY).read_text())
    manifest = samples.manifest_of(samples.recipe(), samples.corpus(30))
    assert len(write_model_cards({folder: (settings, summary)}, manifest, evaluation, [])) == 2
    return folder


@pytest.fixture(scope="module")
def built(built_runs: BuiltRuns, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build, with its report."""
    run = built_runs.copy(tmp_path_factory.mktemp("built") / "demo", "demo", limit=24)
    write_report(run / REPORT, run)
    return run


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def files_on(hub: HubServer, name: str) -> dict[str, bytes]:
    files = hub.repos[name].files
    return {path: file.content for path, file in files.items() if path != ".gitattributes"}


def digest(training: Path) -> str:
    return str(json.loads((training / SUMMARY).read_text())["digest"])


LOAD = """
import sys
import polytrace
from scorers.revision import directory_revision, fetched
polytrace.load_model(sys.argv[1])
print(directory_revision(fetched(sys.argv[1], "model", code=False)))
"""


def test_a_model_is_published_and_loaded_back(
    hub: HubServer, trained: Path, tmp_path: Path
) -> None:
    local = files_in(trained / "model")
    assert "README.md" in local and "model.safetensors" in local
    done = publish(hub, trained, "--repo", MODEL, home=tmp_path)
    assert done.code == 0, done.err
    repo = hub.repos[MODEL]
    assert done.out == f"{hub.url}/{MODEL}/tree/{repo.head}\n"
    assert (repo.kind, repo.private, len(repo.commits)) == ("model", True, 2)
    assert files_on(hub, MODEL) == local == files_in(trained / "model")
    assert repo.tags == {digest(trained): repo.head}

    sent = hub.received.total()
    again = publish(hub, trained, "--repo", MODEL, "--revision", "v1", home=tmp_path)
    assert again.code == 0, again.err
    assert again.out == done.out and "0 of" in again.err
    assert hub.received.total() == sent and len(repo.commits) == 2
    assert repo.tags == {digest(trained): repo.head, "v1": repo.head}

    env = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HOME": str(tmp_path / "hf2")}
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, MODEL],
        env={**os.environ, **env, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.strip() == directory_revision(trained / "model")


def test_an_adapter_is_published_by_its_folder(
    hub: HubServer, trained: Path, tmp_path: Path
) -> None:
    preview = publish(hub, trained / "adapter", "--repo", MODEL, "--dry-run", home=tmp_path)
    assert preview.code == 0, preview.err
    assert "adapter_model.safetensors" in preview.out and "nothing was sent" in preview.out
    assert f"tagged {digest(trained)};" in preview.out
    assert {method for method, _, _ in hub.requests} == {"GET"} and not hub.repos
    done = publish(hub, trained / "adapter", "--repo", MODEL, "--public", home=tmp_path)
    assert done.code == 0, done.err
    assert files_on(hub, MODEL) == files_in(trained / "adapter")
    assert not hub.repos[MODEL].private
    refused = publish(hub, trained / "adapter", "--repo", MODEL, home=tmp_path)
    assert refused.code == 2 and "is public already; add --public" in refused.err


def test_a_model_replaces_every_file_of_the_former_one(
    hub: HubServer, trained: Path, tmp_path: Path
) -> None:
    assert publish(hub, trained / "adapter", "--repo", MODEL, home=tmp_path).code == 0
    done = publish(hub, trained, "--repo", MODEL, home=tmp_path)
    assert done.code == 0, done.err
    assert "of a former version deleted" in done.err
    assert files_on(hub, MODEL) == files_in(trained / "model")
    assert ".gitattributes" in hub.repos[MODEL].files


def test_an_interrupted_model_goes_on(hub: HubServer, trained: Path, tmp_path: Path) -> None:
    fault = Fault("PUT", "/storage/", None, times=99, after=1000)
    hub.faults.append(fault)
    done = publish(hub, trained, "--repo", MODEL, home=tmp_path)
    assert done.code == 3 and "the same command goes on" in done.err
    assert len(hub.repos[MODEL].commits) == 1, "nothing is there before all is"
    hub.faults.clear()
    assert publish(hub, trained, "--repo", MODEL, home=tmp_path).code == 0
    assert files_on(hub, MODEL) == files_in(trained / "model")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def name_base(training: Path) -> None:
    """As a training on a local directory leaves it."""
    (training / "adapter/base_model.json").write_text('{"path": "/home/me/model"}')


def misname(training: Path) -> None:
    """Weights in several files, of which one is missing."""
    index = training / "model/model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "unended": ("the training has not ended", lambda run: (run / SUMMARY).unlink()),
    "no-digest": ("is damaged", lambda run: (run / SUMMARY).write_text('{"digest": "../x"}')),
    "cut-summary": ("summary.json: is damaged", lambda run: (run / SUMMARY).write_text("{")),
    "no-card": ("finetune-eval", lambda run: (run / "model/README.md").unlink()),
    "no-config": ("config.json: is missing", lambda run: (run / "model/config.json").unlink()),
    "no-weights": ("safetensors", lambda run: (run / "model/model.safetensors").unlink()),
    "no-shard": ("00001-of-00002.safetensors: is missing", misname),
    "cut-weights": ("is damaged", lambda run: cut(run / "model/model.safetensors")),
    "cut-json": ("is damaged", lambda run: cut(run / "model/tokenizer.json")),
    "pickle": ("without code, pickles", lambda run: (run / "model/a.bin").write_bytes(b"x")),
    "pickled": ("without code, pickles", lambda run: (run / "model/a.pt").write_bytes(b"x")),
    "code": ("without code, pickles", lambda run: (run / "model/modeling_x.py").write_text("")),
    "hidden": ("hidden files", lambda run: (run / "model/.env").write_text("PASSWORD=1")),
    "link": ("is a link", lambda run: (run / "model/x.txt").symlink_to(run / SUMMARY)),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_no_whole_model_is_refused(
    name: str, hub: HubServer, trained: Path, tmp_path: Path
) -> None:
    says, damage = DAMAGE[name]
    copy, home = tmp_path / "run", tmp_path / "home"
    shutil.copytree(trained, copy)
    home.mkdir()
    damage(copy)
    for more in ((), ("--dry-run",)):
        done = publish(hub, copy, "--repo", MODEL, *more, home=home)
        assert done.code == 2, done.err
        assert done.out == "" and says in done.err and len(done.err.splitlines()) == 1
    assert not hub.requests, "refused before anything was asked or sent"


def test_an_adapter_that_names_a_path_of_this_machine_is_refused(
    hub: HubServer, trained: Path, tmp_path: Path
) -> None:
    copy, home = tmp_path / "run", tmp_path / "home"
    shutil.copytree(trained, copy)
    home.mkdir()
    name_base(copy)
    done = publish(hub, copy / "adapter", "--repo", MODEL, home=home)
    assert done.code == 2 and "by a path of this machine; publish the model/" in done.err
    assert publish(hub, copy, "--repo", MODEL, home=home).code == 0


# Collections

TITLE = "Parallel <reasoning>"


def test_a_collection_lists_what_was_published(
    hub: HubServer, built: Path, trained: Path, tmp_path: Path
) -> None:
    def in_collection(run: Path, repo: str) -> Done:
        return publish(hub, run, "--repo", repo, "--collection", TITLE, home=tmp_path)

    preview = publish(
        hub, built, "--repo", "org/demo", "--collection", TITLE, "--dry-run", home=tmp_path
    )
    assert f"in the collection '{TITLE}' of org; nothing was sent" in preview.out
    assert not hub.collections
    hub.faults.append(Fault("POST", "/api/collections", 503))
    first = in_collection(built, "org/demo")
    assert first.code == 0, first.err
    assert "the hub is out of order" in first.err
    (slug,) = hub.collections
    found = hub.collections[slug]
    commit, address = first.out.splitlines()
    assert commit == f"{hub.url}/datasets/org/demo/tree/{hub.repos['org/demo'].head}"
    assert address == f"{hub.url}/collections/{slug}"
    assert (found.title, found.private) == (TITLE, True)
    assert in_collection(trained, MODEL).code == 0
    again = in_collection(built, "org/demo")
    assert again.code == 0 and again.out == first.out
    assert found.items == [("org/demo", "dataset"), (MODEL, "model")]
    assert len(hub.collections) == 1 and len(hub.repos["org/demo"].commits) == 2


def test_a_collection_is_public_with_public_alone(
    hub: HubServer, built: Path, tmp_path: Path
) -> None:
    args = ("--repo", "org/demo", "--collection", TITLE, "--public")
    done = publish(hub, built, *args, home=tmp_path)
    assert done.code == 0, done.err
    assert [one.private for one in hub.collections.values()] == [False]


def test_mistakes_about_collections(hub: HubServer, built: Path, tmp_path: Path) -> None:
    empty = publish(hub, built, "--repo", "org/demo", "--collection", " ", home=tmp_path)
    assert empty.code == 2 and "--collection: is empty" in empty.err
    assert not hub.requests
    hub.faults.append(Fault("POST", "/api/collections", 403))
    args = ("--repo", "org/demo", "--collection", TITLE)
    refused = publish(hub, built, *args, home=tmp_path)
    assert refused.code == 2 and "lacks the right to write to org" in refused.err
    assert publish(hub, built, *args, home=tmp_path).code == 0
    assert len(hub.repos["org/demo"].commits) == 2, "what was published is not sent again"


# Reports

SPACE = "org/report"


def report(hub: HubServer, run: Path, *args: str, home: Path) -> Done:
    return publish(hub, run, "--as", "report", "--repo", SPACE, *args, home=home)


def test_the_report_of_a_build_becomes_a_space(hub: HubServer, built: Path, tmp_path: Path) -> None:
    assert report(hub, built, "--dry-run", home=tmp_path).code == 0
    assert not hub.repos
    done = report(hub, built, "--revision", "v1", home=tmp_path)
    assert done.code == 0, done.err
    repo = hub.repos[SPACE]
    assert done.out == f"{hub.url}/spaces/{SPACE}/tree/{repo.head}\n"
    assert (repo.kind, repo.sdk, repo.private) == ("space", "static", True)
    assert repo.tags == {"v1": repo.head}
    files = files_on(hub, SPACE)
    assert set(files) == {"index.html", "README.md"}
    assert files["index.html"] == (built / "report.html").read_bytes()
    _, head, _ = files["README.md"].decode().split("---\n")
    assert yaml.safe_load(head)["sdk"] == "static"
    assert report(hub, built, home=tmp_path).out == done.out
    assert len(repo.commits) == 2


def test_a_report_that_is_missing_or_old_is_refused(
    hub: HubServer, built: Path, tmp_path: Path
) -> None:
    copy, home = tmp_path / "run", tmp_path / "home"
    shutil.copytree(built, copy)
    home.mkdir()
    (copy / "report.html").write_text("of a former build")
    old = report(hub, copy, home=home)
    assert old.code == 2 and "is older than the build; polytrace report" in old.err
    (copy / "report.html").unlink()
    missing = report(hub, copy, home=home)
    assert missing.code == 2 and "holds no report.html and no tables/tables.md" in missing.err
    assert not hub.requests


def test_the_tables_of_an_evaluation_become_a_space(hub: HubServer, tmp_path: Path) -> None:
    run, home = tmp_path / "a<b>&c", tmp_path / "home"
    shutil.copytree(ROOT / "docs" / "short_miniature" / "evaluation", run)
    home.mkdir()
    page = write_page([run], run / "tables")
    page.write_text(page.read_text() + "<script>alert(1)</script>\n")
    done = report(hub, run, home=home)
    assert done.code == 0, done.err
    files = files_on(hub, SPACE)
    pictures = {path.name for path in (run / "tables").iterdir() if path.suffix != ".md"}
    assert pictures and set(files) == {"index.html", "README.md", "tables.md", *pictures}
    index = files["index.html"].decode()
    assert "<script>" not in index and "&lt;script&gt;" in index and "a&lt;b&gt;&amp;c" in index
    assert all(f'src="{name}"' in index for name in pictures if name.endswith(".png"))
    assert files["tables.md"] == page.read_bytes()
    assert files["README.md"].endswith(b"\n" + page.read_bytes())
    files_before = dict(hub.repos[SPACE].files)
    hub.repos[SPACE].commit({**files_before, "old.png": File(b"old", is_lfs=False)})
    assert report(hub, run, home=home).code == 0
    assert files_on(hub, SPACE) == files
