"""Read any corpus as documents to score: a file, a folder, a run, or a dataset on the Hub.

In: its address, and which columns hold prompt and text. Out: `Document` records; one that cannot be
scored has a reason. A list in the text column is several documents of one row (OpenR1's
generations); a text in the canvas format is split into its paths and its summary.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from curation.sources.columns.fields import ABSENT, RawRow, dig, first_present, require
from curation.sources.columns.gold import SURROGATE
from curation.sources.readers.choose import choose
from curation.sources.readers.hub import HubReader
from curation.sources.readers.reader import Reader, Record, check_encoding, values
from curation.sources.readers.remote import is_url
from schemas import canvas
from support.errors import UserError

HUB = "hub:"
SAMPLE_ROWS = 100
PROMPT_NAMES = ("prompt", "problem", "question", "instruction")
TEXT_NAMES = (
    *("text", "response", "generations", "traces", "solution", "completion", "output", "answer"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document; `row` and `part` count from 1: its row in the source, its place in that row.

    A canvas has `paths` and a `summary`, any other document a `text`. Where `reason` is not empty,
    the document cannot be scored.
    """

    row: int
    part: int = 1
    prompt: str = ""
    text: str = ""
    paths: tuple[str, ...] = ()
    summary: str = ""
    reason: str = ""
    detail: str = ""


class TextCorpus:
    """The documents of one corpus.

    Args:
        where: a file, a folder, a run directory, a URL, or `hub:NAME`.
        prompt_column: column of the prompt; None: the first usual name there is, else no prompt.
        text_column: column of the text; None: the first usual name there is.
        no_prompt: there is no prompt, whatever the columns are called.
        config: of a dataset on the Hub.
        split: likewise.
        revision: likewise.

    Raises UserError where there is nothing to read, or a column is missing.
    """

    def __init__(
        self,
        where: str,
        *,
        prompt_column: str | None = None,
        text_column: str | None = None,
        no_prompt: bool = False,
        config: str | None = None,
        split: str = "train",
        revision: str | None = None,
    ) -> None:
        self._reader = _reader(where, config, split, revision)
        self.name = self._reader.name()
        head = self._reader.head(SAMPLE_ROWS)
        sample = values(head)
        if not sample:
            raise UserError(
                f"{self.name}: its first {SAMPLE_ROWS} rows hold nothing that can be read as JSON, "
                f"CSV or Parquet"
            )
        self.prompt_column = prompt_column or first_present(sample, PROMPT_NAMES)
        column = text_column or first_present(sample, TEXT_NAMES)
        if column is None:
            names = ", ".join(sorted(map(str, sample[0])))
            raise UserError(f"{self.name}: no text column; name one of {names} with --text-column")
        self.text_column = column
        if no_prompt or self.prompt_column == self.text_column:
            self.prompt_column = None
        require(sample, self.text_column, "--text-column", self.name)
        if self.prompt_column:
            require(sample, self.prompt_column, "--prompt-column", self.name)
        check_encoding(self._reader, head, self._columns)
        rows = (Record(number=n, where="", value=row) for n, row in enumerate(sample, 1))
        self.begins_with_canvases = any(one.paths for row in rows for one in _of_row(row, self))

    def fingerprint(self) -> str:
        """Changes whenever the documents do."""
        return f"{self._reader.fingerprint()}/{self.prompt_column}/{self.text_column}"

    def documents(self) -> Iterator[Document]:
        """Every document in order, streamed."""
        for record in self._reader.records(self._columns):
            yield from _of_row(record, self)

    @property
    def _columns(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.text_column, self.prompt_column)))


def _reader(where: str, config: str | None, split: str, revision: str | None) -> Reader:
    if where.startswith(HUB):
        name = where.removeprefix(HUB)
        return HubReader(repo=name, config=config, split=split, revision=revision)
    if is_url(where):
        return choose(where, repo="", config="", split="", revision=None)
    folder = Path(where).expanduser()
    if not folder.exists():
        raise UserError(f"{where}: no such file or folder")
    if (folder / "release" / "data").is_dir():  # a run
        folder = folder / "release" / "data"
    elif (folder / "data").is_dir() and not any(
        file.name.endswith((".parquet", ".jsonl", ".jsonl.gz")) and file.is_file()
        for file in folder.iterdir()
    ):
        folder = folder / "data"  # a release
    return choose(str(folder), repo="", config="", split="", revision=None)


def _of_row(record: Record, corpus: TextCorpus) -> Iterator[Document]:
    if record.value is None or record.reason:
        yield Document(row=record.number, reason=record.reason, detail=record.detail)
        return
    prompt = dig(record.value, corpus.prompt_column) if corpus.prompt_column else ""
    value = dig(record.value, corpus.text_column)
    parts = value if isinstance(value, list) else [value]
    if not parts:
        yield Document(row=record.number, reason="missing_text", detail="an empty list of texts")
    for part, text in enumerate(parts, 1):
        yield document(record.number, part, prompt, text)


def document(row: int, part: int, prompt: object, text: object) -> Document:
    """A document of a text, which may be a canvas; with a reason where it cannot be scored."""
    if isinstance(text, Mapping):  # {"text": …}, or a turn of a chat: {"role": …, "content": …}
        turn: RawRow = text
        text = next((turn[name] for name in ("text", "content") if name in turn), ABSENT)
    make = partial(Document, row=row, part=part)
    for name, value in (("prompt", prompt), ("text", text)):
        if value is None or value is ABSENT:
            return make(reason=f"missing_{name}", detail=f"there is no {name}")
        if not isinstance(value, str):
            detail = f"the {name} is {type(value).__name__}, not text"
            return make(reason=f"missing_{name}", detail=detail)
        if SURROGATE.search(value):
            detail = f"the {name} holds half of a surrogate pair"
            return make(reason="bad_encoding", detail=detail)
    assert isinstance(prompt, str) and isinstance(text, str)
    if not text.strip():
        return make(reason="missing_text", detail="the text is empty")
    try:
        parsed = canvas.parse(text)
    except ValueError:
        return make(prompt=prompt, text=text)
    return make(prompt=prompt, paths=parsed.paths, summary=parsed.summary)
