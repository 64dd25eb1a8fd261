"""Every teacher, found by its file: keys, what is wanted, and nothing asked for nothing."""

import asyncio

import pytest

from curation.sampling.service import no_shortfall
from curation.teachers import SampleOutcome, Teacher
from schemas.records import Prompt, Recorded
from support import plugins

KINDS = plugins.kinds("curation.teachers")
OPTIONS: dict[str, dict[str, object]] = {
    "openai_server": {"model": "m", "endpoints": ["http://127.0.0.1:9/v1"]},
    "openai_batch": {"model": "m", "endpoints": ["http://127.0.0.1:9/v1"]},
    "recorded": {},
    "transformers_local": {"path": "tiny/teacher"},
}


def prompt(text: str) -> Prompt:
    recorded = tuple(Recorded(text=f"Solution {n}.") for n in range(3))
    return Prompt(id=text, text=text, gold="1", source="s", row=1, license="l", recorded=recorded)


@pytest.mark.parametrize("kind", KINDS)
def test_a_teacher_honours_the_contract(kind: str) -> None:
    assert kind in OPTIONS, f"name options with which {kind} can be built"
    teacher: Teacher = plugins.build("curation.teachers", kind, OPTIONS[kind], "teacher")
    again: Teacher = plugins.build("curation.teachers", kind, OPTIONS[kind], "teacher")
    assert teacher.name and teacher.revision and isinstance(teacher.note, str)
    assert isinstance(teacher.is_record, bool)
    prompts = [prompt("1 + 1?"), prompt("2 + 2?")]
    wanted = teacher.wanted(prompts[0], 3)
    assert 0 < wanted.required <= wanted.maximum
    keys = [teacher.key(one, n) for one in prompts for n in range(wanted.required)]
    assert len(set(keys)) == len(keys) and all(keys)
    assert keys == [again.key(one, n) for one in prompts for n in range(wanted.required)]

    async def all_of_nothing() -> list[SampleOutcome]:
        return [outcome async for outcome in teacher.sample(iter(()), no_shortfall)]

    assert asyncio.run(all_of_nothing()) == []
