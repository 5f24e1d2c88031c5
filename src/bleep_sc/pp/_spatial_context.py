from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.all_or_nothing import all_or_nothing
from bleep_sc._adata.checks import require_obsm
from bleep_sc._adata.libraries import libraries
from bleep_sc._adata.places import centers_px, centers_um, features_around
from bleep_sc._adata.records import feature_recipe
from bleep_sc._adata.spots import note

if TYPE_CHECKING:
    from anndata import AnnData


def spatial_context(
    adata: AnnData,
    use_rep: str,
    *,
    radius_um: float,
    mpp: float | None = None,
    pitch_um: float | None = None,
    library_key: str | None = None,
    spatial_key: str | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Average image features over the tissue around every spot.

    A patch shows a hundred micrometres; what surrounds it often says more. The features of all spots of a slide within
    ``radius_um`` are averaged, weighed by :math:`\exp(-d^2 / 2\sigma^2)` with :math:`\sigma` half the radius. Only
    distances count and no positions, so slides may be turned, mirrored or laid out with another spacing; but wide
    surroundings also tell neighbouring sections where they are, which is of no use on another patient's tissue.

    Parameters
    ----------
    adata
        Spots of one slide or several, with coordinates in full-resolution px.
    use_rep
        Key of the features in ``obsm``.
    radius_um
        How far the surroundings reach, µm.
    mpp, pitch_um
        µm per px, or the distance between neighbouring spots, µm, where they are not known from ``uns["patches"]``, the
        scale factors or the lattice; see :func:`bleep_sc.pp.extract_patches`.
    library_key, spatial_key
        Column of ``obs`` that names the slide, and key of the coordinates in ``obsm``; None is what an earlier call was
        told, else ``library_id`` and ``spatial``.
    key_added
        Key of the result; by default ``{use_rep}_context``.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``obsm[key_added]`` : float32, (n_obs, n_features)
        Features of the surroundings, the spot itself among them.
    ``uns[key_added]`` : dict
        The recipe of ``use_rep``, with ``context_of``, ``radius_um``, ``library_key``, ``spatial_key`` and, where
        it was given, ``pitch_um``, by which :func:`bleep_sc.tl.impute` does the same for a query.

    Raises
    ------
    KeyError
        Without features or coordinates.
    ValueError
        Where µm per px are not known, or the features hold NaN.

    Examples
    --------
    After the example of :func:`bleep_sc.pp.image_features`:

    >>> bs.pp.spatial_context(adata, "X_stain_stats", radius_um=200)
    >>> adata.obsm["X_stain_stats_context"].shape == adata.obsm["X_stain_stats"].shape
    True
    """
    if not radius_um > 0:
        raise ValueError(f"radius_um={radius_um} must be positive.")
    values = np.asarray(require_obsm(adata, use_rep, "Run bleep_sc.pp.image_features(adata) first."), dtype=np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"obsm[{use_rep!r}] holds NaN or infinite values, which would spread.")
    names, centers = libraries(adata, library_key), centers_px(adata, spatial_key)
    places = centers_um(adata, names, centers, mpp=mpp, pitch_um=pitch_um)
    result = features_around(values, names, places, radius_um)
    adata = adata.copy() if copy else adata
    key = key_added or keys.context(use_rep)
    with all_or_nothing(adata):
        adata.obsm[key] = result
        adata.uns[key] = {
            **feature_recipe(adata, use_rep),
            "context_of": use_rep,
            "radius_um": float(radius_um),
            **note(adata, library_key, spatial_key, pitch_um),
        }
    return adata if copy else None
