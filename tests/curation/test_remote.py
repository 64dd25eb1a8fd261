"""Sources behind URLs, read by the real client from an S3 server on loopback."""

import gzip
import json
import os
import random
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.request import Request, urlopen

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from curation.context import Job
from curation.seqdep_report.documents import TextCorpus
from curation.sources import Row, Source
from curation.sources.readers import remote
from curation.stages import release_stage
from flows import cli
from schemas.recipe import load_recipe
from support.errors import StoppedError, UserError
from support.plugins import build
from tests.builds import RECIPES, make
from tests.flows.commands import polytrace
from tests.servers.s3 import KEY, SECRET, S3Server

GOOD = [{"question": f"What is {n} + {n}?", "answer": f"#### {2 * n}"} for n in range(1, 40)]


def jsonl(rows: list[dict[str, str]] = GOOD) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def parquet(path: Path, rows: list[dict[str, str]] = GOOD) -> bytes:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=10)
    return path.read_bytes()


def source(kind: str, path: str) -> Source:
    options = {} if kind == "gsm8k" else {"gold_after": "####"}
    made: Source = build("curation.sources", kind, {"path": path, **options}, "source")
    return made


def rows(kind: str, path: str) -> list[Row]:
    return list(source(kind, path).rows(traces=False))


def put(s3: S3Server, key: str, data: bytes) -> str:
    s3.files.pipe_file(f"bucket/{key}", data)
    return f"s3://bucket/{key}"


# --- reading


@pytest.mark.parametrize("kind", ["jsonl", "gsm8k"])
@pytest.mark.parametrize("name", ["a b%20ü.jsonl", "x.jsonl.gz", "x.json"])
def test_a_file_is_read_as_a_local_one(kind: str, name: str, s3: S3Server, tmp_path: Path) -> None:
    data = gzip.compress(jsonl()) if name.endswith("gz") else jsonl()
    (tmp_path / name).write_bytes(data)
    url = put(s3, f"deep/er/{name}", data)
    there, here = source(kind, url), source(kind, str(tmp_path / name))
    assert there.label == here.label == name
    found = list(there.rows(traces=False))
    assert found == list(here.rows(traces=False))
    assert [row.gold for row in found] == [str(2 * n) for n in range(1, 40)]


