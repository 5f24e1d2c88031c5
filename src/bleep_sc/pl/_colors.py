"""Colours that people with any colour vision can tell apart."""

from __future__ import annotations

from typing import Any

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
