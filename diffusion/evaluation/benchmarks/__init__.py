"""Benchmarks: problems with gold answers, one file each, from the Hub or from local files.

A benchmark is a file of this folder that has `build(path=None) -> list[Problem]`, which reads the
file `path`, or the benchmark's own place, and raises UserError if it cannot be read.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from support.capacity import raise_if_out_of_memory
from support.errors import UserError, first_line
from support.paths import locate

Row = Mapping[str, Any]


class Problem(NamedTuple):
    """A problem: `gold` as the data has it, `id` unique in its benchmark."""

    id: str
    prompt: str
    gold: str


def rows_of(path: str | None, *, repo: str, config: str, split: str) -> Iterator[Row]:
    """The rows of a JSON Lines or Parquet file, or of a dataset on the hub."""
    if path is None:
        yield from _from_hub(repo, config, split)
        return
    file = Path(locate(path))
    if not file.is_file():
        raise UserError(
            f"{path}: no such file; give a JSON Lines or Parquet file of {repo}'s columns"
        )
    if file.suffix == ".parquet":
        import pyarrow.parquet as pq

        yield from pq.read_table(file).to_pylist()
        return
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}, line {number}: no JSON: {error}") from None
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number}: is no object")
            yield row


def field(row: Row, name: str, number: int) -> str:
    """A text of a row; UserError names row and field if it is missing or blank."""
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"row {number}: {name}: no text; is this another benchmark's file?")
    return value


def _from_hub(repo: str, config: str, split: str) -> Iterator[Row]:
    from datasets import load_dataset
    from huggingface_hub.errors import GatedRepoError

    try:
        rows = load_dataset(repo, config, split=split)
    except Exception as error:
        raise_if_out_of_memory(error)
        causes = [error, error.__cause__, error.__context__]
        is_gated = any(isinstance(one, GatedRepoError) for one in causes) or "gated" in str(error)
        if is_gated:
            raise UserError(
                f"{repo}: asks for your agreement; accept its terms on the hub, then set HF_TOKEN "
                "to a token of your account"
            ) from None
        raise UserError(
            f"{repo}: cannot be loaded from the hub: {first_line(error)}; give a local file"
        ) from None
    yield from cast(Iterator[Row], rows)
