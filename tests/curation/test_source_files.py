"""Files of every kind: read, or refused in one sentence before any work, never line by line."""

import bz2
import gzip
import io
import json
import lzma
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.seqdep_report.documents import TextCorpus
from curation.sources import Row, Source
from curation.sources.readers.json_values import BrokenError, values
from support.errors import UserError
from support.plugins import build

ROWS = [{"problem": f"What is {n} plus {n}?", "answer": str(2 * n), "k": [n]} for n in range(1, 6)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def rows(path: Path, kind: str = "jsonl", **options: object) -> list[Row]:
    source: Source = build("curation.sources", kind, {"path": str(path), **options}, "source")
    return list(source.rows(traces=False))


def refused(path: Path, kind: str = "jsonl", **options: object) -> str:
    """What is said where the source is made, before any row is read."""
    with pytest.raises(UserError) as caught:
        build("curation.sources", kind, {"path": str(path), **options}, "source")
    said = str(caught.value)
    assert "\n" not in said and path.name in said
    return said


def put(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def golds(found: list[Row]) -> list[str]:
    assert not [row for row in found if row.reason]
    return [row.gold for row in found]


# --- JSON that is not JSON Lines

INDENTED = "\n".join(json.dumps(row, indent=2) for row in ROWS)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=1),
        json.dumps(ROWS) + "\n\n",
        "[\n" + ",\n".join(json.dumps(row) for row in ROWS) + "\n]\n",
        "\ufeff" + json.dumps(ROWS),
        INDENTED,
        "".join(json.dumps(row) for row in ROWS),
        "\n\n" + INDENTED,
    ],
    ids=["one line", "indented", "line feeds", "a line each", "mark", "objects", "joined", "blank"],
)
def test_json_is_read_value_by_value(tmp_path: Path, text: str) -> None:
    found = rows(put(tmp_path / "rows.json", text))
    assert golds(found) == ["2", "4", "6", "8", "10"]
    assert [row.number for row in found] == [1, 2, 3, 4, 5]


def test_a_damaged_element_costs_itself_alone(tmp_path: Path) -> None:
    text = json.dumps([ROWS[0], 7, {"problem": None}, {**ROWS[1], "answer": ""}, ROWS[2]])
    found = rows(put(tmp_path / "rows.json", text))
    reasons = ["", "not_an_object", "missing_prompt", "missing_gold", ""]
    assert [row.reason for row in found] == reasons
    assert "rows.json, element 2" in found[1].detail
    bad = json.dumps(ROWS[:2]).encode().replace(b"What is 2", b"What \xff 2")
    assert [row.reason for row in rows(put(tmp_path / "bytes.json", bad))] == ["", "bad_encoding"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (json.dumps(ROWS)[:-1], "after element 5: the array has no end"),
        (json.dumps(ROWS) + "x", "after element 5: something follows"),
        (json.dumps(ROWS)[:150], "after element 2"),
        (json.dumps(ROWS[:2])[:-1] + " {}]", "after element 2: there is no comma"),
    ],
)
def test_a_broken_array_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        rows(put(tmp_path / "rows.json", text))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_json_lines_stay_json_lines(tmp_path: Path) -> None:
    """A first line that is damaged, or a list, makes no array of the file."""
    for first in ("[1, 2]", '{"problem": "x", "answer"', "broken", '{"problem": "x'):
        found = rows(put(tmp_path / "rows.jsonl", f"{first}\n{LINES}"))
        assert [bool(row.reason) for row in found] == [True] + [False] * 5, first
    no_object = put(tmp_path / "list.json", "[1, 2]\n")
    assert "no JSON array of objects" in refused(no_object)


def test_a_large_array_is_not_held(tmp_path: Path) -> None:
    rows_of = ({"problem": f"{n} " + "word " * 400, "answer": n} for n in range(4000))
    path = put(tmp_path / "rows.json", "[" + ",\n".join(json.dumps(row) for row in rows_of) + "]")
    source: Source = build("curation.sources", "jsonl", {"path": str(path)}, "source")
    tracemalloc.start()
    count = sum(not row.reason for row in source.rows(traces=False))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 4000
    assert peak < 6_000_000 < path.stat().st_size, "some chunks of a MiB, not the file"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=5), st.sampled_from([None, 1]), st.integers(1, 7))
