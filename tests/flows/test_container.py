"""The container files: what `Dockerfile` copies and pins, and what `compose.yaml` starts.

No engine is needed. The server of `compose.yaml` is started for real, on a PostgreSQL of this
machine, where one is installed.
"""

import base64
import inspect
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from support.paths import ROOT
from tools.requirements import requirements

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = ("server", "deploy", "worker")  # services that run our image
SECRETS = ("POSTGRES_PASSWORD", "PREFECT_AUTH", "PREFECT_ENCRYPTION_KEY")
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::([-?])([^}]*))?\}")
PASSWORD = "p@ss/w:rd%1"


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile in their order: name and arguments."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    parts = [line.partition(" ") for line in text.splitlines() if line.strip()]
    return [(name.upper(), " ".join(rest.split())) for name, _, rest in parts]


def copied() -> list[str]:
    """What the Dockerfile copies from the project."""
    copies = [rest.split() for name, rest in instructions() if name == "COPY"]
    return [one for words in copies if "--from" not in words[0] for one in words[:-1]]


def ignored(path: str) -> bool:
    """Whether `.dockerignore` keeps a path from the builder: the last pattern that fits decides."""
    kept = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        parents = [path, *(str(one) for one in Path(path).parents if str(one) != ".")]
        if any(
            fnmatch(one, pattern) or fnmatch(f"/{one}", pattern.replace("**/", "*/"))
            for one in parents
        ):
            kept = line.startswith("!")
    return not kept


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {name.lower().replace("_", "-"): version for name, version in found.items()}


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def filled(value: object, values: dict[str, str]) -> str:
    """A value of `compose.yaml` with its variables put in, as Compose does."""

    def one(match: re.Match[str]) -> str:
        default = match[3] if match[2] == "-" else ""
        return values.get(match[1]) or default

    return VARIABLE.sub(one, str(value)).replace("$$", "$")


def test_every_folder_of_the_user_is_the_users_with_its_parents() -> None:
    """`install --owner` gives folders above the last one to root."""
    (line,) = [rest for name, rest in instructions() if name == "RUN" and "useradd" in rest]
    made = {Path(word) for word in line.split() if word.startswith("/home/polytrace/")}
    assert made
    for folder in made:
        above = {one for one in folder.parents if Path("/home/polytrace") in one.parents}
        assert above <= made, folder


def test_what_is_copied_is_there_and_complete() -> None:
    sources = copied()
    for source in sources:
        assert (ROOT / source).exists() and not ignored(source), source
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= set(sources)
    for path in tracked.stdout.splitlines():  # none where this is no clone
        wanted = path in sources or path.split("/")[0] in sources
        assert ignored(path) == (not wanted), path


@pytest.mark.parametrize(
    "path", [".env", ".git/config", "runs/demo/manifest.json", "models/a/config.json", "id_rsa"]
)
def test_nothing_private_reaches_the_builder(path: str) -> None:
    assert ignored(path)
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_no_secret_is_in_a_layer() -> None:
    for name, rest in instructions():
        if name in ("ARG", "ENV"):
            assert not re.search(r"(?i)token|password|secret|_key|auth", rest), rest
    assert not any(name == "ADD" for name, _ in instructions())


def test_the_user_is_not_root() -> None:
    last = instructions()[[name for name, _ in instructions()].index("USER") :]
    user = last[0][1].split(":")[0]
    assert user.isdigit() and int(user) > 0
    assert not [one for one in last[1:] if one[0] in ("USER", "RUN", "COPY")]
    assert f"--uid {user}" in DOCKERFILE


def test_versions_are_those_of_the_constraints() -> None:
    environment = [rest for name, rest in instructions() if name == "ENV"]
    assert any("PIP_CONSTRAINT=/app/constraints.txt" in one for one in environment)
    installs = [rest for name, rest in instructions() if name == "RUN" and "pip install" in rest]
    assert len(installs) == 3 and "grep '^torch==' constraints.txt" in installs[0]
    (extras,) = (rest for name, rest in instructions() if rest.startswith("EXTRAS="))
    names = extras.partition("=")[2].split(",")
    project = (ROOT / "pyproject.toml").read_text()
    for one in requirements(project, names):
        assert re.split(r"[\[<>=~!;]", one)[0].lower().replace("_", "-") in pins(), one
    bases = {rest.split()[0] for name, rest in instructions() if name == "FROM"}
    assert all(re.fullmatch(r"python:3\.11-slim-\w+", base) for base in bases)
    resolved = re.search(r"vllm (\d[\d.]*\d)", (ROOT / "constraints.txt").read_text())
    assert resolved and SERVICES["vllm"]["image"] == f"vllm/vllm-openai:v{resolved[1]}"
    plan = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    assert plan["prefect-version"] == pins()["prefect"]


