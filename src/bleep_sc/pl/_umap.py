from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obsm
from bleep_sc._output.messages import listed
from bleep_sc._output.text import in_legend
from bleep_sc.pl._axes import axes_for
from bleep_sc.pl._colors import OWN

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


def umap(adata: AnnData, layer: str = "bleep", *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Draw predictions among the measured profiles of their reference (supplementary figure 1 of the paper).

    Run :func:`bleep_sc.tl.joint_umap` first.

    Parameters
    ----------
    adata
        A query.
    layer
        The predicted layer.
    ax
        Axes to draw on.
    kwargs
        For the predictions, :meth:`matplotlib.axes.Axes.scatter`, such as ``s`` or ``color``.

    Returns
    -------
    The axes.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.joint_umap`:

    >>> ax = bs.pl.umap(adata_query)
    """
    predicted = require_obsm(adata, keys.umap(layer), f"Run bleep_sc.tl.joint_umap(adata, ref, {layer!r}) first.")
    key = keys.umap_record(layer)
    if key not in adata.uns:
        raise KeyError(f"uns[{key!r}] not found (uns has: {listed(adata.uns)}). Run bleep_sc.tl.joint_umap again.")
    record = adata.uns[key]
    each = axes_for(ax, 1, 1, (3.35, 3.8))[0, 0]
    slides = np.asarray(record["reference_library"]).astype(str)
    grey = np.linspace(0.45, 0.8, len(np.unique(slides)))
    for shade, slide in zip(grey, np.unique(slides), strict=True):
        points = record["reference"][slides == slide]
        each.scatter(
            points[:, 0], points[:, 1], s=6, color=str(shade), label=in_legend(f"{slide}, measured"), linewidths=0
        )
    style = {"s": 8, "color": OWN, "linewidths": 0, **kwargs}
    each.scatter(predicted[:, 0], predicted[:, 1], label=in_legend(f"{layer}, predicted"), **style)
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.08), "ncols": 2}
    each.legend(fontsize="small", frameon=False, markerscale=2, **place)
    each.set(xticks=[], yticks=[], xlabel="UMAP1", ylabel="UMAP2")
    each.set_title(
        f"mixing of slides: LISI {record['lisi']:.2f}, silhouette {record['silhouette']:.2f}", fontsize="medium"
    )
    return each
