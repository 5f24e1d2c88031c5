from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._output.messages import listed
from bleep_sc._output.text import drawn
from bleep_sc.metrics import gene_order
from bleep_sc.pl._axes import as_list, axes_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

PANEL_INCHES = 2.3
MOST_NAMES = 30
MEASURED = "measured"


def gene_correlation(
    adata: AnnData,
    layer: str | Sequence[str | None] = (None, "bleep"),
    *,
    ax: Axes | NDArray[np.object_] | None = None,
    **kwargs: Any,
) -> Axes | NDArray[np.object_]:
    """Draw gene-gene correlations of measured and predicted expression, in one order (figure 4 of the paper).

    The order is that of the first layer: genes that go together there stand together. Run
    :func:`bleep_sc.tl.gene_correlation` for every predicted layer first.

    Parameters
    ----------
    adata
        A query.
    layer
        Layers, side by side; None is the measured expression.
    ax
        Axes to draw on, as many as there are layers.
    kwargs
        For the pictures, :meth:`matplotlib.axes.Axes.imshow`, such as ``cmap``.

    Returns
    -------
    The axes: one, or an array.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.gene_correlation`:

    >>> axes = bs.pl.gene_correlation(adata_query)
    """
    names = [MEASURED if each is None else each for each in ([layer] if layer is None else as_list(layer))]
    matrices = [_matrix(adata, name) for name in names]
    genes = np.flatnonzero(
        np.all([np.isfinite(matrix.diagonal()) & (matrix.diagonal() != 0) for matrix in matrices], 0)
    )
    if len(genes) < 2:
        raise ValueError(f"Fewer than two genes vary in all of {listed(names)}: there is nothing to draw.")
    blocks = [matrix[genes][:, genes].toarray() for matrix in matrices]
    order = gene_order(blocks[0].astype(np.float64))
    axes = axes_for(ax, 1, len(names), (PANEL_INCHES, PANEL_INCHES))
    style = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1, "interpolation": "nearest", **kwargs}
    for each, name, block in zip(axes.ravel(), names, blocks, strict=True):
        picture = each.imshow(block[np.ix_(order, order)], **style)
        each.set_title(drawn(name), fontsize="medium")
        each.set_xticks([])
        each.set_yticks([])
    if len(genes) <= MOST_NAMES:
        first = axes.ravel()[0]
        first.set_yticks(range(len(genes)), map(drawn, adata.var_names[genes[order]]), fontsize="xx-small")
    axes.ravel()[-1].figure.colorbar(picture, ax=list(axes.ravel()), shrink=0.7, pad=0.02, label="Pearson r")
    return axes[0, 0] if axes.size == 1 else axes[0]


def _matrix(adata: AnnData, name: str) -> Any:
    key = keys.gene_correlation(name)
    if key not in adata.varp:
        wanted = "bleep" if name == MEASURED else name
        raise KeyError(
            f"varp[{key!r}] not found (adata.varp has: {listed(adata.varp)}). Run "
            f"bleep_sc.tl.gene_correlation(adata, {wanted!r}) first."
        )
    return adata.varp[key].tocsr()
