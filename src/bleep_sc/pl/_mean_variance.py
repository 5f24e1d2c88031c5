from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata.expression import both_sides
from bleep_sc._output.text import in_legend
from bleep_sc.pl._axes import axes_for
from bleep_sc.pl._colors import categorical

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

N_BINS = 40
FEW = 4
"""Curves whose names fit between the axes and the measured curve."""


def mean_variance(
    adata: AnnData,
    layer: str | Sequence[str] = "bleep",
    *,
    truth: str | None = None,
    ax: NDArray[np.object_] | None = None,
    **kwargs: Any,
) -> NDArray[np.object_]:
    """Draw mean and variance of predicted genes beside the measured ones (figure 2 of the paper).

    Genes are ranked by what was measured, and shown as medians of neighbouring ranks. What regresses to the mean has a
    variance far below the measured one.

    Parameters
    ----------
    adata
        A query with measured expression.
    layer
        Predicted layers, a curve each, over the genes that all of them hold.
    truth
        Layer with the measured expression; None is ``X``.
    ax
        Two axes to draw on.
    kwargs
        For the curves, :meth:`matplotlib.axes.Axes.plot`.

    Returns
    -------
    The two axes.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> axes = bs.pl.mean_variance(adata_query)
    """
    predicted, measured, _ = both_sides(adata, layer, truth)
    axes = axes_for(ax, 1, 2, (3.35, 2.6)).ravel()
    statistics: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float64]]] = {"mean": _mean, "variance": _variance}
    for each, (title, statistic) in zip(axes, statistics.items(), strict=True):
        values = statistic(measured)
        order = np.argsort(-values, kind="stable")
        bins = np.array_split(order, min(N_BINS, len(order)))
        rank = [np.mean(np.searchsorted(-values[order], -values[genes])) for genes in bins]
        curve = np.array([np.median(values[genes]) for genes in bins])
        each.plot(rank, np.where(curve > 0, curve, np.nan), color="black", linewidth=2, label="measured")
        for (name, ours_of_spots), color in zip(predicted.items(), categorical(len(predicted)), strict=True):
            ours = statistic(ours_of_spots)
            curve = np.array([np.median(ours[genes]) for genes in bins])
            style = {"linewidth": 1.3, "color": color, **kwargs}
            each.plot(rank, np.where(curve > 0, curve, np.nan), label=in_legend(name), **style)
        each.set_yscale("log")
        each.set_xlabel("genes, ranked by measured " + title)
        each.set_title(f"{title} over spots", fontsize="medium")
        each.spines[["top", "right"]].set_visible(False)
    if len(predicted) <= FEW:
        axes[0].legend(fontsize="small", frameon=False, loc="lower left")
    else:
        axes[1].legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return axes


def _mean(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return values.mean(axis=0, dtype=np.float64)


def _variance(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the variance over spots; of a constant it is zero, and not what rounding leaves."""
    return np.where(np.ptp(values, axis=0) > 0, values.var(axis=0, dtype=np.float64), 0.0)
