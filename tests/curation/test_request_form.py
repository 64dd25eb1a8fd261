"""Which fields a server's refusals take out of its requests, by the messages that servers send."""

import json

import pytest

from curation.prompts.dedup import prompt_id
from curation.teachers.openai.request_form import STANDARD, RequestForm, adapted, first_form
from curation.teachers.openai_server import build
from schemas.records import Prompt

OPENAI = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. "
    "Use 'max_completion_tokens' instead."
)
# vLLM, on a limit beyond the context: both names, and no fault of the field.
TOO_LARGE = (
    "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context "
    "length is 4096 tokens and your request has 10 input tokens (5000 > 4096 - 10)."
)
TOP_P = "Unsupported parameter: 'top_p' is not supported with this model."
VALUE = (
    "Unsupported value: 'temperature' does not support 0.7 with this model. "
    "Only the default (1) value is supported."
)


def after(message: str, form: RequestForm = STANDARD, status: int = 400, **given: float) -> object:
    return adapted(form, status, message, **{"temperature": 1.0, "top_p": 1.0, **given})


def test_the_limits_field_is_renamed_where_the_server_says_so() -> None:
    completion = RequestForm("max_completion_tokens")
    assert after(OPENAI) == after(OPENAI, status=422) == completion
    assert after("Please use max_completion_tokens instead of max_tokens.") == completion
    assert after(OPENAI, completion) == completion


@pytest.mark.parametrize("message", [TOO_LARGE, "max_tokens is too large", "no", VALUE])
def test_other_refusals_leave_it(message: str) -> None:
    assert after(message) == STANDARD


def test_no_other_status_is_a_refusal_of_a_field() -> None:
    assert after(OPENAI, status=404) == STANDARD


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_field_that_the_recipe_names_stays(field: str) -> None:
    form = first_form("max_tokens" if field == "max_tokens" else "max_completion_tokens")
    assert form.tokens_field == field and after(OPENAI, form) == form


def test_a_parameter_is_left_out_only_where_it_is_one() -> None:
    without = STANDARD._replace(left_out=frozenset({"top_p"}))
    assert after(TOP_P) == without
    assert after(TOP_P, top_p=0.9) == STANDARD
    assert after(TOP_P.replace("top_p", "temperature"), without).left_out == {  # type: ignore[attr-defined]
        "temperature",
        "top_p",
    }


def test_the_form_is_in_the_body_and_not_in_the_key() -> None:
    one = Prompt(id=prompt_id("1 + 1?"), text="1 + 1?", gold="2", source="s", row=1, license="l")
    teachers = [
        build(model="m", tokens_field=field)
        for field in ("auto", "max_tokens", "max_completion_tokens")
    ]
    assert len({teacher.key(one, 0) for teacher in teachers}) == 1
    assert teachers[0].key(one, 0) == "8438caea0f751d61"  # as it always was
    form = RequestForm("max_completion_tokens", frozenset({"top_p"}))
    body = json.loads(teachers[0]._sampling.body(one, [0], is_vllm=False, form=form))
    assert body["max_completion_tokens"] == 330 and body["temperature"] == 1.0
    assert not {"max_tokens", "top_p"} & set(body)
