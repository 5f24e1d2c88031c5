from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._output.messages import listed
from bleep_sc._output.text import drawn
from bleep_sc.pl._axes import axes_for, panel_size
from bleep_sc.pl._finish import finished
from bleep_sc.pl._style import image_style

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes


def top_genes(
    table: pd.DataFrame,
    *,
    n_genes: int = 5,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | bool | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Draw the genes that every method predicts best, with their correlation (table 2 of the paper).

    Correlations are averaged over slides and seeds; where a gene does not vary, its correlation counts as zero. Genes
    are picked by the very correlation that is shown, so that even chance shows something: compare methods, and the
    permuted prediction.

    Parameters
    ----------
    table
        What :func:`bleep_sc.bm.cross_validate` returned: ``method``, ``gene`` and ``pearson``.
    n_genes
        How many genes a method.
    figsize
        Width and height of the figure, inches.
    ax
        Axes to draw on.
    show, save, return_fig
        As in :func:`bleep_sc.pl.spatial`: show the figure, save it, return it.
    kwargs
        For the picture, :meth:`matplotlib.axes.Axes.imshow`, such as ``cmap``.

    Returns
    -------
    The axes. With ``return_fig`` the figure; with ``show`` nothing.

    Examples
    --------
    After the example of :func:`bleep_sc.bm.cross_validate`:

    >>> ax = bs.pl.top_genes(table)
    """
    best = best_genes(table, n_genes)
    if best.empty:
        raise ValueError("No method predicts any gene with a positive correlation: there is nothing to draw.")
    methods = best.index.get_level_values("method").unique().tolist()
    values = np.full((len(methods), n_genes), np.nan)
    for i, method in enumerate(methods):
        values[i, : len(best.loc[method])] = best.loc[method]
    ends = {"vmin": 0, "vmax": max(1e-9, float(np.nanmax(values)))}
    style = image_style("top_genes", kwargs, cmap="Blues", aspect="auto", **ends)
    longest = max((len(str(gene)) for gene in best.index.get_level_values("gene")), default=0)
    width = max(1.05, 0.1 * longest)
    size = panel_size(figsize, (1.2 + width * n_genes, 0.7 + 0.5 * len(methods)))
    each = axes_for(ax, 1, 1, size)[0, 0]
    picture = each.imshow(values, **style)
    for i, method in enumerate(methods):
        for j, (gene, r) in enumerate(best.loc[method].items()):
            dark = picture.norm(r) > 0.6
            each.text(
                j,
                i,
                drawn(f"{gene}\n{r:.2f}"),
                ha="center",
                va="center",
                fontsize="x-small",
                color="white" if dark else "black",
            )
    each.set_yticks(range(len(methods)), map(drawn, methods))
    each.set_xticks(range(n_genes), [str(rank + 1) for rank in range(n_genes)])
    each.set_xlabel("rank by mean Pearson r")
    each.spines[:].set_visible(False)
    each.tick_params(length=0)
    return finished(each, "top_genes", show=show, save=save, return_fig=return_fig)


def best_genes(table: pd.DataFrame, n_genes: int = 5) -> pd.Series:
    """Return the mean correlation of every method's best genes, by method and gene; the best method first."""
    missing = {"method", "gene", "pearson"} - set(table)
    if missing:
        raise KeyError(f"table= lacks {listed(sorted(missing))}. Pass what bleep_sc.bm.cross_validate returned.")
    means = table["pearson"].fillna(0.0).groupby([table["method"], table["gene"]], sort=False).mean()
    means = means[means > 0]  # a constant prediction has no best genes
    best = means.sort_values(ascending=False, kind="stable").groupby(level="method", sort=False).head(n_genes)
    level = best.groupby(level="method").transform("mean")
    return best.iloc[np.lexsort((-best, -level))]
