from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_layer
from bleep_sc._adata.expression import unit_label
from bleep_sc._adata.libraries import libraries, spots_of
from bleep_sc._adata.places import centers_px
from bleep_sc._arrays.blocks import dense
from bleep_sc._output.arguments import shown
from bleep_sc._output.messages import did_you_mean, listed
from bleep_sc._output.text import drawn
from bleep_sc.pl._axes import as_list, letters_of, panel_size, wrapped
from bleep_sc.pl._colors import colors_of, require_map
from bleep_sc.pl._finish import finished
from bleep_sc.pl._legend import legend_inches
from bleep_sc.pl._limits import norms_of
from bleep_sc.pl._look import BESIDE, Look
from bleep_sc.pl._panels import Panel, for_panels, grid_of, panels_of, rows_of
from bleep_sc.pl._slide import draw_slide
from bleep_sc.pl._spots import Spots
from bleep_sc.pl._style import require_style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.typing import ColorType
    from numpy.typing import NDArray

    from bleep_sc.pl._limits import Bound

PANEL_INCHES = (3.35, 2.8)
SLIDE_SHARE, ABOVE_INCHES, TALLEST = 0.75, 0.4, 6.0
"""Of the width of a panel, what the slide takes beside its colours; the title; and of the height, the most."""
IMAGE_ALONE = "H&E"
INSTEAD = {
    **dict.fromkeys(("img_key", "img_res_key", "library_img"), "img=, True, False or an array"),
    **dict.fromkeys(("alpha_img", "img_alpha_key"), "img_alpha="),
    **dict.fromkeys(("outline", "add_outline", "outline_width", "outline_color"), "edgecolor= and linewidth="),
    **dict.fromkeys(("wspace", "hspace"), "figsize=, the size of a panel, and ncols="),
    **dict.fromkeys(("scale_factor", "size_key"), "spot_size=, full-resolution px"),
    **dict.fromkeys(("fig", "return_ax"), "ax= and return_fig="),
    "basis": "spatial_key=",
    "img_cmap": "bw=",
    "shape": "size=, of spots that are circles",
    "use_raw": "layer=",
}
"""What does the same, by the words of scanpy and squidpy."""


