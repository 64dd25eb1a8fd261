"""The reader for a kind that lives on the hub and may be given as files."""

from curation.sources._hub import HubReader
from curation.sources._jsonl import JsonlReader
from curation.sources._parquet import ParquetReader
from curation.sources._reader import Reader, holds


def choose(path: str | None, *, repo: str, config: str, split: str, revision: str | None) -> Reader:
    """Files where there is a path (Parquet if it is one or holds one, else JSONL), else the hub."""
    if path is None:
        return HubReader(repo=repo, config=config, split=split, revision=revision)
    return ParquetReader(path) if holds(path, ".parquet") else JsonlReader(path)
