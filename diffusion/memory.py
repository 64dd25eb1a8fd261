"""The memory that a model needs on a device, from its shape; needs neither PyTorch nor weights.

In: a `Shape` and the settings of a fine-tuning. Out: bytes, without fragmentation. `SHAPES` are
those of the Hub's models that bundled recipes name.
"""

from dataclasses import dataclass

from diffusion.settings import Precision, Settings

CHUNK_LOGITS = 1 << 23  # logits of one chunk: 32 MiB in float32 for any vocabulary
_LAYER_VALUES = 34  # activations per token and hidden unit that a block keeps for backward
_FOUR_BIT = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes: a number, its block's scale, the scales' scale
_FLOAT32 = 4  # bytes: the weights of a training, and of an evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What decides the memory of a model; `head` is the number of rows of its output head."""

    parameters: int
    layers: int
    hidden: int
    head: int


SHAPES = {
    "GSAI-ML/LLaDA-8B-Instruct": Shape(
        parameters=8_015_581_184, layers=32, hidden=4096, head=126_464
    ),
    "Dream-org/Dream-v0-Instruct-7B": Shape(
        parameters=7_615_616_512, layers=28, hidden=3584, head=152_064
    ),
}


def training(
    shape: Shape,
    settings: Settings,
    trained: int,
    longest: int,
    devices: int,
    quantised: int = 0,
) -> "Parts":
    """Bytes on each device: float32 weights, gradients and moments, sharded over the devices.

    `trained` is the number of tuned parameters, `longest` the tokens of the longest row, and
    `quantised` the number of parameters of 4 bits, with which nothing is sharded.
    """
    width = 2 if settings.precision is Precision.BFLOAT16 else _FLOAT32
    tokens = max(settings.micro_tokens, longest)
    block = tokens * shape.hidden * _LAYER_VALUES * width // 2
    if settings.gradient_checkpointing:  # the input of each block, and one whole block
        activations = shape.layers * tokens * shape.hidden * width + block
    else:
        activations = shape.layers * block
    logits = 2 * _FLOAT32 * min(CHUNK_LOGITS, tokens * shape.head)
    cast = width if width < _FLOAT32 else 0
    copies = cast + (_FLOAT32 if settings.lora is None else 0)  # of the head: cast, gradient
    shards = 1 if quantised else devices
    whole = width * shape.parameters // shape.layers if shards > 1 else 0
    return Parts(
        weights=_FLOAT32 * (shape.parameters - quantised) // shards
        + round(_FOUR_BIT * quantised)
        + whole,
        gradients=_FLOAT32 * trained // shards,
        optimizer=2 * _FLOAT32 * trained // shards,
        activations=activations,
        head=logits + copies * shape.head * shape.hidden,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a training holds on each device, in bytes."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    head: int

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.head


def rows_within(capacity: int, shape: Shape, tokens: int, precision: Precision, most: int) -> int:
    """How many rows of so many tokens are decoded together in `capacity` bytes: a power of two.

    At least 1 and at most `most`. A row holds the values of one block; cast weights of a block, the
    logits of a chunk and a fifth of the capacity are left free. A cache of keys is not counted.
    """
    width = 2 if precision is Precision.BFLOAT16 else _FLOAT32
    row = tokens * shape.hidden * (_LAYER_VALUES * width // 2 + _FLOAT32)
    fixed = evaluation(shape) + width * shape.parameters // shape.layers
    fixed += 4 * _FLOAT32 * CHUNK_LOGITS
    fitting = max(1, (capacity * 4 // 5 - fixed) // row)
    return min(most, 1 << (fitting.bit_length() - 1))


def evaluation(shape: Shape) -> int:
    """Bytes of the weights of an evaluated model, which need most of the memory."""
    return _FLOAT32 * shape.parameters
