from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obs
from bleep_sc._adata.libraries import libraries, spots_of
from bleep_sc._adata.places import centers_px
from bleep_sc._output.text import drawn
from bleep_sc.pl._axes import axes_for, panel_size
from bleep_sc.pl._colors import GUIDE, INK, TRUST, WARNING, require_map
from bleep_sc.pl._finish import finished
from bleep_sc.pl._limits import norms_of
from bleep_sc.pl._look import Look
from bleep_sc.pl._slide import draw_slide
from bleep_sc.pl._spots import Spots

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from numpy.typing import NDArray

    from bleep_sc.pl._limits import Bound

PANEL_INCHES = (3.35, 2.8)
LABEL = "share of held-out spots\nexpected to err more"
N_BINS = 10
LEGEND_ROOM = 1.4


def confidence(
    adata: AnnData,
    layer: str = "bleep",
    *,
    library_id: str | Sequence[str] | None = None,
    vmin: Bound = 0.0,
    vmax: Bound = 1.0,
    cmap: str | Colormap = TRUST,
    img_alpha: float | None = None,
    bw: bool = False,
    size: float = 1.0,
    spot_size: float | None = None,
    figsize: tuple[float, float] | None = None,
    library_key: str | None = None,
    spatial_key: str | None = None,
    ax: NDArray[np.object_] | None = None,
    show: bool | None = None,
    save: str | Path | bool | None = None,
    return_fig: bool | None = None,
) -> Any:
    """Draw how far the prediction of every spot is to be trusted, and which tissue the reference does not know.

    There is a row for every slide: the confidence over the H&E, where spots on foreign tissue have a red
    rim (``obs["{layer}_typicality"]`` below .05, if it is known); and how many spots have which confidence, beside the
    flat line of spots that are predicted as well as those that the reference held out.

    Parameters
    ----------
    adata
        A query that :func:`bleep_sc.tl.impute` predicted from a reference of several slides.
    layer
        The predicted layer.
    library_id
        Slides to draw; None is all.
    vmin, vmax
        Where the colours begin and end: a number, a percentile as ``"p99"``, a function of the values, or None for the
        lowest and the highest of a hundred spots. From 0 to 1, slides can be compared.
    cmap
        Colours of the confidence.
    img_alpha, bw, size, spot_size, figsize
        As in :func:`bleep_sc.pl.spatial`: opacity of the image, in grey, what the diameter of the spots is multiplied
        by, that diameter in full-resolution px, and width and height of a panel in inches.
    library_key, spatial_key
        Column of ``obs`` that names the slide, and key of the coordinates in ``obsm``; None is what an earlier call was
        told, else ``library_id`` and ``spatial``.
    ax
        Axes to draw on, two for every slide.
    show, save, return_fig
        As in :func:`bleep_sc.pl.spatial`: show the figure, save it, return it.

    Returns
    -------
    The axes, (slides, 2). With ``return_fig`` the figure; with ``show`` nothing.

    Raises
    ------
    KeyError
        When confidence is not known, or a slide is not there.
    ValueError
        When ``vmin`` or ``vmax`` is none of these, or the colours would end before they begin.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> axes = bs.pl.confidence(adata_query)
    """
    from bleep_sc.models.known_tissue import FOREIGN

    remedy = "Run bleep_sc.tl.impute(adata, ref=...), from a reference of several slides."
    values = require_obs(adata, keys.confidence(layer), remedy).to_numpy(dtype=np.float64)
    centers = centers_px(adata, spatial_key)
    shown = spots_of(libraries(adata, library_key), library_id)
    known = keys.typicality(layer) in adata.obs
    foreign = adata.obs[keys.typicality(layer)].to_numpy() < FOREIGN if known else np.zeros(adata.n_obs, dtype=bool)
    look = Look(img_alpha=img_alpha, bw=bw, size=size, spot_size=spot_size).checked()
    colors = require_map(cmap)
    scales: list[Any] = [
        norms_of([values[spots]], [vmin], [vmax], [None], [None], share=False)[0] for spots in shown.values()
    ]
    axes = axes_for(ax, len(shown), 2, panel_size(figsize, PANEL_INCHES))
    for (over, distribution), (name, spots), scale in zip(axes, shown.items(), scales, strict=True):
        over_image = draw_slide(over, adata, name, spots, centers[spots], look)
        rims = {"edgecolors": [WARNING if each else "none" for each in foreign[spots]], "linewidths": 1.2}
        drawn_spots = Spots(over, adata, name, centers[spots], look, over_image=over_image)
        drawn_spots.draw_numbers(values[spots], scale, cmap=colors, label=LABEL, **rims)
        over.set_title(drawn(f"{name}: confidence"), fontsize="medium")
        _distribution(distribution, values[spots], foreign[spots], known)
    return finished(axes, "confidence", show=show, save=save, return_fig=return_fig)


def _distribution(ax: Axes, values: NDArray[np.float64], foreign: NDArray[np.bool_], known: bool) -> None:
    bins = np.linspace(0, 1, N_BINS + 1).tolist()
    labels = ["like the reference", "foreign"] if known else ["spots"]
    parts = [values[~foreign], values[foreign]] if known else [values]
    ax.hist(parts, bins=bins, stacked=True, color=[INK, WARNING][: len(parts)], label=labels)
    ax.axhline(len(values) / N_BINS, color=GUIDE, linestyle="--", linewidth=1, label="as held-out spots")
    ax.set_xlim(0, 1)
    ax.set_xlabel("confidence")
    ax.set_ylabel("spots")
    ax.set_title(f"{foreign.mean():.0%} on foreign tissue" if known else "foreign tissue: not known", fontsize="medium")
    ax.set_ylim(0, LEGEND_ROOM * ax.get_ylim()[1])
    ax.legend(fontsize="small", frameon=False, loc="upper center")
    ax.spines[["top", "right"]].set_visible(False)
