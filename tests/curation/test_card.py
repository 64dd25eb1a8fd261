import html
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard, DatasetCardData, metadata_load
from hypothesis import given
from hypothesis import strategies as st

from curation.inspect import terminal_view
from curation.release import licenses, markdown, statistics, writer
from curation.release.card import render_card
from curation.release.rows import released
from schemas.facts import SourceFacts, TeacherFacts
from schemas.manifest import Manifest
from schemas.recipe import Recipe
from schemas.records import Released
from support.display.text import visible
from tests.curation import samples

NASTY = (
    "---\nlicense: mit\n---\n# Heading\n```\n````text\n<script>alert(1)</script> "
    "[x](javascript:y) | `a` **b** \x1b[31m \u202e {{ 7 * 7 }} {% raw %} \x00 ~~~"
)


def measured(tmp_path: Path, recipe: Recipe, count: int = 30) -> tuple[Manifest, statistics.Stats]:
    rows = samples.corpus(count)
    spec = recipe.release
    files = writer.write_release(
        tmp_path,
        samples.BUILD,
        rows,
        validation=spec.validation,
        rows_per_file=spec.rows_per_file,
    )
    found = statistics.measure(tmp_path, files)
    manifest = samples.manifest_of(recipe, rows).model_copy(update={"release": files})
    return manifest, found


def render(
    tmp_path: Path, recipe: Recipe | None = None, example: Released | None = None, **facts: object
) -> str:
    recipe = recipe or samples.recipe()
    manifest, found = measured(tmp_path, recipe)
    row = example or released(samples.canvas(3), samples.scores(3))
    return render_card(manifest.model_copy(update=facts), recipe, row, found)


def head(card: str) -> Any:  # its fields are made when it is
    data = DatasetCard(card).data
    assert isinstance(data, DatasetCardData)
    return data


def body(card: str) -> str:
    return card.split("\n---\n", 1)[1]


def test_the_metadata_is_what_the_hub_allows(tmp_path: Path) -> None:
    card = render(tmp_path)
    data = head(card)
    assert data.license == "mit"
    assert data.license in licenses.HUB_IDS
    assert data.language == ["en"]
    assert data.size_categories == ["n<1K"]
    assert data.task_categories == ["text-generation"]
    assert data.annotations_creators == ["machine-generated"]
    assert data.language_creators == ["found", "machine-generated"]
    assert data.multilinguality == ["monolingual"]
    assert data.source_datasets is None, "a file may be of any dataset"
    assert "synthetic" in data.to_dict()["tags"]
    assert data.pretty_name == "sample"
    configs = MetadataConfigs.from_dataset_card_data(data)
    assert configs["default"]["data_files"] == [
        {"split": "train", "path": f"data/train-{samples.BUILD}-*.parquet"},
        {"split": "validation", "path": f"data/validation-{samples.BUILD}-*.parquet"},
    ]
    for entry in configs["default"]["data_files"]:
        assert list(tmp_path.glob(entry["path"])), "every glob names files that exist"


def test_a_split_without_files_is_not_named(tmp_path: Path) -> None:
    data = head(render(tmp_path, samples.recipe(release={"validation": 0})))
    files = MetadataConfigs.from_dataset_card_data(data)["default"]["data_files"]
    assert [entry["split"] for entry in files] == ["train"]
    none = head(render(tmp_path / "none", release=()))
    files = MetadataConfigs.from_dataset_card_data(none)["default"]["data_files"]
    assert [entry["split"] for entry in files] == ["train"]  # else stats.json would pass for data


def test_the_datasets_of_the_prompts_are_those_that_were_read_or_stated(tmp_path: Path) -> None:
    recipe = samples.recipe(
        source=[
            {"kind": "gsm8k"},
            {"kind": "openr1_math", "path": "a-copy.parquet"},
            {"kind": "hub", "repo": "org/problems"},
            {"kind": "hub", "repo": str(tmp_path)},  # a folder of this machine
        ],
        card={"source_datasets": ["org/problems", "original"]},
    )
    assert head(render(tmp_path, recipe)).source_datasets == [
        "openai/gsm8k",
        "org/problems",
        "original",
    ]