def test_any_array_comes_out_whole(found: list[object], indent: int | None, size: int) -> None:
    class Slow(io.BytesIO):
        def read(self, _: int | None = -1) -> bytes:
            return super().read(size)

    data = json.dumps(found, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")
    assert [value for value, _ in values(Slow(data))] == found


def test_a_broken_value_is_told_at_once() -> None:
    class Endless(io.BytesIO):
        served = 0

        def read(self, size: int | None = -1) -> bytes:
            self.served += size or 0
            return b'{"a": nonsense' + b" " * ((size or 0) - 14)

    stream = Endless()
    with pytest.raises(BrokenError, match="Expecting value"):
        list(values(stream))
    assert stream.served < 3 << 20, "nothing more is read to make it whole"


# --- packed files


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstd,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_packed_files_are_unpacked(tmp_path: Path, suffix: str) -> None:
    pack = PACKERS[suffix]
    half = len(ROWS) // 2
    parts = [LINES.encode()[: LINES.index(json.dumps(ROWS[half]))]]
    parts.append(LINES.encode()[len(parts[0]) :])
    put(tmp_path / f"a.jsonl{suffix}", b"".join(map(pack, parts)))  # as `cat a.zst b.zst` makes
    assert golds(rows(tmp_path)) == ["2", "4", "6", "8", "10"]
    nameless = put(tmp_path / "data", pack(json.dumps(ROWS).encode()))
    assert len(golds(rows(nameless))) == 5, "what it is, not what it is called"
    noise = json.dumps({**ROWS[0], "more": list(range(20_000))}).encode()
    cut = put(tmp_path / f"cut.jsonl{suffix}", pack(noise + b"\n" + noise)[:-9])
    with pytest.raises(UserError, match=f"cut.jsonl{suffix}: cannot be read to its end"):
        rows(cut)


# --- CSV

CSV = 'problem,answer,note\nWhat is 1 + 1?,2,\n"Two ""lines"",\n1 + 2",3,"a, b"\n\n1 + 3 is?,4,x\n'


def test_csv_is_read(tmp_path: Path) -> None:
    found = rows(put(tmp_path / "rows.csv", "\ufeff" + CSV), kind="csv")
    assert [(row.number, row.text, row.gold) for row in found] == [
        (1, "What is 1 + 1?", "2"),
        (2, 'Two "lines",\n1 + 2', "3"),
        (3, "1 + 3 is?", "4"),
    ]
    assert len(TextCorpus(str(tmp_path / "rows.csv"), text_column="note").name) > 0
    put(tmp_path / "more.csv.zst", zstd(CSV.replace("\n", "\r\n").encode()))
    both = rows(tmp_path, kind="csv")
    assert [row.number for row in both] == [1, 2, 3, 4, 5, 6] and len(golds(both)) == 6


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters(tmp_path: Path, delimiter: str) -> None:
    text = CSV.replace(",", delimiter)
    options = {"delimiter": "|"} if delimiter == "|" else {}
    found = rows(put(tmp_path / "rows.csv", text), kind="csv", **options)
    assert [row.gold for row in found] == ["2", "3", "4"]


def test_a_damaged_row_of_csv(tmp_path: Path) -> None:
    text = (
        b'problem,answer\n1 + 1,2\n1 + 2\n1 + 3,4,5\n1 + "4",5\n"1 + 5"x,6\n1 \xff 6,7\n1 + 7,8\n'
    )
    found = rows(put(tmp_path / "rows.csv", text), kind="csv")
    assert [(row.number, row.reason) for row in found] == [
        (1, ""),
        (2, "broken_csv"),
        (3, "broken_csv"),
        (4, ""),
        (5, "broken_csv"),
        (6, "bad_encoding"),
        (7, ""),
    ]
    assert "rows.csv, row 2: 1 fields, and the header names 2" in found[1].detail


def test_csv_that_cannot_be_one(tmp_path: Path) -> None:
    twice = put(tmp_path / "twice.csv", "problem,answer,answer\n1,2,3\n")
    with pytest.raises(UserError, match=r"twice\.csv: two columns are called 'answer'"):
        rows(twice, kind="csv")
    with pytest.raises(UserError, match="is JSON, not CSV; use kind jsonl"):
        rows(put(tmp_path / "rows.jsonl", LINES), kind="csv")
    with pytest.raises(UserError, match="no column 'problem'"):
        rows(put(tmp_path / "other.csv", "a,b\n1,2\n"), kind="csv", columns={"prompt": "problem"})


def test_gsm8k_and_scoring_read_csv_by_its_name(tmp_path: Path) -> None:
    path = put(tmp_path / "rows.csv", "question,answer\nWhat is 1 + 1?,#### 2\n")
    assert golds(rows(path, kind="gsm8k")) == ["2"]
    corpus = TextCorpus(str(path), text_column="answer")
    assert [text.text for text in corpus.documents()] == ["#### 2"]


# --- files of another kind


def test_another_kind_is_one_sentence_before_any_work(tmp_path: Path) -> None:
    pa.feather.write_feather(pa.table({"problem": ["x"]}), str(tmp_path / "x.arrow"))
    said: dict[str, tuple[str | bytes, str]] = {
        "a.csv": (CSV, "kind csv"),
        "b.jsonl": (LINES.encode("utf-16"), "UTF-16"),
        "c.jsonl": (LINES.encode("utf-16-le"), "UTF-16"),
        "d.jsonl": (LINES.encode("utf-16-be"), "UTF-16"),
        "e.json": (gzip.compress(LINES.encode("utf-16")), "UTF-16"),
        "f.xlsx": (b"PK\x03\x04" + bytes(100), "Excel"),
        "g.html": ("<!DOCTYPE html>\n<p>Sign in</p>\n" * 300, "line 1: Expecting value"),
        "h.jsonl": ((tmp_path / "x.arrow").read_bytes(), "Arrow"),
        "i.txt": ("What is 1 + 1?\n" * 500, "is not JSON Lines"),
    }
    for name, (data, words) in said.items():
        assert words in refused(put(tmp_path / name, data)), name


def test_one_such_file_in_a_folder_is_told_before_any_row(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", LINES)
    put(tmp_path / "b.jsonl", CSV)
    with pytest.raises(UserError, match=r"b\.jsonl: is not JSON Lines"):
        build("curation.sources", "jsonl", {"path": str(tmp_path)}, "source")


def test_a_build_of_one_ends_before_any_work(tmp_path: Path) -> None:
    path = put(tmp_path / "rows.jsonl", LINES.encode("utf-16"))
    run = tmp_path / "run"
    options = ["--out", str(run), "--set", f"source.path={path}", "--set", "teacher.kind=recorded"]
    ran = subprocess.run(
        [sys.executable, "-m", "flows.cli", "build", "recorded_traces", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2 and not run.exists()
    assert ran.stderr.count("\n") == 1 and "rows.jsonl: is UTF-16" in ran.stderr


# --- other encodings

FRENCH = [{"problem": f"Léa a {n} pommes. Et après ?", "answer": f"{n}"} for n in range(1, 6)]


def latin_1(rows: list[dict[str, str]], kind: str) -> bytes:
    if kind == "csv":
        lines = ["problem,answer", *(f"{row['problem']},{row['answer']}" for row in rows)]
    else:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    return "".join(f"{line}\n" for line in lines).encode("latin-1")


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_file_in_another_encoding_is_told_at_once(tmp_path: Path, kind: str) -> None:
    path = put(tmp_path / f"french.{kind}", latin_1(FRENCH, kind))
    with pytest.raises(UserError) as caught:
        rows(path, kind=kind)
    said = str(caught.value)
    assert "is not UTF-8, as in 5 of the first 5 rows" in said
    assert "iconv -f WINDOWS-1252 -t UTF-8" in said and "\n" not in said
    put(path, latin_1(FRENCH, kind).decode("latin-1"))
    assert golds(rows(path, kind=kind)) == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_few_rows_in_another_encoding_cost_no_other(tmp_path: Path, kind: str) -> None:
    plain = [{"problem": f"{n} + 1?", "answer": f"{n + 1}"} for n in range(2)]
    path = put(tmp_path / f"mixed.{kind}", latin_1([*plain, *FRENCH[:2]], kind))
    assert [row.reason for row in rows(path, kind=kind)] == ["", "", *["bad_encoding"] * 2]


def test_an_encoding_matters_in_the_columns_in_use_alone(tmp_path: Path) -> None:
    text = "problem,answer,author\n" + "".join(f"{n} + 1?,{n + 1},Léa\n" for n in range(3))
    path = put(tmp_path / "authors.csv", text.encode("latin-1"))
    assert golds(rows(path, kind="csv")) == ["1", "2", "3"]
