"""What the view of a slide is made of, as columns: colours in 255 steps, and what a hovered place borrowed from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.libraries import libraries
from bleep_sc._adata.patches import has_patches, patches_of
from bleep_sc._adata.records import names_hash
from bleep_sc._output import html

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

STEPS = 255
"""Between the least and the largest value of a map."""
N_BEHIND = 3
"""Reference patches that a hovered place shows."""
MAX_PATCHES = 3000
"""Of the reference in a view: those that most places borrow from."""
PATCH_PX = 64
NONE = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
"""A picture of one transparent px."""


def in_steps(values: NDArray[np.floating]) -> tuple[NDArray[np.uint8], dict[str, float]]:
    """Return a map (n,) in steps, uint8, and where it begins and ends, ``low`` and ``high``.

    ``start`` and ``end`` are the steps where its colours do, which leave out the lowest and highest of a hundred.
    """
    low, high = float(values.min()), float(values.max())
    share = (values - low) / ((high - low) or 1.0) * STEPS
    start, end = map(float, np.quantile(share, [0.01, 0.99]))
    if end - start < 1:
        start, end = 0.0, float(STEPS)
    return np.rint(share).astype(np.uint8), {"low": low, "high": high, "start": start, "end": end}


def behind(
    adata: AnnData, ref: AnnData, layer: str, model_key: str, patches_key: str
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
    """Return the reference spots that count most for every place, and those spots' patches; None where none are known.

    The first are columns of the places: ``behind0`` to ``behind2``, and the same as ``slide0`` to ``slide2``, rows of
    the second or -1, and their weights in percent, ``share0`` to ``share2``; ``others`` is how many more spots count,
    and ``rest`` their percent. The second are ``image`` and ``slide``.
    """
    if keys.weights(layer) not in adata.obsm or not has_patches(ref, patches_key):
        return None
    spots, shares = _heaviest(adata, ref, layer, model_key)
    counted, times = np.unique(spots[spots >= 0], return_counts=True)
    kept = np.sort(counted[np.argsort(-times, kind="stable")[:MAX_PATCHES]])
    try:
        pictures = [html.jpeg(patch, PATCH_PX) for patch in np.asarray(patches_of(ref, patches_key)[kept])]
    except FileNotFoundError:  # of patches that are to be cut from slides that are elsewhere
        return None
    row = np.full(ref.n_obs + 1, -1, dtype=np.int32)  # the last is for -1, no spot
    row[kept] = np.arange(len(kept))
    columns = {f"behind{i}": row[spots[:, i]] for i in range(N_BEHIND)}
    columns |= {f"slide{i}": columns[f"behind{i}"] for i in range(N_BEHIND)}  # a tooltip has one text a column
    columns |= {f"share{i}": shares[:, i] for i in range(N_BEHIND)}
    columns["others"] = adata.obsm[keys.weights(layer)].getnnz(axis=1) - (spots >= 0).sum(axis=1)
    columns["rest"] = np.maximum(100 - shares.sum(axis=1, dtype=int), 0) * (columns["others"] > 0)
    return columns, {"image": pictures, "slide": libraries(ref)[kept].tolist()}


def _heaviest(adata: AnnData, ref: AnnData, layer: str, model_key: str) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Return the reference spots of the largest weights, -1 where there are fewer, and their weights in percent.

    Of equal weights those that are most alike are first. Both are (n_obs, N_BEHIND).
    """
    weights = adata.obsm[keys.weights(layer)].tocsr()
    record = adata.uns.get(keys.imputed(layer), {})
    if weights.shape[1] != ref.n_obs or record.get("reference_hash") != names_hash(ref.obs_names):
        raise ValueError(
            f"ref= is not the reference that layers[{layer!r}] was imputed from: it has {ref.n_obs} spots, and the "
            f"weights name {weights.shape[1]}, or they are others. Pass that reference, unchanged."
        )
    query = adata.obsm.get(keys.image_embedding(model_key))
    profiles = ref.obsm.get(keys.expression_embedding(model_key))
    comparable = query is not None and profiles is not None and query.shape[1] == profiles.shape[1]
    spots = np.full((adata.n_obs, N_BEHIND), -1, dtype=np.intp)
    shares = np.zeros((adata.n_obs, N_BEHIND), dtype=np.uint8)
    norms = np.linalg.norm(np.asarray(profiles), axis=1) if comparable else np.ones(ref.n_obs)
    for i in range(adata.n_obs):
        part = slice(weights.indptr[i], weights.indptr[i + 1])
        neighbors, weight = weights.indices[part], weights.data[part]
        alike = np.zeros(len(neighbors))
        if comparable:
            alike = np.asarray(profiles[neighbors]) @ np.asarray(query[i]) / np.maximum(norms[neighbors], 1e-12)
        first = np.lexsort((-alike, -weight))[:N_BEHIND]
        spots[i, : len(first)] = neighbors[first]
        shares[i, : len(first)] = np.rint(100 * weight[first])
    return spots, shares