def test_the_requirements_are_those_of_the_project() -> None:
    text = '[project]\ndependencies = ["a", "b"]\n[project.optional-dependencies]\nx = ["b", "c"]\n'
    assert requirements(text, []) == ["a", "b"]
    assert requirements(text, ["x"]) == ["a", "b", "c"]
    with pytest.raises(KeyError):
        requirements(text, ["y"])


def test_the_entry_point_is_a_script_of_the_project() -> None:
    (entry,) = (rest for name, rest in instructions() if name == "ENTRYPOINT")
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert yaml.safe_load(entry) == ["polytrace"] and "polytrace" in scripts


def test_every_variable_is_in_the_example_and_every_secret_is_asked_for() -> None:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "compose.yaml").read_text(), flags=re.MULTILINE)
    used = {match[1]: (match[2], match[3]) for match in VARIABLE.finditer(text)}
    assert used.keys() == example().keys()
    for name, (sign, default) in used.items():
        if name in SECRETS:
            assert sign == "?" and not example()[name], name
        else:
            assert (sign, default) == ("-", example()[name]), name


def test_services_hang_together() -> None:
    used = set()
    for name, service in SERVICES.items():
        assert service["restart"] and ("image" in service), name
        for volume in service.get("volumes", ()):
            used.add(volume.split(":")[0])
        for other, how in service.get("depends_on", {}).items():
            wanted = how["condition"]
            if wanted == "service_healthy":
                assert "healthcheck" in SERVICES[other], other
            else:
                assert wanted == "service_completed_successfully"
                assert SERVICES[other]["restart"].startswith("on-failure"), other
        if name != "deploy":
            assert {"test", "interval", "timeout", "retries"} <= service["healthcheck"].keys()
    assert used == COMPOSE["volumes"].keys()
    assert [name for name, one in SERVICES.items() if "profiles" in one] == ["vllm"]
    ports = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    assert list(ports) == ["server"]
    assert filled(ports["server"][0], {}) == "127.0.0.1:4200:4200"
    for name in OURS:
        assert SERVICES[name]["image"] == SERVICES["server"]["image"]
        assert SERVICES[name]["cap_drop"] == ["ALL"]


def test_our_volumes_belong_to_the_user_of_the_image() -> None:
    made = next(rest for _, rest in instructions() if "install --directory" in rest)
    for name in OURS:
        for volume in SERVICES[name].get("volumes", ()):
            assert volume.split(":")[1] in made.split()


def prefect_commands() -> Iterator[list[str]]:
    """The `prefect` commands of our services, without the word `prefect`."""
    for name in OURS:
        entry, command = SERVICES[name]["entrypoint"], SERVICES[name]["command"]
        if entry == ["prefect"]:
            yield [filled(one, {}) for one in command]
        else:
            assert (entry, command) == (["polytrace"], ["deploy"])


def test_every_prefect_command_exists() -> None:
    from prefect.cli._app import _app

    commands = list(prefect_commands())
    assert len(commands) == 2
    for words in commands:
        bare = [one for one in words if one != "--no-prompt"]
        call = _app.parse_args(bare, print_error=False, exit_on_error=False)[0]
        assert call.__module__.startswith("prefect.cli."), words


def test_settings_are_those_that_prefect_knows() -> None:
    from prefect import settings
    from prefect.server.utilities import encryption

    for name in OURS:
        for key in SERVICES[name]["environment"]:
            if key == "PREFECT_SERVER_ENCRYPTION_KEY":  # is read from the environment alone
                assert key in inspect.getsource(encryption)
            elif key.startswith("PREFECT_"):
                assert hasattr(settings, key), key
    assert SERVICES["server"]["command"][-1] == "4200"
    assert "8080" in SERVICES["worker"]["healthcheck"]["test"][-1]  # what Prefect listens on
    assert settings.get_current_settings().worker.webserver.port == 8080


def test_no_bundled_schedule_is_active_at_first() -> None:
    plan = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    schedules = [one for entry in plan["deployments"] for one in entry.get("schedules", ())]
    assert len(schedules) == 2 and not any(one["active"] for one in schedules)


