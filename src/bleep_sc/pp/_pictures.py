"""Small pictures of a slide that is registered, and of the image that it is laid on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc import slides
from bleep_sc.pp._images import image_of
from bleep_sc.slides._slide import scaled_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc.pp._measured import Measured

    Picture = tuple[NDArray[np.uint8], NDArray[np.float64]]


def picture_of(measured: Measured, longest: int) -> Picture:
    """Return a picture of the measured image, and its px per full-resolution px along x and y, (2,)."""
    stored = measured.record.get("images", {})
    factors = measured.record.get("scalefactors", {})
    for kind in ("hires", "lowres"):
        factor = factors.get(f"tissue_{kind}_scalef")
        if kind in stored and factor is not None:
            pixels = _as_bytes(np.asarray(stored[kind])[..., :3])
            smaller = _scaled(pixels, longest)
            return smaller, float(factor) * _ratio(smaller, pixels.shape[1], pixels.shape[0])
    with slides.open_slide(image_of(measured.adata, None, measured.name)) as slide:
        return picture_of_new(slide, longest)


def picture_of_new(slide: slides.Slide, longest: int) -> Picture:
    """Return a picture of an image, and its px per full-resolution px along x and y, (2,)."""
    picture = slide.thumbnail(longest)
    return picture, _ratio(picture, slide.width, slide.height)


def _ratio(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.float64]:
    return np.array([picture.shape[1] / width, picture.shape[0] / height])


def _as_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return RGB as bytes: scanpy and squidpy read PNG as shares of one."""
    if pixels.dtype == np.uint8:
        return pixels
    return np.asarray(np.clip(np.round(pixels.astype(np.float64) * 255), 0, 255), dtype=np.uint8)


def _scaled(pixels: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    from PIL import Image

    size = scaled_size(pixels.shape[1], pixels.shape[0], longest)
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BOX))
