from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_layer
from bleep_sc._adata.libraries import libraries, spots_of
from bleep_sc._adata.places import centers_px
from bleep_sc._arrays.blocks import dense
from bleep_sc._output.messages import listed
from bleep_sc._output.text import drawn
from bleep_sc.pl._axes import as_list, axes_for
from bleep_sc.pl._colors import colors_of
from bleep_sc.pl._slide import draw_slide, draw_spots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

PANEL_INCHES = (3.35, 2.8)


def spatial(
    adata: AnnData,
    color: str | Sequence[str],
    *,
    layer: str | Sequence[str | None] | None = None,
    library_id: str | Sequence[str] | None = None,
    share_scale: bool = False,
    vmin: float | None = None,
    vmax: float | None = None,
    library_key: str | None = None,
    spatial_key: str | None = None,
    ax: Axes | NDArray[np.object_] | None = None,
    **kwargs: Any,
) -> Axes | NDArray[np.object_]:
    """Draw measured and predicted expression over the H&E, layers side by side (the figure 3 of the paper).

    There is a row for every slide and gene, and a column for every layer; of a single layer, a row for every gene and a
    column for every slide. Slides without an image are drawn as spots alone. The bar is in µm where these are known.
    Categories have one colour on all slides, that of ``uns["{color}_colors"]`` where scanpy has put one there.

    Parameters
    ----------
    adata
        Spots, with (x, y) in ``obsm[spatial_key]``.
    color
        Genes, or columns of ``obs``.
    layer
        Layers to take genes from; None is ``X``. Several are drawn side by side, as ``[None, "bleep"]``.
    library_id
        Slides to draw; None is all.
    share_scale
        One colour scale for a row, which compares levels; or one each, which compares patterns, since imputed means
        vary less than single spots do.
    vmin, vmax
        Where the colours begin and end; None leaves out the lowest and the highest of a hundred spots.
    library_key, spatial_key
        Column of ``obs`` that names the slide, and key of the coordinates in ``obsm``; None is what an earlier call was
        told, else ``library_id`` and ``spatial``.
    ax
        Axes to draw on, as many as there are panels.
    kwargs
        For the spots, a :class:`matplotlib.collections.EllipseCollection`, such as ``cmap`` or ``alpha``.

    Returns
    -------
    The axes: one, or an array (rows, columns).

    Examples
    --------
    >>> import bleep_sc as bs
    >>> adata = bs.datasets.toy(n_slices=1)
    >>> ax = bs.pl.spatial(adata, "zonation")
    """
    _check_style(kwargs)
    colors, layers = as_list(color), [layer] if layer is None or isinstance(layer, str) else list(layer)
    centers = centers_px(adata, spatial_key)
    shown = spots_of(libraries(adata, library_key), library_id)
    if len(layers) == 1:
        panels = [[(name, each, layers[0]) for name in shown] for each in colors]
    else:
        panels = [[(name, each, source) for source in layers] for name in shown for each in colors]
    values = {(each, source): _values(adata, each, source) for each in colors for source in layers}
    palettes = {each: colors_of(adata, each) for (each, _), of in values.items() if of.dtype == object}
    axes = axes_for(ax, len(panels), len(panels[0]), PANEL_INCHES)
    for i, row in enumerate(panels):
        limits = [_limits(values[each, source][shown[name]], vmin, vmax) for name, each, source in row]
        if share_scale and None not in limits:
            limits = [(min(low for low, _ in limits), max(high for _, high in limits))] * len(row)  # type: ignore[misc]
        for j, (name, each, source) in enumerate(row):
            spots = shown[name]
            draw_slide(axes[i, j], adata, name, spots, centers[spots])
            inside = values[each, source][spots]
            draw_spots(axes[i, j], adata, name, centers[spots], inside, limits[j], kwargs, palettes.get(each))
            title = each if each in adata.obs else f"{each}, {_origin(adata, source)}"
            axes[i, j].set_title(drawn(title if len(shown) == 1 else f"{name}: {title}"), fontsize="medium")
    return axes[0, 0] if axes.size == 1 else axes


def _origin(adata: AnnData, layer: str | None) -> str:
    """Say whether a layer was measured or predicted."""
    if layer is None:
        imputed = keys.IMPUTED in adata.var and bool(adata.var[keys.IMPUTED].all())
        return "predicted" if imputed else "measured"
    return f"predicted ({layer})" if keys.imputed(layer) in adata.uns else layer


def _check_style(kwargs: dict[str, Any]) -> None:
    from matplotlib.collections import EllipseCollection

    unknown = [name for name in kwargs if not hasattr(EllipseCollection, f"set_{name}")]
    if unknown:
        raise TypeError(
            f"pl.spatial does not take {listed(unknown)}. Keywords go to the spots, an EllipseCollection (cmap, alpha, "
            "linewidths, ...); give axes of your own size as ax=, and save with ax.figure.savefig(...)."
        )


def _values(adata: AnnData, color: str, layer: str | None) -> NDArray[Any]:
    """Return the values of a gene or a column of ``obs``: numbers, or categories as strings."""
    if color in adata.obs:
        column = adata.obs[color]
        numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        named = column.astype(str).where(column.notna(), str(np.nan))
        return column.to_numpy(dtype=np.float64) if numeric else named.to_numpy(dtype=object)
    if color not in adata.var_names:
        raise KeyError(f"color={color!r} is neither a gene nor a column of obs (obs has: {listed(adata.obs)}).")
    matrix = require_layer(adata, layer, "Pass layer=, or run bleep_sc.tl.impute(adata, ref=adata_ref) first.")
    values = dense(matrix[:, [adata.var_names.get_loc(color)]]).ravel()
    if np.isnan(values).all():
        raise ValueError(
            f"Gene {color!r} was not predicted: layers[{layer!r}] holds no values for it. BLEEP predicts any gene of "
            "the reference (bleep_sc.tl.impute(..., genes=None)), other methods those of var['highly_variable']."
        )
    return values


def _limits(values: NDArray[Any], vmin: float | None, vmax: float | None) -> tuple[float, float] | None:
    """Return where the colours begin and end, without the one in a hundred lowest and highest; None for categories."""
    if values.dtype == object:
        return None
    low, high = np.nanquantile(values, [0.01, 0.99])
    low, high = (low, high) if high > low else (np.nanmin(values), np.nanmax(values))
    return float(low if vmin is None else vmin), float(high if vmax is None else vmax)
