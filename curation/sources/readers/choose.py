"""The reader for files of any format, and for a kind that lives on the hub and may be files."""

from curation.sources.readers import csv, jsonl
from curation.sources.readers.csv import CsvReader
from curation.sources.readers.hub import HubReader
from curation.sources.readers.jsonl import JsonlReader
from curation.sources.readers.parquet import ParquetReader
from curation.sources.readers.reader import Reader, holds


def choose(path: str | None, *, repo: str, config: str, split: str, revision: str | None) -> Reader:
    """Files where there is a path, else the hub."""
    if path is None:
        return HubReader(repo=repo, config=config, split=split, revision=revision)
    return of_files(path)


def of_files(path: str) -> Reader:
    """Files of the first format that their names tell: Parquet, else JSON Lines, else CSV."""
    if holds(path, (".parquet",)):
        return ParquetReader(path)
    is_csv = holds(path, csv.SUFFIXES) and not holds(path, jsonl.SUFFIXES)
    return CsvReader(path) if is_csv else JsonlReader(path)
