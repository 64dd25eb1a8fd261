"""`polytrace view`: its server guards itself, and its page works in a real browser by keyboard."""

import http.client
import json
import re
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pyarrow.parquet as pq
import pytest

from curation.release.reader import ReleaseReader
from curation.release.rows import read_rows
from schemas.manifest import MANIFEST_FILE
from schemas.records import Released
from tests.browser import Page, browser, needs_chromium
from tests.curation import samples
from tests.flows.commands import polytrace, start

ROWS = 130
NASTY = (
    "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
    "</script><!-- {{ 7 * 7 }} \x1b[31m\u202eevil\u2028 & &amp; javascript:alert(1)"
)
SECONDS = 90  # for a page to do what it was asked for, on a machine that is busy


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 130 plain canvases, one that is nasty and one of a single huge line."""
    made = tmp_path_factory.mktemp("viewing") / "run"
    rows = [*samples.corpus(ROWS), samples.with_text(ROWS + 1, NASTY)]
    rows.append(samples.with_text(ROWS + 2, "x" * 50_000))
    samples.write_run(made, rows)
    return made


@pytest.fixture(scope="module")
def released(run: Path) -> list[Released]:
    return [row for path in ReleaseReader(run).files for row in read_rows(path)]


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    name, address = process.stdout.readline().split()
    assert name == "view"
    return address


@pytest.fixture(scope="module")
def address(run: Path) -> Iterator[str]:
    """The page's address; the command ends well by Ctrl-C."""
    process = start("view", run.name, "--no-browser", cwd=run.parent)
    try:
        found = address_of(process)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{20,}/", found)
        yield found
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (0, "")
    assert "ended; nothing was changed" in out


