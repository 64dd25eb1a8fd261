"""The reader for a kind that lives on the hub and may be given as files."""

from pathlib import Path

from curation.sources._hub import HubReader
from curation.sources._jsonl import JsonlReader
from curation.sources._parquet import ParquetReader
from curation.sources._reader import Reader


def choose(path: str | None, *, repo: str, config: str, split: str, revision: str | None) -> Reader:
    """Files where there is a path (Parquet if it is one or holds one, else JSONL), else the hub."""
    if path is None:
        return HubReader(repo=repo, config=config, split=split, revision=revision)
    root = Path(path).expanduser()
    holds_parquet = root.is_dir() and any(f.suffix == ".parquet" for f in root.iterdir())
    return ParquetReader(path) if holds_parquet or root.suffix == ".parquet" else JsonlReader(path)