def test_labels_of_sources_are_annotations_that_were_found(tmp_path: Path) -> None:
    label, judged = (
        {"kind": "label"},
        {"kind": "first_of", "graders": [{"kind": "label"}, {"kind": "math"}]},
    )
    found = head(render(tmp_path / "a", samples.recipe(grader=label, scorer=None), scorer=None))
    assert found.annotations_creators == ["found"]
    both = head(render(tmp_path / "b", samples.recipe(grader=judged, scorer=None), scorer=None))
    assert both.annotations_creators == ["found", "machine-generated"]


def test_paths_of_models_that_nobody_names_are_not_said_to_be_synthetic(tmp_path: Path) -> None:
    recipe = samples.recipe()
    manifest, found = measured(tmp_path, recipe)
    traces = manifest.traces.model_copy(update={"sampled": 0})
    manifest = manifest.model_copy(update={"traces": traces})
    unnamed = statistics.TeacherPaths(name="recorded", revision="recorded", paths=90)
    found = found.model_copy(update={"teachers": (unnamed,)})
    data = head(render_card(manifest, recipe, None, found))
    assert "synthetic" not in data.to_dict()["tags"] and data.language_creators == ["found"]


def test_the_license_of_a_local_teacher_is_read_from_its_card(tmp_path: Path) -> None:
    teacher = {"kind": "transformers_local", "path": "tiny/teacher"}
    card = render(tmp_path, samples.recipe(teacher=teacher))
    assert "Its license, as the card in the model's folder states: apache-2.0." in card


def test_the_sizes_are_those_of_the_files(tmp_path: Path) -> None:
    manifest, _ = measured(tmp_path, samples.recipe())
    sizes = [file.bytes for file in manifest.release if file.split == "validation"]
    line = f"| {len(sizes)} | {sum(sizes):,} |"
    assert any(row.endswith(line) for row in render(tmp_path / "b").splitlines())


def test_the_counts_are_the_manifests(tmp_path: Path) -> None:
    card = render(tmp_path)
    assert "| prompts | 32 | 30 | 2 |" in card
    assert "| traces | 123 | 90 | 33 |" in card
    assert "| canvases | trace | not\\_selected | 30 |" in card
    assert "| release | prompt | seqdep\\_high | 1 |" in card
    assert "| seqdep | level=path, max=0.5 | threshold=0.5 | 31 | 1 | 96.8% |" in card
    assert re.search(r"M = ΣL_j \+ L_S = 3 . 330 \+ 32 = \*\*1,022\*\*", card)
    assert "tokens): **1,098**" in card
    assert "| openai/gsm8k | 1,319 | 0 | 0 |" in card
    for word in ("TRL", "NAP trainer", "load_dataset", "polytrace build recipe.yaml"):
        assert word in card
    assert "`polytrace build RUN/recipe.yaml`" in card
    manifest, found = measured(tmp_path / "again", samples.recipe())
    assert f"| train | {found.train} |" in card
    assert f"| correct | {manifest.grades.correct} |" in card


def test_figures_have_as_many_digits_as_a_reader_can_use(tmp_path: Path) -> None:
    recipe = samples.recipe()
    manifest, found = measured(tmp_path, recipe)
    learnt = manifest.filters[0].model_copy(update={"frozen": "0.04392016040227436"})
    spread = found.path_tokens.model_copy(update={"mean": 1234.5678, "p05": 0.0712})
    found = found.model_copy(update={"path_tokens": spread})
    manifest = manifest.model_copy(update={"filters": (learnt,)})
    card = render_card(manifest, recipe, released(samples.canvas(3), samples.scores(3)), found)
    assert "| seqdep | level=path, max=0.5 | 0.04392 | 31 |" in card
    assert "| tokens of a path | 90 | 1,235 | 0.0712 |" in card


