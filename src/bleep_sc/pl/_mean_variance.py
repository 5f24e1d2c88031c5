from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata.expression import both_sides, unit_label
from bleep_sc._output.text import drawn, in_legend
from bleep_sc.pl._axes import axes_for, panel_size
from bleep_sc.pl._colors import categorical
from bleep_sc.pl._finish import finished
from bleep_sc.pl._style import require_style

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

N_TICKS = 4
"""Of the ranks, at most: numbers of five digits stand apart."""
N_BINS = 40
FEW = 4
"""Curves whose names fit between the axes and the measured curve."""


def mean_variance(
    adata: AnnData,
    layer: str | Sequence[str] = "bleep",
    *,
    truth: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: NDArray[np.object_] | None = None,
    show: bool | None = None,
    save: str | Path | bool | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Any:
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
    figsize
        Width and height of a panel, inches.
    ax
        Two axes to draw on.
    show, save, return_fig
        As in :func:`bleep_sc.pl.spatial`: show the figure, save it, return it.
    kwargs
        For the curves, :meth:`matplotlib.axes.Axes.plot`.

    Returns
    -------
    The two axes. With ``return_fig`` the figure; with ``show`` nothing.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> axes = bs.pl.mean_variance(adata_query)
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    require_style("mean_variance", kwargs, "the curves of the predictions", Line2D)
    predicted, measured, _ = both_sides(adata, layer, truth)
    unit = unit_label(adata, truth)
    axes = axes_for(ax, 1, 2, panel_size(figsize, (3.35, 2.6))).ravel()
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
        each.xaxis.set_major_locator(MaxNLocator(N_TICKS, integer=True))
        each.set_xlabel(f"{len(values)} genes, ranked by measured {title}", fontsize="small")
        each.set_ylabel(drawn(f"{title} of {unit}"), fontsize="small")
        each.set_title(f"{title} over {len(measured)} spots", fontsize="medium")
        each.spines[["top", "right"]].set_visible(False)
    if len(predicted) <= FEW:
        axes[0].legend(fontsize="small", frameon=False, loc="lower left")
    else:
        axes[1].legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return finished(axes, "mean_variance", show=show, save=save, return_fig=return_fig)


def _mean(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return values.mean(axis=0, dtype=np.float64)


def _variance(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the variance over spots; of a constant it is zero, and not what rounding leaves."""
    return np.where(np.ptp(values, axis=0) > 0, values.var(axis=0, dtype=np.float64), 0.0)
