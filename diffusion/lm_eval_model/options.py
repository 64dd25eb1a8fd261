"""The options of `--model_args`, and the rule that they name."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from diffusion.data.layout import Form
from diffusion.decoding import Rule
from diffusion.decoding.kv_cache import CachedPositions, CacheSettings
from diffusion.decoding.sampling import SamplingFields
from diffusion.evaluation.likelihood import check_samples
from diffusion.evaluation.settings import RULES, part, path_tokens
from diffusion.settings import STRICT, Precision
from support import plugins
from support.errors import UserError
from support.yaml_file import validate

_TOKENS = ("suppress", "defer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(SamplingFields):
    """A model and how it decodes; names and defaults as in the recipe of an evaluation.

    `steps` is by default one for each mask, `device` an accelerator if there is one; `batch_size`
    has lm_eval's default. `cache` and `cache_refresh` are `kind` and `refresh` of a recipe's cache.
    `base_model` is that of an adapter whose files do not name it.
    `mc_samples` are the forward passes of a row for each likelihood, as LLaDA's evaluation has it.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    path: str
    rule: str
    form: Form = Form.CANVAS
    paths: int = 3
    masks: int = 1022
    summary_tokens: int = 32
    steps: int | None = None
    batch_size: int = 1
    precision: Precision = Precision.BFLOAT16
    cache: CachedPositions | None = None
    cache_refresh: int | None = None
    mc_samples: int = 128
    device: str | None = None
    trust_remote_code: bool = False
    base_model: str | None = None

    def __post_init__(self) -> None:
        """Check the ranges: ValueError names the field and the range."""
        for name in ("paths", "masks", "summary_tokens", "steps", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: {value} is not at least 1")
        if self.form is Form.CANVAS:
            path_tokens(self.masks, self.summary_tokens, self.paths)
        if self.cache_refresh is not None and self.cache is None:
            raise ValueError("cache_refresh: there is no cache; add cache, or leave it out")
        check_samples(self.mc_samples)
        self.sampling.check(is_cached=self.caching is not None)

    @property
    def caching(self) -> CacheSettings | None:
        """What is kept between steps; ValueError if `cache_refresh` is out of range."""
        if self.cache is None:
            return None
        return CacheSettings(kind=self.cache, refresh=self.cache_refresh or 0)


def read(arguments: Mapping[str, Any]) -> tuple[Options, Rule]:
    """The options and the rule, whose own options may be among them (`rule=blockwise,block=13`).

    Raises UserError for a missing, an unknown or an invalid option.
    """
    names = tuple(field.name for field in fields(Options))
    arguments = {**arguments, **{k: _tokens(arguments[k]) for k in _TOKENS if k in arguments}}
    options = validate({k: v for k, v in arguments.items() if k in names}, "model_args", Options)
    more = {k: v for k, v in arguments.items() if k not in names}
    known = plugins.options(RULES, options.rule, "model_args.rule")
    for name in more:
        if name not in known:
            raise UserError(f"model_args.{name}: no option; {plugins.hint(name, (*names, *known))}")
    rule: Rule = part(RULES, {"kind": options.rule, **more}, "model_args")
    if options.steps is not None and not rule.has_steps:
        raise UserError(f"model_args.steps: {options.rule} takes as many as it needs; leave it out")
    if options.caching is not None:
        try:
            options.caching.check(rule)
        except ValueError as error:
            raise UserError(f"model_args.{error}") from None
    return options, rule


def _tokens(given: Any) -> Any:
    """Ids and tokens, which a command line joins by "+"."""
    if isinstance(given, int):
        return [given]
    if not isinstance(given, str):
        return given
    return [int(one) if one.isdecimal() else one for one in given.split("+") if one]
