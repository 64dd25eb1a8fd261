"""Export a release: rows are read and checked, and written as another project reads them.

In: a run, or the folder or a file of a released dataset. Out: a folder with a file for each split,
`export.json` (what was written of what), and `refused.jsonl` where rows were refused. Every row is
exported or refused with a reason. The same release gives the same bytes. The folder appears at
once, or not at all.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.exports import ExportFormat, Line, RowRefusal
from curation.release.reader import ReleaseReader
from curation.release.row_checks import row_problems, text_problems
from curation.release.rows import read_rows
from curation.release.writer import SPLITS, Split
from schemas.manifest import Manifest
from schemas.records import Released
from support import plugins
from support.errors import DamagedError, NothingReleasedError, UserError
from support.files import atomic_folder, is_disk_fault, read_json, replace_text, sha256

FACTS_FILE = "export.json"
REFUSED_FILE = "refused.jsonl"
AT_ONCE = 1000  # lines in memory, and in a row group
_FAMILY = "curation.exports"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFacts:
    """What an export wrote: `canvases` = `exported` + the sum of `refused`, which is by reason.

    `lines` by file; one canvas may be several lines. `build` is None for a dataset without its run.
    """

    to: str
    build: str | None
    canvases: int
    exported: int
    lines: dict[str, int]
    refused: dict[str, int]
    sha256: dict[str, str]


def named(kind: str) -> ExportFormat:
    """The format of this kind; UserError where there is none."""
    plugins.load(_FAMILY, kind, "--to")
    made: ExportFormat = plugins.build(_FAMILY, kind, {}, "--to")
    return made


def export(
    run: Path, kind: str, out: Path, *, progress: Callable[[int], object] = lambda _: None
) -> ExportFacts:
    """Write the canvases of `run` for `kind` into the folder `out`; `progress` gets their number.

    An earlier export in `out` is replaced. Raises UserError where `run` is no release, `kind` is
    unknown, or `out` cannot be written; DamagedError, naming file and row, where a row does not
    hold what a release must; NothingReleasedError, and no folder, where every row was refused.
    """
    style = named(kind)
    corpus = ReleaseReader(run)
    _check_out(out, run)
    try:
        with atomic_folder(out.absolute()) as part:
            return _write(corpus, kind, style, part, progress)
    except OSError as error:
        if is_disk_fault(error):
            raise
        raise UserError(
            f"{out}: cannot write there ({error.strerror}); choose another --out"
        ) from None


def _check_out(out: Path, run: Path) -> None:
    """UserError where `out` is not free, and not an earlier export."""
    if ":/" in str(out):
        raise UserError(f"{out}: is a URL; export to a folder of this machine, and copy it there")
    home = run.resolve()
    if out.resolve() == home or home in out.resolve().parents:
        raise UserError(f"--out {out}: lies in the folder that is read; choose another place")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UserError(f"{out}: exists, and is no folder; choose another --out")
    if out.is_dir() and any(out.iterdir()):
        if not (out / FACTS_FILE).is_file():
            raise UserError(f"{out}: exists, and holds no export; choose another --out")
        if others := sorted({path.name for path in out.iterdir()} - _exported(out)):
            raise UserError(
                f"{out}: holds {others[0]} beside an export, which would be lost; move it away, or "
                "choose another --out"
            )


def _exported(folder: Path) -> set[str]:
    """The names of the files that an earlier export has written; none where it does not say."""
    try:
        return {FACTS_FILE, *read_json(folder / FACTS_FILE)["sha256"]}
    except (OSError, ValueError, LookupError, TypeError):
        return set()


def _write(
    corpus: ReleaseReader,
    kind: str,
    style: ExportFormat,
    folder: Path,
    progress: Callable[[int], object],
) -> ExportFacts:
    exported, refused = 0, Counter[str]()
    refusals: _LinesFile | None = None
    with ExitStack() as stack:
        files: dict[Split, _LinesFile] = {}
        for split, row in _rows(corpus):
            progress(1)
            made = style.lines(row)
            if isinstance(made, RowRefusal):
                refused[made.reason] += 1
                if refusals is None:
                    refusals = stack.enter_context(_LinesFile(folder / REFUSED_FILE, None))
                refusals.add([{"id": row.id, "reason": made.reason, "detail": made.detail}])
                continue
            assert made, f"format {kind!r} gave no line for a row and no refusal"
            exported += 1
            if split not in files:
                name = "train" if split == "train" else style.validation
                path = folder / f"{name}{style.suffix}"
                files[split] = stack.enter_context(_LinesFile(path, style.schema))
            files[split].add(made)
    if not exported:
        raise NothingReleasedError(_nothing(corpus, kind, refused))
    written = [files[split] for split in SPLITS if split in files]
    for name, text in style.beside([file.path.name for file in written]).items():
        replace_text(folder / name, text)
    facts = ExportFacts(
        to=kind,
        build=corpus.manifest.build if corpus.manifest else None,
        canvases=exported + refused.total(),
        exported=exported,
        lines={file.path.name: file.count for file in written},
        refused=dict(sorted(refused.items())),
        sha256={path.name: sha256(path) for path in sorted(folder.iterdir())},
    )
    assert facts.canvases == len(corpus), "every row is exported or refused"
    replace_text(folder / FACTS_FILE, json.dumps(asdict(facts), indent=2) + "\n")
    return facts


def _nothing(corpus: ReleaseReader, kind: str, refused: Counter[str]) -> str:
    if not refused:
        return f"{corpus.where}: holds no canvas, so nothing was exported"
    reasons = ", ".join(f"{reason} {count}" for reason, count in refused.most_common())
    return (
        f"{corpus.where}: none of its {refused.total()} canvases can be written as {kind!r} "
        f"({reasons}); docs/export.md says what each reason means"
    )


def _rows(corpus: ReleaseReader) -> Iterator[tuple[Split, Released]]:
    """Every row with its split, which the name of its file says; DamagedError for an unsound one.

    A file of another name is for training.
    """
    for path in corpus.files:
        first = path.name.partition("-")[0]
        split: Split = "validation" if first == "validation" else "train"
        for number, row in enumerate(read_rows(path), 1):
            for problem in _problems(row, corpus.manifest):
                raise DamagedError(
                    f"{path}, row {number}: {problem}; nothing was exported. Repair it with "
                    "polytrace build, or fetch it again"
                )
            yield split, row


def _problems(row: Released, manifest: Manifest | None) -> Iterator[str]:
    """What must hold in a row and does not, as far as its manifest is there to compare with."""
    return row_problems(row, manifest, None) if manifest else text_problems(row, None)


class _LinesFile:
    """A file of lines: Parquet with a schema, else JSON Lines; at most `AT_ONCE` in memory.

    JSON is written in ASCII, because some readers also break lines at U+2028 and the like.
    """

    def __init__(self, path: Path, schema: pa.Schema | None) -> None:
        self.path = path
        self.count = 0
        self._schema = schema
        self._waiting: list[Line] = []
        self._resources = ExitStack()
        self._file: Any = None

    def __enter__(self) -> "_LinesFile":
        self._file = self._resources.enter_context(
            self.path.open("w", encoding="ascii", newline="\n")
            if self._schema is None
            else pq.ParquetWriter(self.path, self._schema, compression="zstd")
        )
        return self

    def __exit__(self, *exception: object) -> None:
        with self._resources:
            if exception[0] is None:
                self._flush()

    def add(self, lines: Sequence[Line]) -> None:
        """Append lines."""
        self._waiting += lines
        self.count += len(lines)
        if len(self._waiting) >= AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if self._schema is None:
            self._file.writelines(json.dumps(line) + "\n" for line in self._waiting)
        elif self._waiting:
            self._file.write_table(pa.Table.from_pylist(self._waiting, schema=self._schema))
        self._waiting = []