def test_a_picture_of_one_value_is_words(tmp_path: Path) -> None:
    samples.write_run(tmp_path, samples.corpus(1))
    card = (tmp_path / "release" / "README.md").read_text(encoding="utf-8")
    assert "figures/tokens.png" in card and "figures/seqdep.png" not in card
    assert "\nSeqDep, path level: 0.05 nats a token, not drawn because n = 1 (canvases); " in card
    assert "Tokens of a summary: 6 tokens, not drawn because n = 1 (canvases)." in card


def test_the_card_claims_no_more_than_was_done(tmp_path: Path) -> None:
    card = " ".join(render(tmp_path).split())
    assert "near-copies" not in card
    assert "a third of" in card and "no paraphrases, no typing mistakes" in card
    assert "90 of the 90 paths were cut" in card, "the run-on after an answer does not stand"
    assert "Grading**: plain numbers by rules that give math-verify's verdicts" in card


def test_the_models_of_recorded_traces_are_listed(tmp_path: Path) -> None:
    recipe = samples.recipe()
    manifest, found = measured(tmp_path, recipe)
    names = [("Qwen|2", "r1", 50), (NASTY, "", 39), *((f"m{i}", "", 1) for i in range(60))]
    teachers = tuple(statistics.TeacherPaths(name=n, revision=r, paths=k) for n, r, k in names)
    found = found.model_copy(update={"teachers": teachers})
    card = render_card(manifest, recipe, released(samples.canvas(3), samples.scores(3)), found)
    (line,) = (line for line in card.splitlines() if line.startswith("- **Models"))
    assert "Qwen\\|2, revision `r1` (50 paths)" in line
    assert "m17, revision not recorded (1 path);" in line and "m18" not in line
    assert line.endswith("; 42 more models (42 paths).")
    assert "<script>" not in re.sub(r"\\<", "", line)
    single = render(tmp_path / "b")
    assert "- **Models that wrote the paths**: tiny, revision `abc` (90 paths)." in single


def test_recorded_traces_have_no_teacher_named_recorded(tmp_path: Path) -> None:
    recipe = samples.recipe()
    manifest, found = measured(tmp_path, recipe)
    record = TeacherFacts(kind="recorded", name="recorded", revision="recorded")
    writers = (
        statistics.TeacherPaths(name="recorded", revision="recorded", paths=9),
        statistics.TeacherPaths(name="m", revision="recorded", paths=8),
    )
    manifest = manifest.model_copy(update={"teacher": record})
    found = found.model_copy(update={"teachers": writers})
    card = render_card(manifest, recipe, released(samples.canvas(3), samples.scores(3)), found)
    assert "- **Teacher**: the traces are those that the sources have recorded, and another" in card
    models = "models that the source does not name (9 paths); m, revision not recorded (8 paths)."
    assert f"- **Models that wrote the paths**: {models}" in card
    assert "`recorded`" not in card
    (said,) = (text for name, text in terminal_view.facts(manifest) if name == "teacher")
    assert said == "traces that the sources have recorded, and another teacher's where they lack"


def test_a_scorer_that_knows_only_its_own_kind_of_text_is_named_a_limit(tmp_path: Path) -> None:
    none = samples.recipe(scorer=None)
    assert "knows no other text" not in render(tmp_path / "none", none, scorer=None)
    other = samples.recipe(scorer={"path": "org/model"})
    assert "knows no other text" not in render(tmp_path / "other", other)
    bundled = samples.recipe(scorer={"path": "tiny/teacher"})
    assert "knows no other text" in render(tmp_path / "bundled", bundled)


def test_limits_of_a_grader_among_others_are_named(tmp_path: Path) -> None:
    inside = [{"kind": "code", "allow_weak_sandbox": True}, {"kind": "choice"}]
    text = render(tmp_path, samples.recipe(grader={"kind": "first_of", "graders": inside}))
    assert "without a full sandbox (`allow_weak_sandbox`)" in text
    assert "A right choice may be a guess" in text


