from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._output.messages import listed
from bleep_sc._output.text import drawn
from bleep_sc.metrics import gene_order
from bleep_sc.pl._axes import as_list, axes_for, panel_size
from bleep_sc.pl._finish import finished
from bleep_sc.pl._style import image_style

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

PANEL_INCHES, LETTER_INCHES = 2.3, 0.085
"""Of a panel, and of a letter of the names beside it."""
MOST_NAMES, FEW_NAMES = 30, 12
"""Genes whose names are written, and those that have room for larger letters."""
ABOVE_INCHES = 0.35
"""A title, and what is below the names."""
N_TICKS = 4
"""Of the colour bar, at most, beside its first."""
MEASURED = "measured"


def gene_correlation(
    adata: AnnData,
    layer: str | Sequence[str | None] = (None, "bleep"),
    *,
    figsize: tuple[float, float] | None = None,
    ax: Axes | NDArray[np.object_] | None = None,
    show: bool | None = None,
    save: str | Path | bool | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Draw gene-gene correlations of measured and predicted expression, in one order (figure 4 of the paper).

    The order is that of the first layer: genes that go together there stand together. Run
    :func:`bleep_sc.tl.gene_correlation` for every predicted layer first.

    Parameters
    ----------
    adata
        A query.
    layer
        Layers, side by side; None is the measured expression.
    figsize
        Width and height of a panel, inches.
    ax
        Axes to draw on, as many as there are layers.
    show, save, return_fig
        As in :func:`bleep_sc.pl.spatial`: show the figure, save it, return it.
    kwargs
        For the pictures, :meth:`matplotlib.axes.Axes.imshow`, such as ``cmap``.

    Returns
    -------
    The axes: one, or an array. With ``return_fig`` the figure; with ``show`` nothing.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.gene_correlation`:

    >>> axes = bs.pl.gene_correlation(adata_query)
    """
    from matplotlib.ticker import MaxNLocator

    names = [MEASURED if each is None else each for each in ([layer] if layer is None else as_list(layer))]
    matrices = [_matrix(adata, name) for name in names]
    genes = np.flatnonzero(
        np.all([np.isfinite(matrix.diagonal()) & (matrix.diagonal() != 0) for matrix in matrices], 0)
    )
    if len(genes) < 2:
        raise ValueError(f"Fewer than two genes vary in all of {listed(names)}: there is nothing to draw.")
    blocks = [matrix[genes][:, genes].toarray() for matrix in matrices]
    order = gene_order(blocks[0].astype(np.float64))
    written = [drawn(str(name)) for name in adata.var_names[genes[order]]] if len(genes) <= MOST_NAMES else []
    style = image_style("gene_correlation", kwargs, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    side = PANEL_INCHES + LETTER_INCHES * max(map(len, written), default=0)
    size = panel_size(figsize, (side, side + ABOVE_INCHES * bool(written)))
    axes = axes_for(ax, 1, len(names), size)
    for each, name, block in zip(axes.ravel(), names, blocks, strict=True):
        picture = each.imshow(block[np.ix_(order, order)], **style)
        each.set_title(drawn(name if name == MEASURED else f"predicted ({name})"), fontsize="medium")
        each.set_xticks([])
        each.set_yticks([])
        each.set_xlabel(f"{len(genes)} genes", fontsize="small")
    axes.ravel()[0].set_ylabel(
        drawn(f"in the order of {names[0]} ones" if names[0] == MEASURED else f"in the order of {names[0]}"),
        fontsize="small",
    )
    if written:
        letters = "small" if len(genes) <= FEW_NAMES else "xx-small"
        axes.ravel()[0].set_yticks(range(len(genes)), written, fontsize=letters)
        for each in axes.ravel():
            each.set_xticks(range(len(genes)), written, fontsize=letters, rotation=90)
    bar = axes.ravel()[-1].figure.colorbar(
        picture, ax=list(axes.ravel()), shrink=0.9, pad=0.02, ticks=MaxNLocator(N_TICKS)
    )
    bar.set_label("Pearson r of two genes, over spots", fontsize="small")
    return finished(
        axes[0, 0] if axes.size == 1 else axes[0], "gene_correlation", show=show, save=save, return_fig=return_fig
    )


def _matrix(adata: AnnData, name: str) -> Any:
    key = keys.gene_correlation(name)
    if key not in adata.varp:
        wanted = "bleep" if name == MEASURED else name
        raise KeyError(
            f"varp[{key!r}] not found (adata.varp has: {listed(adata.varp)}). Run "
            f"bleep_sc.tl.gene_correlation(adata, {wanted!r}) first."
        )
    return adata.varp[key].tocsr()
