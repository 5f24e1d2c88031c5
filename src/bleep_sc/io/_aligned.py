"""Slides that are laid on another scan than the one they were measured with, by an alignment that was saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bleep_sc import pp
from bleep_sc._adata import keys
from bleep_sc.io._read_slides import name_of

if TYPE_CHECKING:
    from anndata import AnnData

    Files = tuple[Path, ...]


def alignments_of(alignment: Any, named: Sequence[tuple[Path, str | None]]) -> dict[str, Files]:
    """Return the alignments that were given, by the names of their slides: a file each, or two of Visium HD."""
    if alignment is None:
        return {}
    if isinstance(alignment, Mapping):
        return {str(name): _files(given) for name, given in alignment.items()}
    if len(named) > 1:
        raise ValueError(
            f"alignment= is of one slide, but there are {len(named)} folders. Pass a mapping from the names of slides "
            "to their alignments, {'A1': 'path', ...} (on the command line --alignment A1=FILE)."
        )
    return {named[0][1] or name_of(named[0][0]): _files(alignment)}


def _files(given: Any) -> Files:
    files = tuple(map(Path, [given] if isinstance(given, str | Path) else given))
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(f"alignment={str(path)!r}: there is no such file. Pass its path.")
    return files


def laid_on(slide: AnnData, name: str, scan: Path | None, alignment: Files, mpp: float | None) -> AnnData:
    """Return a slide on the px of another scan, by the alignment of that; of how it lay before nothing is kept."""
    if scan is None:
        raise ValueError(
            f"alignment= says how a scan of slide {name!r} lies on what was measured, and not which scan that is. Pass "
            f"it: image={{{name!r}: 'path'}} (on the command line --image {name}=FILE)."
        )
    transform = [str(path) for path in alignment]
    pp.register(slide, str(scan), transform=transform[0] if len(transform) == 1 else transform, mpp=mpp)
    del slide.uns[keys.REGISTRATION], slide.obsm[keys.unregistered(keys.SPATIAL)]
    slide.uns[keys.SPATIAL][name]["metadata"]["alignment"] = ", ".join(path.name for path in alignment)
    return slide
