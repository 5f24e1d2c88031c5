"""Whether the image of a slide is its scan, or one of the smaller pictures that Space Ranger leaves beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._output.messages import warn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from bleep_sc import slides

SMALLER = re.compile(r"(tissue_(hires|lowres)_image|detected_tissue_image|aligned_(tissue_image|fiducials))", re.I)
"""Files that Space Ranger scales down."""
CYTASSIST = re.compile(r"cytassist_image", re.I)
"""The picture of the instrument that moves the probes: eosin alone, 3 to 5 µm per px."""
SCALED_DOWN = 0.95
"""Scale factors below this are those of smaller pictures."""


def check_is_scan(adata: AnnData, name: str, slide: slides.Slide) -> None:
    """Refuse a picture that is scaled down, by its size or by its name; warn where no scale factor says how much.

    Spots of a small section may all lie in such a picture, at the wrong places.
    """
    record, file = adata.uns.get(keys.SPATIAL, {}).get(name, {}), Path(str(slide.name)).name
    factors = {key: float(each) for key, each in record.get("scalefactors", {}).items() if key.endswith("_scalef")}
    factor = _factor_of_size(slide, record.get("images", {}), factors)
    if SMALLER.search(file) and factor is None and not _full_sizes(record.get("images", {}), factors):
        factor = factors.get("tissue_lowres_scalef" if "lowres" in file else "tissue_hires_scalef")
        if factor is None:
            _warn(
                name,
                f"{file!r} is what Space Ranger calls a picture that is scaled down. Patches are cut right only if "
                "obsm['spatial'] is in px of it, and are blurred. Pass the scan as image=.",
            )
    if factor is not None and factor < SCALED_DOWN:
        raise ValueError(
            f"The image of slide {name!r} ({file}, {slide.width} × {slide.height} px) is scaled down by {factor:.4g}, "
            "as uns['spatial'] says, and obsm['spatial'] is in px of the full-resolution image: all patches would lie "
            "elsewhere. Pass the scan that Space Ranger was given as image=. If obsm['spatial'] is in px of this "
            f"picture, say so: its factor in adata.uns['spatial'][{name!r}]['scalefactors'] is then 1."
        )
    if CYTASSIST.search(file):
        _warn(
            name, f"{file!r} is the picture of the CytAssist, eosin alone at 3 to 5 µm per px. Pass the scan as image=."
        )


def _warn(name: str, text: str) -> None:
    warn(f"Slide {name!r}: {text}")


def _full_sizes(images: Mapping[str, Any], factors: Mapping[str, float]) -> list[tuple[NDArray[np.float64], float]]:
    """Return how wide and high the full-resolution image is, by every stored image, and the factor of that."""
    images = {kind: pixels for kind, pixels in images.items() if np.ndim(pixels) >= 2}  # others are where one is
    known = [(pixels, factors.get(f"tissue_{kind}_scalef", 0.0)) for kind, pixels in images.items()]
    return [(np.array(np.shape(pixels)[1::-1]) / factor, factor) for pixels, factor in known if factor > 0]


def _factor_of_size(slide: slides.Slide, images: Mapping[str, Any], factors: Mapping[str, float]) -> float | None:
    """Return by which of the factors the whole slide is scaled to the size of the image; None for none of them."""
    size = np.array([slide.width, slide.height])
    for full, of_stored in _full_sizes(images, factors):
        for factor in (1.0, *factors.values()):
            if np.all(np.abs(size - full * factor) <= 1 + factor / of_stored):  # stored images have whole px
                return factor
    return None
