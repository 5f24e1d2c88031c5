"""Colours that people with any colour vision can tell apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import pandas as pd

from bleep_sc._output.arguments import shown
from bleep_sc._output.messages import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

INK, GUIDE = "#0b6e99", "#999999"
"""Of what is drawn, and of lines to compare it with."""
OWN, WARNING = "#b3123a", "#d7301f"
"""Of the prediction among other things, and of tissue that the reference does not know."""
EXPRESSION, TRUST = "YlOrRd", "YlGn"
"""Maps of what is drawn over H&E, whose tissue has neither's colours, from light to dark: of expression and other
numbers, and of how far a prediction is to be trusted."""
CATEGORIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")
"""Okabe and Ito's, with grey for black, of which H&E has enough."""
MORE = ("#332288", "#882255", "#44aa99", "#999933")
"""Four of Tol's, which can still be told from these."""


def categorical(n: int) -> list[Any]:
    """Return n colours: up to twelve that can be told apart, or else those of scanpy, of which there are 102."""
    if n <= len(CATEGORIES + MORE):
        return list((CATEGORIES + MORE)[:n])
    from scanpy.plotting.palettes import default_20, default_28, default_102

    own = next((each for each in (default_20, default_28) if n <= len(each)), default_102)
    return list(islice(cycle(own), n))


def colors_of(adata: AnnData, column: str, palette: Any = None) -> dict[str, Any]:
    """Return a colour for every category of a column of ``obs``, in their order, and the same on all slides.

    Colours are those of ``palette``, as scanpy takes it: the name of a map, colours in turn, or a colour for every
    category. Where none is given they are those of ``uns["{column}_colors"]``, where scanpy keeps them.
    """
    from matplotlib.colors import is_color_like

    names = categories_of(adata.obs[column])
    if palette is not None:
        return dict(zip(names, _of_palette(palette, names, column), strict=True))
    own = adata.uns.get(f"{column}_colors")
    own = [] if own is None or isinstance(own, str) else list(own)
    is_usable = len(own) >= len(names) and all(map(is_color_like, own))
    return dict(zip(names, own if is_usable else categorical(len(names)), strict=False))


def require_map(cmap: Any) -> Any:
    """Return a map of colours, or refuse a name that matplotlib does not know."""
    from matplotlib import colormaps

    if isinstance(cmap, str) and cmap not in colormaps:
        raise ValueError(f"cmap={cmap!r} must be a map of matplotlib, such as 'viridis' or 'magma_r'.")
    return cmap


def categories_of(values: pd.Series) -> list[str]:
    """Return the categories of a column in their order; of texts as people count, ``"9"`` before ``"10"``."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.cat.categories.astype(str).tolist()
    return sorted(set(values.dropna().astype(str)), key=as_people_count)


def as_people_count(name: str) -> list[Any]:
    """Return what names are sorted by: texts as texts, and the numbers in them as numbers."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _of_palette(palette: Any, names: Sequence[str], column: str) -> list[Any]:
    """Return the colours that a palette has for categories."""
    from matplotlib import colormaps
    from matplotlib.colors import is_color_like, to_hex

    remedy = "Pass the name of a map of matplotlib, colours, or a dict with a colour for every category."
    if isinstance(palette, str):
        if palette not in colormaps:
            raise ValueError(f"palette={palette!r} is no map of matplotlib. {remedy}")
        return [to_hex(colormaps[palette](i / max(1, len(names) - 1))) for i in range(len(names))]
    if isinstance(palette, Mapping):
        if absent := [name for name in names if name not in palette]:
            raise KeyError(f"palette={shown(palette)} has no colour for {listed(absent)} of obs[{column!r}]. {remedy}")
        colors = [palette[name] for name in names]
    elif hasattr(palette, "by_key"):  # a cycler
        colors = palette.by_key().get("color", [])
    else:
        colors = list(palette) if hasattr(palette, "__iter__") else [palette]
    if not colors or not all(map(is_color_like, colors)):
        raise ValueError(f"palette={shown(palette)} holds what is no colour. {remedy}")
    return list(islice(cycle(colors), len(names)))
