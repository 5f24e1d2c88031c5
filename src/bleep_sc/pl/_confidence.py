from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obs
from bleep_sc._adata.libraries import libraries, spots_of
from bleep_sc._adata.places import centers_px
from bleep_sc._output.text import drawn
from bleep_sc.pl._axes import axes_for
from bleep_sc.pl._colors import GUIDE, INK, WARNING
from bleep_sc.pl._slide import draw_slide, draw_spots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

N_BINS = 10
LEGEND_ROOM = 1.4


def confidence(
    adata: AnnData,
    layer: str = "bleep",
    *,
    library_id: str | Sequence[str] | None = None,
    library_key: str | None = None,
    spatial_key: str | None = None,
    ax: NDArray[np.object_] | None = None,
) -> NDArray[np.object_]:
    """Draw how far the prediction of every spot is to be trusted, and which tissue the reference does not know.

    There is a row for every slide: the confidence over the H&E, from 0 to 1, where spots on foreign tissue have a red
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
    library_key, spatial_key
        Column of ``obs`` that names the slide, and key of the coordinates in ``obsm``; None is what an earlier call was
        told, else ``library_id`` and ``spatial``.
    ax
        Axes to draw on, two for every slide.

    Returns
    -------
    The axes, (slides, 2).

    Raises
    ------
    KeyError
        When confidence is not known, or a slide is not there.

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
    axes = axes_for(ax, len(shown), 2, (3.35, 2.8))
    for (over, distribution), (name, spots) in zip(axes, shown.items(), strict=True):
        draw_slide(over, adata, name, spots, centers[spots])
        rims = {"edgecolors": [WARNING if each else "none" for each in foreign[spots]], "linewidths": 1.2}
        draw_spots(over, adata, name, centers[spots], values[spots], (0.0, 1.0), {"cmap": "cividis", **rims})
        over.set_title(drawn(f"{name}: confidence"), fontsize="medium")
        _distribution(distribution, values[spots], foreign[spots], known)
    return axes


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
