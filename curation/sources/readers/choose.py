"""The reader for a kind that lives on the hub and may be given as files."""

from curation.sources.readers import csv, jsonl
from curation.sources.readers.csv import CsvReader
from curation.sources.readers.hub import HubReader
from curation.sources.readers.jsonl import JsonlReader
from curation.sources.readers.parquet import ParquetReader
from curation.sources.readers.reader import Reader, holds


def choose(path: str | None, *, repo: str, config: str, split: str, revision: str | None) -> Reader:
    """Files where there is a path (Parquet, else JSON Lines, else CSV, by name), else the hub."""
    if path is None:
        return HubReader(repo=repo, config=config, split=split, revision=revision)
    if holds(path, (".parquet",)):
        return ParquetReader(path)
    is_csv = holds(path, csv.SUFFIXES) and not holds(path, jsonl.SUFFIXES)
    return CsvReader(path) if is_csv else JsonlReader(path)
