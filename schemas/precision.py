"""The number formats in which a scorer can compute: of `--dtype` and of `scorer.dtype`."""

from enum import StrEnum


class Precision(StrEnum):
    """The numbers that the scorer computes with."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
