"""What is to be cut of every slide, and whether spots and images fit: before a patch is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc import slides
from bleep_sc._adata.checks import warn_of_glass
from bleep_sc._adata.libraries import spots_of
from bleep_sc._adata.records import differ
from bleep_sc._adata.scan import check_is_scan
from bleep_sc._output.messages import warn
from bleep_sc.pp._cut import Part
from bleep_sc.pp._images import check_images, image_of, scale_factors
from bleep_sc.pp._patch_scale import scale_of, side_in_px, warn_of_enlarged_patches
from bleep_sc.slides._centers import check_centers
from bleep_sc.slides._patches import coarsest_level, off_slide
from bleep_sc.slides._slide import absolute

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def plan_patches(
    adata: AnnData,
    image: Any,
    names: NDArray[np.str_],
    centers: NDArray[np.float64],
    size: int,
    size_um: float | None,
    mpp: float | None,
    pitch_um: float | None,
    pad: str,
    *,
    full_resolution: bool = False,
) -> tuple[list[Part], dict[str, dict[str, Any]]]:
    """Return what is to be cut of every slide, and how that is recorded, or refuse spots or images."""
    warn_of_glass(adata)
    check_images(image, names)
    parts, records = [], {}
    for name, rows in spots_of(names).items():
        source = image_of(adata, image, name)
        with slides.open_slide(source) as slide:
            shape = (slide.height, slide.width)
            check_centers(shape, centers[rows], scale_factors(adata, name), few_may_leave=pad == "drop")
            check_is_scan(adata, name, slide)
            scale, scale_source = scale_of(adata, rows, centers[rows], name, slide, mpp, pitch_um)
            side = size if size_um is None else side_in_px(size_um, scale, scale_source, name)
            warn_of_enlarged_patches(side, size, scale, name)
            kept = rows[~off_slide(shape, centers[rows], side)] if pad == "drop" else rows
            level = 0 if full_resolution else coarsest_level(slide, side, size)
        parts.append(Part(source, kept, side, level))
        records[name] = {
            "size": size,
            "side_px": side,
            "size_um": side * scale,
            "mpp": scale,
            "mpp_source": scale_source,
            "pad": pad,
            "level": level,
            "full_resolution": full_resolution,
            "image": absolute(slide.name),
        }
    return parts, records


def warn_of_magnifications(records: dict[str, dict[str, Any]], size: int) -> None:
    """Warn of patches that show more tissue on one slide than on another, which no model is fitted on."""
    sides = {name: each["size_um"] for name, each in records.items()}
    if differ(sides):
        shown = ", ".join(f"{side:.0f} µm of {name!r}" for name, side in sides.items())
        warn(
            f"Patches of {size} px show {shown}: the slides have other magnifications, and cannot be fitted together. "
            f"Pass size_um=, such as {np.nanmax(list(sides.values())):.0f}, for the same tissue of each."
        )
