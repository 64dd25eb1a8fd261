"""`croissant.json`: the release for machines, in Croissant 1.0 with its responsible-AI terms 1.0.

In: manifest, recipe, statistics. Out: JSON-LD, the same bytes for the same facts: every file with
its sha256, every column, and what the card says of collection, annotation, limits and use. Nothing
that is not known is in it: no date, no creator, no address.

Source: docs.mlcommons.org/croissant/docs/croissant-spec.html and …/croissant-rai-spec.html.
"""

import json
from collections.abc import Sequence

from curation import components
from curation.release import card
from curation.release.documents import limits, provenance
from curation.release.documents.columns import Json, fields
from curation.release.documents.costs import Costs, cost_sentences
from curation.release.licenses import OTHER, UNKNOWN
from curation.release.statistics import Stats
from curation.release.writer import SPLITS
from schemas import arrow
from schemas.facts import ReleaseFile
from schemas.manifest import RELEASE_FOLDER, Manifest
from schemas.recipe import Recipe
from support.display.text import one_line, shorten

CROISSANT_FILE = "croissant.json"
RECORDS, FILES = "default", "parquet-files"  # ids of the record set and of its files
PARQUET = "application/x-parquet"
CONFORMS_TO = ("http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0")
_CONTEXT: Json = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def render_croissant(
    manifest: Manifest, recipe: Recipe, stats: Stats, costs: Costs | None = None
) -> str:
    """The text of `croissant.json`."""
    facts: Json = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": manifest.name,
        "description": _description(manifest, recipe),
        "conformsTo": list(CONFORMS_TO),
        "citeAs": card.CITATION,
        "version": f"{max(1, len(manifest.editions))}.0.0+{manifest.build}",
        "inLanguage": ["en"],
        "keywords": card.tags(manifest, recipe, stats),
    }
    license = card.license_of(manifest, recipe, stats)
    if license.id != UNKNOWN:
        facts["license"] = (license.name or OTHER) if license.id == OTHER else license.id
    if manifest.release:
        facts["distribution"] = [*map(_file, manifest.release), _files(manifest)]
        facts["recordSet"] = [_records()]
    facts |= _responsible(manifest, recipe, stats)
    if costs is not None:
        sentences = " ".join(cost_sentences(costs, manifest, recipe))
        facts["rai:dataSocialImpact"] = f"What making it cost. {sentences}"
    return json.dumps(facts, ensure_ascii=False, indent=1) + "\n"


def _description(manifest: Manifest, recipe: Recipe) -> str:
    notice = f" Notice: {one_line(manifest.notice)}" if manifest.notice else ""
    return (
        f"{one_line(card.title(recipe))}: {manifest.canvases:,} parallel reasoning canvases. Each "
        f"joins {manifest.paths} independent reasoning paths for one problem, and a summary that "
        "ends in the known answer, for a masked-diffusion language model (NAP, Li et al. 2026, "
        "arXiv:2602.23225). Every row also holds the same text in left-to-right form. The file "
        f"README.md beside this one is the data card.{notice}"
    )


def _file(file: ReleaseFile) -> Json:
    path = file.path.removeprefix(f"{RELEASE_FOLDER}/")
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path.rpartition("/")[2],
        "description": f"{file.rows} rows of the split {file.split}.",
        "contentUrl": path,
        "contentSize": f"{file.bytes} B",
        "encodingFormat": PARQUET,
        "sha256": file.sha256,
    }


def _files(manifest: Manifest) -> Json:
    splits = [split for split in SPLITS if any(file.split == split for file in manifest.release)]
    return {
        "@type": "cr:FileSet",
        "@id": FILES,
        "name": FILES,
        "description": "All files of all splits; each of them is named above with its sha256.",
        "encodingFormat": PARQUET,
        "includes": [glob for split in splits for glob in card.data_patterns(manifest, split)],
    }


def _records() -> Json:
    split = {
        "@type": "cr:Field",
        "@id": f"{RECORDS}/split",
        "name": "split",
        "description": "The split, which stands in the name of the file.",
        "dataType": "sc:Text",
        "source": {
            "fileSet": {"@id": FILES},
            "extract": {"fileProperty": "fullpath"},
            "transform": {"regex": f".*data/({'|'.join(SPLITS)})-.+\\.parquet$"},
        },
    }
    return {
        "@type": "cr:RecordSet",
        "@id": RECORDS,
        "name": RECORDS,
        "description": "One row for each canvas; README.md explains the columns.",
        "key": {"@id": f"{RECORDS}/id"},
        "field": [split, *fields(arrow.RELEASE, RECORDS, FILES)],
    }


