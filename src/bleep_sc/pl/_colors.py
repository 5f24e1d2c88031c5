"""Colours that people with any colour vision can tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData

INK, GUIDE = "#0b6e99", "#999999"
"""Of what is drawn, and of lines to compare it with."""
OWN, WARNING = "#b3123a", "#d7301f"
"""Of the prediction among other things, and of tissue that the reference does not know."""
CATEGORIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")
"""Okabe and Ito's, with grey for black, of which H&E has enough."""
MORE = ("#332288", "#882255", "#44aa99", "#999933")
"""Four of Tol's, which can still be told from these."""


def categorical(n: int) -> list[Any]:
    """Return n colours: up to twelve that can be told apart, or else the twenty of matplotlib in turn."""
    from matplotlib import colormaps

    safe = CATEGORIES + MORE
    return list(safe[:n]) if n <= len(safe) else [colormaps["tab20"](i % 20) for i in range(n)]


def palette(categories: Iterable[str], own: Any = None) -> dict[str, Any]:
    """Return a colour for every category in their order: ``own``, where these are colours and enough, or else ours."""
    from matplotlib.colors import is_color_like

    names = list(categories)
    own = [] if own is None or isinstance(own, str) else list(own)
    is_usable = len(own) >= len(names) and all(map(is_color_like, own))
    return dict(zip(names, own if is_usable else categorical(len(names)), strict=False))


def colors_of(adata: AnnData, column: str) -> dict[str, Any]:
    """Return a colour for every category of a column of ``obs``, in their order, and the same on all slides.

    Colours are those of ``uns["{column}_colors"]``, as scanpy keeps them. Spots of none are grey.
    """
    values = adata.obs[column]
    if isinstance(values.dtype, pd.CategoricalDtype):
        known = palette(values.cat.categories.astype(str), adata.uns.get(f"{column}_colors"))
    else:
        known = palette(sorted(set(values.dropna().astype(str)), key=lambda name: (len(name), name)))
    return {**known, str(np.nan): GUIDE} if values.isna().any() else known