def programs() -> Path | None:
    """The folder that holds all of PostgreSQL's programs that are needed; the newest version's."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    if found := shutil.which("initdb"):
        folders.append(Path(found).resolve().parent)
    needed = ("initdb", "pg_ctl", "createdb")
    return next((one for one in folders if all((one / name).exists() for name in needed)), None)


def _version(folder: Path) -> int:
    return int(folder.parent.name) if folder.parent.name.isdigit() else 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def postgres() -> Iterator[int]:
    """The port of a PostgreSQL on loopback, with the user and the database of `compose.yaml`."""
    folder_of_programs = programs()
    if folder_of_programs is None:
        pytest.skip("PostgreSQL's server is not installed")
    # It refuses to be root, and pytest's folders are open to their owner alone.
    user: dict[str, Any] = {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="polytrace-postgres-"))
    data, secret, port = folder / "data", folder / "password", free_port()
    secret.write_text(PASSWORD)
    if user:
        for one in (folder, secret):
            shutil.chown(one, "nobody")
    names = SERVICES["database"]["environment"]
    made = ["initdb", "-D", str(data), "-U", names["POSTGRES_USER"], "-A", "scram-sha-256"]
    made += names["POSTGRES_INITDB_ARGS"].split()
    environment = {"LC_ALL": "C", "PATH": os.environ["PATH"]}

    def run(program: str, *args: str) -> None:
        done = subprocess.run(
            [str(folder_of_programs / program), *args],
            cwd=folder,
            env=environment | {"PGPASSWORD": PASSWORD},
            stdout=subprocess.DEVNULL,  # the server would keep a pipe open
            stderr=(folder / "said").open("a"),
            check=False,
            **user,
        )
        assert done.returncode == 0, (program, (folder / "said").read_text())

    try:
        run(*made, "--pwfile", str(secret), "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -F"
        run("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            where = ("-h", "127.0.0.1", "-p", str(port), "-U", names["POSTGRES_USER"])
            run("createdb", *where, names["POSTGRES_DB"])
            yield port
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.mark.slow
def test_the_server_of_compose_runs_on_postgresql(postgres: int, tmp_path: Path) -> None:
    service, port, log = SERVICES["server"], free_port(), tmp_path / "server.log"
    values = {
        "POSTGRES_PASSWORD": PASSWORD,
        "PREFECT_AUTH": "user:word",
        "PREFECT_ENCRYPTION_KEY": base64.urlsafe_b64encode(bytes(32)).decode(),
    }
    settings = {key: filled(one, values) for key, one in service["environment"].items()}
    settings |= {
        "PREFECT_SERVER_DATABASE_HOST": "127.0.0.1",
        "PREFECT_SERVER_DATABASE_PORT": str(postgres),
        "PREFECT_HOME": str(tmp_path / "home"),
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",  # tests/conftest.py hides errors
        "PREFECT_UI_STATIC_DIRECTORY": str(tmp_path / "ui"),
    }
    command = [str(port) if one == "4200" else one for one in service["command"]]
    command[command.index("0.0.0.0")] = "127.0.0.1"
    check = [
        one.replace(":4200", f":{port}").replace("python", sys.executable, 1)
        for one in service["healthcheck"]["test"][1:]
    ]
    unwanted = {"PREFECT_API_URL", "PREFECT_API_DATABASE_CONNECTION_URL"}
    environment = {k: v for k, v in os.environ.items() if k not in unwanted} | settings
    with log.open("wb") as said:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", *command],
            cwd=tmp_path,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while subprocess.run(check, stderr=subprocess.DEVNULL, check=False).returncode:
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        api = f"http://127.0.0.1:{port}/api"
        flow = {"name": "kept"}
        assert httpx.post(f"{api}/flows/", json=flow, timeout=60).status_code == 401
        with httpx.Client(auth=("user", "word"), timeout=60) as client:
            made = client.post(f"{api}/flows/", json=flow).raise_for_status().json()
            assert client.get(f"{api}/flows/{made['id']}").json()["name"] == "kept"
        assert httpx.get(f"http://127.0.0.1:{port}/", timeout=60, follow_redirects=True).is_success
    finally:
        server.terminate()
        server.wait(timeout=60)
    assert not list((tmp_path / "home").glob("*.db")), "SQLite is not in use"
    assert PASSWORD not in log.read_text() and "ERROR" not in log.read_text()