def _responsible(manifest: Manifest, recipe: Recipe, stats: Stats) -> Json:
    """The terms of responsible AI: the card in other words."""
    synthetic = provenance.is_synthetic(manifest, stats)
    kinds = components.grader_kinds(recipe.grader)
    sources = "; ".join(
        f"{shorten(one_line(s.label), 80)} ({s.rows:,} rows read, license "
        f"{shorten(one_line(s.license), 80)})"
        for s in manifest.sources[: card.MOST_ORIGINS]
    )
    tools = [f"Polytrace {manifest.polytrace}, graders: {', '.join(kinds)}"]
    if manifest.scorer:
        tools.append(f"{one_line(manifest.scorer.name)}, revision {manifest.scorer.revision}")
    tools += [one_line(name) for name in components.judge_names(recipe.grader)]
    notice = [f"Notice of the makers: {one_line(manifest.notice)}"] if manifest.notice else []
    return {
        "rai:dataCollection": f"Prompts were read from: {sources}. {_traces(manifest, stats)}",
        "rai:dataCollectionType": [
            "Secondary Data Analysis",
            *(["Others: synthetic data, texts that language models wrote"] if synthetic else []),
        ],
        "rai:dataCollectionRawData": (
            f"Of {manifest.prompts.in_:,} prompts and {manifest.traces.in_:,} traces, "
            f"{manifest.prompts.released:,} and {manifest.traces.kept:,} are released; the counts "
            "of all others, by reason, are in README.md."
        ),
        "rai:dataPreprocessingProtocol": [
            f"Paths are cut after their answer ({stats.cut_paths:,} of {stats.grades.total:,} were)"
            f", joined on canvases of {manifest.paths} slots of {manifest.slot_tokens} tokens, and "
            f"followed by a summary of at most {manifest.summary_tokens} tokens.",
            *(
                f"Filter {one_line(f.kind)}: {one_line(', '.join(f.options))}"
                for f in manifest.filters
            ),
        ],
        "rai:dataAnnotationProtocol": _annotation(manifest, kinds),
        "rai:annotationsPerItem": "0 by people",
        "rai:machineAnnotationTools": tools,
        "rai:dataLimitations": [*notice, *limits.known_limits(manifest, recipe)],
        "rai:dataBiases": [limits.selection(manifest, recipe)],
        "rai:dataUseCases": [
            *notice,
            *limits.intended_uses(recipe),
            *(f"Not {use[0].lower()}{use[1:]}" for use in limits.UNINTENDED),
        ],
        "rai:personalSensitiveInformation": [limits.personal_information(recipe)],
    }


def _annotation(manifest: Manifest, kinds: Sequence[str]) -> str:
    """Who graded the paths and measured SeqDep."""
    names = ", ".join(kinds)
    if set(kinds) == {"label"}:
        told = ["Grades are labels of the sources, taken over unchecked."]
    elif "label" in kinds:
        told = [
            f"The first of these graders that decided graded a path: {names}; label takes over the "
            "labels of the sources unchecked."
        ]
    else:
        told = [f"Programs and models graded every path (graders: {names})."]
    if manifest.scorer:
        told.append(f"SeqDep was measured with {one_line(manifest.scorer.name)}.")
    return " ".join([*told, "No person annotated anything for this corpus."])


def _traces(manifest: Manifest, stats: Stats) -> str:
    recorded = manifest.traces.in_ - manifest.traces.sampled
    told = []
    if manifest.traces.sampled:
        teacher = manifest.teacher
        who = "another teacher" if teacher.is_record else shorten(one_line(teacher.name), 80)
        told.append(f"{manifest.traces.sampled:,} traces were sampled from {who}.")
    if recorded:
        told.append(f"{recorded:,} traces are those that the sources have recorded.")
    names = [shorten(one_line(one.name), 80) for one in stats.teachers if one.name != "recorded"]
    if names:
        told.append(f"Models that wrote paths: {', '.join(names[: card.MOST_TEACHERS])}.")
    return " ".join(told)
