"""What channels are called: red, green and blue in whatever order, or markers, which no H&E image has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from bleep_sc._output.messages import listed
from bleep_sc.slides._rgb import UnusableImage

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tifffile

COLORS = ("red", "green", "blue", "alpha")
SHORT = {"r": "red", "g": "green", "b": "blue", "a": "alpha", "opacity": "alpha"}
NO_NAME = re.compile(r"(c|ch|channel|band|sample)?[\s_:-]*[\d\s_:-]*", re.IGNORECASE)
"""Numbers, and what programs write where nobody gave a name: "Channel:0:1", "c2"."""


def color_order(names: Sequence[Any], image: str) -> tuple[int, ...] | None:
    """Return which channels are red, green, blue and opacity, by their names; None where they have none.

    Raises
    ------
    ValueError
        When they are something else.
    """
    said = ["" if name is None else str(name).strip().lower() for name in names]
    if all(NO_NAME.fullmatch(name) for name in said):
        return None
    colors = [SHORT.get(name, name) for name in said]
    if len(colors) in (3, 4) and sorted(colors) == sorted(COLORS[: len(colors)]):
        return tuple(colors.index(color) for color in COLORS[: len(colors)])
    raise UnusableImage(
        f"Image {image!r} has the channels {listed(names)}; an H&E image has red, green and blue. Pass the image of "
        "the H&E stain; where these are its colours, name them 'r', 'g' and 'b' (of SpatialData: "
        "Image2DModel.parse(..., c_coords=['r', 'g', 'b']))."
    )


def names_in_tiff(file: tifffile.TiffFile, n_channels: int) -> list[str | None] | None:
    """Return the names of channels that are pages of their own, as OME-XML or ImageJ give them."""
    names: list[str | None] = []
    if file.is_ome and file.ome_metadata:
        pixels = ElementTree.fromstring(file.ome_metadata).find(".//{*}Pixels")
        channels = [] if pixels is None else pixels.findall("{*}Channel")
        names = [channel.get("Name") or channel.get("Fluor") for channel in channels]
    elif file.is_imagej:
        names = list((file.imagej_metadata or {}).get("Labels") or [])
    return names if len(names) == n_channels else None
