"""The image of a slide: what is given, or what ``uns["spatial"]`` knows of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import is_by_slide
from bleep_sc._output.messages import listed

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


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
            f"No image of slide {name!r} is known: uns['spatial'] has {listed(known)}. The names of slides must be "
            "the same there and in obs: read each with squidpy.read.visium(..., library_id=name), or pass images, "
            f"image={{{name!r}: 'path', ...}}."
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
