from __future__ import annotations

import json
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bleep_sc._output import html
from bleep_sc._output.disk import appears
from bleep_sc._output.locks import held
from bleep_sc.io._page.embedded import embedded
from bleep_sc.io._page.list_of_slides import list_of_slides

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

INDEX = "index.html"
PATIENCE = 60.0
"""Seconds to wait for another process that writes the same."""
HOW_TO_READ = (
    "A row for every slide; a click on the head of a column sorts by it, and the name of a slide leads to its page. "
    "Places are tiles, spots or cells; foreign is the share of them that looks unlike the reference, and unsure the "
    "share of a confidence below 0.1; genes to read reach r = 0.2 on held-out slides of the reference. "
    "For research only: values are predicted from the image, not measured."
)


def write_index(folder: str | Path, *, names: Sequence[str] | None = None) -> None:
    """Write the page of a cohort, ``index.html``: a row for every page of a slide in a folder.

    It shows what :func:`bleep_sc.io.write_page` noted in these pages: the slide, how many places it has and how many
    tiles were out of focus, how much is unlike the reference or unsure, how many genes are to be read, and warnings;
    rows are sorted by a click. Call it again when slides were added. Of several processes that call it at the same
    time each waits for its turn, and the last one lists all.

    Parameters
    ----------
    folder
        Where the pages lie. An ``index.html`` there that this function did not write is kept, and refused.
    names
        Slides that belong to the cohort: those without a page, ``"{name}.html"``, are listed as not done.

    Returns
    -------
    None.

    Raises
    ------
    FileExistsError
        When the folder has an index of something else.
    FileNotFoundError
        When there is no such folder.

    Examples
    --------
    After the example of :func:`bleep_sc.io.write_page`:

    >>> bs.io.write_index(".")
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"folder={str(folder)!r} is no folder. Pass one with pages of bleep_sc.io.write_page.")
    index = folder / INDEX
    require_own_index(index)
    with _in_turn(index):
        slides = _slides(folder)
        absent = [name for name in names or [] if f"{name}.html" not in {slide["page"] for slide in slides}]
        head, listed = embedded(list_of_slides(slides)) if slides else ("", html.paragraph("No slide is done yet."))
        sections = [(f"{len(slides):,} slides", html.paragraph(HOW_TO_READ) + listed)]
        if warned := {slide["slide"]: "; ".join(slide["warnings"]) for slide in slides if slide["warnings"]}:
            sections.append(("Warnings", html.facts(warned)))
        if absent:
            sections.append(("Not done", html.paragraph(", ".join(absent))))
        with appears(index) as draft:
            draft.write_text(html.page("Predicted slides", "", sections, head), encoding="utf-8")


def require_own_index(index: Path) -> None:
    """Refuse to replace an index that is of something else."""
    if index.exists() and not (index.is_file() and html.is_ours(index)):
        raise FileExistsError(f"{str(index)!r} is of something else, and is kept. Pass another folder, or rename it.")


def _slides(folder: Path) -> list[dict[str, Any]]:
    """Return what the pages of slides in a folder say in short, and the names of their files."""
    slides = []
    for page in sorted(folder.glob("*.html")):
        if page.name != INDEX and page.is_file() and (said := html.facts_of(page)):
            slides.append({**json.loads(said), "page": page.name})
    return slides


@contextmanager
def _in_turn(path: Path) -> Iterator[None]:
    """Wait for others who write to a path, and hold it while the block lasts."""
    until = time.monotonic() + PATIENCE
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(held(path))
                break
            except FileExistsError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
        yield