def get(
    address: str, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """An answer to exactly this path behind the page's address."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS)
    try:
        target = path if path.startswith("/") else parts.path + path
        connection.request(method, target, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def api(address: str, path: str) -> Any:
    answer, body = get(address, f"api/{path}")
    assert answer.status == 200, body
    return json.loads(body)


def test_pages_follow_one_another_until_every_row_was_shown(
    address: str, released: list[Released]
) -> None:
    for query, expected in (
        ("", range(len(released))),
        ("grades=all_right&", [n for n, row in enumerate(released) if row.correct_paths == 3]),
    ):
        seen: list[int] = []
        after: int | None = 0
        while after is not None:
            page = api(address, f"rows?{query}after={after}&limit=20")
            assert page["total"] == len(expected) and len(page["rows"]) <= 20
            seen += [row["number"] for row in page["rows"]]
            after = page["next"]
        assert seen == list(expected)
    state = api(address, "state")
    assert (state["name"], state["rows"], state["error"]) == ("sample", len(released), "")


def test_a_search_streams_and_goes_on_where_it_stopped(address: str) -> None:
    found: list[int] = []
    after: int | None = 0
    while after is not None:
        answer, body = get(address, f"api/search?text={quote('APPLES')}&after={after}")
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        steps = [json.loads(line) for line in body.splitlines()]
        assert [step["done"] for step in steps] == [False] * (len(steps) - 1) + [True]
        rows = [row["number"] for step in steps for row in step["rows"]]
        assert len(rows) <= 50 and len(steps) > 2, "it tells what it has before it ends"
        found += rows
        after = steps[-1]["next"]
    assert len(found) == len(set(found)) == ROWS and found == sorted(found)
    _, body = get(address, "api/search?text=apples&grades=none_right")
    assert json.loads(body.splitlines()[-1])["read"] == ROWS + 2


def test_a_closed_connection_stops_a_search(address: str) -> None:
    """The server goes on answering while searches are left in the middle, and prints nothing."""
    parts = urlsplit(address)
    for number in range(150):
        with socket.create_connection((parts.hostname, parts.port or 0)) as connection:
            text = ("zzz", "apples")[number % 2]
            line = f"GET {parts.path}api/search?text={text} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            connection.sendall(line.encode())
            if number % 3:
                assert connection.recv(12) == b"HTTP/1.1 200"
            else:
                time.sleep(number / 5000)
            # Closed by a reset, as a browser does on a reload.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert api(address, "rows/0")["number"] == 0


def test_only_who_has_the_address_is_answered(address: str) -> None:
    parts = urlsplit(address)
    for path in ("/", "/api/state", "/view.js", f"{parts.path[:-2]}/", f"/x{parts.path}"):
        assert get(address, path)[0].status == 404, path
    for host in ("attacker.example", f"attacker.example:{parts.port}", "127.0.0.1.nip.io", ""):
        answer, body = get(address, "api/state", Host=host)
        assert answer.status == 403 and b"sample" not in body, host
    for host in ("localhost", f"LOCALHOST:{parts.port}", "127.0.0.1:1", "[::1]:8765"):
        assert get(address, "api/state", Host=host)[0].status == 200, host
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert get(address, "api/state", method)[0].status in (404, 405), method


def test_requests_that_name_no_path_are_refused_like_any_other(address: str) -> None:
    """They are no internal fault, whose traceback would be a file for each of them."""
    parts = urlsplit(address)
    for line in ("OPTIONS *", "CONNECT attacker.example:80"):
        with socket.create_connection((parts.hostname, parts.port or 0)) as connection:
            connection.sendall(f"{line} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert connection.recv(12) == b"HTTP/1.1 404", line


def test_no_path_of_a_request_is_a_path_of_a_file(address: str) -> None:
    for path in (
        *("../../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/numbers.py"),
        *("/etc/passwd", "numbers.py", "page/view.js", "view.js/", "view.js%00", "//etc/passwd"),
        *("api/rows/../../view.html", "api/rows/-1", "api/rows/" + "9" * 40),
    ):
        answer, body = get(address, path)
        assert answer.status == 404 and b"root:" not in body, path


def test_every_answer_forbids_what_the_page_does_not_need(address: str) -> None:
    for path in ("", "view.js", "api/state", "api/rows?after=x", "nothing"):
        answer, _ = get(address, path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_mistakes_in_an_address_are_sentences(address: str) -> None:
    for path, words in {
        "api/rows?after=x": "after",
        "api/rows?sort=id": "sort",
        "api/rows?tokens_min=many": "tokens_min",
        "api/rows/500": "there are 132",
        "api/search?text=": "type at least one character",
    }.items():
        answer, body = get(address, path)
        assert answer.status == 400 and words in json.loads(body)["error"], path


def test_mistakes_of_a_command_are_one_line(run: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    building = tmp_path / "building"
    building.mkdir()
    (building / "recipe.yaml").write_text("name: x")
    (tmp_path / "trained").mkdir()
    for name in ("recipe.yaml", "training.jsonl"):
        (tmp_path / "trained" / name).write_text("{}")
    samples.write_run(tmp_path / "nothing", [])
    for given, words in {
        "nowhere": "no such run directory",
        "notes.txt": "no complete run",
        "building": "run the same polytrace build again",
        "trained": "is the directory of a training or an evaluation",
        "nothing": "polytrace inspect nothing says why",
    }.items():
        done = polytrace("view", given, "--no-browser", cwd=tmp_path)
        assert done.returncode == 2 and words in done.stderr, given
        assert len(done.stderr.splitlines()) == 1
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = polytrace("view", str(run), "--no-browser", "--port", port, cwd=tmp_path)
    assert done.returncode == 2 and f"--port {port}: cannot listen there" in done.stderr


def test_a_damaged_release_is_a_sentence_and_what_is_whole_is_shown(tmp_path: Path) -> None:
    samples.write_run(tmp_path / "run", samples.corpus(40))
    first, *_, last = ReleaseReader(tmp_path / "run").files
    data, footer = last.read_bytes(), pq.read_metadata(last).serialized_size
    pages = len(data) - footer - 2 * len(b"PAR1") - 4
    last.write_bytes(data[:4] + bytes(pages) + data[4 + pages :])
    process = start("view", "run", "--no-browser", cwd=tmp_path)
    try:
        address = address_of(process)
        deadline = time.monotonic() + SECONDS
        while not (error := api(address, "state")["error"]):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert last.name in error and "polytrace verify" in error
        assert api(address, "rows?limit=3")["rows"][0]["number"] == 0
        answer, body = get(address, "api/rows?sort=tokens")
        assert answer.status == 500 and last.name in json.loads(body)["error"]
        _, body = get(address, "api/search?text=nowhere")
        assert last.name in json.loads(body.splitlines()[-1])["error"]
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (0, "") and first != last


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    with browser() as opened:
        yield opened


@pytest.fixture
def page(tab: Page, address: str) -> Page:
    """The page, with the numbers of all rows read."""
    opened(tab, address)
    return tab


def opened(tab: Page, address: str, **size: int) -> None:
    tab.open(address, **size)
    wait(tab, "document.querySelectorAll('#ranges input').length > 0")


def wait(tab: Page, condition: str) -> None:
    """Until a JavaScript condition holds."""
    deadline = time.monotonic() + SECONDS
    while tab.run(f"Boolean({condition})") is not True:
        said = tab.run("document.getElementById('status')?.textContent")
        assert time.monotonic() < deadline, (condition, said, tab.faults)
        time.sleep(0.05)


def reload(tab: Page) -> None:
    tab.run("window.former = true; location.reload()")
    wait(tab, "!window.former && document.querySelectorAll('#ranges input').length > 0")


def text_of(tab: Page, name: str) -> str:
    return str(tab.run(f"document.getElementById({name!r}).textContent"))


def type_in(tab: Page, text: str) -> None:
    tab.call("Input.insertText", text=text)


def go_to_search(tab: Page) -> None:
    tab.press("/")
    wait(tab, "document.activeElement.id === 'text'")


ON_LINE = "document.activeElement.dataset.place === '{}'"
SHOWN = "document.getElementById('shown').dataset.number === '{}'"


@needs_chromium
def test_the_keyboard_is_enough(page: Page, released: list[Released]) -> None:
    wait(page, ON_LINE.format(0))
    for key in ("j", "ArrowDown", "j", "k", "ArrowUp"):
        page.press(key)
    wait(page, ON_LINE.format(1))
    page.press("Enter")
    wait(page, SHOWN.format(1))
    assert released[1].id in text_of(page, "which")
    panels = page.run(
        "[...document.querySelectorAll('#shown .grid .text')].map(n => n.textContent)"
    )
    assert panels == [path.text for path in released[1].paths]
    marks = page.run(
        "[...document.querySelectorAll('#shown strong.right')].map(n => n.textContent)"
    )
    assert marks == ["✓ correct"] * released[1].correct_paths
    page.press("j")
    wait(page, SHOWN.format(2))
    page.press("l")
    wait(
        page,
        "document.querySelector('#shown h3:first-child + *') && "
        "[...document.querySelectorAll('#shown h3')].some(n => n.textContent === 'long-CoT form')",
    )
    shown = page.run("document.querySelectorAll('#shown .text')[1].textContent")
    assert shown == released[2].long_cot
    page.press("l")
    wait(page, "document.querySelectorAll('#shown .grid .text').length === 3")
    page.press("Escape")
    wait(page, "!document.getElementById('canvas').open")
    wait(page, ON_LINE.format(2))
    page.press("n")
    wait(page, "document.getElementById('status').textContent.startsWith('51 to 100')")
    wait(page, ON_LINE.format(0))
    page.press("k")  # from the first line to the last of the page before
    wait(page, ON_LINE.format(49))
    assert text_of(page, "status").startswith("1 to 50 of 132")
    page.press("?")
    wait(page, "document.getElementById('help').open")
    page.press("Escape")
    wait(page, "!document.getElementById('help').open")
    assert page.faults == []


@needs_chromium
def test_search_and_filters_by_keyboard(page: Page, released: list[Released]) -> None:
    go_to_search(page)
    type_in(page, "BUYS 17 more")
    page.press("Enter")
    wait(
        page,
        "document.getElementById('status').textContent.startsWith('1 found on this page, in all')",
    )
    (number,) = [n for n, row in enumerate(released) if "buys 17 more" in row.prompt]
    assert page.run("document.querySelector('#lines td').textContent") == str(number + 1)
    assert "buys 17 more" in page.run("document.querySelector('#lines .excerpt').textContent")
    wait(page, ON_LINE.format(0))
    page.press("Enter")
    wait(page, SHOWN.format(number))
    page.press("Escape")
    wait(page, "!document.getElementById('canvas').open")
    wait(page, ON_LINE.format(0))

    go_to_search(page)
    page.run("document.getElementById('text').value = 'apples'")
    page.press("Enter")
    wait(
        page, "document.getElementById('status').textContent.includes('the next page searches on')"
    )
    assert text_of(page, "status").startswith("50 found")
    wait(page, ON_LINE.format(0))
    page.press("Escape")  # nothing is searched any more, so the key does nothing to the list
    page.press("n")
    wait(
        page,
        "document.querySelectorAll('#lines tr').length === 50 && "
        "Number(document.querySelector('#lines td').textContent) > 50",
    )

    go_to_search(page)
    page.run("document.getElementById('text').value = ''")
    page.press("Enter")
    wait(page, "document.getElementById('status').textContent.startsWith('1 to 50 of 132')")
    page.press("f")
    wait(page, "document.activeElement.id === 'grades'")
    page.run("document.getElementById('grades').value = 'one_wrong'")
    page.run("document.querySelector('[name=seqdep_path_min]').focus()")
    type_in(page, "0.1")
    page.press("Enter")
    expected = [
        n
        for n, row in enumerate(released)
        if row.correct_paths == 2 and (row.seqdep_path_nats_per_token or 0) >= 0.1
    ]
    wait(
        page,
        "document.getElementById('status').textContent"
        f".endsWith('of {len(expected)} canvases that match, of 132')",
    )
    lines = page.run(
        "[...document.querySelectorAll('#lines tr td:first-child')].map(n => n.textContent)"
    )
    assert lines == [str(n + 1) for n in expected[:50]]
    page.run(
        "const sort = document.getElementById('sort'); sort.value = 'seqdep_path';"
        "sort.dispatchEvent(new Event('change'))"
    )
    page.run("document.getElementById('direction').click()")
    best = max(expected, key=lambda n: released[n].seqdep_path_nats_per_token or 0)
    wait(page, f"document.querySelector('#lines td')?.textContent === '{best + 1}'")
    reload(page)  # the address holds what was selected
    status = f"of {len(expected)} canvases that match, of 132"
    wait(page, f"document.getElementById('status').textContent.endsWith({status!r})")
    wait(page, f"document.querySelector('#lines td')?.textContent === '{best + 1}'")
    page.run("document.querySelector('#filters [type=reset]').click()")
    wait(page, "document.getElementById('status').textContent.startsWith('1 to 50 of 132')")
    go_to_search(page)
    page.run("document.getElementById('text').value = 'buys 17 more'")
    page.press("Enter")
    wait(page, "location.hash.includes('text=buys+17+more')")
    reload(page)
    wait(page, "document.getElementById('status').textContent.startsWith('1 found on this page')")
    assert page.faults == []


@needs_chromium
def test_texts_are_texts_and_the_page_asks_its_own_server_only(
    page: Page, address: str, released: list[Released]
) -> None:
    (number,) = [n for n, row in enumerate(released) if row.prompt == NASTY]
    page.run(f"document.getElementById('number').value = {number + 1}")
    page.run("document.getElementById('number').focus()")
    page.press("Enter")
    wait(page, SHOWN.format(number))
    shown = page.run("document.querySelector('#shown .text').textContent")
    assert shown.startswith("<script>document.title = 'taken'</script><img src=x")
    everything = page.run("document.body.textContent")
    assert "\u202e" not in everything and "\x1b" not in everything, "nothing hides or reorders"
    assert (
        page.run(
            "document.querySelectorAll('main script, main img, dialog script, dialog img').length"
        )
        == 0
    )
    assert page.run("document.title") == "sample: polytrace view"
    assert page.faults == []
    assert all(one.startswith((address, "data:")) for one in page.requests)
    evil = "fetch('https://attacker.example/').catch(() => 'refused')"
    found = page.call("Runtime.evaluate", expression=evil, awaitPromise=True, returnByValue=True)
    assert found["result"]["value"] == "refused", "the policy forbids it"


@needs_chromium
def test_a_huge_line_is_cut_until_all_of_it_is_asked_for(
    page: Page, released: list[Released]
) -> None:
    (number,) = [n for n, row in enumerate(released) if len(row.prompt) == 50_000]
    page.run(f"document.getElementById('number').value = {number + 1}")
    page.run("document.getElementById('go').requestSubmit()")
    wait(page, SHOWN.format(number))
    assert page.run("document.querySelector('#shown .text').textContent.length") == 20_000
    assert page.run("document.getElementById('shown').scrollWidth <= innerWidth")
    page.run("document.querySelector('#shown button').click()")
    wait(page, "document.querySelector('#shown .text').textContent.length === 50000")


@needs_chromium
def test_it_fits_a_phone_is_dark_in_the_dark_and_has_names_for_everything(
    tab: Page, address: str
) -> None:
    opened(tab, address, width=400, height=800)
    tab.run("document.getElementById('toggle').click()")
    assert tab.run("document.documentElement.scrollWidth") <= 400
    tab.run("document.querySelector('#lines tr').click()")
    wait(tab, SHOWN.format(0))
    assert tab.run("document.getElementById('canvas').scrollWidth") <= 400
    light = tab.run("getComputedStyle(document.body).backgroundColor")
    tab.dark()
    dark = tab.run("getComputedStyle(document.body).backgroundColor")
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(13, 17, 23)")
    tab.call("Emulation.setEmulatedMedia", features=[])
    tab.press("Escape")
    tab.call("Accessibility.enable")
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    wanted = {"button", "textbox", "searchbox", "combobox", "spinbutton", "grid", "dialog"}
    found = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in wanted
    ]
    assert {"button", "searchbox", "combobox", "spinbutton", "grid"} <= {role for role, _ in found}
    assert [role for role, name in found if not name] == []
    assert sum(node["role"]["value"] == "row" for node in nodes if not node["ignored"]) >= 50


@needs_chromium
def test_a_server_that_has_ended_is_said(tab: Page, run: Path) -> None:
    process = start("view", str(run / "release"), "--no-browser", cwd=run.parent)
    try:
        opened(tab, address_of(process))
        assert text_of(tab, "name") == "release"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SECONDS)
    tab.press("n")
    wait(tab, "!document.getElementById('error').hidden")
    assert "does not answer; was it ended?" in text_of(tab, "error")
    assert (run / MANIFEST_FILE).is_file()
