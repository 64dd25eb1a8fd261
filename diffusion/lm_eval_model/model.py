"""The model "polytrace" of lm_eval; importing this file registers it.

A context of lm_eval becomes the user's turn in the model's chat template, like every prompt in
Polytrace, unless lm_eval has applied that template already.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import lm_eval.models  # noqa: F401  its own models: it registers them only where there is none
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.utils import simple_parse_args_string

from diffusion.data.layout import Ids, encode, encode_prompt
from diffusion.decoding.decode import Request
from diffusion.evaluation.answers import answers, layout_for, load_decoder
from diffusion.evaluation.likelihood import log_likelihood
from diffusion.lm_eval_model.estimates import Estimates
from diffusion.lm_eval_model.options import read
from diffusion.models import located
from diffusion.settings import ModelReference
from support.display.progress import Progress
from support.errors import UserError, first_line

_SUPPORTED = {"until", "do_sample", "temperature"}
_NO_ROLLING = (
    "a task asks for the likelihood of whole documents (loglikelihood_rolling), which is not "
    "offered; tasks of output_type generate_until, multiple_choice and loglikelihood work"
)
_ESTIMATES = (
    "likelihoods are Monte-Carlo estimates of a bound, from %d samples each; their standard errors "
    "are in the results, under config.likelihoods"
)
_log = logging.getLogger("lm_eval.polytrace")  # a child of lm_eval's, for format and verbosity


class Rendered(str):
    """A prompt to which the chat template is already applied."""

    __slots__ = ()


@register_model("polytrace")
class Polytrace(LM):  # type: ignore[misc]  # lm_eval is untyped
    """Answers the requests of a task; takes the options of `Options` and of the rule."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        options, self.rule = read(arguments)
        self.options = options
        self.estimates = Estimates(options.mc_samples)
        if options.device is not None:
            _check_device(options.device)
        model = ModelReference(
            path=options.path,
            trust_remote_code=options.trust_remote_code,
            base_model=options.base_model,
        )
        self.revision = located(model).revision
        self.dlm = load_decoder(model, options.device)
        self.layout = layout_for(
            self.dlm,
            options.form,
            paths=options.paths,
            masks=options.masks,
            summary_tokens=options.summary_tokens,
        )

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: Mapping[str, Any] | None = None
    ) -> "Polytrace":
        """The same as `create_from_arg_obj`, from `key=value,…`."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: Mapping[str, Any], additional_config: Mapping[str, Any] | None = None
    ) -> "Polytrace":
        """The model; `arg_dict` overrides `--batch_size` and `--device`, always set by lm_eval."""
        more = {k: v for k, v in (additional_config or {}).items() if v is not None}
        if more.get("device") == "cuda:0" and not torch.cuda.is_available():
            del more["device"]  # lm_eval's default, even without a GPU
        return cls(**more | dict(arg_dict))

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """The scored text of every request, cut before the first of its stop strings."""
        self._check([request.args[1] for request in requests])
        options = self.options
        times = Counter[str]()
        prompts: list[Request] = []
        for request in requests:
            context = request.args[0]
            name = f"{context}\0{times[context]}"  # repeats of a prompt are samples of their own
            times[context] += 1
            prompts.append(Request(name, self._encode(context)))
        longest_first = sorted(range(len(prompts)), key=lambda n: -len(prompts[n].prompt))
        texts = [""] * len(prompts)
        with Progress("polytrace", "texts", total=len(prompts), shown=not disable_tqdm) as bar:
            for start in range(0, len(prompts), options.batch_size):
                batch = longest_first[start : start + options.batch_size]
                decoded = answers(
                    self.dlm,
                    self.layout,
                    [prompts[n] for n in batch],
                    self.rule,
                    steps=options.steps or self.layout.masks,
                    sampling=options.sampling,
                    precision=options.precision,
                    where="model_args",
                    caching=options.caching,
                )
                for n, answer in zip(batch, decoded, strict=True):
                    args = requests[n].args
                    texts[n] = cut(answer.scored, args[1].get("until"))
                    self.cache_hook.add_partial("generate_until", args, texts[n])
                bar.update(len(batch))
        return texts

    def loglikelihood(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """An estimate in nats for every continuation, and whether the model would write it.

        The context is raw text, or the chat template's if lm_eval has applied that. UserError for a
        block-causal model, and for a row that the model cannot see.
        """
        # Only block-causal models have blocks; their likelihood is another one.
        if self.dlm.denoiser.block is not None:
            raise UserError(
                f"a task asks for likelihoods: a model of the family {self.dlm.family} is "
                "block-causal, and none are offered for it; tasks of output_type generate_until "
                "work"
            )
        options = self.options
        _log.warning(_ESTIMATES, options.mc_samples)
        found = []
        with Progress("polytrace", "answers", total=len(requests), shown=not disable_tqdm) as bar:
            for request in requests:
                prompt, answer = self._encode_pair(*request.args)
                one = log_likelihood(
                    self.dlm,
                    prompt,
                    answer,
                    samples=options.mc_samples,
                    seed=options.seed,
                    batch=options.batch_size,
                    precision=options.precision,
                )
                self.estimates.add((request.task_name, request.doc_id, request.args[0]), one)
                found.append((one.value, one.is_greedy))
                self.cache_hook.add_partial("loglikelihood", request.args, found[-1])
                bar.update(1)
        return found

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
        """Not offered: UserError."""
        raise UserError(_NO_ROLLING)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Turns in the model's chat template, marked so that it is not applied again."""
        self.chat_template()
        return Rendered(
            self.dlm.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    def chat_template(self, chat_template: bool | str = True) -> str:
        """The model's own; UserError if it has none, or another is asked for by name."""
        if isinstance(chat_template, str):
            raise UserError(
                f"--apply_chat_template {chat_template}: the model's own is used; give no name"
            )
        if not self.dlm.tokenizer.chat_template:
            raise UserError(
                f"--apply_chat_template: {self.options.path} has no chat template; leave it out"
            )
        return str(self.dlm.tokenizer.chat_template)

    @property
    def tokenizer_name(self) -> str:
        """What lm_eval's cache of prompts in the template is kept under."""
        return str(self.dlm.folder)

    def get_model_info(self) -> dict[str, Any]:
        """What lm_eval writes beside the results: every option, and the rule with its own.

        After a task that asked for likelihoods, also how sure these are.
        """
        return {
            "polytrace": asdict(self.options)
            | {"rule": repr(self.rule), "revision": self.revision},
            **self.estimates.summary(),
        }

    def _encode_pair(self, context: str, continuation: str) -> tuple[Ids, Ids]:
        """The ids of both; spaces at the end of a raw context belong to what follows them."""
        text = context if isinstance(context, Rendered) else context.rstrip()
        whole = encode(self.dlm.tokenizer, context + continuation)
        prompt = encode(self.dlm.tokenizer, text)
        if self.dlm.context is not None and len(whole) > self.dlm.context:
            raise UserError(
                f"a task asks for the likelihood of a row of {len(whole)} tokens, and the model "
                f"sees {self.dlm.context}; ask for fewer examples"
            )
        return prompt, whole[len(prompt) :]

    def _encode(self, context: str) -> Ids:
        tokenizer = self.dlm.tokenizer
        is_rendered = isinstance(context, Rendered)
        return encode(tokenizer, context) if is_rendered else encode_prompt(tokenizer, context)

    def _check(self, generation: Sequence[Mapping[str, Any]]) -> None:
        """Raise UserError if a task sets another temperature; warn about other arguments."""
        for wanted in generation:
            is_greedy = wanted.get("do_sample") is False
            temperature = 0.0 if is_greedy else float(wanted.get("temperature") or 0.0)
            if temperature and temperature != self.options.temperature:
                raise UserError(
                    f"a task samples at temperature {temperature}; add temperature={temperature} "
                    "to --model_args, or give --gen_kwargs do_sample=False"
                )
        if ignored := sorted({name for wanted in generation for name in wanted} - _SUPPORTED):
            _log.warning(
                "generation_kwargs: %s: without effect; masks, steps and rule decide",
                ", ".join(ignored),
            )


def cut(text: str, until: str | Sequence[str] | None) -> str:
    """The text before the first stop string in it."""
    stops = [until] if isinstance(until, str) else until or ()
    return text[: min((text.find(s) for s in stops if s and s in text), default=len(text))]


def _check_device(name: str) -> None:
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"model_args.device: {name!r}: {first_line(error)}") from None
