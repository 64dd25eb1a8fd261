"""The tiny models' tokenizer: lossless byte-level BPE, one digit a token, ChatML template.

`train_tokenizer` learns the merges from the generator's training texts. A digit is always a token
of its own (with the space before it, if there is one), because small models add and multiply digit
by digit.
"""

from collections.abc import Iterator
from itertools import islice

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tools.tiny.problems import stream

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Every character is in exactly one match, so nothing is lost; digits never merge.
PIECES = r" ?[0-9]| ?[^\s0-9]+|\s+"


def train_tokenizer(
    vocab_size: int = 1024, problems: int = 30_000, seed: int = 0
) -> PreTrainedTokenizerFast:
    """A tokenizer of `vocab_size` entries learnt from `problems` training problems."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END, START, STOP],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(problems, seed), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=STOP,
        pad_token=END,
        additional_special_tokens=[START],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=4096,
    )


def _texts(problems: int, seed: int) -> Iterator[str]:
    yield "\n".join(f"<think {j}>\n</think {j}>\n<summary>\n</summary>" for j in range(1, 10))
    yield "system\nuser\nassistant\nThe final answer is 0"
    for problem in islice(stream(seed, "train"), problems):
        yield "\n".join((problem.question, *problem.solutions))
