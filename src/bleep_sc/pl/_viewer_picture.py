"""The picture of a slide in its view: small as a whole, and in parts as fine as a page has room for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._output import html
from bleep_sc.slides import open_slide

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

WHOLE_PX, PART_PX, LONGEST_PX = 2000, 2000, 8000
"""Longest side of the whole in one picture, of a part, and of all parts together, px."""
LEAST_BYTES = 3_000_000
"""Of the parts, where a page has no more room."""


@dataclass(frozen=True)
class Picture:
    """Pictures and where they lie, from the upper left corner of the slide, µm (px of the scan where not known)."""

    whole: dict[str, list[Any]]
    """``url``, ``x``, ``y``, ``w`` and ``h`` of one picture."""
    per_px: float
    """How wide a px of it is."""
    parts: dict[str, list[Any]] = field(default_factory=dict)
    """The same of its parts, which are finer; empty where the whole is as fine."""
    part_per_px: float = math.nan
    scan_per_px: float = math.nan
    """Of the scan, where the picture is made of it."""

    def says(self, *, in_um: bool) -> str:
        """Say how fine the picture is."""
        finest, scan = self.part_per_px if self.parts else self.per_px, self.scan_per_px
        if not in_um:
            return f"A px of the picture is {finest:.2g} px of the scan."
        said = f"The picture has {finest:.2g} µm per px"
        if np.isnan(scan):
            return f"{said}."
        return f"{said}, as the scan." if finest < 1.02 * scan else f"{said}, the scan {scan:.2g}."


def picture_of(adata: AnnData, name: str, image: Any, um: float, n_bytes: float) -> Picture | None:
    """Return the picture of a slide, ``image`` or else the small one that it has; None of none.

    ``um`` is µm per px of the scan, and ``n_bytes`` what all parts together may take.
    """
    if image is not None:
        with open_slide(image) as slide:
            pixels, size = slide.thumbnail(LONGEST_PX), (slide.width * um, slide.height * um)
        return in_parts(pixels, size, n_bytes, um)
    library = adata.uns.get(keys.SPATIAL, {}).get(name, {})
    for resolution in ("hires", "lowres"):
        if resolution in library.get("images", {}):
            pixels = library["images"][resolution]
            if pixels.dtype != np.uint8:
                pixels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
            factor = um / float(library["scalefactors"][f"tissue_{resolution}_scalef"])
            return in_parts(pixels[..., :3], (pixels.shape[1] * factor, pixels.shape[0] * factor), n_bytes)
    return None


def in_parts(
    pixels: NDArray[np.uint8], size: tuple[float, float], n_bytes: float, scan_per_px: float = math.nan
) -> Picture:
    """Return the picture of pixels (height, width, 3) that are some ``size`` wide and high, with finer parts.

    The parts are made coarser until they take no more than ``n_bytes``; where they are no finer than the whole, there
    are none.
    """
    longest = max(pixels.shape[:2])
    whole: dict[str, list[Any]] = {
        "url": [html.jpeg(pixels, WHOLE_PX)],
        "x": [0.0],
        "y": [0.0],
        "w": [size[0]],
        "h": [size[1]],
    }
    per_px = max(size) / min(longest, WHOLE_PX)
    while longest > 1.1 * WHOLE_PX:
        parts = _parts(_scaled(pixels, longest), size)
        taken = sum(map(len, parts["url"]))
        if taken <= n_bytes:
            return Picture(whole, per_px, parts, max(size) / longest, scan_per_px)
        longest = int(0.95 * longest * math.sqrt(n_bytes / taken))
    return Picture(whole, per_px, scan_per_px=scan_per_px)


def _scaled(pixels: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.thumbnail((longest, longest), Image.Resampling.BOX)
    return np.asarray(picture)


def _parts(pixels: NDArray[np.uint8], size: tuple[float, float]) -> dict[str, list[Any]]:
    """Cut a picture into parts, row by row."""
    height, width = pixels.shape[:2]
    across, down = size[0] / width, size[1] / height
    parts: dict[str, list[Any]] = {"url": [], "x": [], "y": [], "w": [], "h": []}
    for top in range(0, height, PART_PX):
        for left in range(0, width, PART_PX):
            part = pixels[top : top + PART_PX, left : left + PART_PX]
            place = (left * across, top * down, part.shape[1] * across, part.shape[0] * down)
            for name, value in zip(parts, (html.jpeg(np.ascontiguousarray(part), PART_PX), *place), strict=True):
                parts[name].append(value)
    return parts
