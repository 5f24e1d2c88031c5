from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obsm
from bleep_sc._output.messages import listed
from bleep_sc._output.text import drawn, in_legend
from bleep_sc.pl._axes import axes_for, panel_size
from bleep_sc.pl._colors import OWN, as_people_count
from bleep_sc.pl._finish import finished
from bleep_sc.pl._look import BESIDE, NOWHERE, ON_DATA, Look
from bleep_sc.pl._style import require_style

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes

BELOW = "below"
"""Where the legend stands."""


def umap(
    adata: AnnData,
    layer: str = "bleep",
    *,
    title: str | None = None,
    legend_loc: str | None = BELOW,
    frameon: bool | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | bool | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Draw predictions among the measured profiles of their reference (supplementary figure 1 of the paper).

    Run :func:`bleep_sc.tl.joint_umap` first.

    Parameters
    ----------
    adata
        A query.
    layer
        The predicted layer.
    title
        In place of how well the slides mix.
    legend_loc
        ``"below"`` the axes, ``"right margin"``, ``"on data"``, ``"none"``, or a place that matplotlib knows.
    frameon
        False draws no frame.
    figsize
        Width and height of the figure, inches.
    ax
        Axes to draw on.
    show, save, return_fig
        As in :func:`bleep_sc.pl.spatial`: show the figure, save it, return it.
    kwargs
        For the predictions, :meth:`matplotlib.axes.Axes.scatter`, such as ``s`` or ``color``.

    Returns
    -------
    The axes. With ``return_fig`` the figure; with ``show`` nothing.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.joint_umap`:

    >>> ax = bs.pl.umap(adata_query)
    """
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.patheffects import withStroke

    require_style("umap", kwargs, "the predictions", PathCollection, Axes.scatter)
    predicted = require_obsm(adata, keys.umap(layer), f"Run bleep_sc.tl.joint_umap(adata, ref, {layer!r}) first.")
    key = keys.umap_record(layer)
    if key not in adata.uns:
        raise KeyError(f"uns[{key!r}] not found (uns has: {listed(adata.uns)}). Run bleep_sc.tl.joint_umap again.")
    record = adata.uns[key]
    _check_color(kwargs.get("color"), layer)
    look = Look(legend_loc=None if legend_loc == BELOW else legend_loc, frameon=frameon).checked()
    each = axes_for(ax, 1, 1, panel_size(figsize, (3.35, 3.95)))[0, 0]
    slides = np.asarray(record["reference_library"]).astype(str)
    names = sorted(set(slides.tolist()), key=as_people_count)
    for shade, slide in zip(np.linspace(0.45, 0.8, len(names)), names, strict=True):
        points = record["reference"][slides == slide]
        label = in_legend(f"{slide}, measured")
        each.scatter(points[:, 0], points[:, 1], s=6, color=str(shade), label=label, linewidths=0)
    style = {"s": 8, "color": OWN, "linewidths": 0, **kwargs}
    each.scatter(predicted[:, 0], predicted[:, 1], label=in_legend(f"{layer}, predicted"), **style)
    if legend_loc == BELOW:
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.08), "ncols": 2}
        each.legend(fontsize="small", frameon=False, markerscale=2, **place)
    elif legend_loc == BESIDE:
        each.legend(fontsize="small", frameon=False, markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5))
    elif legend_loc == ON_DATA:
        halo, middle = withStroke(linewidth=2, foreground="white"), {"ha": "center", "va": "center", "weight": "bold"}
        for points in each.collections:
            x, y = np.median(np.asarray(points.get_offsets()), axis=0)
            each.text(x, y, str(points.get_label()), fontsize="small", path_effects=[halo], **middle)
    elif look.legend_loc not in (None, NOWHERE):
        each.legend(fontsize="small", markerscale=2, loc=look.legend_loc)
    each.set(xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2")
    if frameon is False:
        each.axis("off")
    n_spots = f"{len(slides)} spots measured, {len(predicted)} predicted"
    mixing = f"mixing, 0 to 1: LISI {record['lisi']:.2f}, silhouette {record['silhouette']:.2f}"
    each.set_title(f"{n_spots}\n{mixing}" if title is None else drawn(title), fontsize="medium")
    return finished(each, "umap", show=show, save=save, return_fig=return_fig)


def _check_color(color: Any, layer: str) -> None:
    from matplotlib.colors import is_color_like

    if isinstance(color, str) and not is_color_like(color):
        raise ValueError(
            f"color={color!r} is no colour: here it is that of all predictions. For a gene or a column of obs: "
            f"sc.pl.embedding(adata, {keys.umap(layer)!r}, color={color!r}, layer={layer!r})."
        )
