"""The image of a slide: where it is, and whether it is the scan or one of the smaller pictures beside it."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import is_by_slide
from bleep_sc._output.messages import listed

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


def check_images(image: Any, names: NDArray[np.str_]) -> None:
    """Refuse one image for several slides, and images of other slides."""
    expected = np.unique(names)
    if is_by_slide(image):
        missing = [name for name in expected if name not in image]
        if missing:
            raise KeyError(f"image= has no entry for slide {listed(missing)} (it has: {listed(image)}).")
    elif image is not None and len(expected) > 1:
        raise ValueError(
            f"image= is one image, but there are {len(expected)} slides ({listed(expected)}). Pass a mapping from "
            "their names to their images."
        )


def image_of(adata: AnnData, image: Any, name: str) -> Any:
    """Return the image of a slide: a path, an array, or what else can be opened."""
    if is_by_slide(image):
        return image[name]
    return _recorded_image(adata, name) if image is None else image


def _recorded_image(adata: AnnData, name: str) -> Any:
    """Return the full-resolution image that ``uns["spatial"]`` knows of."""
    known = adata.uns.get(keys.SPATIAL, {})
    record = known.get(name, {})
    path = record.get("metadata", {}).get("source_image_path")
    if path:
        return str(path)
    for resolution, pixels in record.get("images", {}).items():
        if record.get("scalefactors", {}).get(f"tissue_{resolution}_scalef") == 1:
            return pixels
    stored = list(record.get("images", {}))
    hint = f" The stored images ({listed(stored)}) are scaled down and would blur the patches." if stored else ""
    if name not in known and known:
        raise KeyError(
            f"No image of slide {name!r} is known: uns['spatial'] has {listed(known)}. The names of the slides must be "
            "the same there and in obs['library_id']: read each with squidpy.read.visium(..., library_id=name)."
        )
    lost = "" if known else " There is no uns['spatial'] at all: anndata.concat keeps entries of different names alone."
    raise KeyError(
        f"No full-resolution image of slide {name!r} is known: uns['spatial'][{name!r}]['metadata']"
        f"['source_image_path'] is not set.{lost} Pass image=, a path or an array, or of several slides a mapping, "
        f"{{{name!r}: 'path', ...}}.{hint}"
    )


def scale_factors(adata: AnnData, name: str) -> dict[str, float]:
    """Return the factors from full-resolution px of a slide to those of its stored images."""
    factors = adata.uns.get(keys.SPATIAL, {}).get(name, {}).get("scalefactors", {})
    return {key: float(value) for key, value in factors.items() if key.startswith("tissue_")}


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
    warnings.warn(f"Slide {name!r}: {text}", UserWarning, stacklevel=4)


def _full_sizes(images: Mapping[str, Any], factors: Mapping[str, float]) -> list[tuple[NDArray[np.float64], float]]:
    """Return how wide and high the full-resolution image is, by every stored image, and the factor of that."""
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
