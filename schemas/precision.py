"""The number types in which models compute: of scorers, trainings and evaluations."""

from enum import StrEnum


class Precision(StrEnum):
    """The number type of forward and backward passes; a training's weights stay float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