def test_twice_gives_the_same_card_without_time_or_place(tmp_path: Path) -> None:
    first, second = render(tmp_path / "a"), render(tmp_path / "b")
    assert first == second
    assert str(tmp_path) not in first
    assert not re.search(r"20\d\d-\d\d-\d\d|\d\d:\d\d", first)


def test_the_notice_stands_on_top(tmp_path: Path) -> None:
    notice = "evaluation prompts, not for training"
    recipe = samples.recipe(release={"validation": 0.25, "notice": notice})
    card = render(tmp_path, recipe)
    assert body(card).strip().splitlines()[2] == f"> **Notice: {notice}**"
    assert f"- {notice}" in card
    assert "Notice" not in render(tmp_path / "b")


def test_what_was_not_done_is_said(tmp_path: Path) -> None:
    teacher = TeacherFacts(kind="recorded", name="R1", revision="r", part="after_think")
    card = render(
        tmp_path,
        scorer=None,
        decontamination=(),
        filters=(),
        rejected=(),
        teacher=teacher,
    )
    assert "**None**: prompts were compared with no evaluation set." in card
    assert "none; SeqDep was not measured" in card
    assert "No filter was applied." in card
    assert "Nothing was rejected." in card
    assert "only what follows `</think>`" in card
    recipe = samples.recipe()
    manifest = samples.manifest_of(recipe, [])
    empty = render_card(manifest, recipe, None, statistics.measure(tmp_path, ()))
    assert "None was released." in empty
    assert head(empty).size_categories == ["n<1K"]


def test_a_corpus_without_a_scorer_has_no_lines_of_seqdep(tmp_path: Path) -> None:
    recipe = samples.recipe()
    manifest, found = measured(tmp_path, recipe)
    nothing = statistics.measure(tmp_path, ())
    scores = ("seqdep_", "summary_gain_")
    unscored = found.model_copy(
        update={name: value for name, value in nothing if name.startswith(scores)}
    )
    row = released(samples.canvas(3), samples.scores(3))
    card = render_card(manifest.model_copy(update={"scorer": None}), recipe, row, unscored)
    assert "\n## Lengths\n" in card and "the recipe names no scorer" in card
    assert "| tokens of a path |" in card and "| 0 | - |" not in card
    assert "SeqDep is measured under one scorer" not in card
    scored = render_card(manifest, recipe, row, found)
    assert "\n## Lengths and SeqDep\n" in scored and "| gain of the summary, nats |" in scored
    assert "SeqDep is measured under one scorer" in scored


def test_text_of_others_can_show_but_do_nothing(tmp_path: Path) -> None:
    canvas, scores = samples.with_text(3, NASTY)
    sources = (SourceFacts(label=NASTY, license=NASTY, fingerprint=NASTY, rows=32),)
    recipe = samples.recipe(release={"pretty_name": NASTY, "notice": NASTY})
    row = replace(released(canvas, scores), source=NASTY, gold=NASTY)
    card = render(tmp_path, recipe, row, sources=sources, notice=NASTY)
    data = head(card)
    assert data.license == "mit", "the front matter is ours"
    assert DatasetCard(card).text.lstrip().startswith("# ")
    assert len(MetadataConfigs.from_dataset_card_data(data)) == 1
    assert "\x1b" not in card
    assert "\u202e" not in card
    assert "\x00" not in card
    assert "7 * 7" in card.replace("\\", ""), "no template runs"
    outside = re.sub(r"(?ms)^(`{3,})\w*\n.*?^\1$", "", body(card))
    assert "<script>" in card
    assert "<script>" not in re.sub(r"(`+)[^`].*?[^`]\1(?!`)", "", outside)
    headings = re.findall(r"(?m)^#+ .*", outside)
    assert len(headings) == 16
    assert "# Heading" not in headings


@given(st.text())
def test_no_text_closes_its_fence(text: str) -> None:
    block = markdown.fenced(text).split("\n")
    fence = re.match("`+", block[0])
    assert fence is not None
    assert block[-1] == fence.group()
    closing = [line for line in block[1:] if line.strip(" ") == fence.group()]
    assert closing == [block[-1]]
    assert "\n".join(block[1:-1]) == visible(text)