def spatial(
    adata: AnnData,
    color: str | Sequence[str | None] | None = None,
    *,
    layer: str | Sequence[str | None] | None = None,
    groups: str | Sequence[str] | None = None,
    library_id: str | Sequence[str] | None = None,
    share_scale: bool = False,
    vmin: Bound | Sequence[Bound] = None,
    vmax: Bound | Sequence[Bound] = None,
    vcenter: Bound | Sequence[Bound] = None,
    norm: Normalize | Sequence[Normalize | None] | None = None,
    cmap: str | Colormap | None = None,
    color_map: str | Colormap | None = None,
    palette: str | Sequence[ColorType] | Mapping[str, ColorType] | None = None,
    na_color: ColorType | None = None,
    img: bool | NDArray[np.number] | None = True,
    img_alpha: float | None = None,
    bw: bool = False,
    crop_coord: tuple[float, float, float, float] | None = None,
    size: float = 1.0,
    spot_size: float | None = None,
    title: str | Sequence[str] | None = None,
    legend_loc: str | None = BESIDE,
    frameon: bool | None = None,
    ncols: int | None = None,
    figsize: tuple[float, float] | None = None,
    library_key: str | None = None,
    spatial_key: str | None = None,
    ax: Axes | NDArray[np.object_] | None = None,
    show: bool | None = None,
    save: str | Path | bool | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Draw measured and predicted expression over the H&E, layers side by side (the figure 3 of the paper).

    Arguments are those of :func:`scanpy.pl.spatial` and :func:`squidpy.pl.spatial_scatter`. Of one layer and one slide
    there is a grid of genes; of several slides a row for every gene, and a column for every slide; of several layers a
    row for every slide and gene, and a column for every layer. Slides without an image are drawn as spots alone. The
    bar is in µm where these are known, and beside the colours stands what the numbers are. Nothing is written into
    ``adata``.

    Parameters
    ----------
    adata
        Spots, with (x, y) in ``obsm[spatial_key]``.
    color
        Genes, or columns of ``obs``. None is the image without spots; in a list, as ``[None, "CYP3A4"]``, it has a
        panel of its own, in front where there are several layers.
    layer
        Layers to take genes from; None is ``X``. Several are drawn side by side, as ``[None, "bleep"]``.
    groups
        Categories to show; spots of others are drawn as if they had none.
    library_id
        Slides to draw; None is all.
    share_scale
        One colour scale for what is side by side, slides or layers of a gene, which compares levels; or one each, which
        compares patterns, since imputed means vary less than single spots do.
    vmin, vmax, vcenter
        Where the colours begin, end, and change side: a number, a percentile as ``"p99"``, a function of the values, or
        a list of these, one for every ``color`` or every panel. Where None, the colours leave out the lowest and the
        highest of a hundred spots, and have no centre.
    norm
        How numbers become colours, in place of these three; one, or a list.
    cmap, color_map
        Colours of numbers, by either name.
    palette
        Colours of categories: the name of a map, colours in turn, or a colour for every category. None is
        ``uns["{color}_colors"]``, where scanpy keeps them, and else colours that can be told apart. A category has one
        colour on all slides.
    na_color
        Colour of spots without a value. None is no colour over an image, and grey without one.
    img
        Whether to draw the image; or another one of the same field, for a single slide, as an array (height, width) or
        (height, width, 3).
    img_alpha
        Opacity of the image.
    bw
        Draw the image in grey.
    crop_coord
        Left, right, top and bottom of what is drawn, full-resolution px. None is the tissue with a margin.
    size
        What the diameter of the spots is multiplied by.
    spot_size
        Diameter of the spots, full-resolution px. None is that of the scale factors, or else .55 of their distance.
    title
        Of the panels; one for all, or a list, one for every ``color`` or every panel.
    legend_loc
        Where the legend of categories stands: ``"right margin"``, ``"on data"``, ``"none"``, or a place that matplotlib
        knows.
    frameon
        False draws no frame.
    ncols
        Panels side by side. None is four, or all layers, or up to four slides.
    figsize
        Width and height of a panel, inches.
    library_key, spatial_key
        Column of ``obs`` that names the slide, and key of the coordinates in ``obsm``; None is what an earlier call was
        told, else ``library_id`` and ``spatial``.
    ax
        Axes to draw on, as many as there are panels.
    show, save
        Show the figure, and save it before: True or the end of its name, as ``"_liver.png"``, in ``figdir`` of scanpy's
        settings; a path, or a name that begins at the root, is where it is written. A saved figure is closed.
    return_fig
        Return the figure.
    kwargs
        For the spots, a :class:`matplotlib.collections.EllipseCollection`, such as ``alpha`` or ``edgecolor``.

    Returns
    -------
    The axes: one, or an array (rows, columns), where places without a panel are hidden. With ``return_fig`` the figure;
    with ``show`` nothing.

    Raises
    ------
    KeyError
        When a gene, column, layer, slide or category is not there.
    ValueError
        When a gene was not predicted, or an argument is not what scanpy would take.

    Examples
    --------
    >>> import bleep_sc as bs
    >>> adata = bs.datasets.toy(n_slices=1)
    >>> ax = bs.pl.spatial(adata, "zonation")
    >>> axes = bs.pl.spatial(adata, [None, "CYP3A4", "HAL"], vmax="p95", size=1.3, bw=True)
    """
    from matplotlib.collections import EllipseCollection

    look = Look(img, img_alpha, bw, crop_coord, size, spot_size, na_color, legend_loc, frameon).checked()
    colors, layers = _as_colors(color), [layer] if layer is None or isinstance(layer, str) else list(layer)
    centers, map_of_numbers = centers_px(adata, spatial_key), _one_map(cmap, color_map)
    require_style("spatial", kwargs, "the spots", EllipseCollection, instead=INSTEAD)
    slides = spots_of(libraries(adata, library_key), library_id)
    _check_image(img, slides)
    compared = panels_of(list(slides), colors, layers)
    panels = [panel for each in compared for panel in each]
    columns = {of: _values(adata, *of) for of in dict.fromkeys((each.color, each.layer) for each in panels)}
    of_panels = ((columns[each.color, each.layer], slides[each.slide]) for each in panels)
    values: list[Any] = [None if column is None else column[rows] for column, rows in of_panels]
    categories = _categories(adata, panels, palette, groups)
    ends = [for_panels(name, value, panels, colors) for name, value in _named(vmin, vmax, vcenter, norm)]
    norms: list[Normalize | None] = []
    for each in compared:
        of = slice(len(norms), len(norms) + len(each))
        norms += norms_of(values[of], *(end[of] for end in ends), share=share_scale)
    named = [name for of in categories.values() for name in of] if look.legend_loc == BESIDE else []
    inches = panel_size(figsize, _inches([centers[rows] for rows in slides.values()], named))
    across = min(inches[0], PANEL_INCHES[0]) if figsize is None else inches[0]
    own = _on_lines([_title(adata, each, len(slides)) for each in panels], letters_of(across))
    titles = own if title is None else for_panels("title", title, panels, colors)
    across *= 1.0 if title is None else SLIDE_SHARE

    axes, drawn_on = grid_of(rows_of(compared, ncols, whole=len(layers) > 1), ax, inches)
    for on, panel, inside, scale, said in zip(drawn_on, panels, values, norms, titles, strict=True):
        rows = slides[panel.slide]
        over_image = draw_slide(on, adata, panel.slide, rows, centers[rows], look)
        spots = Spots(on, adata, panel.slide, centers[rows], look, over_image=over_image)
        if panel.color in categories:
            spots.draw_categories(inside, categories[panel.color], **kwargs)
        elif scale is not None:
            spots.draw_numbers(inside, scale, cmap=map_of_numbers, label=_label(adata, panel), **kwargs)
        else:
            spots.draw(**kwargs)
        on.set_title(drawn(wrapped(said, across)), fontsize="medium")
    return finished(drawn_on[0] if len(panels) == 1 else axes, "spatial", show=show, save=save, return_fig=return_fig)


def _as_colors(color: str | Sequence[str | None] | None) -> list[str | None]:
    colors: list[str | None] = [None] if color is None else as_list(color)
    if not colors:
        raise ValueError("color=[] must name a gene or a column of obs, or be None for the image alone.")
    return colors


def _named(*bounds: Any) -> zip[tuple[str, Any]]:
    return zip(("vmin", "vmax", "vcenter", "norm"), bounds, strict=True)


def _one_map(cmap: Any, color_map: Any) -> Any:
    """Return the map that is given by one of its names."""
    if cmap is not None and color_map is not None:
        raise ValueError(f"cmap={shown(cmap)} and color_map={shown(color_map)} are one thing. Pass either.")
    return require_map(color_map if cmap is None else cmap)


def _check_image(img: Any, slides: Mapping[str, Any]) -> None:
    if img is None or isinstance(img, bool):
        return
    if getattr(img, "ndim", 0) not in (2, 3):
        raise ValueError(f"img={shown(img)} must be True, False or an array, (height, width) or (height, width, 3).")
    if len(slides) > 1:
        raise ValueError(f"img= is one image, but there are several slides ({listed(slides)}). Pass library_id=.")


def _categories(
    adata: AnnData, panels: Sequence[Panel], palette: Any, groups: str | Sequence[str] | None
) -> dict[str | None, dict[str, Any]]:
    """Return the colour of every category that is shown, by the columns that have some."""
    columns = {each.color for each in panels if each.color in adata.obs and not _is_numeric(adata.obs[each.color])}
    colors: dict[str | None, dict[str, Any]] = {each: colors_of(adata, str(each), palette) for each in columns}
    if groups is None:
        return colors
    chosen, known = as_list(groups), [name for of in colors.values() for name in of]
    if absent := [name for name in chosen if name not in known]:
        raise KeyError(f"groups={listed(absent)} is no category of what color= names (it has: {listed(known)}).")
    return {each: {name: of[name] for name in of if name in chosen} for each, of in colors.items()}


def _is_numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _values(adata: AnnData, color: str | None, layer: str | None) -> Any:
    """Return the values of a gene or a column of ``obs``: numbers, or categories as texts and None; None of none."""
    if color is None:
        return None
    if color in adata.obs:
        column = adata.obs[color]
        if _is_numeric(column):
            return column.to_numpy(dtype=np.float64, na_value=np.nan)
        return column.astype(str).astype(object).where(column.notna(), None).to_numpy(dtype=object)
    if color not in adata.var_names:
        meant = did_you_mean([color], [*adata.var_names, *adata.obs])
        raise KeyError(f"color={color!r} is neither a gene nor a column of obs (obs has: {listed(adata.obs)}).{meant}")
    matrix = require_layer(adata, layer, "Pass layer=, or run bleep_sc.tl.impute(adata, ref=adata_ref) first.")
    values = dense(matrix[:, [adata.var_names.get_loc(color)]]).ravel()
    if np.isnan(values).all():
        raise ValueError(
            f"Gene {color!r} was not predicted: layers[{layer!r}] holds no values for it. BLEEP predicts any gene of "
            "the reference (bleep_sc.tl.impute(..., genes=None)), other methods those of var['highly_variable']."
        )
    return values


def _label(adata: AnnData, panel: Panel) -> str:
    return "" if panel.color in adata.obs else unit_label(adata, panel.layer)


def _title(adata: AnnData, panel: Panel, n_slides: int) -> str:
    """Say what a panel shows, and whether it was measured or predicted."""
    if panel.color is None:
        title = IMAGE_ALONE
    else:
        title = panel.color if panel.color in adata.obs else f"{panel.color}, {_origin(adata, panel.layer)}"
    return title if n_slides == 1 else f"{panel.slide}: {title}"


def _on_lines(titles: list[str], longest: int) -> list[str]:
    """Return titles, of one line or all of two."""
    return titles if max(map(len, titles)) <= longest else [title.replace(", ", ",\n", 1) for title in titles]


def _inches(slides: Sequence[NDArray[np.float64]], categories: Sequence[str]) -> tuple[float, float]:
    """Return width and height of a panel, as high as the most slender slide needs, and as wide as a legend."""
    slender = max(np.divide(*(np.ptp(centers, axis=0) + 1)[::-1]) for centers in slides)
    width, least = PANEL_INCHES[0], PANEL_INCHES[1] / 2
    height = float(np.clip(SLIDE_SHARE * width * slender + ABOVE_INCHES, least, TALLEST))
    return max(width, SLIDE_SHARE * width + legend_inches(categories, height)), height


def _origin(adata: AnnData, layer: str | None) -> str:
    if layer is None:
        imputed = keys.IMPUTED in adata.var and bool(adata.var[keys.IMPUTED].all())
        return "predicted" if imputed else "measured"
    return f"predicted ({layer})" if keys.imputed(layer) in adata.uns else layer
