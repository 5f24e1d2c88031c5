from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obs
from bleep_sc._adata.libraries import libraries, one_slide
from bleep_sc._adata.places import centers_px
from bleep_sc._output.text import drawn
from bleep_sc.pl._axes import axes_for
from bleep_sc.pl._colors import categorical
from bleep_sc.pl._slide import draw_slide, draw_spots

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

PANEL_INCHES = (3.35, 2.8)
MEASURED = "measured"


def leiden(
    adata: AnnData,
    layer: str = "bleep",
    *,
    mark: str | None = None,
    library_id: str | None = None,
    library_key: str | None = None,
    spatial_key: str | None = None,
    ax: NDArray[np.object_] | None = None,
    **kwargs: Any,
) -> NDArray[np.object_]:
    """Draw the clusters of measured and of predicted expression on the tissue (figure 5 of the paper).

    A predicted cluster has the colour of the measured one that it shares most spots with, one to one; what has no
    counterpart has a colour of its own. Run :func:`bleep_sc.tl.leiden` first.

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
    library_key, spatial_key
        Column of ``obs`` that names the slide, and key of the coordinates in ``obsm``; None is what an earlier call was
        told, else ``library_id`` and ``spatial``.
    ax
        Two axes to draw on.
    kwargs
        For the spots, a :class:`matplotlib.collections.EllipseCollection`, such as ``alpha``.

    Returns
    -------
    The two axes.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.leiden`:

    >>> axes = bs.pl.leiden(adata_query)
    """
    slide, spots = one_slide(libraries(adata, library_key), library_id)
    remedy = f"Run bleep_sc.tl.leiden(adata, {layer!r}) first."
    measured, predicted = (
        require_obs(adata, keys.clusters(name), remedy).astype(str).to_numpy(dtype=object) for name in (MEASURED, layer)
    )
    centers = centers_px(adata, spatial_key)[spots]
    marked = None if mark is None else require_obs(adata, mark, "Pass mark=, a boolean column.").to_numpy(bool)[spots]
    palettes = matched_palettes(measured, predicted)  # of all slides, so that each shows a cluster in the same colour
    axes = axes_for(ax, 1, 2, PANEL_INCHES).ravel()
    for each, title, clusters, colors in zip(axes, (MEASURED, layer), (measured, predicted), palettes, strict=True):
        draw_slide(each, adata, slide, spots, centers)
        edges = {} if marked is None else _outlined(marked)
        draw_spots(each, adata, slide, centers, clusters[spots], None, {**edges, **kwargs}, colors)
        what = f"{title} expression" if title == MEASURED else title
        each.set_title(drawn(f"{what}, Leiden"), fontsize="medium")
    return axes


def matched_palettes(measured: NDArray[Any], predicted: NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a colour for every measured cluster, and for every predicted one that of its counterpart."""
    from scipy.optimize import linear_sum_assignment

    theirs, ours = _by_number(measured), _by_number(predicted)
    overlap = np.array([[np.sum((measured == a) & (predicted == b)) for b in ours] for a in theirs])
    counterpart = {ours[j]: theirs[i] for i, j in zip(*linear_sum_assignment(-overlap), strict=True) if overlap[i, j]}
    alone = [name for name in ours if name not in counterpart]
    colors = categorical(len(theirs) + len(alone))
    first = dict(zip(theirs, colors, strict=False))
    own = dict(zip(alone, colors[len(theirs) :], strict=True))
    return first, {name: first[counterpart[name]] if name in counterpart else own[name] for name in ours}


def _by_number(clusters: NDArray[Any]) -> list[str]:
    return sorted(set(clusters.tolist()), key=lambda name: (len(name), name))


def _outlined(marked: NDArray[np.bool_]) -> dict[str, Any]:
    return {"linewidths": np.where(marked, 1.4, 0.0), "edgecolors": "black"}
