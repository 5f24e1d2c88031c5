from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.all_or_nothing import all_or_nothing
from bleep_sc._adata.libraries import library_column, written_libraries
from bleep_sc._adata.patches import patches_of, restained
from bleep_sc._adata.records import stain_recipe
from bleep_sc._output.messages import listed
from bleep_sc.pp._cut import BLOCK
from bleep_sc.pp._stains import stains_of, with_stains
from bleep_sc.slides._slide import IN_MEMORY
from bleep_sc.slides._stains import FITS, average_stains, stains_from

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from bleep_sc.slides._stains import Stains


def normalize_stains(
    adata: AnnData,
    ref: AnnData | None = None,
    *,
    method: Literal["reinhard", "macenko"] | None = None,
    patches_key: str = keys.PATCHES,
    library_key: str | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Give the patches of every slide the stains of the reference.

    Two laboratories stain differently, and so do two days. Each slide is described by the tissue on its own patches
    (glass, with a mean optical density up to .15, is left out), and its patches are carried to a target. Without
    ``ref`` the target is the mean over the slides of ``adata``, each counting alike; with ``ref`` it is the one that
    was found there, so that nothing of a query takes part in it. Statistics come from at most 500 patches and two
    million pixels a slide, always the same ones.

    ``"reinhard"`` moves mean and standard deviation on three colour axes (Reinhard et al., IEEE Computer Graphics and
    Applications 2001), and fades out on glass. ``"macenko"`` finds the two stains, and replaces their colours and their
    99th percentiles (Macenko et al., ISBI 2009). Both also take away differences that are biology, such as a slide
    with more nuclei: see what that does on tissue that was held out (``docs/benchmarks.md``).

    Parameters
    ----------
    adata
        Spots with patches: in memory, in a store, or still in their slides (:func:`bleep_sc.pp.tile_slide`).
    ref
        A reference that this function was called on. None: ``adata`` is the reference. Do not pass slides that are to
        be held out together with it.
    method
        ``"reinhard"`` or ``"macenko"``; None is that of ``ref``, and Reinhard's without one.
    patches_key
        Key of the patches in ``obsm``.
    library_key
        Column of ``obs`` that names the slide; None is the one that patches were cut by, else ``library_id``.
    key_added
        Key of the result, by default ``"{patches_key}_normalized"``. The patches as they are stay: what was normalised
        cannot be taken back. ``ref`` must have the same key.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``obsm[key_added]`` : uint8, (n_obs, size, size, 3)
        The patches with other stains: in memory for those in memory; for those in a store a dask array, normalised
        whenever it is read. Nothing for those that are still in their slides, which are normalised when they are cut.
    ``uns[key_added]`` : dict
        For every slide the record of its patches, and ``stains`` (the method), ``stains_own`` and ``stain_target``:
        Reinhard's three means and three standard deviations, or Macenko's two unit vectors (haematoxylin, eosin) and
        their two strengths.

    Raises
    ------
    KeyError
        Without patches, or when ``ref`` holds no target.
    ValueError
        When patches are not uint8 or were normalised before, a slide has no tissue, or ``method`` is not known or not
        that of ``ref``.

    Examples
    --------
    After the example of :func:`bleep_sc.pp.extract_patches`:

    >>> held_out = adata.obs["library_id"] == "slice3"
    >>> adata_ref, adata_query = adata[~held_out].copy(), adata[held_out].copy()
    >>> bs.pp.normalize_stains(adata_ref)
    >>> bs.pp.normalize_stains(adata_query, ref=adata_ref)
    >>> adata_query.obsm["patches_normalized"].shape[1:]
    (32, 32, 3)
    """
    if method is not None and method not in FITS:
        raise ValueError(f"method={method!r} is not known; use {listed(FITS)}.")
    key = key_added or keys.normalized(patches_key)
    if key == patches_key:
        raise ValueError(f"key_added={key!r} would overwrite the patches as they are. Pass another key.")
    recorded = {} if ref is None else _recorded(ref, key, method)
    patches = patches_of(adata, patches_key)
    if stain_recipe(adata, patches_key):
        raise ValueError(f"obsm[{patches_key!r}] is normalised already. Pass patches_key=, the patches as they are.")
    method = recorded.get("stains", method or "reinhard")
    names = written_libraries(adata, library_key)
    own = stains_of(patches, names, method)
    target = stains_from(method, recorded["stain_target"]) if recorded else None
    target = target or average_stains(list(own.values()))
    records = {
        name: {
            **adata.uns.get(patches_key, {}).get(name, _unknown(patches.shape[1], library_column(adata, library_key))),
            "stains": method,
            "stains_own": own[name].numbers(),
            "stain_target": target.numbers(),
        }
        for name in own
    }
    result = _normalized(patches, names, own, target, records, is_stored=patches_key in adata.obsm)
    adata = adata.copy() if copy else adata
    with all_or_nothing(adata):
        adata.uns[key] = records
        if result is not None:
            adata.obsm[key] = result
        elif key in adata.obsm:  # of an earlier call
            del adata.obsm[key]
    return adata if copy else None


def _normalized(
    patches: Any,
    names: NDArray[np.str_],
    own: dict[str, Stains],
    target: Stains,
    records: dict[str, dict[str, Any]],
    *,
    is_stored: bool,
) -> Any:
    """Return the patches as they were given: in memory, as a dask array, or None for those that are cut when needed."""
    which = np.array([list(own).index(name) for name in names], dtype=np.intp)
    if isinstance(patches, np.ndarray):
        return with_stains(patches, which, list(own.values()), target)
    if not is_stored:
        return None
    import dask.array as da

    unread = restained(patches, which, list(records.values()))
    chunks = (BLOCK, *unread.shape[1:])
    return da.from_array(unread, chunks=chunks, name=False, meta=np.empty((0, 0, 0, 0), dtype=np.uint8))


def _recorded(ref: AnnData, key: str, method: str | None) -> dict[str, Any]:
    """Return the target that a reference holds."""
    recorded = stain_recipe(ref, key)
    if not recorded:
        raise KeyError(
            f"The reference holds no stains to carry patches to: uns[{key!r}] not found, or without them (ref.uns has: "
            f"{listed(ref.uns)}). Run bleep_sc.pp.normalize_stains(adata_ref) first."
        )
    if method is not None and method != recorded["stains"]:
        raise ValueError(f"method={method!r} is not that of the reference, {recorded['stains']!r}. Leave it out.")
    return recorded


def _unknown(size: int, library_key: str) -> dict[str, Any]:
    """Return the record of patches that ``pp.extract_patches`` did not cut."""
    nan = float("nan")
    known = {"size": size, "side_px": size, "size_um": nan, "mpp": nan, "mpp_source": "not known", "pad": "reflect"}
    return {**known, "image": IN_MEMORY, "store": "", "library_key": library_key}
