from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc import _keys
from bleep_sc._checks import dense, libraries, listed, require_layer, require_obsm
from bleep_sc._resolution import microns_per_pixel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

PANEL_INCHES = 3.6
SPOT_SHARE = 0.55
"""Diameter of a spot as a share of the distance to its neighbour, where the scale factors have none."""
MARGIN_SPOTS = 1.5


def spatial(
    adata: AnnData,
    color: str | Sequence[str],
    *,
    layer: str | Sequence[str | None] | None = None,
    library_id: str | Sequence[str] | None = None,
    share_scale: bool = False,
    library_key: str = _keys.LIBRARY,
    spatial_key: str = _keys.SPATIAL,
    ax: Axes | NDArray[np.object_] | None = None,
    **kwargs: Any,
) -> Axes | NDArray[np.object_]:
    """Draw measured and predicted expression over the H&E, layers side by side (the figure 3 of the paper).

    There is a row for every slide and gene, and a column for every layer. Slides without an image are drawn as spots
    alone. The bar is in µm where these are known.

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
        One colour scale for all layers of a row, which compares levels; or one each, which compares patterns, since
        imputed means vary less than single spots do.
    library_key
        Column of ``obs`` that names the slide; not needed for a single one.
    spatial_key
        Key of the coordinates in ``obsm``.
    ax
        Axes to draw on, as many as there are panels.
    kwargs
        For the spots, a :class:`matplotlib.collections.EllipseCollection`, such as ``cmap``, ``alpha`` or ``clim``.

    Returns
    -------
    The axes: one, or an array (rows, layers).

    Examples
    --------
    >>> import bleep_sc as bs
    >>> adata = bs.datasets.toy(n_slices=1)
    >>> ax = bs.pl.spatial(adata, "zonation")
    """
    colors, layers = _as_list(color), [layer] if layer is None or isinstance(layer, str) else list(layer)
    centers = np.asarray(require_obsm(adata, spatial_key, "Pass spatial_key=."), dtype=np.float64)[:, :2]
    names = libraries(adata, library_key)
    shown = list(dict.fromkeys(names.tolist())) if library_id is None else _as_list(library_id)
    if absent := [name for name in shown if name not in names]:
        raise KeyError(f"library_id={listed(absent)} is not in adata (it has: {listed(np.unique(names))}).")
    rows = [(name, each) for name in shown for each in colors]
    values = {(each, source): _values(adata, each, source) for each in colors for source in layers}
    axes = _axes(ax, len(rows), len(layers))
    for i, (name, each) in enumerate(rows):
        spots = np.flatnonzero(names == name)
        limits = [_limits(values[each, source][spots]) for source in layers]
        if share_scale and None not in limits:
            limits = [(min(low for low, _ in limits), max(high for _, high in limits))] * len(layers)  # type: ignore[misc]
        for j, source in enumerate(layers):
            _draw_slide(axes[i, j], adata, name, spots, centers[spots])
            _draw_spots(axes[i, j], adata, name, centers[spots], values[each, source][spots], limits[j], kwargs)
            title = each if each in adata.obs else f"{each}, {'measured' if source is None else source}"
            axes[i, j].set_title(title if len(shown) == 1 else f"{name}: {title}", fontsize="medium")
    return axes[0, 0] if axes.size == 1 else axes


