from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obsm
from bleep_sc._adata.libraries import libraries
from bleep_sc._adata.patches import has_patches, patches_of
from bleep_sc._adata.places import centers_px, microns_per_pixel
from bleep_sc._adata.records import names_hash
from bleep_sc._output.messages import listed
from bleep_sc._output.text import drawn
from bleep_sc.pl._axes import wrapped
from bleep_sc.pl._colors import INK, OWN
from bleep_sc.pl._finish import finished
from bleep_sc.pl._slide import draw_slide

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

WIDTH, MAP_INCHES = 6.7, 1.6
"""Of the figure, and of a map at least."""
PATCHES_A_ROW = 7
TITLE_INCHES, LINE_INCHES = 0.3, 0.15
"""Above a patch or a map, and what every further line of a title takes."""
ABOVE_BAR = 7
MARGIN = 0.1
"""Around the tissue of a map, as a share of its longer side; half of it on either side."""
SLENDER = (0.3, 2.0)
"""Height of a map as a share of its width, at least and at most."""
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
    show: bool | None = None,
    save: str | Path | bool | None = None,
    return_fig: bool | None = None,
) -> Any:
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
    show, save, return_fig
        As in :func:`bleep_sc.pl.spatial`: show the figure, save it, return it.

    Returns
    -------
    The axes: patches, seven in a row, the query's first; then the slide of the query and those of the reference that
    it borrowed from, with the share of each, on one scale where µm per px are known. Points are as large as their
    weights. With ``return_fig`` the figure; with ``show`` nothing.

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
    if not has_patches(ref, patches_key):
        raise KeyError(
            f"ref= has no patches to show: obsm[{patches_key!r}] not found (ref.obsm has: {listed(ref.obsm)}). A "
            "reference that was shared (bleep_sc.tl.share_reference) holds no images. What the spot borrowed from is "
            f"told without: adata.obsm[{keys.weights(key)!r}][{row}] has the weight of every spot of ref. With the "
            "slides of the reference at hand: bleep_sc.pp.extract_patches(ref, {'slide': 'path', ...})."
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
    best = sorted(share, key=lambda name: -share[name])
    fields = _fields([(adata, own, own[row], ours), *((ref, slides, name, theirs) for name in best)])
    slender = float(np.clip(np.divide(*np.ptp(fields[0], axis=0)[::-1]), *SLENDER))
    columns = min(1 + len(shown), PATCHES_A_ROW)
    n_rows = -(-(1 + len(shown)) // columns)
    side = width / columns
    own_title = wrapped(str(adata.obs_names[row]), side)
    titles = [
        own_title,
        *(wrapped(f"{slides[each]}, {value:.0%}", side) for each, value in zip(shown, weight, strict=False)),
    ]
    above_patch = TITLE_INCHES + LINE_INCHES * max(title.count("\n") for title in titles)
    heights = [n_rows * (side + above_patch), slender * width / n_maps + TITLE_INCHES]
    figure = plt.figure(figsize=(width, sum(heights)), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    cells = above.subplots(n_rows, columns, squeeze=False).ravel()
    for spare in cells[1 + len(shown) :]:
        spare.remove()
    patch_axes = cells[: 1 + len(shown)]
    _draw_patch(patch_axes[0], patches_of(adata, patches_key)[np.array([row])][0], own_title, OWN)
    pictures = patches_of(ref, patches_key)[np.sort(shown)]
    for axis, neighbor, title in zip(patch_axes[1:], shown, titles[1:], strict=True):
        picture = pictures[np.searchsorted(np.sort(shown), neighbor)]
        _draw_patch(axis, picture, title, INK)
    map_axes = np.atleast_1d(below.subplots(1, n_maps))
    _draw_map(map_axes[0], adata, own, own[row], np.array([row]), np.ones(1), ours, OWN, fields[0])
    map_axes[0].set_title(drawn(f"{own[row]}, predicted"), fontsize="medium", color=OWN)
    for axis, name, field in zip(map_axes[1:], best, fields[1:], strict=True):
        of_slide = slides[neighbors] == name
        _draw_map(axis, ref, slides, name, neighbors[of_slide], weight[of_slide], theirs, INK, field)
        axis.set_title(drawn(f"{name}, {share[name]:.0%}"), fontsize="medium", color=INK)
    axes = np.concatenate([patch_axes, map_axes])
    return finished(axes, "retrieval", show=show, save=save, return_fig=return_fig)


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


def _fields(maps: list[tuple[AnnData, NDArray[np.str_], str, NDArray[np.float64]]]) -> list[NDArray[np.float64]]:
    """Return what every map shows, (left, top) and (right, bottom), px: as much tissue, where µm per px are known.

    Where they are not, what is shown has one shape. ``maps`` are an AnnData, the slide of every spot, one of these,
    and the centres of the spots.
    """
    rows = [np.flatnonzero(slides == name) for _, slides, name, _ in maps]
    boxes = [np.array([of[each].min(axis=0), of[each].max(axis=0)]) for each, (*_, of) in zip(rows, maps, strict=True)]
    sides = np.array([np.ptp(box, axis=0) + 1 for box in boxes])
    mpp = [microns_per_pixel(of, each, xy[each], name)[0] for each, (of, _, name, xy) in zip(rows, maps, strict=True)]
    unit = np.array(mpp) if np.isfinite(mpp).all() else 1 / sides.max(axis=1)
    side = (sides * unit[:, None]).max(axis=0)
    side += MARGIN * side.max()
    return [box.mean(axis=0) + np.array([-side, side]) / (2 * each) for box, each in zip(boxes, unit, strict=True)]


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
    field: NDArray[np.float64],
) -> None:
    rows = np.flatnonzero(slides == name)
    draw_slide(ax, adata, name, rows, centers[rows])
    if not ax.images:
        ax.scatter(centers[rows, 0], centers[rows, 1], s=2, color="#bbbbbb", linewidths=0)
    size = SMALLEST + (LARGEST - SMALLEST) * weight / weight.max()
    x, y = centers[spots].T
    ax.scatter(x, y, s=size, color=color, edgecolors="white", linewidths=0.8, zorder=ABOVE_BAR)
    ax.set_anchor("N")
    (left, top), (right, bottom) = field
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