WWW = ("www.attacker.example", "see WWW.attacker.example", "(www.a.b)", "_www.a.b")


@pytest.mark.parametrize("name", WWW)
def test_a_name_of_a_server_becomes_no_link(name: str) -> None:
    """The Markdown of GitHub and of the Hub makes links of what begins with `www.`, too."""
    shown = markdown.escape(name)
    assert re.search(r"www\.", shown, re.IGNORECASE) is None
    assert html.unescape(shown).replace("\\", "") == name


@given(st.text())
def test_escaped_text_is_one_line_without_live_characters(text: str) -> None:
    line = markdown.escape(text)
    assert "\n" not in line
    assert "\r" not in line
    assert not re.search(r"(?<!\\)(?:\\\\)*[<>|`\[\]]", line)


def test_the_example_is_capped(tmp_path: Path) -> None:
    row = released(*samples.with_text(3, "x" * 100_000))
    card = render(tmp_path, None, row)
    assert len(card) < 25_000
    assert "more characters]" in card


def test_the_printed_recipe_holds_no_folder_and_no_credential(tmp_path: Path) -> None:
    recipe = samples.recipe(
        source=[
            {"kind": "jsonl", "path": "/home/someone/data/a.jsonl", "license": "mit"},
            {"kind": "jsonl", "path": "https://user:hunter2@host/a.jsonl?sig=hunter2"},
            {"kind": "jsonl", "path": "file:///home/someone/b.jsonl"},
        ],
        teacher={
            "kind": "openai_server",
            "endpoints": ["http://u:hunter2@gpu:8000/v1"],
            "api_key": "hunter2",
            "max_tokens": 330,
            "model": "org/model",
            "cache": "C:\\Users\\someone\\models",
        },
    )
    card = render(tmp_path, recipe)
    assert "hunter2" not in card
    assert "someone" not in card
    assert "Local folders are shortened" in card
    for field in ("source.0.path", "source.2.path", "teacher.cache"):
        assert field in markdown.printable_recipe(recipe).shortened
    assert markdown.printable_recipe(recipe).withheld == ("source.1.path", "teacher.api_key")
    assert "gpu:8000" not in card  # where a teacher was asked is nobody's concern
    printed = yaml.safe_load(markdown.printable_recipe(recipe).text)
    assert printed["teacher"]["max_tokens"] == 330
    assert printed["source"][0]["path"] == "…/a.jsonl"
    assert markdown.printable_recipe(samples.recipe()).withheld == ()
    plain = samples.recipe()
    assert yaml.safe_load(markdown.printable_recipe(plain).text) == plain.shaping()


def test_names_of_headers_are_names_of_secrets_too(tmp_path: Path) -> None:
    """Some gateways take headers for a provider in the body of a request."""
    headers = {"X-API-Key": "hunter2", "x-auth-token": "hunter2", "trace": "shown"}
    teacher = {"kind": "openai_server", "model": "m", "extra": {"extra_headers": headers}}
    printed = markdown.printable_recipe(samples.recipe(teacher=teacher))
    assert "hunter2" not in printed.text and "trace: shown" in printed.text
    assert printed.withheld == (
        "teacher.extra.extra_headers.X-API-Key",
        "teacher.extra.extra_headers.x-auth-token",
    )


@pytest.mark.parametrize(
    ("stated", "wanted"),
    [
        (["MIT"], ("mit", None)),
        (["mit", "MIT"], ("mit", None)),
        (["Apache-2.0", "MIT"], ("other", licenses.SEVERAL)),
        (["ODC-By-1.0"], ("odc-by", None)),
        (["GPL-3.0-or-later"], ("gpl-3.0", None)),
        ([], ("unknown", None)),
        (["", "unknown"], ("unknown", None)),
        (["My Own: license!"], ("other", "my-own-license")),
        (["!!"], ("other", "other")),
        (["x" * 100_000], ("other", "x" * 80)),
    ],
)
def test_licenses_become_ids_of_the_hub(stated: list[str], wanted: tuple[str, str | None]) -> None:
    found = licenses.combine(stated)
    assert found == wanted
    assert found.id in licenses.HUB_IDS


