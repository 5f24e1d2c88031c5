"""µm per px from what an image file says of itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from bleep_sc._output.messages import logger

if TYPE_CHECKING:
    import tifffile

LEAST, MOST = 0.05, 20.0
"""µm per px that a microscope has; what lies outside, like 72 dots per inch, is a default of some program."""
INCH_UM, CM_UM = 25400.0, 10000.0
UM = {
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer", "micrometre"), 1.0),
    **{"nm": 1e-3, "mm": 1e3, "cm": CM_UM, "m": 1e6, "in": INCH_UM, "inch": INCH_UM, "å": 1e-4},
}
RESOLUTION_UNITS = {2: INCH_UM, 3: CM_UM}
SAME = 0.05
"""Relative difference up to which two statements agree."""
NOTHING = "the file does not say"
RESOLUTION_TAGS = "resolution tags"


def require_mpp(mpp: float) -> None:
    """Refuse µm per px that no microscope has."""
    if not (mpp > 0 and np.isfinite(mpp)):
        raise ValueError(f"mpp={mpp} must be positive and finite.")
    if not LEAST <= mpp <= MOST:
        raise ValueError(
            f"mpp={mpp:g} is no microscope's: it is how many µm a px is wide, {LEAST:g} to {MOST:g}, and about 0.25 "
            "with a 40× objective."
        )


def from_dpi(dpi: Any) -> tuple[float, str]:
    """Return µm per px of a JPEG or PNG with so many dots per inch, (x, y), and where they are from."""
    try:
        x, y = (INCH_UM / float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return float("nan"), NOTHING
    return _square(x, y, "dots per inch of the file")


def from_tiff(file: tifffile.TiffFile, page: Any) -> tuple[float, str]:
    """Return µm per px of a TIFF and where they are from: OME-XML, a scanner's description, or the resolution tags.

    ImageJ notes the unit of these tags elsewhere. Where two of them disagree, both are logged, and the first counts.
    """
    said = [_from_ome(file), _from_description(page), _from_tags(file, page)]
    known = [(mpp, source) for mpp, source in said if np.isfinite(mpp)]
    if not known:
        reasons = [source for _, source in said if source != NOTHING]
        return float("nan"), reasons[0] if reasons else NOTHING
    mpp, source = known[0]
    for other, where in known[1:]:
        if abs(other / mpp - 1) > SAME:
            logger.warning(
                "%s contradicts itself: %.4g µm per px (%s), and %.4g (%s). The first is taken.",
                file.filename,
                mpp,
                source,
                other,
                where,
            )
    return mpp, source


def _from_ome(file: tifffile.TiffFile) -> tuple[float, str]:
    if not file.is_ome or not file.ome_metadata:
        return float("nan"), NOTHING
    try:
        root = ElementTree.fromstring(file.ome_metadata)
    except ElementTree.ParseError:
        return float("nan"), "the OME-XML is broken"
    pixels = root.find(".//{*}Pixels")
    if pixels is None:
        return float("nan"), NOTHING
    return _square(_ome_size(pixels, "X"), _ome_size(pixels, "Y"), "OME-XML")


def _ome_size(pixels: ElementTree.Element, axis: str) -> float:
    size, unit = pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
    try:
        return float(size) * UM[unit.lower()] if size is not None else float("nan")
    except (KeyError, ValueError):
        return float("nan")


def _from_description(page: Any) -> tuple[float, str]:
    found = re.search(r"\bMPP\s*=\s*([0-9.]+)", page.description or "")
    try:
        mpp = float(found[1]) if found else float("nan")
    except ValueError:
        mpp = float("nan")
    return _square(mpp, mpp, "the scanner's description")


def _from_tags(file: tifffile.TiffFile, page: Any) -> tuple[float, str]:
    tags = page.tags
    if "XResolution" not in tags or "YResolution" not in tags:
        return float("nan"), NOTHING
    said = str((file.imagej_metadata or {}).get("unit", "")) if file.is_imagej else ""
    named = said.replace("\\u00B5", "µ")
    code = int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 0
    unit = UM.get(named.lower()) if named else RESOLUTION_UNITS.get(code)
    per_unit = [_ratio(tags[name].value) for name in ("XResolution", "YResolution")]
    if unit is None or min(per_unit) <= 0:
        return float("nan"), NOTHING
    return _square(unit / per_unit[0], unit / per_unit[1], f"resolution tags, in {named}" if named else RESOLUTION_TAGS)


def _ratio(value: tuple[int, int]) -> float:
    numerator, denominator = value
    return numerator / denominator if denominator else 0.0


def _square(x: float, y: float, source: str) -> tuple[float, str]:
    """Accept what a microscope may have, with px as wide as they are high."""
    if not (np.isfinite(x) and np.isfinite(y)):
        return float("nan"), NOTHING
    if not (LEAST <= x <= MOST and LEAST <= y <= MOST):
        return float("nan"), f"{source} say {x:.4g} µm per px, which is no microscope's"
    if abs(x / y - 1) > SAME:
        return float("nan"), f"{source} say {x:.4g} × {y:.4g} µm, and px that are not square are not supported"
    return (x + y) / 2, source