@pytest.mark.parametrize("kind", ["parquet", "gsm8k"])
def test_parquet_is_read_as_a_local_file(kind: str, s3: S3Server, tmp_path: Path) -> None:
    url = put(s3, "x.parquet", parquet(tmp_path / "x.parquet"))
    assert rows(kind, url) == rows(kind, str(tmp_path / "x.parquet"))


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_prefix_is_read_as_a_folder(slash: str, s3: S3Server, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(3):
        part = jsonl(GOOD[number * 10 : number * 10 + 10])
        name = f"{number}.jsonl" + (".gz" if number == 1 else "")
        (folder / name).write_bytes(gzip.compress(part) if number == 1 else part)
        put(s3, f"data/{name}", (folder / name).read_bytes())
    put(s3, "data/notes.txt", b"not data")
    put(s3, "data/below/9.jsonl", jsonl())
    put(s3, "data-of-others/9.jsonl", jsonl())
    for kind in ("jsonl", "gsm8k"):
        there = source(kind, f"s3://bucket/data{slash}")
        assert there.label == "data"
        assert list(there.rows(traces=False)) == rows(kind, str(folder))
    put(s3, "pq/0.parquet", parquet(tmp_path / "0.parquet"))
    assert len(rows("gsm8k", f"s3://bucket/pq{slash}")) == len(GOOD), "Parquet by what it holds"


def test_a_server_that_sends_whole_files_only_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(jsonl() * (2 * remote.BLOCK_BYTES // len(jsonl())))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(UserError, match=r"no parts of a file .*; fetch it, and give its path"):
            rows("jsonl", f"http://127.0.0.1:{server.server_port}/x.jsonl")
        server.shutdown()


def test_a_whole_bucket_is_a_folder(s3: S3Server) -> None:
    put(s3, "0.jsonl", jsonl())
    assert source("jsonl", "s3://bucket").label == "data", "no place's name"
    assert len(rows("jsonl", "s3://bucket/")) == len(GOOD)


def test_any_text_is_scored_from_there(s3: S3Server) -> None:
    corpus = TextCorpus(put(s3, "x.jsonl", jsonl()))
    assert corpus.name == "x.jsonl"
    assert len(list(corpus.documents())) == len(GOOD)


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_other_file_systems(scheme: str, tmp_path: Path) -> None:
    url = f"{scheme}://{tmp_path}/x.jsonl"
    with fsspec.open(url, "wb") as file:
        file.write(jsonl())
    found = source("jsonl", url)
    assert found.label == "x.jsonl"
    assert len(list(found.rows(traces=False))) == len(GOOD)
    (tmp_path / "x.jsonl").write_bytes(jsonl())
    same = source("jsonl", str(tmp_path / "x.jsonl"))
    assert found.fingerprint() == same.fingerprint(), "no ETag there: the bytes are hashed"


def test_memory_does_not_grow_with_the_file(s3: S3Server) -> None:
    noise = random.Random(0)
    more = [
        {"question": f"{n}+1? {noise.randbytes(50_000).hex()}", "answer": "#### 1"}
        for n in range(400)
    ]
    url = put(s3, "large.jsonl", jsonl(more))
    script = f"""
import tracemalloc
from curation.sources.jsonl import build
source = build(path={url!r}, gold_after="####", max_chars=200_000)
tracemalloc.start()
print(sum(not row.reason for row in source.rows(traces=False)), tracemalloc.get_traced_memory()[1])
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    count, peak = map(int, ran.stdout.split())
    assert count == 400
    assert peak < 26e6 < s3.files.size("bucket/large.jsonl"), "the first 100 rows, and two blocks"


# --- fingerprints


def test_the_fingerprint_follows_the_data_and_fetches_none(s3: S3Server) -> None:
    url = put(s3, "x.jsonl", jsonl())
    first = source("jsonl", url).fingerprint()
    put(s3, "x.jsonl", jsonl())
    assert source("jsonl", url).fingerprint() == first
    put(s3, "x.jsonl", jsonl([*GOOD[:-1], GOOD[0]]))
    assert source("jsonl", url).fingerprint() != first
    large = put(s3, "y.jsonl", jsonl(GOOD * 4) + b" " * (64 << 20))
    reader = remote.find(large)
    passed = s3.received
    assert reader[0].etag and reader[0].size > 64 << 20
    source("jsonl", large).fingerprint()
    assert s3.received - passed < 3 * remote.BLOCK_BYTES, "the first rows, for the columns"


def test_what_changes_while_it_is_read_is_an_error(s3: S3Server) -> None:
    url = put(s3, "x.jsonl", jsonl(GOOD * 4) + b" " * (3 * remote.BLOCK_BYTES))
    reading = source("jsonl", url).rows(traces=False)
    next(reading)
    put(s3, "x.jsonl", jsonl(GOOD * 4) + b"\t" * (3 * remote.BLOCK_BYTES))
    with pytest.raises(UserError, match=r"x\.jsonl: changed while it was read"):
        list(reading)
    with pytest.raises(UserError, match="changed while it was read"):
        early = source("jsonl", url)
        put(s3, "x.jsonl", jsonl())
        list(early.rows(traces=False))


# --- faults


def big(tmp_path: Path) -> dict[str, bytes]:
    """Files of several blocks, by kind."""
    noise = random.Random(1)
    more = [{**row, "more": noise.randbytes(150_000).hex()} for row in GOOD]
    data = jsonl(more)
    return {"jsonl": data, "gz": gzip.compress(data, 1), "parquet": parquet(tmp_path / "b", more)}


@pytest.mark.parametrize("kind", ["jsonl", "gz", "parquet"])
def test_a_cut_connection_goes_on_where_it_broke(
    kind: str, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("support.retry.WAITS", (0.0, 0.0))
    url = put(s3, f"x.{kind}", big(tmp_path)[kind])
    reader = "parquet" if kind == "parquet" else "jsonl"
    whole = rows(reader, url)
    with s3.cutting(4, 1_500_000, "down"):
        assert rows(reader, url) == whole
        assert s3.cuts < 4
    assert [row.gold for row in whole] == [str(2 * n) for n in range(1, 40)]


@pytest.mark.parametrize("kind", ["jsonl", "gz", "parquet"])
def test_a_connection_that_stays_cut_is_no_short_file(
    kind: str, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("support.retry.WAITS", ())
    url = put(s3, f"x.{kind}", big(tmp_path)[kind])
    reading = source("parquet" if kind == "parquet" else "jsonl", url)
    reading.fingerprint()
    with s3.cutting(1000, 1_000_000, "down"), pytest.raises(StoppedError) as caught:
        list(reading.rows(traces=False))
    message = str(caught.value)
    assert f"x.{kind}" in message and "cut the connection" in message
    assert message.endswith("the same command goes on") and "\n" not in message


def test_a_packed_file_that_ends_early_is_an_error(s3: S3Server) -> None:
    url = put(s3, "x.jsonl.gz", gzip.compress(jsonl())[:-20])
    with pytest.raises(UserError, match=r"x\.jsonl\.gz: cannot be read to its end"):
        rows("jsonl", url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://missing/x.jsonl", "no such bucket"),
        ("s3://bucket/missing.jsonl", "no such file or folder"),
        ("s3://bucket/missing/", "no such file or folder"),
        ("s3://Not A Bucket!/x", "refuses"),
        ("s3://bucket/text", "holds no .parquet file"),
        ("nosuch://bucket/x", "nosuch"),
        ("s3://me:hunter2secret@bucket/x.jsonl", "secrets belong in the environment"),
        ("s3://bucket/x?X-Amz-Signature=hunter2secret", "secrets belong in the environment"),
        ("gs://bucket/x?X-Goog-Signature=hunter2secret", "secrets belong in the environment"),
        ("abfs://c/x?sv=1&sig=hunter2secret", "secrets belong in the environment"),
    ],
)
def test_a_users_mistake_is_one_sentence(url: str, says: str, s3: S3Server) -> None:
    put(s3, "text/x.txt", b"")
    with pytest.raises(UserError) as caught:
        rows("parquet", url)
    message = str(caught.value)
    assert says in message
    assert "\n" not in message and "hunter2secret" not in message


def test_no_network_is_one_sentence(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    with pytest.raises(UserError, match=r"source path s3://bucket/x: the storage cannot be reach"):
        rows("jsonl", "s3://bucket/x")


def test_credentials_that_are_missing_or_wrong(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = put(s3, "x.jsonl", jsonl())
    monkeypatch.setenv("HOME", str(tmp_path))
    set_auth = f"{s3.env['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
    text = {"Content-Type": "text/plain"}
    urlopen(Request(set_auth, b"0", text)).close()
    try:
        with pytest.raises(UserError, match="access is refused") as caught:
            rows("jsonl", url)
    finally:
        urlopen(Request(set_auth, b"inf", text)).close()
    assert SECRET not in str(caught.value) and KEY not in str(caught.value)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(UserError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        rows("jsonl", url)


def test_a_public_bucket_needs_no_credentials(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = put(s3, "x.jsonl", jsonl())
    s3.files.chmod("bucket/x.jsonl", acl="public-read")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    script = f"""
from curation.sources.jsonl import build
print(sum(1 for _ in build(path={url!r}, gold_after="####").rows(traces=False)))
"""
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "FSSPEC_S3_ANON": "true"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == f"{len(GOOD)}\n"


def test_a_missing_client_says_what_to_install() -> None:
    script = """
import sys
sys.modules["s3fs"] = None
from curation.sources.jsonl import build
build(path="s3://bucket/x.jsonl")
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    last = ran.stderr.splitlines()[-1]
    assert last.endswith('is not installed: pip install -e ".[s3]" in the checkout')


# --- builds


SETS = ("scorer=null", "decontaminate=[]", "release.validation=0.3", "release.rows_per_file=4")


def recorded(count: int) -> bytes:
    """Problems with three traces each, for the recipe `recorded_traces`."""
    ways = (
        "Twice {0} is what {0} and {0} make together.\nThe final answer is {1}",
        "We count on from {0}: after {0} more steps we stand at {1}.\nThe final answer is {1}",
        "Two heaps of {0}, pushed into one, hold {1}.\nThe final answer is {1}",
    )
    return b"".join(
        json.dumps(
            {
                "problem": f"What is {n} + {n}?",
                "gold": str(2 * n),
                "licence": "mit",
                "traces": [
                    {"text": way.format(n, 2 * n), "model": "hand", "correct": True} for way in ways
                ],
            }
        ).encode()
        + b"\n"
        for n in range(1, count + 1)
    )


def release(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "release" / "data").iterdir()}


@pytest.mark.slow
def test_a_build_has_the_bytes_of_one_from_local_files(
    s3: S3Server, tmp_path: Path, prefect_api: str
) -> None:
    file = tmp_path / "problems.jsonl"
    file.write_bytes(recorded(30))
    url = put(s3, "private/problems.jsonl", recorded(30))
    sets = [word for one in (f"source.path={url}", *SETS) for word in ("--set", one)]
    done = polytrace(
        *("build", "recorded_traces", *sets, "--out", "run"),
        cwd=tmp_path,
        PREFECT_API_URL=prefect_api,
        **s3.env,
    )
    assert done.returncode == 0, done.stderr
    make(tmp_path / "local", "recorded_traces", f"source.path={file}", *SETS)
    assert release(tmp_path / "run") == release(tmp_path / "local")
    assert len(release(tmp_path / "run")) > 5

    card = (tmp_path / "run" / "release" / "README.md").read_text()
    assert "problems.jsonl" in card and "s3://" not in card and "private" not in card
    for path in (one for one in tmp_path.rglob("*") if one.is_file()):
        assert SECRET.encode() not in path.read_bytes(), path
        assert KEY.encode() not in path.read_bytes(), path
    assert SECRET not in done.stdout + done.stderr

    s3.requests.clear()
    recipe = load_recipe(RECIPES / "recorded_traces.yaml", [f"source.path={url}", *SETS])
    assert release_stage.up_to_date_outcome(Job(recipe=recipe, run=tmp_path / "run")) is not None
    heads = [one for one in s3.requests if one[0] == "GET" and "problems.jsonl" in one[1]]
    assert heads == [("GET", "/bucket/private/problems.jsonl")] * 2, (
        "the first lines, which show the format, and the first rows, which name the columns"
    )

    traces = (tmp_path / "run/traces/00000.parquet").stat().st_ino
    make(tmp_path / "run", "recorded_traces", f"source.path={file}", *SETS)
    assert (tmp_path / "run/traces/00000.parquet").stat().st_ino == traces, "made once"
    assert release(tmp_path / "run") == release(tmp_path / "local")


def test_a_run_directory_is_no_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    args = ["build", "demo", "--set", "scorer=null", "--set", "filters=[]"]
    done = CliRunner().invoke(cli.app, [*args, "--out", "s3://bucket/run"])
    assert isinstance(done.exception, UserError)
    assert "polytrace publish" in str(done.exception)
    assert not list(tmp_path.iterdir())
