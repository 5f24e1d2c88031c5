from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obs
from bleep_sc._adata.libraries import libraries, one_slide
from bleep_sc._adata.places import centers_px
from bleep_sc._output.arguments import shown
from bleep_sc._output.text import drawn
from bleep_sc.pl._axes import axes_for, panel_size
from bleep_sc.pl._colors import as_people_count, categorical
from bleep_sc.pl._finish import finished
from bleep_sc.pl._look import BESIDE, Look
from bleep_sc.pl._slide import draw_slide
from bleep_sc.pl._spots import Spots
from bleep_sc.pl._style import require_style

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

PANEL_INCHES = (3.35, 2.8)
MEASURED = "measured"
ALONE = "new"
"""What predicted clusters are called that have no counterpart, with a number."""


def leiden(
    adata: AnnData,
    layer: str = "bleep",
    *,
    mark: str | None = None,
    library_id: str | None = None,
    img_alpha: float | None = None,
    bw: bool = False,
    size: float = 1.0,
    spot_size: float | None = None,
    title: Sequence[str] | None = None,
    legend_loc: str | None = BESIDE,
    figsize: tuple[float, float] | None = None,
    library_key: str | None = None,
    spatial_key: str | None = None,
    ax: NDArray[np.object_] | None = None,
    show: bool | None = None,
    save: str | Path | bool | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Draw the clusters of measured and of predicted expression on the tissue (figure 5 of the paper).

    A predicted cluster has the name and the colour of the measured one that it shares spots with: pairs are one to one,
    and together share as many as they can (Hungarian algorithm), on all slides. What has no counterpart is called
    ``new 1`` and so on. ``obs`` keeps the names that the clusters had. Run :func:`bleep_sc.tl.leiden` first.

    Parameters
    ----------
    adata
        A query.
    layer
        The predicted layer.
    mark
        A boolean column of ``obs`` to outline, such as a region of low quality.
    library_id
        The slide; not needed for a single one.
    img_alpha, bw, size, spot_size, legend_loc, figsize
        As in :func:`bleep_sc.pl.spatial`: opacity of the image, in grey, what the diameter of the spots is multiplied
        by, that diameter in full-resolution px, where legends stand, and width and height of a panel in inches.
    title
        Two titles.
    library_key, spatial_key
        Column of ``obs`` that names the slide, and key of the coordinates in ``obsm``; None is what an earlier call was
        told, else ``library_id`` and ``spatial``.
    ax
        Two axes to draw on.
    show, save, return_fig
        As in :func:`bleep_sc.pl.spatial`: show the figure, save it, return it.
    kwargs
        For the spots, a :class:`matplotlib.collections.EllipseCollection`, such as ``alpha``.

    Returns
    -------
    The two axes. With ``return_fig`` the figure; with ``show`` nothing.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.leiden`:

    >>> axes = bs.pl.leiden(adata_query)
    """
    from matplotlib.collections import EllipseCollection

    require_style("leiden", kwargs, "the spots", EllipseCollection)
    slide, spots = one_slide(libraries(adata, library_key), library_id)
    remedy = f"Run bleep_sc.tl.leiden(adata, {layer!r}) first."
    measured, predicted = (
        require_obs(adata, keys.clusters(name), remedy).astype(str).to_numpy(dtype=object) for name in (MEASURED, layer)
    )
    centers = centers_px(adata, spatial_key)[spots]
    marked = None if mark is None else require_obs(adata, mark, "Pass mark=, a boolean column.").to_numpy(bool)[spots]
    names = matched_names(measured, predicted)  # of all slides, so that each shows a cluster in the same colour
    colors = _colors(measured, names)
    style = {**({} if marked is None else _outlined(marked)), **kwargs}
    look = Look(img_alpha=img_alpha, bw=bw, size=size, spot_size=spot_size, legend_loc=legend_loc).checked()
    titles = [f"{MEASURED}, Leiden", f"predicted ({layer}), Leiden"] if title is None else list(title)
    if len(titles) != 2:
        raise ValueError(f"title={shown(title)} must be two titles. Pass a list of two.")
    axes = axes_for(ax, 1, 2, panel_size(figsize, PANEL_INCHES)).ravel()
    renamed = np.array([names[each] for each in predicted], dtype=object)
    for each, said, clusters in zip(axes, titles, (measured, renamed), strict=True):
        over_image = draw_slide(each, adata, slide, spots, centers, look)
        drawn_spots = Spots(each, adata, slide, centers, look, over_image=over_image)
        drawn_spots.draw_categories(clusters[spots], colors, **style)
        each.set_title(drawn(said), fontsize="medium")
    return finished(axes, "leiden", show=show, save=save, return_fig=return_fig)


def matched_names(measured: NDArray[Any], predicted: NDArray[Any]) -> dict[str, str]:
    """Return the name of the measured counterpart of every predicted cluster, or what it is called without one."""
    from scipy.optimize import linear_sum_assignment

    theirs, ours = _by_number(measured), _by_number(predicted)
    overlap = np.array([[np.sum((measured == a) & (predicted == b)) for b in ours] for a in theirs])
    counterpart = {ours[j]: theirs[i] for i, j in zip(*linear_sum_assignment(-overlap), strict=True) if overlap[i, j]}
    alone = {name: f"{ALONE} {i}" for i, name in enumerate((name for name in ours if name not in counterpart), start=1)}
    return {name: counterpart.get(name) or alone[name] for name in ours}


def _colors(measured: NDArray[Any], names: dict[str, str]) -> dict[str, Any]:
    """Return a colour for every measured cluster, and for those of the predicted ones that have no counterpart."""
    known = _by_number(measured)
    every = [*known, *(name for name in names.values() if name not in known)]
    return dict(zip(every, categorical(len(every)), strict=True))


def _by_number(clusters: NDArray[Any]) -> list[str]:
    return sorted(set(clusters.tolist()), key=as_people_count)


def _outlined(marked: NDArray[np.bool_]) -> dict[str, Any]:
    return {"linewidths": np.where(marked, 1.4, 0.0), "edgecolors": "black"}
