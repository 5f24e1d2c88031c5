"""The slides of a folder, whatever instrument or software left it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc._adata import keys
from bleep_sc._adata.libraries import spots_of
from bleep_sc._adata.one_slide import require_usable_names
from bleep_sc._output.messages import listed
from bleep_sc.io._sources import h5ad, original_st, space_ranger, spatialdata_store, xenium

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from anndata import AnnData

SOURCES = (space_ranger, xenium, spatialdata_store, original_st, h5ad)
NAMELESS = ("outs", "")


def read_slides(
    folder: Path,
    name: str | None,
    image: Mapping[str, Path],
    alignment: Mapping[str, tuple[Path, ...]],
    *,
    bin_um: float | str,
    spot_um: float,
    pitch_um: float | None,
) -> dict[str, AnnData]:
    """Return the slides of a folder by their names, with raw counts, places in px and what names the scan.

    ``name`` renames the only slide of a folder, or names one of several, which alone is returned.
    ``image`` has scans that were given, by the names of slides, and ``alignment`` how some of these lie on what was
    measured: such slides are read as they were measured, but those of Xenium, which are measured on no scan.
    """
    called = name or name_of(folder)
    if not has_own_alignment(folder):
        image = {own: path for own, path in image.items() if own not in alignment}
    given = image.get(called)
    if space_ranger.recognises(folder):
        adata = space_ranger.read(folder, name=called, image=given, bin_um=bin_um, needs_scan=called not in alignment)
    elif xenium.recognises(folder):
        of_image = alignment.get(called, (None,))[-1]
        adata = xenium.read(folder, name=called, image=given, spot_um=spot_um, alignment=of_image)
    elif spatialdata_store.recognises(folder):
        adata = spatialdata_store.read(folder, name=called, image=given, bin_um=bin_um)
    elif h5ad.recognises(folder):
        adata = h5ad.read(folder, name=called, image=given)
    elif original_st.recognises(folder):
        adata = original_st.read(folder, image=given or image, pitch_um=pitch_um)  # of one section, or by their names
    else:
        raise _unknown(folder)
    known = adata.uns.pop(keys.SPATIAL)
    slides = {own: adata[rows].copy() for own, rows in spots_of(adata.obs[keys.LIBRARY].astype(str).to_numpy()).items()}
    for own, slide in slides.items():
        slide.uns[keys.SPATIAL] = {own: known[own]}
    if given is not None and len(slides) > 1 and called not in slides:
        raise ValueError(
            f"image= is one image for {str(folder)!r}, which holds {len(slides)} slides ({listed(slides)}). Pass a "
            "mapping from their names to their images (on the command line --image NAME=FILE)."
        )
    if name in slides:
        slides = {name: slides[name]}
    elif name is not None:
        slides = {name: _renamed(slides, name, folder)}
    require_usable_names(slides, str(folder))
    return slides


def has_own_pitch(folder: Path) -> bool:
    """Tell whether the distance of the spots of a folder is known by what they are."""
    return space_ranger.recognises(folder) or xenium.recognises(folder)


def has_own_alignment(folder: Path) -> bool:
    """Tell whether the slide of a folder is measured on no scan, and read on one by its alignment."""
    return xenium.recognises(folder)


def name_of(folder: Path) -> str:
    """Return what the slide of a folder is called: as the folder, or that around ``outs``."""
    path = folder.resolve()
    while path.name in NAMELESS and path != path.parent:
        path = path.parent
    return path.name.removesuffix(".h5ad").removesuffix(".zarr")


def _renamed(slides: dict[str, AnnData], name: str, folder: Path) -> AnnData:
    if len(slides) > 1:
        raise ValueError(
            f"{str(folder)!r} holds {len(slides)} slides ({listed(slides)}), which cannot all be called {name!r}. "
            "Leave out the name, or name one of them, which is then taken alone."
        )
    ((own, slide),) = slides.items()
    slide.obs[keys.LIBRARY] = pd.Categorical(np.full(slide.n_obs, name))
    slide.uns[keys.SPATIAL] = {name: slide.uns[keys.SPATIAL][own]}
    return slide


def _one_of(sections: Collection[str], name: str, folder: Path) -> str:
    """Say which sections a folder holds, and how one is taken alone."""
    one = name if name in sections else next(iter(sections))
    return (
        f"{str(folder)!r} holds the sections {listed(sections)}: pass it for all, or for one of them "
        f"{{{one!r}: {str(folder)!r}}} (on the command line {folder} --name {one})."
    )


def _unknown(folder: Path) -> Exception:
    """Return an error that says what may be meant."""
    if not folder.exists():
        around = folder.parent
        sections = original_st.sections(around) if around.is_dir() else {}
        remedy = f" {_one_of(sections, folder.name, around)}" if sections else ""
        return FileNotFoundError(f"There is no folder {str(folder)!r}.{remedy}")
    if folder.is_file():
        sections = original_st.sections(folder.parent)
        of_file = next((each for each in sections if each in folder.name), "")
        remedy = f" {_one_of(sections, of_file, folder.parent)}" if sections else ""
        around = folder.parent
        return ValueError(
            f"{str(folder)!r} is a file, and no h5ad file. Pass the folder that it lies in, {str(around)!r}.{remedy}"
        )
    below: list[Any] = sorted(folder.iterdir())
    meant = [str(path) for path in below if any(source.recognises(path) for source in SOURCES)]
    if meant:
        return ValueError(f"{str(folder)!r} is no slide, but holds some: pass {listed(meant)}.")
    return ValueError(
        f"{str(folder)!r} (with {listed((path.name for path in below), 5)}) is none of: Space Ranger's outs (spatial/, "
        "binned_outputs/), Xenium's, a SpatialData store (.zarr), original Spatial Transcriptomics (NAME.tsv, "
        "NAME_selection.tsv, NAME.jpg), an h5ad file. Any other slide: make an AnnData of raw counts, with "
        "obsm['spatial'] in px of the scan, and write it as h5ad."
    )
