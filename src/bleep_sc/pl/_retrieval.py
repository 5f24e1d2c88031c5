from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obsm
from bleep_sc._adata.libraries import libraries
from bleep_sc._adata.patches import patches_of
from bleep_sc._adata.places import centers_px
from bleep_sc._adata.records import names_hash
from bleep_sc._output.messages import listed
from bleep_sc._output.text import drawn
from bleep_sc.pl._colors import INK, OWN
from bleep_sc.pl._slide import draw_slide

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

WIDTH, MAP_INCHES = 6.7, 1.6
"""Of the figure, and of a map at least."""
TITLE_INCHES = 0.3
ABOVE_BAR = 7
SMALLEST, LARGEST = 6.0, 40.0
"""Area of the points of the least and the largest weight, square points."""


def retrieval(
    adata: AnnData,
    ref: AnnData,
    spot: str | int,
    *,
    key: str = "bleep",
    model_key: str = "bleep",
    n_patches: int = 6,
    patches_key: str = keys.PATCHES,
    library_key: str | None = None,
    spatial_key: str | None = None,
) -> NDArray[np.object_]:
    """Draw what a predicted spot borrowed from: its patch, those of its neighbours, and where these lie.

    Parameters
    ----------
    adata
        The query, imputed by :func:`bleep_sc.tl.impute`, with patches.
    ref
        The reference that it was imputed from, with patches.
    spot
        Name of a spot of the query, or its number.
    key
        Name of the prediction.
    model_key
        Name of the model.
    n_patches
        How many patches of the reference to show, those with the largest weights; of equal ones the most similar.
    patches_key, library_key, spatial_key
        Patches and coordinates in ``obsm``, and the column of ``obs`` that names the slide; None as in
        :func:`bleep_sc.pl.spatial`.

    Returns
    -------
    The axes: patches in the first row, the query's first; then the slide of the query and those of the reference that
    it borrowed from, with the share of each. Points are as large as their weights.

    Raises
    ------
    KeyError
        When the query was not imputed, or the spot is not in it.
    ValueError
        When ``ref`` is not the reference that it was imputed from.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> axes = bs.pl.retrieval(adata_query, adata_ref, 0)
    """
    import matplotlib.pyplot as plt

    row = _row(adata, spot)
    weights = require_obsm(adata, keys.weights(key), "Run bleep_sc.tl.impute(adata, ref=...) first.")[[row]]
    record = adata.uns.get(keys.imputed(key), {})
    if weights.shape[1] != ref.n_obs or record.get("reference_hash") != names_hash(ref.obs_names):
        raise ValueError(
            f"ref= is not the reference that layers[{key!r}] was imputed from: it has {ref.n_obs} spots, and the "
            f"weights name {weights.shape[1]}, or they are others. Pass that reference, unchanged."
        )
    order = np.lexsort((-_similarity(adata, ref, row, weights.indices, model_key), -weights.data))
    neighbors, weight = weights.indices[order], weights.data[order]
    slides = libraries(ref, library_key)
    share = {name: float(weight[slides[neighbors] == name].sum()) for name in np.unique(slides[neighbors])}
    shown = neighbors[:n_patches]

    n_maps = 1 + len(share)
    width = max(WIDTH, MAP_INCHES * n_maps)
    own = libraries(adata, library_key)
    ours, theirs = centers_px(adata, spatial_key), centers_px(ref, spatial_key)
    slender = max(_slenderness(theirs, slides), _slenderness(ours, own))
    heights = [width / (1 + len(shown)) + TITLE_INCHES, slender * width / n_maps + TITLE_INCHES]
    figure = plt.figure(figsize=(width, sum(heights)), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    patch_axes = np.atleast_1d(above.subplots(1, 1 + len(shown)))
    _draw_patch(patch_axes[0], patches_of(adata, patches_key)[np.array([row])][0], str(adata.obs_names[row]), OWN)
    pictures = patches_of(ref, patches_key)[np.sort(shown)]
    for axis, neighbor, value in zip(patch_axes[1:], shown, weight, strict=False):
        picture = pictures[np.searchsorted(np.sort(shown), neighbor)]
        _draw_patch(axis, picture, f"{slides[neighbor]}, {value:.0%}", INK)
    map_axes = np.atleast_1d(below.subplots(1, n_maps))
    _draw_map(map_axes[0], adata, own, own[row], np.array([row]), np.ones(1), ours, OWN)
    map_axes[0].set_title(drawn(f"{own[row]}, predicted"), fontsize="medium", color=OWN)
    for axis, (name, part) in zip(map_axes[1:], sorted(share.items(), key=lambda item: -item[1]), strict=True):
        of_slide = slides[neighbors] == name
        _draw_map(axis, ref, slides, name, neighbors[of_slide], weight[of_slide], theirs, INK)
        axis.set_title(drawn(f"{name}, {part:.0%}"), fontsize="medium", color=INK)
    return np.concatenate([patch_axes, map_axes])


def _similarity(adata: AnnData, ref: AnnData, row: int, neighbors: NDArray[np.intp], key: str) -> NDArray[np.floating]:
    """Return the cosines between a spot and its neighbours, which put neighbours of equal weight in order."""
    remedy = "Pass model_key=, the name of the model by which the prediction was made."
    query = np.asarray(require_obsm(adata, keys.image_embedding(key), remedy)[row])
    profiles = np.asarray(ref.obsm[keys.expression_embedding(key)])[neighbors]
    cosines: NDArray[np.floating] = profiles @ query / np.linalg.norm(profiles, axis=1) / np.linalg.norm(query)
    return cosines


def _row(adata: AnnData, spot: str | int) -> int:
    if isinstance(spot, str):
        if spot not in adata.obs_names:
            raise KeyError(f"spot={spot!r} is not in adata (it has: {listed(adata.obs_names, 3)}).")
        return int(np.flatnonzero(adata.obs_names == spot)[0])
    if not -adata.n_obs <= int(spot) < adata.n_obs:
        raise KeyError(f"spot={spot} is not in adata, which has {adata.n_obs} spots. Pass its name or number.")
    return int(spot) % adata.n_obs


def _slenderness(centers: NDArray[np.float64], slides: NDArray[np.str_]) -> float:
    """Return how much higher than wide slides are, at most."""
    sides = [np.ptp(centers[slides == name], axis=0) + 1 for name in np.unique(slides)]
    return float(np.clip(max(height / width for width, height in sides), 0.3, 2))


def _draw_patch(ax: Axes, patch: NDArray[np.uint8], title: str, color: str) -> None:
    ax.imshow(patch, interpolation="antialiased")
    ax.set_title(drawn(title), fontsize="small", color=color)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set(color=color, linewidth=2)


def _draw_map(
    ax: Axes,
    adata: AnnData,
    slides: NDArray[np.str_],
    name: str,
    spots: NDArray[np.intp],
    weight: NDArray[np.floating],
    centers: NDArray[np.float64],
    color: str,
) -> None:
    rows = np.flatnonzero(slides == name)
    draw_slide(ax, adata, name, rows, centers[rows])
    if not ax.images:
        ax.scatter(centers[rows, 0], centers[rows, 1], s=2, color="#bbbbbb", linewidths=0)
    size = SMALLEST + (LARGEST - SMALLEST) * weight / weight.max()
    x, y = centers[spots].T
    ax.scatter(x, y, s=size, color=color, edgecolors="white", linewidths=0.8, zorder=ABOVE_BAR)
    low, high = centers[rows].min(axis=0), centers[rows].max(axis=0)
    margin = 0.05 * (high - low).max()
    ax.set_anchor("N")
    ax.set_xlim(low[0] - margin, high[0] + margin)
    ax.set_ylim(high[1] + margin, low[1] - margin)
