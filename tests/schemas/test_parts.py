"""Parts are found by file name, and mistakes in their options are named."""

import pytest

from support import plugins
from support.errors import UserError

FAMILIES = (
    *("curation.sources", "curation.teachers", "curation.graders", "curation.filters"),
    *("diffusion.decoding.rules", "diffusion.evaluation.benchmarks"),
)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_part_can_be_built_from_keywords(family: str) -> None:
    found = plugins.kinds(family)
    assert found
    named = {kind: plugins.options(family, kind, "x") for kind in found}
    # Some rules and graders have nothing to choose.
    assert all(named.values()) or family.endswith(("rules", "graders"))


def test_the_issue_names_these_kinds() -> None:
    assert {"gsm8k", "openr1_math", "jsonl", "parquet", "hub"} <= set(
        plugins.kinds("curation.sources")
    )
    assert {"recorded", "transformers_local"} <= set(plugins.kinds("curation.teachers"))
    assert {"seqdep", "correctness", "length", "diversity"} <= set(
        plugins.kinds("curation.filters")
    )


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("jsnl", {}, "source.kind: no source 'jsnl'; did you mean 'jsonl'?"),
        ("_tabular", {}, "no source '_tabular'"),
        ("jsonl", {"pth": "x"}, "source.pth: unknown option of 'jsonl'; did you mean 'path'?"),
        ("jsonl", {"pth": "x"}, "--set 'source={kind: jsonl}' drops all options of source"),
        ("jsonl", {"path": ["x"]}, "source.path is a list; give a text (kind 'jsonl')"),
        ("jsonl", {"path": "x", "max_chars": True}, "source.max_chars is true; give a number"),
        ("jsonl", {"path": "x", "max_chars": "many"}, "source.max_chars is 'many'; give a whole"),
        ("csv", {"path": "x", "delimiter": True}, "source.delimiter is true; give a text"),
        ("jsonl", {}, "source.path: missing; add it"),
    ],
)
def test_mistakes_are_named(kind: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(UserError) as caught:
        plugins.build("curation.sources", kind, options, "source")
    assert says in str(caught.value)
