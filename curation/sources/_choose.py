"""The reader for a kind that lives on the hub and may be given as files."""

from curation.sources import _csv, _jsonl
from curation.sources._csv import CsvReader
from curation.sources._hub import HubReader
from curation.sources._jsonl import JsonlReader
from curation.sources._parquet import ParquetReader
from curation.sources._reader import Reader, holds


def choose(path: str | None, *, repo: str, config: str, split: str, revision: str | None) -> Reader:
    """Files where there is a path (Parquet, else JSON Lines, else CSV, by name), else the hub."""
    if path is None:
        return HubReader(repo=repo, config=config, split=split, revision=revision)
    if holds(path, (".parquet",)):
        return ParquetReader(path)
    is_csv = holds(path, _csv.SUFFIXES) and not holds(path, _jsonl.SUFFIXES)
    return CsvReader(path) if is_csv else JsonlReader(path)
