from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._output.messages import warn
from bleep_sc.pp._measured import measured_and, move_onto
from bleep_sc.pp._pictures import picture_of, picture_of_new
from bleep_sc.pp._tissue import tissue_mask
from bleep_sc.slides._sections import align_pictures

if TYPE_CHECKING:
    from anndata import AnnData

LONGEST = 2000
"""Longest side of the pictures on which tissue is looked for, px."""
LEAST_OVERLAP = 0.8
"""Share of the measured tissue that comes to lie on tissue."""


def register_section(
    adata: AnnData,
    image: Any,
    *,
    reflection: bool | None = False,
    mpp: float | None = None,
    library_id: str | None = None,
    library_key: str | None = None,
    spatial_key: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Lay a slide on the next section, roughly, by the outline and the colours of the tissue.

    The next section has other cells, and no two places of it look the same. So the map is only a turn and a shift, that
    bring tissue onto tissue of the same colour. It is off where sections were stretched, by how much is not known, and
    may be wrong altogether where the outline is round or symmetric. Look at it, :func:`bleep_sc.pl.registration`; where
    it has to be better, set landmarks and use :func:`bleep_sc.pp.register`.

    Parameters
    ----------
    adata
        Spots of one slide or several, with full-resolution (x, y) in ``obsm[spatial_key]``, and a picture of the slide
        in ``uns["spatial"]``, or the path of its image.
    image
        An image of the next section, and of nothing else, whatever :func:`bleep_sc.slides.open_slide` takes.
    reflection
        Whether it is the mirror image of the measured one; None tries both, which goes wrong more easily where the
        outline is nearly symmetric.
    mpp
        µm per px of the new image; None is what its file says.
    library_id, library_key, spatial_key
        As in :func:`bleep_sc.pp.register`: the slide, and where it is named and placed.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written is what :func:`bleep_sc.pp.register` writes, without
    landmarks and residuals; ``overlap`` in ``uns["registration"][library_id]`` is the share of the measured tissue that
    lies on tissue.

    Raises
    ------
    ValueError
        When µm per px of one of the images are not known, or it shows no tissue; and as :func:`bleep_sc.pp.register`.

    Warns
    -----
    UserWarning
        When less than .8 of the tissue lies on tissue.

    Examples
    --------
    >>> import bleep_sc as bs
    >>> import numpy as np
    >>> adata = bs.datasets.toy(n_slices=1)
    >>> section = np.rot90(adata.uns["spatial"]["slice1"]["images"]["hires"], 2)
    >>> bs.pp.register_section(adata, section, mpp=1.0)
    >>> bool(adata.uns["registration"]["slice1"]["overlap"] > 0.9)
    True
    """
    adata = adata.copy() if copy else adata
    with measured_and(image, adata, library_id, library_key, spatial_key) as (measured, slide):
        new_mpp = slide.mpp if mpp is None else mpp
        if np.isnan(measured.mpp) or np.isnan(new_mpp):
            which, mend = (
                ("new image", "Pass mpp=.")
                if np.isnan(new_mpp)
                else ("measured one", "Set uns['spatial'][...]['scalefactors']['microns_per_pixel'].")
            )
            raise ValueError(f"µm per px of the {which} of slide {measured.name!r} are not known. {mend}")
        first, per_px = picture_of(measured, LONGEST)
        second, their_per_px = picture_of_new(slide, max(first.shape))  # alike, so that tissue is found alike
        masks = tissue_mask(first), tissue_mask(second)
        for mask, which in zip(masks, ("measured image", "new image"), strict=True):
            if not mask.any():
                raise ValueError(f"No tissue was found on the {which} of slide {measured.name!r}.")
        scale = (measured.mpp / per_px[0]) / (new_mpp / their_per_px[0])
        onto, overlap = align_pictures(first, masks[0], second, masks[1], scale=scale, reflection=reflection)
        if overlap < LEAST_OVERLAP:
            warn(
                f"Only {overlap:.2f} of the tissue of slide {measured.name!r} comes to lie on tissue: the sections "
                "differ, or the map is wrong. Look at bleep_sc.pl.registration, or set landmarks."
            )
        matrix = np.diag([*1 / their_per_px, 1.0]) @ onto @ np.diag([*per_px, 1.0])
        move_onto(adata, measured, slide, matrix, mpp, {"by": "outline and colour", "overlap": overlap})
    return adata if copy else None
