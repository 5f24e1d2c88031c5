"""The patches of one slide: noted as what is cut from its scan when needed, and refused where anything is doubtful."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc import slides
from bleep_sc._adata import keys
from bleep_sc._adata.patches import patches_of
from bleep_sc._adata.places import centers_px
from bleep_sc._adata.spots import note
from bleep_sc._output.messages import warn
from bleep_sc.pp._patch_plan import plan_patches
from bleep_sc.pp._patch_scale import MOST_ENLARGED
from bleep_sc.slides._slide import IN_MEMORY
from bleep_sc.slides._stains import DENSITY, FAINTEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

SIZE = 224
"""Side of a patch, px, as encoders take it."""
LOOKED_AT = 64
"""Patches whose colours are looked at."""
LEAST_TISSUE, ONE_COLOUR = 0.01, 2.0
"""Share of px that are no glass, and standard deviation of grey values, below which an image is blank."""
RED, RED_OF_DARKEST = 0.15, 0.3
"""Of eosin alone, at most: absorption of red as a share of that of green, its median and 95th percentile over tissue.

Nuclei, which haematoxylin stains, absorb red half as much as green, or more. Of the eosin picture of a CytAssist both
are .06 and .27, of nine H&E slides .26 to .97 and .37 or more.
"""


def give_patches(
    adata: AnnData, image: Any, name: str, *, size_um: float, mpp: float | None, pitch_um: float | None
) -> None:
    """Note in ``uns["patches"]`` how the patches of a slide are cut; cut those of an image that is no file.

    What :func:`bleep_sc.pp.extract_patches` warns of is refused, unless ``mpp`` was given: who gives it has looked.
    """
    centers, names = centers_px(adata), np.full(adata.n_obs, name)
    with warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always")
        _, records = plan_patches(adata, {name: image}, names, centers, SIZE, size_um, mpp, pitch_um, "reflect")
    said = [str(each.message) for each in doubts if issubclass(each.category, UserWarning)]
    if said and mpp is None:
        enlarged = _enlarged(records[name], name) if len(said) == 1 else ""
        raise ValueError(
            enlarged or f"{said[0]} In prepare: if the scan is the right one, say how large its px are, mpp= (--mpp)."
        )
    for doubt in said:
        warn(doubt)
    adata.uns[keys.PATCHES] = {name: {**records[name], "store": "", **note(adata, None, None, pitch_um)}}
    if records[name]["image"] == IN_MEMORY:
        with slides.open_slide(image) as slide:
            how = {"side": records[name]["side_px"], "level": records[name]["level"]}
            adata.obsm[keys.PATCHES] = slides.cut_patches(slide, centers, size=SIZE, **how)


def _enlarged(record: Mapping[str, Any], name: str) -> str:
    """Say that patches are enlarged too much, and from which size on they are not; empty where they are not."""
    side, mpp = record["side_px"], record["mpp"]
    if side * MOST_ENLARGED >= SIZE:
        return ""
    return (
        f"Patches of slide {name!r} are {side} px wide and are enlarged to {SIZE} px: there is no more to see in them. "
        f"At {mpp:.3g} µm per px this may be a scaled-down image: pass the full-resolution one as image= (--image). If "
        f"there is none, let patches show more tissue, size_um={math.ceil(SIZE / MOST_ENLARGED * mpp)} (--size-um) or "
        "more; or insist by saying how large its px are, mpp= (--mpp)."
    )


def require_stained(adata: AnnData, name: str) -> None:
    """Refuse a slide whose spots show nothing, or eosin alone."""
    some = np.unique(np.linspace(0, adata.n_obs - 1, min(LOOKED_AT, adata.n_obs), dtype=np.intp))
    pixels = np.asarray(patches_of(adata, keys.PATCHES)[some])[:, ::4, ::4].reshape(-1, 3)
    density = DENSITY[pixels]
    tissue = density[density.mean(axis=1) > FAINTEST]
    where = adata.uns[keys.PATCHES][name]["image"]
    shown = "its image" if where == IN_MEMORY else Path(where).name
    if len(tissue) < LEAST_TISSUE * len(pixels) or pixels.std() < ONE_COLOUR:
        raise ValueError(
            f"Slide {name!r} is blank where its spots are ({shown}): one colour, or glass. Pass the H&E scan as image= "
            "(--image)."
        )
    if is_eosin_alone(tissue):
        raise ValueError(
            f"Slide {name!r} shows eosin alone ({shown}): there is no haematoxylin, so no nuclei, as in the picture of "
            "the CytAssist. Pass the H&E scan that Space Ranger was given (--image), not the instrument's picture, as "
            "image= (--image)."
        )


def is_eosin_alone(density: NDArray[np.float32]) -> bool:
    """Tell whether the optical densities of tissue (n, 3) are of a pink stain alone."""
    red = density[:, 0] / np.maximum(density[:, 1], 1e-6)
    return bool(np.median(red) < RED and np.percentile(red, 95) < RED_OF_DARKEST)
