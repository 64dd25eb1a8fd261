"""Which fields a server's requests carry: some servers refuse fields that others need.

OpenAI's reasoning models and newer ones refuse `max_tokens` and take `max_completion_tokens`; many
refuse `temperature` and `top_p`, which are 1 there. A server says so with HTTP 400, for example:
"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'
instead." The functions are pure: a refusal and the present form give the next form.
"""

import re
from typing import Literal, NamedTuple

TokensField = Literal["auto", "max_tokens", "max_completion_tokens"]
_STATUSES = (400, 422)
_NEUTRAL = frozenset({"temperature", "top_p"})
# vLLM's message on a limit that is too large names both fields as well, but in other words.
_RENAMED = re.compile(
    r"(?=.*\bmax_tokens\b)(?=.*\bmax_completion_tokens\b)"
    r".*(\binstead\b|\bunsupported\b|\bnot supported\b)",
    re.IGNORECASE | re.DOTALL,
)
_UNSUPPORTED = re.compile(r"unsupported parameter|not supported", re.IGNORECASE)


class RequestForm(NamedTuple):
    """The name of the field that bounds a reply's tokens, and the fields that are left out.

    `is_fixed`: the recipe names the field, so that a refusal does not change it.
    """

    tokens_field: str = "max_tokens"
    left_out: frozenset[str] = frozenset()
    is_fixed: bool = False

    def joined(self, other: "RequestForm") -> "RequestForm":
        """The form that both have learned of."""
        renamed = {self.tokens_field, other.tokens_field} - {STANDARD.tokens_field}
        field = next(iter(renamed), self.tokens_field)
        return RequestForm(field, self.left_out | other.left_out, self.is_fixed)

    def text(self) -> str:
        """The form as one line, which `form_of` reads."""
        return ",".join((self.tokens_field, *sorted(self.left_out)))


STANDARD = RequestForm()


def first_form(option: TokensField) -> RequestForm:
    """The form of the first request, for the recipe's `tokens_field`."""
    return STANDARD if option == "auto" else RequestForm(option, is_fixed=True)


def form_of(text: str, *, is_fixed: bool) -> RequestForm:
    """The form of a line; the standard one where it is none."""
    field, *left_out = text.split(",")
    if field != "max_completion_tokens":
        field = STANDARD.tokens_field
    return RequestForm(field, frozenset(left_out) & _NEUTRAL, is_fixed)


def adapted(
    form: RequestForm, status: int, message: str, *, temperature: float, top_p: float
) -> RequestForm:
    """The form for the next request after one was refused; the same where the form is not at fault.

    A sampling parameter is left out only where it is 1, which is its value at a server that takes
    none.
    """
    if status not in _STATUSES:
        return form
    if _RENAMED.match(message):
        return form if form.is_fixed else form._replace(tokens_field="max_completion_tokens")
    neutral = {
        name for name, value in (("temperature", temperature), ("top_p", top_p)) if value == 1
    }
    if _UNSUPPORTED.search(message):
        refused = {name for name in neutral if re.search(rf"['\"`]{name}['\"`]", message)}
        return form._replace(left_out=form.left_out | refused)
    return form
