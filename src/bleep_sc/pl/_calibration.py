from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_layer, require_obs
from bleep_sc._adata.libraries import libraries, spots_of
from bleep_sc._adata.promise import why_not_promised
from bleep_sc._arrays.blocks import dense
from bleep_sc._output.text import drawn, in_legend
from bleep_sc.pl._axes import as_list, axes_for
from bleep_sc.pl._colors import GUIDE, INK, categorical
from bleep_sc.pl._finish import finished

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Values = NDArray[np.floating]

N_BINS = 5
N_BEST = 50
"""Genes of which most was promised, whose mean is marked."""
MOST_NAMED = 6
"""Slides that a legend names."""
LETTERS = 26
"""Of a line of text in a panel."""
REMEDY = "Run bleep_sc.tl.impute(adata, ref=..., interval=0.9), from a reference of several slides."
HELD_OUT = {"donors": "donors of the reference", "slides of one donor": "sections of one donor"}
"""What predictability was learnt on, by the record of a prediction."""


def calibration(
    adata: AnnData,
    layer: str | Sequence[str] = "bleep",
    *,
    truth: str | None = None,
    library_key: str | None = None,
    ax: NDArray[np.object_] | None = None,
    show: bool | None = None,
    save: str | Path | bool | None = None,
    return_fig: bool | None = None,
) -> Any:
    """Draw whether confidence, intervals and predictability kept their word where expression was measured.

    Three panels: the squared error of the spots, in units of the variance of each gene, by fifths of confidence, which
    should fall; the share of measured values within the intervals, gene by gene, which should be around what was asked
    for; and what was promised of every gene against what was reached, the correlation within the slide, which should
    lie around the dashed line. The mark is the mean of the 50 genes of which most was promised; genes that do not vary
    on a slide count as zero there. Where nothing was promised the panel says why.

    Parameters
    ----------
    adata
        A query with measured expression, imputed with ``interval=`` from a reference of several slides.
    layer
        Predicted layers, a row of panels each.
    truth
        Layer with the measured expression; None is ``X``.
    library_key
        Column of ``obs`` that names the slide; None is the one that patches were cut by, else ``library_id``. Several
        slides have a colour each in the third panel.
    ax
        Three axes a layer to draw on.
    show, save, return_fig
        As in :func:`bleep_sc.pl.spatial`: show the figure, save it, return it.

    Returns
    -------
    The axes, row by row. With ``return_fig`` the figure; with ``show`` nothing.

    Raises
    ------
    KeyError
        When a layer is not there, or has no confidence or no intervals.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> bs.tl.impute(adata_query, ref=adata_ref, interval=0.9)
    >>> axes = bs.pl.calibration(adata_query)
    """
    layers, slides = as_list(layer), spots_of(libraries(adata, library_key))
    truths = require_layer(adata, truth, "Pass truth=, the layer with the measured expression.")
    for name in layers:
        require_layer(adata, name, REMEDY)
        require_obs(adata, keys.confidence(name), REMEDY)
        require_layer(adata, keys.lower(name), REMEDY)
    axes = axes_for(ax, len(layers), 3, (2.25, 2.4))
    for row, name in zip(axes, layers, strict=True):
        lower = np.asarray(adata.layers[keys.lower(name)])
        genes = np.isfinite(lower).all(axis=0)
        predicted, upper = (np.asarray(adata.layers[each])[:, genes] for each in (name, keys.upper(name)))
        measured = dense(truths[:, genes])
        confidence = adata.obs[keys.confidence(name)].to_numpy(dtype=np.float64)
        _draw_error(row[0], confidence, predicted, measured)
        covered = ((measured >= lower[:, genes]) & (measured <= upper)).mean(axis=0)
        _draw_coverage(row[1], covered, float(adata.uns[keys.imputed(name)]["interval"]))
        if why := why_not_promised(adata, name):
            _say(row[2], f"not promised: {why}")
        else:
            promised = adata.var[keys.predictability(name)].to_numpy(dtype=np.float64)[genes]
            _draw_promises(row[2], promised, predicted, measured, slides)
        basis = adata.uns[keys.imputed(name)].get(keys.PREDICTABILITY_OF)
        row[2].set_xlabel(f"promised: r on held-out\n{HELD_OUT.get(basis, 'slides of the reference')}")
        row[2].set_ylabel("reached: Pearson r")
        if len(layers) > 1:
            row[0].set_title(drawn(name), fontsize="medium")
        for each in row:
            each.spines[["top", "right"]].set_visible(False)
    return finished(axes.ravel(), "calibration", show=show, save=save, return_fig=return_fig)


def _draw_error(ax: Axes, confidence: Values, predicted: Values, measured: Values) -> None:
    """Draw the squared error by fifths of confidence."""
    error = np.square(measured - predicted) / np.maximum(measured.var(axis=0), 1e-12)
    error = error[:, measured.std(axis=0) > 0].mean(axis=1)
    fifths = np.array_split(np.argsort(confidence, kind="stable"), N_BINS)
    ax.plot(range(1, N_BINS + 1), [error[spots].mean() for spots in fifths], marker="o", color=INK)
    ax.set_xticks(range(1, N_BINS + 1))
    ax.set_xlabel(f"fifths of {len(confidence)} spots by\nconfidence, 5 is highest")
    ax.set_ylabel("squared error / variance")


def _draw_coverage(ax: Axes, covered: Values, asked: float) -> None:
    """Draw how many genes have which share of their spots within the intervals."""
    ax.hist(covered, bins=np.linspace(min(0.6, covered.min()), 1, 25).tolist(), color=INK)
    ax.axvline(asked, color=GUIDE, linestyle="--", linewidth=1)
    ax.set_xlabel(f"share of spots within\nthe {asked:.0%} interval")
    ax.set_ylabel(f"genes, of {len(covered)}")


def _draw_promises(
    ax: Axes, promised: Values, predicted: Values, measured: Values, slides: Mapping[str, NDArray[np.intp]]
) -> None:
    """Draw the correlation of every gene within every slide against what was promised, and the mean of the best."""
    from bleep_sc.metrics.correlation import pearson

    known = np.flatnonzero(np.isfinite(promised))
    best = known[np.argsort(-promised[known], kind="stable")[:N_BEST]]
    ax.axline((0, 0), slope=1, color=GUIDE, linestyle="--", linewidth=1, zorder=1)
    means = []
    colors = [INK] if len(slides) == 1 else categorical(len(slides))
    for (slide, spots), color in zip(slides.items(), colors, strict=True):
        reached = pearson(predicted[spots], measured[spots])
        ax.scatter(promised, reached, s=5, color=color, alpha=0.4, linewidths=0)
        means.append(float(np.nan_to_num(reached[best]).mean()))
        mark = {"s": 40, "marker": "D", "color": color, "edgecolors": "white", "linewidths": 1, "zorder": 3}
        ax.scatter(promised[best].mean(), means[-1], label=in_legend(slide), **mark)
    said = f"best {len(best)}: {promised[best].mean():.2f} promised,\n{np.mean(means):.2f} reached"
    ax.set_title(said, fontsize="small")
    if 1 < len(slides) <= MOST_NAMED:
        ax.legend(frameon=False, fontsize="x-small", handletextpad=0.2, borderaxespad=0)


def _say(ax: Axes, text: str) -> None:
    """Write in a panel why nothing is drawn there."""
    said = drawn(textwrap.fill(text, LETTERS))
    ax.text(0.5, 0.5, said, ha="center", va="center", fontsize="small", transform=ax.transAxes)
    ax.set_xticks([])
    ax.set_yticks([])
