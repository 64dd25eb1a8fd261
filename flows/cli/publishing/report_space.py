"""The report of a run, as `polytrace publish --as report` sends it: a static Space.

In: a run with a `report.html`, or an evaluation whose tables are made. Out: a folder of a Space:
its `index.html`, and a `README.md` that says so to the Hub.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

from curation.publish.plan import WHOLE, Publication, RepoKind, files_of
from diffusion.paper.tables_page import PAGE
from flows.page import REPORT, is_fresh
from schemas.manifest import MANIFEST_FILE
from support.display.text import one_line
from support.errors import UserError
from support.files import replace_text

INDEX, CARD = "index.html", "README.md"
_HEAD = (
    '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src 'self'\">\n"
)


@contextmanager
def report_space(run: Path) -> Iterator[Publication]:
    """The Space of a run's report; UserError where there is none, or where the run is newer."""
    page, tables = run / REPORT, run / "tables"
    title = f"{one_line(run.absolute().name)}: report"
    with TemporaryDirectory() as name:
        folder = Path(name)
        text = ""
        if page.is_file():
            if (run / MANIFEST_FILE).exists() and not is_fresh(run):
                raise UserError(f"{page}: is older than the build; polytrace report {run} makes it")
            shutil.copyfile(page, folder / INDEX)
        elif (tables / PAGE).is_file():
            pictures = sorted([*tables.glob("*.png"), *tables.glob("*.svg")])
            for file in (tables / PAGE, *pictures):
                shutil.copyfile(file, folder / file.name)
            text = (tables / PAGE).read_text(encoding="utf-8")
            replace_text(folder / INDEX, _index(title, text, pictures))
        else:
            raise UserError(
                f"{run}: holds no {REPORT} and no tables/{PAGE}; polytrace report makes the page "
                "of a build, and polytrace tables those of an evaluation"
            )
        replace_text(folder / CARD, f"---\n{_metadata(title)}\n---\n\n{text}")
        yield Publication(
            kind=RepoKind.SPACE,
            folder=folder,
            files=files_of(folder),
            digest=None,
            message=f"Polytrace {title}",
            former=WHOLE,
        )


def _index(title: str, text: str, pictures: list[Path]) -> str:
    """A page that shows Markdown as text, and the PNG pictures below it."""
    shown = "".join(
        f'<p><img src="{escape(one.name)}" alt="{escape(one.stem)}"></p>\n'
        for one in pictures
        if one.suffix == ".png"
    )
    return f"{_HEAD}<title>{escape(title)}</title>\n<pre>{escape(text)}</pre>\n{shown}</html>\n"


def _metadata(title: str) -> str:
    from huggingface_hub import SpaceCardData

    data = SpaceCardData(title=title, sdk="static", app_file=INDEX, tags=["polytrace"])
    return data.to_yaml(line_break="\n").rstrip("\n")
