"""Folders of original Spatial Transcriptomics: counts, a selection of spots, and an image of every section."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bleep_sc._output.messages import listed
from bleep_sc.datasets._original_st import join_sections, read_section
from bleep_sc.io._scan import SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

SELECTIONS = ("{}_selection.tsv", "alignment_table_{}.tsv")
COUNTS = (".tsv.gz", ".tsv")


def recognises(folder: Path) -> bool:
    """Tell whether a folder has a section's counts and selection."""
    return folder.is_dir() and bool(sections(folder))


def read(folder: Path, *, image: Path | Mapping[str, Path] | None = None, pitch_um: float | None = None) -> AnnData:
    """Read all sections of a folder; ``pitch_um`` is the length of one step on the array, which no file says."""
    found = sections(folder)
    if pitch_um is None:
        raise ValueError(
            f"How far apart the spots of {str(folder)!r} are is not known: no file of original Spatial Transcriptomics "
            "says it. Pass pitch_um= (--pitch), the length of one step on the array: 200 for the arrays of 1,007 "
            "spots, as those of her2st."
        )
    parts = []
    for name, (counts, selection) in found.items():
        own = image if isinstance(image, Path) else (image or {}).get(name)
        picture = _image(folder, name) if own is None else own
        parts.append(read_section(counts, selection, picture, name, pitch_um=pitch_um, source=str(folder.resolve())))
    return join_sections(parts)


def sections(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Return counts and selection of every section by its name."""
    found = {}
    for counts in sorted(path for end in COUNTS for path in folder.glob(f"*{end}")):
        name = counts.name.removesuffix(".gz").removesuffix(".tsv")
        for pattern in SELECTIONS:
            if (folder / pattern.format(name)).is_file():
                found[name] = (counts, folder / pattern.format(name))
    return found


def _image(folder: Path, name: str) -> Path:
    there = [path for path in sorted(folder.iterdir()) if path.stem == name and path.suffix.lower() in SUFFIXES]
    if len(there) == 1:
        return there[0]
    what = (
        f"{listed(path.name for path in there)} may be"
        if there
        else f"There is no image called {name!r} in {str(folder)!r} to be"
    )
    raise FileNotFoundError(
        f"{what} the image of section {name!r}. Pass it: image={{{name!r}: 'path'}} (on the command line "
        f"--image {name}=FILE)."
    )
