"""How many px of a slide a patch of so many µm has, and whether what says so agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc import slides
from bleep_sc._adata import keys
from bleep_sc._adata.places import FACTORS, array_places, bin_side, microns_per_pixel
from bleep_sc._adata.unregistered import registration_of
from bleep_sc._output.messages import warn
from bleep_sc.slides._lattice import BY_LATTICE, PITCH_UM, fit_lattice, spans_lattice

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

SAME_RESOLUTION = 0.05
"""How far µm per px of two sources may differ."""
MOST_ENLARGED = 4
"""How many px a px may become."""
SAME_PITCH = 0.15
"""How far the distance of neighbouring spots may be off what it should be."""
COARSEST_UM, FILLED = 0.75, 0.55
"""µm per px below which px and µm can be told apart, and the share of an image that spots in px then span, at least."""


def scale_of(
    adata: AnnData,
    rows: NDArray[np.intp],
    centers: NDArray[np.float64],
    name: str,
    slide: slides.Slide,
    mpp: float | None,
    pitch_um: float | None,
) -> tuple[float, str]:
    """Return µm per px and how they are known; warn where the image file, or the lattice, says something else."""
    scale, source = microns_per_pixel(adata, rows, centers, name, mpp=mpp, pitch_um=pitch_um, afresh=True)
    if np.isnan(scale) and np.isfinite(slide.mpp):
        scale, source = slide.mpp, slide.mpp_source
    if np.isfinite(scale) and np.isfinite(slide.mpp) and abs(slide.mpp / scale - 1) > SAME_RESOLUTION:
        warn(
            f"Slide {name!r} measures {scale:.4g} µm per px ({source}), but its image file says {slide.mpp:.4g} "
            f"({slide.mpp_source}). The former is taken; pass mpp= if that is wrong."
        )
    elsewhere = float("nan") if source.startswith(BY_LATTICE) else scale
    if doubts := _doubts(adata, rows, centers, name, slide, elsewhere, in_px=source == FACTORS, pitch_um=pitch_um):
        warn(
            f"obsm['spatial'] of slide {name!r} looks wrong: {'; '.join(doubts)}. It must hold (x, y) in px of the "
            "full-resolution image."
        )
    return scale, source


def side_in_px(size_um: float, scale: float, scale_source: str, name: str) -> int:
    """Return the side of a patch, full-resolution px."""
    if np.isnan(scale):
        raise ValueError(
            f"µm per px of slide {name!r} are not known ({scale_source}), so size_um={size_um} cannot be cut. "
            "Pass mpp=, or pitch_um= with obs['array_row'] and obs['array_col']; or give size= in px alone."
        )
    return max(1, round(size_um / scale))


def warn_of_enlarged_patches(side: int, size: int, scale: float, name: str) -> None:
    """Warn where patches are drawn much larger than they are, as those of a scaled-down image are."""
    if size > MOST_ENLARGED * side:
        warn(
            f"Patches of slide {name!r} are {side} px wide and are enlarged to {size} px: there is no more to see in "
            f"them. At {scale:.3g} µm per px this may be a scaled-down image; pass the full-resolution one as image=, "
            "or a smaller size=."
        )


def _doubts(
    adata: AnnData,
    rows: NDArray[np.intp],
    centers: NDArray[np.float64],
    name: str,
    slide: slides.Slide,
    mpp: float,
    *,
    in_px: bool,
    pitch_um: float | None,
) -> list[str]:
    """Say what contradicts coordinates that lie in the image; ``mpp`` is NaN where the lattice gave it.

    They do not look like µm where their reader knew µm per px (``in_px``), or their lattice has the pitch that was
    given.
    """
    column, row = array_places(adata, rows).T
    as_um = [] if in_px else _as_um(centers, slide, mpp)
    if name in adata.uns.get(keys.TILES, {}) or not spans_lattice(np.column_stack([column, row])):
        return as_um
    try:
        lattice = fit_lattice(column, row, centers)
    except ValueError as error:
        return [str(error).removesuffix(".")]
    doubts = []
    if lattice.n_stray:
        doubts.append(
            f"{lattice.n_stray} of {len(rows)} spots lie up to {lattice.most_px:.0f} px off the lattice of the others "
            "(obs['array_row'] and obs['array_col'])"
        )
    either_way = np.isfinite(bin_side(adata, rows, name))  # the array of Visium HD is seen from below
    if not either_way and lattice.is_mirrored != _registered_mirrored(adata, name):
        doubts.append("they are mirrored against obs['array_row'] and obs['array_col'], as with x and y swapped")
    if lattice.kind != "visium":
        is_known = pitch_um is not None and abs(lattice.pitch_px * mpp / pitch_um - 1) < SAME_PITCH
        return doubts if is_known else doubts + as_um
    if np.isfinite(mpp) and abs(lattice.pitch_px * mpp / PITCH_UM - 1) > SAME_PITCH:
        doubts.append(
            f"neighbouring spots are {lattice.pitch_px * mpp:.0f} µm apart at {mpp:.3g} µm per px, instead of "
            f"{PITCH_UM:.0f}, as with coordinates of a scaled image, in µm, or a wrong mpp="
        )
    return doubts


def _registered_mirrored(adata: AnnData, name: str) -> bool:
    """Tell whether a slide was laid on an image that shows its other side."""
    return bool((registration_of(adata, name) or {}).get("reflection", False))


def _as_um(centers: NDArray[np.float64], slide: slides.Slide, mpp: float) -> list[str]:
    """Say that coordinates look like µm: they keep to a corner of the image, which they fill when they are px."""
    extent = np.array([slide.width, slide.height])
    reached, spanned = centers.max(axis=0) / mpp / extent, np.ptp(centers, axis=0) / mpp / extent
    if not (mpp < COARSEST_UM and (spanned > FILLED).all() and (reached < 1).all()):
        return []
    return [
        f"at {mpp:.3g} µm per px they look like µm: they keep to a corner of the image, {extent[0]} px wide and "
        f"{extent[1]} px high, and divided by {mpp:.3g} they fill it"
    ]
