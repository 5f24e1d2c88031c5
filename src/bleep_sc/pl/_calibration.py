from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_layer, require_obs
from bleep_sc._adata.promise import why_not_promised
from bleep_sc._arrays.blocks import dense
from bleep_sc._output.text import drawn
from bleep_sc.pl._axes import axes_for
from bleep_sc.pl._colors import GUIDE, INK

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

N_BINS = 5
LETTERS = 26
"""Of a line of text in a panel."""


def calibration(
    adata: AnnData, layer: str = "bleep", *, truth: str | None = None, ax: NDArray[np.object_] | None = None
) -> NDArray[np.object_]:
    """Draw whether confidence, intervals and predictability kept their word on a slide with measured expression.

    Three panels: the squared error of the spots, in units of the variance of each gene, by fifths of confidence, which
    should fall; the share of measured values within the intervals, gene by gene, which should be around what was asked
    for; and the correlation of every gene against what the reference expected, or why it promised nothing.

    Parameters
    ----------
    adata
        A query with measured expression, imputed with ``interval=`` from a reference of several slides.
    layer
        The predicted layer.
    truth
        Layer with the measured expression; None is ``X``.
    ax
        Three axes to draw on.

    Returns
    -------
    The three axes.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> bs.tl.impute(adata_query, ref=adata_ref, interval=0.9)
    >>> axes = bs.pl.calibration(adata_query)
    """
    from bleep_sc.metrics.correlation import pearson

    remedy = "Run bleep_sc.tl.impute(adata, ref=..., interval=0.9), from a reference of several slides."
    confidence = require_obs(adata, keys.confidence(layer), remedy).to_numpy(dtype=np.float64)
    truths = require_layer(adata, truth, "Pass truth=, the layer with the measured expression.")
    lower = np.asarray(require_layer(adata, keys.lower(layer), remedy))
    genes = np.isfinite(lower).all(axis=0)
    predicted, lower, upper = (
        np.asarray(adata.layers[name])[:, genes] for name in (layer, keys.lower(layer), keys.upper(layer))
    )
    measured = dense(truths[:, genes])
    axes = axes_for(ax, 1, 3, (2.25, 2.4)).ravel()

    variance = np.maximum(measured.var(axis=0), 1e-12)
    error = np.square(measured - predicted) / variance
    error = error[:, measured.std(axis=0) > 0].mean(axis=1)
    fifths = np.array_split(np.argsort(confidence, kind="stable"), N_BINS)
    axes[0].plot(range(1, N_BINS + 1), [error[spots].mean() for spots in fifths], marker="o", color=INK)
    axes[0].set_xticks(range(1, N_BINS + 1))
    axes[0].set_xlabel("fifths of the spots\nby confidence")
    axes[0].set_ylabel("squared error / variance")

    covered = ((measured >= lower) & (measured <= upper)).mean(axis=0)
    asked = float(adata.uns[keys.imputed(layer)]["interval"])
    axes[1].hist(covered, bins=np.linspace(min(0.6, covered.min()), 1, 25), color=INK)
    axes[1].axvline(asked, color=GUIDE, linestyle="--", linewidth=1)
    axes[1].set_xlabel(f"share of spots within\nthe {asked:.0%} interval")
    axes[1].set_ylabel("genes")

    expected = adata.var[keys.predictability(layer)].to_numpy(dtype=np.float64)[genes]
    if why := why_not_promised(adata, layer):
        said = drawn(textwrap.fill(f"not promised: {why}", LETTERS))
        axes[2].text(0.5, 0.5, said, ha="center", va="center", fontsize="small", transform=axes[2].transAxes)
        axes[2].set_xticks([])
    else:
        axes[2].scatter(expected, pearson(predicted, measured), s=5, color=INK, alpha=0.4, linewidths=0)
        axes[2].axline((0, 0), slope=1, color=GUIDE, linestyle="--", linewidth=1)
    axes[2].set_xlabel("r on held-out slides\nof the reference")
    axes[2].set_ylabel("r on this slide")
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    return axes