def test_the_recipes_license_is_stronger(tmp_path: Path) -> None:
    recipe = samples.recipe(release={"license": "CC-BY-4.0"})
    card = render(tmp_path, recipe)
    assert head(card).license == "cc-by-4.0"
    assert "as its makers state it: CC-BY-4.0." in card
    assert "| problems.jsonl | MIT | 30 |" in card


DISRUPTIVE = (
    "---\nlicense: mit\nconfigs: []\n---\n<script>alert(1)</script><img src=x onerror=y>\n"
    "| a | b |\n|---|---|\n| 1 | 2 |\n\n\u202e\u2066\u200f</pre>\n```\n````\n# H\n"
    "![x](http://host/x.png) <!-- c -->\r\n---\n"
)


def live(card: str) -> str:
    """What Markdown acts on: the body without code, and without escaped characters."""
    outside = re.sub(r"(?ms)^(`{3,})\w*\n.*?^\1$", "", body(card))
    return re.sub(r"\\.", "", re.sub(r"(?<![\\`])(`+)(?!`).+?(?<!`)\1(?!`)", "", outside))


def test_disruptive_texts_of_rows_of_a_megabyte_do_nothing(tmp_path: Path) -> None:
    """Every text of a row that its prompt, its source or its teacher may fill with anything."""
    plain = tmp_path / "plain"
    samples.write_run(plain, samples.corpus(60))
    rows = []
    for i in range(60):
        text = DISRUPTIVE if i else DISRUPTIVE + "x<b>|`" * 170_000
        canvas, scores = samples.with_text(i, text)
        own = replace(canvas.prompt, gold=text, source=text, license=f"{text}{i}")
        first = canvas.paths[0]
        trace = replace(first.trace, teacher=text, revision=text, hint=text)
        paths = (replace(first, answer=text, trace=trace), *canvas.paths[1:])
        rows.append((replace(canvas, prompt=own, paths=paths, summary_by=text), scores))
    samples.write_run(tmp_path / "run", rows)
    path = tmp_path / "run" / "release" / "README.md"
    card = path.read_text(encoding="utf-8")
    assert len(card.encode()) < 40_000
    facts = metadata_load(path)
    expected = metadata_load(plain / "release" / "README.md")
    assert facts is not None and expected is not None
    assert facts.pop("license") == "other" and facts.pop("license_name") == licenses.SEVERAL
    assert expected.pop("license") == "mit"
    assert facts == expected, "the texts change nothing of the front matter"
    assert DatasetCard.load(path).data.to_dict()["configs"] == facts["configs"]
    shown = live(card)
    ours = live((plain / "release" / "README.md").read_text(encoding="utf-8"))
    assert re.findall(r"<[a-zA-Z/!?]", shown) == re.findall(r"<[a-zA-Z/!?]", ours)  # of a formula
    assert [line for line in shown.splitlines() if re.match(r"---|===", line)] == []
    assert re.findall(r"!\[[^]]*\]\(([^)]*)\)", shown) == [
        "figures/tokens.png",
        "figures/seqdep.png",
    ]
    assert not re.search(r"[\u202a-\u202e\u2066-\u2069\u200e\u200f]", card)
    widths = [len(rows) for rows in tables(shown)]
    assert widths == [1] * len(widths), "every row of a table has the cells of its head"
    assert len(tables(shown)) == len(tables(ours))
    assert "| 10 more pairs of source and license | | 10 |" in card


def tables(shown: str) -> list[set[int]]:
    """The numbers of cells that the rows of each table have."""
    blocks = re.findall(r"(?m)(?:^\|.*\n)+", shown)
    return [{line.count("|") for line in block.splitlines()} for block in blocks]
