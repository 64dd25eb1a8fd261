"""Sources with one generation a row: join the traces of all rows of one prompt.

    rows ─► a temporary file, and their keys ─► the first row of a prompt, with all traces
                                              └► the others, rejected as `grouped`

Every row comes out, in the order of the source, and every trace exactly once. Two rows have one
prompt where the normal forms of both their prompts and their golds are equal. Memory holds about 50
bytes a row and the traces of one prompt. The temporary file (see TMPDIR) takes about as much space
as the source packed with gzip.
"""

import json
import tempfile
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import astuple, replace
from typing import IO

import numpy as np
from numpy.typing import NDArray

from curation.prompts.dedup import key_of, normal_answer, normalise
from curation.sources import BadTrace, Row
from curation.sources.columns.reasons import RowFault
from curation.sources.columns.traces import agreeing
from schemas.records import FinishReason, Recorded

_NO_PROMPT = 0


def grouped(rows: Iterator[Row]) -> Iterator[Row]:
    """The same rows; all traces of a prompt stand in its first good row, the others are rejected.

    All of `rows` is read before the first comes out.
    """
    with tempfile.TemporaryFile(prefix="polytrace-") as spill:
        starts, keys, numbers = array("Q"), array("Q"), array("Q")
        for row in rows:
            starts.append(spill.tell())
            keys.append(_key(row))
            numbers.append(row.number)
            spill.write(_packed(row))
        starts.append(spill.tell())
        first, following = _links(np.frombuffer(keys, dtype=np.uint64))
        for at, key in enumerate(keys):
            row = _read(spill, starts, at)
            if key == _NO_PROMPT:
                yield row
            elif (head := int(first[at])) != at:
                yield replace(
                    row,
                    recorded=(),
                    bad_traces=(),
                    reason=str(RowFault.GROUPED),
                    detail=f"its traces stand with row {numbers[head]}, which has the same prompt",
                )
            else:
                members, member = [row], int(following[at])
                while member >= 0:
                    members.append(_read(spill, starts, member))
                    member = int(following[member])
                yield replace(
                    row,
                    recorded=agreeing([trace for one in members for trace in one.recorded]),
                    bad_traces=tuple(bad for one in members for bad in one.bad_traces),
                )


def _key(row: Row) -> int:
    """A number that is equal for two rows of one prompt and one gold."""
    if row.reason:
        return _NO_PROMPT
    return key_of(f"{normalise(row.text)}\0{normal_answer(row.gold)}") or 1


def _links(keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For every row, the first row of its key, and the next one (-1 where it is the last)."""
    order = np.argsort(keys, kind="stable")
    is_first = np.ones(len(keys), dtype=np.bool_)
    is_first[1:] = keys[order][1:] != keys[order][:-1]
    starts = np.maximum.accumulate(np.where(is_first, np.arange(len(keys)), 0))
    first, following = np.empty_like(order), np.full_like(order, -1)
    first[order] = order[starts]
    following[order[:-1][~is_first[1:]]] = order[1:][~is_first[1:]]
    return first, following


def _packed(row: Row) -> bytes:
    """A row as bytes; JSON carries half a surrogate pair too."""
    return zlib.compress(json.dumps(astuple(row)).encode(), 1)


def _read(spill: IO[bytes], starts: "array[int]", at: int) -> Row:
    spill.seek(starts[at])
    data = zlib.decompress(spill.read(starts[at + 1] - starts[at]))
    number, text, gold, license, recorded, bad, reason, detail, *references = json.loads(data)
    choices, more_golds, tests = references
    return Row(
        number=number,
        text=text,
        gold=gold,
        license=license,
        recorded=tuple(
            Recorded(text=t, model=m, correct=c, finish_reason=FinishReason(f))
            for t, m, c, f in recorded
        ),
        bad_traces=tuple(BadTrace(*one) for one in bad),
        reason=reason,
        detail=detail,
        choices=tuple(choices),
        more_golds=tuple(more_golds),
        tests=tests,
    )
