"""What is wrong with a value, in our words and not in those of pydantic."""

from enum import StrEnum
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from support.display.invalid_values import describe, explain


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    size: int


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid")

    whole: int = 0
    number: float = 0.0
    flag: bool = False
    text: str = ""
    several: tuple[int, ...] = ()
    inner: Inner = Inner(size=1)
    colour: Colour = Colour.RED
    way: Literal["up", "down"] = "up"
    share: float = Field(default=0.5, ge=0, lt=1)
    most: int = Field(default=1, gt=0, le=2**62)
    letter: str = Field(default="a", min_length=1, max_length=1)
    pair: Annotated[tuple[str, ...], Field(min_length=2)] = ("a", "b")
    plain: dict[str, str | int | float | bool | None] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> "Form":
        if self.whole == 13:
            raise ValueError("whole is 13; give a luckier number")
        return self


def fault(name: str, value: object) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        Form.model_validate({name: value})
    error = caught.value.errors()[0]
    where = ".".join(map(str, error["loc"]))
    return explain(error, where), describe(error, where)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("whole", "three", "whole is 'three'; give a whole number"),
        ("whole", 1.5, "whole is 1.5; give a whole number"),
        ("whole", None, "whole is empty; give a whole number"),
        ("whole", [1], "whole is a list; give a whole number"),
        ("number", "much", "number is 'much'; give a number"),
        ("flag", "perhaps", "flag is 'perhaps'; give true or false"),
        ("text", 3, "text is 3; give a text in quotes"),
        ("text", True, "text is true; give a text in quotes"),
        ("text", {"a": 1}, "text is a mapping of keys; give a text"),
        ("several", 3, "several is 3; give a list"),
        ("several", ["x"], "several.0 is 'x'; give a whole number"),
        ("inner", 3, "inner is 3; give a mapping of keys"),
        ("inner", {}, "inner.size: missing; add it"),
        ("colour", "green", "colour is 'green'; give 'red' or 'blue'"),
        ("way", "left", "way is 'left'; give 'up' or 'down'"),
        ("share", -1, "share is -1; give 0 or more"),
        ("share", 1.5, "share is 1.5; give a number below 1"),
        ("most", 0, "most is 0; give a number above 0"),
        ("most", 2**63, f"most is {2**63}; give {2**62} or less"),
        ("letter", "", "letter is empty; give at least 1 character"),
        ("letter", "ab", "letter is 'ab'; give at most 1 character"),
        ("pair", ["a"], "pair is a list; give at least 2 values"),
        ("plain", {"a": [1]}, "plain.a is a list; give one value"),
        ("whole", 13, "whole is 13; give a luckier number"),
    ],
)
def test_a_mistake_is_named_with_what_to_give(name: str, value: object, says: str) -> None:
    said, _ = fault(name, value)
    assert said == says


def test_a_damaged_file_is_told_no_remedy_of_a_recipe() -> None:
    assert fault("whole", "three")[1] == "whole is 'three', not a whole number"
    assert fault("share", -1)[1] == "share is -1, not 0 or more"
    assert fault("inner", {})[1] == "inner.size is missing"


def test_a_long_value_is_cut_and_a_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnop")
    for said in fault("whole", "hf_abcdefghijklmnop"):
        assert "abcdef" not in said
    for said in fault("whole", "x\n" * 5000):
        assert len(said) < 120
        assert "\n" not in said
