import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.facts import (
    Dropped,
    FileFacts,
    FilterFacts,
    Grades,
    PromptCounts,
    Rejected,
    ReleaseFile,
    SourceFacts,
    TeacherFacts,
    TokenCounts,
    TraceCounts,
)
from schemas.manifest import Manifest
from schemas.records import Stage
from support.errors import DamagedError, UserError

SHA = "0" * 64


def manifest(**changes: Any) -> Manifest:
    facts: dict[str, Any] = {
        "polytrace": "0.1.0",
        "name": "sample — ü",
        "recipe_digest": "0123456789abcdef",
        "build": "0123456789ab",
        "sources": (
            SourceFacts(label="a.jsonl", license="mit", fingerprint="f", rows=10, traces=30),
        ),
        "teacher": TeacherFacts(kind="recorded", name="t", revision="r", temperature=1.0),
        "tokenizers": (),
        "paths": 3,
        "slot_tokens": 330,
        "summary_tokens": 32,
        "masks": 1022,
        "header_tokens": 36,
        "prompts": PromptCounts(in_=10, released=6, rejected=4),
        "traces": TraceCounts(in_=30, kept=18, rejected=12),
        "canvases": 6,
        "rejected": (
            Rejected(stage=Stage.PROMPTS, kind="prompt", reason="no_gold", count=1),
            Rejected(stage=Stage.RELEASE, kind="prompt", reason="too_long", count=3),
            Rejected(stage=Stage.RELEASE, kind="trace", reason="prompt_rejected", count=12),
        ),
        "filters": (
            FilterFacts(
                kind="length",
                options=(),
                frozen="",
                seen=9,
                dropped=(Dropped(reason="too_long", count=2),),
            ),
            FilterFacts(
                kind="length",
                options=(),
                frozen="",
                seen=7,
                dropped=(Dropped(reason="too_long", count=1),),
            ),
        ),
        "grades": Grades(correct=10, wrong=8),
        "tokens": TokenCounts(paths=100, summaries=10),
        "release": (
            ReleaseFile(path="release/data/a", split="train", rows=6, bytes=1, sha256=SHA),
        ),
    }
    return Manifest(**(facts | changes))


def test_a_conserved_run_has_no_problems() -> None:
    assert manifest().check() == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prompts": PromptCounts(in_=10, released=6, rejected=3)}, "prompts in are 10, but 6 rel"),
        ({"traces": TraceCounts(in_=31, kept=18, rejected=12)}, "traces in are 31, but 18 kept"),
        (
            {"traces": TraceCounts(in_=30, kept=18, rejected=12, sampled=1)},
            "traces in are 30, but 30 recorded in sources + 1 sampled",
        ),
        ({"canvases": 5}, "released prompts are 6, but 5 canvases"),
        ({"release": ()}, "canvases are 6, but 0 rows in release files"),
        ({"rejected": ()}, "rejected prompts are 4, but 0 counted by reason"),
        ({"grades": Grades(correct=17)}, "graded paths are 17, but 18 kept traces"),
        ({"masks": 1024}, "masks are 1024, but 990 in slots + 32 in the summary"),
        ({"sources": ()}, "prompts in are 10, but 0 rows in sources"),
        (
            {"filters": (manifest().filters[1],)},
            "prompts dropped by filters as 'too_long' are 1, but 3 rejected at the release stage",
        ),
        ({"filters": manifest().filters[::-1]}, "canvases seen by filter 1 are 7, but 9 passed"),
    ],
)
def test_every_broken_sum_is_named(changes: dict[str, Any], says: str) -> None:
    problems = manifest(**changes).check()
    assert any(problem.startswith(says) for problem in problems), problems


def test_a_file_named_twice_is_a_problem() -> None:
    twice = (FileFacts(path="release/data/a", bytes=1, sha256=SHA),)
    assert manifest(files=twice).check() == ["release/data/a is named 2 times"]


def test_saves_and_loads_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    manifest().save(path)
    first = path.read_bytes()
    again = Manifest.load(path)
    assert again == manifest()
    again.save(path)
    assert path.read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.json"]
    counts = json.loads(first)
    assert counts["prompts"] == {"in": 10, "released": 6, "rejected": 4}
    assert counts["traces"] == {"in": 30, "kept": 18, "rejected": 12, "sampled": 0}
    assert counts["rejected"][0]["stage"] == "prompts"


@given(data=st.data())
def test_any_changed_byte_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = manifest().text().encode()
    at = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != whole[at]))
    path = tmp_path_factory.getbasetemp() / "changed.json"
    path.write_bytes(whole[:at] + bytes([byte]) + whole[at + 1 :])
    with pytest.raises((DamagedError, UserError)) as caught:
        Manifest.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_cut_file_is_damaged(tmp_path: Path, share: float) -> None:
    whole = manifest().text()
    path = tmp_path / "manifest.json"
    path.write_text(whole[: int(len(whole) * share)], encoding="utf-8")
    with pytest.raises(DamagedError, match=r"manifest\.json: not valid JSON"):
        Manifest.load(path)


@pytest.mark.parametrize("content", [b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000, b"1e999"])
def test_other_content_is_damaged_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(DamagedError) as caught:
        Manifest.load(path)
    assert "\n" not in str(caught.value)


def test_no_manifest_and_a_newer_one_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    with pytest.raises(UserError, match="run polytrace build"):
        Manifest.load(path)
    with pytest.raises(UserError, match="cannot read"):
        Manifest.load(tmp_path)
    path.write_text(manifest(schema_version=99).text(), encoding="utf-8")
    with pytest.raises(UserError, match="newer"):
        Manifest.load(path)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a\\b", "a//b", "", "./a"])
def test_paths_stay_inside_the_run(path: str) -> None:
    with pytest.raises(ValidationError):
        FileFacts(path=path, bytes=1, sha256=SHA)


def test_is_strict_and_frozen() -> None:
    with pytest.raises(ValidationError):
        manifest(canvases="6")
    with pytest.raises(ValidationError):
        manifest(build="xyz")
    with pytest.raises(ValidationError):
        manifest(surplus=1)
    with pytest.raises(ValidationError):
        manifest(notice="lone \ud800 surrogate")
    with pytest.raises(ValidationError):
        manifest().canvases = 7


def test_a_whole_manifest_of_another_version_is_no_damage(tmp_path: Path) -> None:
    """One that lacks a fact which this version writes, under the right checksum of its own."""
    path = tmp_path / "manifest.json"
    facts = json.loads(manifest().text())
    for name in ("checksum", "notice"):
        facts.pop(name)
    body = json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
    facts["checksum"] = hashlib.sha256(body.encode()).hexdigest()
    path.write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"another version of Polytrace \(0\.1\.0\).*build again"):
        Manifest.load(path)
    facts["canvases"] += 1
    path.write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    with pytest.raises(DamagedError, match="changed after the build"):
        Manifest.load(path)
