"""Which colours the strips and tiles of a TIFF hold: its tags do not tell all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._output.messages import logger
from bleep_sc.slides._jpeg import color_space
from bleep_sc.slides._rgb import UnusableImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

GREY, RGB, PALETTE, YCBCR = 1, 2, 3, 6
OTHER_COLORS = {0: "inverted", 4: "a mask", 5: "CMYK", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32844: "LogL"}
JPEG = (6, 7, 34892, 33007)
APERIO_YCBCR, APERIO_RGB = 33003, 33005
JPEG_2000 = (APERIO_YCBCR, 33004, APERIO_RGB, 34712)
CODING_STYLE, TILE_PART = 0x52, 0x90
"""Markers of JPEG 2000."""


def check_colors(name: str, page: Any, segment: bytes) -> None:
    """Refuse colours that are no RGB; ``segment`` is a strip or tile as it is in the file."""
    photometric, compression = int(page.photometric), int(page.compression)
    if photometric not in (GREY, RGB, PALETTE, YCBCR):
        kind = OTHER_COLORS.get(photometric, f"of photometric {photometric}")
        raise UnusableImage(f"Image {name!r} is {kind}. Convert it to RGB first.")
    if photometric == YCBCR and compression not in JPEG and compression < 33000:
        raise UnusableImage(f"Image {name!r} holds YCbCr without JPEG compression. Convert it to RGB first.")
    if compression in JPEG and photometric in (RGB, YCBCR):
        _check_jpeg(name, "RGB" if photometric == RGB else "YCbCr", color_space(segment), page.is_jfif)
    if compression == APERIO_YCBCR and segment and _mixes_components(segment):
        raise UnusableImage(
            f"Image {name!r} holds YCbCr by its compression (33003), and RGB by its JPEG 2000. Convert it to RGB first."
        )


def _check_jpeg(name: str, tag: str, said: str | None, is_jfif: bool) -> None:
    """Compare the tag with what the JPEG says; JFIF, which some writers put around anything tagged RGB, is believed."""
    if said is None or said == tag:
        return
    if not is_jfif:
        raise UnusableImage(
            f"Image {name!r} holds {tag} by its tags, and {said} by its JPEG. Export it anew from a program that shows "
            "it in the right colours."
        )
    logger.warning(
        "%s holds %s by its tags, and %s by its JPEG, which is believed. Look at its colours.", name, tag, said
    )


def as_colors(page: Any, pixels: NDArray[np.uint8], segment: bytes) -> NDArray[np.uint8]:
    """Return decoded pixels (height, width, samples) as RGB, where decoding left them something else."""
    if page.photometric == PALETTE:
        return _looked_up(page.colormap, pixels[..., 0])
    if page.compression in JPEG_2000 and _holds_ycbcr(page, segment):
        return _from_ycbcr(pixels)
    return pixels


def _holds_ycbcr(page: Any, segment: bytes) -> bool:
    if _is_subsampled(segment):  # then the decoder has converted it
        return False
    if page.compression == APERIO_YCBCR:
        return True
    return bool(page.compression != APERIO_RGB and page.photometric == YCBCR and not _mixes_components(segment))


def _mixes_components(codestream: bytes) -> bool:
    """Tell whether a JPEG 2000 holds RGB as a mixture that its decoder undoes."""
    place = codestream.find(b"\xff\x4f\xff\x51") + 2  # of JP2 the part with the pixels
    while place + 9 < len(codestream) and codestream[place + 1] != TILE_PART:
        if codestream[place + 1] == CODING_STYLE:
            return codestream[place + 8] == 1
        place += 2 + int.from_bytes(codestream[place + 2 : place + 4], "big")
    return False


def _is_subsampled(codestream: bytes) -> bool:
    """Tell whether the chroma of a JPEG 2000 has fewer px than its brightness."""
    size = codestream[codestream.find(b"\xff\x4f\xff\x51") + 2 :][:64]
    n_channels = int.from_bytes(size[38:40], "big")
    factors = [size[41 + 3 * i : 43 + 3 * i] for i in range(n_channels)]
    return any(factor != b"\1\1" for factor in factors)


def _looked_up(colormap: NDArray[np.uint16], index: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the colours of a palette, which has 16 bits; some writers fill the lower 8 alone."""
    shift = 8 if colormap.max() > 255 else 0
    return (colormap[:, index] >> shift).astype(np.uint8).transpose(1, 2, 0)


def _from_ycbcr(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGB of Y, Cb and Cr in full range (ITU-R BT.601, as in JFIF)."""
    from PIL import Image

    bands = [Image.fromarray(np.ascontiguousarray(pixels[..., i])) for i in range(3)]
    return np.asarray(Image.merge("YCbCr", bands).convert("RGB"))