def _as_list(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _axes(ax: Axes | NDArray[np.object_] | None, n_rows: int, n_columns: int) -> NDArray[np.object_]:
    if ax is None:
        import matplotlib.pyplot as plt

        size = (PANEL_INCHES * 1.2 * n_columns, PANEL_INCHES * n_rows)
        return plt.subplots(n_rows, n_columns, figsize=size, squeeze=False, layout="constrained")[1]
    axes = np.asarray(ax, dtype=object).reshape(-1)
    if axes.size != n_rows * n_columns:
        raise ValueError(f"ax= has {axes.size} axes, but there are {n_rows * n_columns} panels to draw.")
    return axes.reshape(n_rows, n_columns)


def _values(adata: AnnData, color: str, layer: str | None) -> NDArray[Any]:
    """Return the values of a gene or a column of ``obs``: numbers, or categories as strings."""
    if color in adata.obs:
        column = adata.obs[color]
        numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        return column.to_numpy(dtype=np.float64) if numeric else column.astype(str).to_numpy(dtype=object)
    if color not in adata.var_names:
        raise KeyError(f"color={color!r} is neither a gene nor a column of obs (obs has: {listed(adata.obs)}).")
    matrix = require_layer(adata, layer, "Pass layer=, or run bleep_sc.tl.impute(adata, ref=adata_ref) first.")
    values = dense(matrix[:, [adata.var_names.get_loc(color)]]).ravel()
    if np.isnan(values).all():
        raise ValueError(f"Gene {color!r} was not predicted: layers[{layer!r}] holds no values for it.")
    return values


def _limits(values: NDArray[Any]) -> tuple[float, float] | None:
    """Return where the colours begin and end, without the one in a hundred highest spots; None for categories."""
    if values.dtype == object:
        return None
    low, high = float(np.nanmin(values)), float(np.nanquantile(values, 0.99))
    return low, high if high > low else float(np.nanmax(values))


def _draw_slide(ax: Axes, adata: AnnData, name: str, spots: NDArray[np.intp], centers: NDArray[np.float64]) -> None:
    """Draw the image of a slide in full-resolution px, where there is one, and a bar in µm."""
    record = adata.uns.get(_keys.SPATIAL, {}).get(name, {})
    for resolution in ("hires", "lowres"):
        if resolution in record.get("images", {}):
            image = record["images"][resolution]
            scale = float(record["scalefactors"][f"tissue_{resolution}_scalef"])
            extent = (0, image.shape[1] / scale, image.shape[0] / scale, 0)
            ax.imshow(image, extent=extent, interpolation="antialiased")
            break
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    mpp, _ = microns_per_pixel(adata, spots, centers, name)
    if np.isfinite(mpp):
        from matplotlib_scalebar.scalebar import ScaleBar

        ax.add_artist(
            ScaleBar(mpp, units="um", location="lower right", box_alpha=0.7, font_properties={"size": "small"})
        )


def _draw_spots(
    ax: Axes,
    adata: AnnData,
    name: str,
    centers: NDArray[np.float64],
    values: NDArray[Any],
    limits: tuple[float, float] | None,
    kwargs: dict[str, Any],
) -> None:
    from matplotlib.collections import EllipseCollection

    diameter = _spot_diameter(adata, name, centers)
    size = np.full(len(centers), diameter)
    shape: dict[str, Any] = {"units": "xy", "offsets": centers, "transOffset": ax.transData}
    style: dict[str, Any] = {"cmap": "magma", "alpha": 0.9, "linewidths": 0}
    if limits is None:
        palette, handles = _palette(values)
        style = {"facecolors": [palette[value] for value in values], "alpha": 0.9, "linewidths": 0}
        ax.add_collection(EllipseCollection(size, size, np.zeros_like(size), **shape, **{**style, **kwargs}))
        ax.legend(handles=handles, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    else:
        style["clim"] = limits
        spots = EllipseCollection(size, size, np.zeros_like(size), array=values, **shape, **{**style, **kwargs})
        ax.add_collection(spots)
        ax.figure.colorbar(spots, ax=ax, shrink=0.6, pad=0.02)
    low, high = centers.min(axis=0) - MARGIN_SPOTS * diameter, centers.max(axis=0) + MARGIN_SPOTS * diameter
    ax.set_xlim(low[0], high[0])
    ax.set_ylim(high[1], low[1])


def _spot_diameter(adata: AnnData, name: str, centers: NDArray[np.float64]) -> float:
    """Return the diameter of the spots, px, from the scale factors; else from how far apart they are."""
    from scipy.spatial import cKDTree

    factors = adata.uns.get(_keys.SPATIAL, {}).get(name, {}).get("scalefactors", {})
    if "spot_diameter_fullres" in factors:
        return float(factors["spot_diameter_fullres"])
    if len(centers) < 2:
        return 1.0
    nearest = cKDTree(centers).query(centers, k=2)[0][:, 1]
    return SPOT_SHARE * float(np.median(nearest))


def _palette(values: NDArray[Any]) -> tuple[dict[str, Any], list[Any]]:
    """Return a colour for every category, and their handles for a legend."""
    from matplotlib import colormaps
    from matplotlib.patches import Patch

    categories = sorted(set(values), key=lambda value: (len(value), value))
    colors = {category: colormaps["tab20"](i % 20) for i, category in enumerate(categories)}
    return colors, [Patch(color=colors[category], label=category) for category in categories]
