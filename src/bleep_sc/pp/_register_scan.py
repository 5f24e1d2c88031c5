from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc import slides
from bleep_sc.pp._measured import measured_and
from bleep_sc.pp._pictures import picture_of, picture_of_new
from bleep_sc.pp._register import move_by_fit
from bleep_sc.slides._matches import FEWEST_MATCHES, match_images

if TYPE_CHECKING:
    from anndata import AnnData

LONGEST = 1000
"""Longest side of the pictures on which places are looked for, px."""
MOST_KEPT = 300
"""Places that are kept, at most."""


def register_scan(
    adata: AnnData,
    image: Any,
    *,
    reflection: bool | None = None,
    mpp: float | None = None,
    library_id: str | None = None,
    library_key: str | None = None,
    spatial_key: str | None = None,
    random_state: int = 0,
    copy: bool = False,
) -> AnnData | None:
    """Lay a slide on another scan of the same section, without landmarks.

    Places that look the same on both are found by scikit-image: keypoints by SIFT (Lowe 2004) on pictures of 1000 px,
    and of their matches those that agree on one turn, scale and shift (RANSAC). It needs the same cells on both images,
    stained again or not. Of the next section, which has other cells, nothing agrees, and that is said:
    :func:`bleep_sc.pp.register_section` lays it by its outline, :func:`bleep_sc.pp.register` by landmarks.

    Parameters
    ----------
    adata
        Spots of one slide or several, with full-resolution (x, y) in ``obsm[spatial_key]``, and a picture of the slide
        in ``uns["spatial"]``, or the path of its image.
    image
        The new scan, whatever :func:`bleep_sc.slides.open_slide` takes.
    reflection
        Whether it is the mirror image of the measured one; None tries both.
    mpp
        µm per px of the new scan; None is what its file says, else what follows from the measured one.
    library_id, library_key, spatial_key
        As in :func:`bleep_sc.pp.register`: the slide, and where it is named and placed.
    random_state
        Seeds RANSAC.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written is what :func:`bleep_sc.pp.register` writes; the landmarks are
    matches that agree, 300 at most, and residuals are theirs.

    Raises
    ------
    ValueError
        When fewer than 15 matches agree, and as :func:`bleep_sc.pp.register`.

    Examples
    --------
    >>> import bleep_sc as bs
    >>> import numpy as np
    >>> adata = bs.datasets.toy(n_slices=1)
    >>> scan = np.rot90(adata.uns["spatial"]["slice1"]["images"]["hires"], -1)[::2, ::-2]
    >>> bs.pp.register_scan(adata, scan)
    >>> adata.uns["registration"]["slice1"]["reflection"]
    True
    """
    adata = adata.copy() if copy else adata
    with measured_and(image, adata, library_id, library_key, spatial_key) as (measured, slide):
        (first, per_px), (second, their_per_px) = picture_of(measured, LONGEST), picture_of_new(slide, LONGEST)
        found = match_images(first, second, reflection=reflection, random_state=random_state)
        if found is None:
            raise ValueError(
                f"Fewer than {FEWEST_MATCHES} places look the same on both images of slide {measured.name!r}, so that "
                "this is no scan of the same section, or stained too differently. For the next section: "
                "bleep_sc.pp.register_section(adata, image); else set landmarks: bleep_sc.pp.register(adata, image, "
                "landmarks)."
            )
        source, target, flag = found
        kept = np.random.default_rng(random_state).permutation(len(source))[:MOST_KEPT]
        source, target = source[kept] / per_px, target[kept] / their_per_px
        fit = slides.fit_landmarks(source, target, reflection=flag)
        names = np.arange(1, len(source) + 1).astype(str)
        record = {"by": "SIFT and RANSAC", "landmarks": names, "source": source, "target": target}
        move_by_fit(adata, measured, slide, fit, mpp, record)
    return adata if copy else None
