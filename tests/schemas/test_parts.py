"""Parts are found by file name, and mistakes in their options are named."""

import pytest

from schemas import parts
from schemas.errors import UserError


@pytest.mark.parametrize("family", sorted(parts.FAMILIES))
def test_every_part_can_be_built_from_keywords(family: str) -> None:
    found = parts.kinds(family)
    assert found
    named = {kind: parts.options(family, kind, "x") for kind in found}
    assert all(named.values()) or family == "rules"  # some rules have nothing to choose


def test_the_issue_names_these_kinds() -> None:
    assert {"gsm8k", "openr1_math", "jsonl", "parquet", "hub"} <= set(parts.kinds("sources"))
    assert {"recorded", "transformers_local"} <= set(parts.kinds("teachers"))
    assert {"seqdep", "correctness", "length", "diversity"} <= set(parts.kinds("filters"))


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("jsnl", {}, "source.kind: no source 'jsnl'; did you mean 'jsonl'?"),
        ("_tabular", {}, "no source '_tabular'"),
        ("jsonl", {"pth": "x"}, "source.pth: unknown option of 'jsonl'; did you mean 'path'?"),
        ("jsonl", {"pth": "x"}, "--set 'source={kind: jsonl}' drops all options of source"),
        ("jsonl", {"path": ["x"]}, "source.path"),
    ],
)
def test_mistakes_are_named(kind: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(UserError) as caught:
        parts.build("sources", kind, options, "source")
    assert says in str(caught.value)
