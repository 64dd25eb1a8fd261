"""The project's own code: no pickles, no unsafe YAML, no evaluation of texts, no shell."""

import ast
from collections.abc import Iterator

import pytest
import yaml

from support import yaml_file
from support.paths import ROOT

PACKAGES = (
    "benchmarks",
    "curation",
    "data_cards",
    "diffusion",
    "flows",
    "polytrace",
    "schemas",
    "scorers",
    "support",
    "tools",
)
FILES = tuple(sorted(f for name in PACKAGES for f in (ROOT / name).rglob("*.py")))
PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
YAML = {"load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all"}
LOADERS = {"Loader", "FullLoader", "UnsafeLoader", "CLoader", "CFullLoader", "CUnsafeLoader"}
CALLED = {"eval", "exec", "compile", "__import__"}
SHELL = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
# The first two run programs of others, in the sandbox that they are a part of; the third runs the
# programs that it has written itself.
RUN_PROGRAMS = (
    "support/sandbox/_guest.py",
    "curation/graders/programs/_peer.py",
    "tools/tiny/programs.py",
)
TRUE_NOWHERE = {"shell", "trust_remote_code", "allow_pickle"}


def faults(source: str) -> list[str]:
    return [f"line {line}: {what}" for line, what in _faults(ast.parse(source))]


def _faults(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names}
            yield from ((node.lineno, name) for name in sorted(names & PICKLES))
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").partition(".")[0] in PICKLES:
                yield node.lineno, node.module or ""
        elif isinstance(node, ast.Attribute):
            if ast.unparse(node.value) == "yaml" and node.attr in YAML | LOADERS:
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, what) for what in _of_call(node))
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value in TRUE_NOWHERE and _is_true(value):
                    yield node.lineno, f"{key.value}: True"


def _of_call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    options = {one.arg: one.value for one in node.keywords}
    if name in CALLED or name in SHELL or name.rpartition(".")[2] == "read_pickle":
        yield name
    if name == "torch.load" and not _is_true(options.get("weights_only")):
        yield "torch.load without weights_only=True"
    if name == "yaml.load" and [ast.unparse(one) for one in node.args[1:]] != ["_Loader"]:
        yield "yaml.load with another loader than ours"
    yield from (
        f"{option}=True"
        for option in sorted(TRUE_NOWHERE & options.keys(), key=str)
        if _is_true(options[option])
    )


def _is_true(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def test_no_module_runs_what_it_reads() -> None:
    assert len(FILES) > 200
    found = {file: faults(file.read_text(encoding="utf-8")) for file in FILES}
    for name in RUN_PROGRAMS:
        assert {what.split(": ")[1] for what in found.pop(ROOT / name)} <= CALLED
    assert not {file: what for file, what in found.items() if what}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from cloudpickle import loads",
        "import torch\ntorch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.unsafe_load(text)",
        "yaml.load(text, yaml.Loader)",
        "yaml.load(text, Loader=_Loader)",
        "eval(text)",
        "subprocess.run(line, shell=True)",
        "os.system(line)",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
        "options = {'trust_remote_code': True}",
        "np.load(path, allow_pickle=True)",
        "polars.read_pickle(path)",
    ],
)
def test_the_check_finds_what_it_looks_for(source: str) -> None:
    assert faults(source)


def test_what_is_harmless_passes_the_check() -> None:
    assert faults("torch.load(p, weights_only=True)\nmodel.eval()\nre.compile(x)") == []
    assert issubclass(yaml_file._Loader, yaml.SafeLoader)
    assert yaml_file._Loader.yaml_constructors == yaml.SafeLoader.yaml_constructors


def test_no_bundled_recipe_trusts_remote_code() -> None:
    recipes = sorted((ROOT / "flows" / "recipes").rglob("*.yaml"))
    assert recipes
    assert not [r for r in recipes if "trust_remote_code: true" in r.read_text().lower()]
