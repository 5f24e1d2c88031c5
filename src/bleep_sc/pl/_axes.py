"""Axes that were given, or new ones."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from bleep_sc._output.arguments import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

LETTER_INCHES = 0.095
"""Of a title."""
T = TypeVar("T", str, str | None)


def as_list(names: str | Sequence[T]) -> list[T]:
    """Return one name or several as a list."""
    return [names] if isinstance(names, str) else list(names)


def panel_size(figsize: Sequence[float] | None, default: tuple[float, float]) -> tuple[float, float]:
    """Return width and height of a panel, inches: those given, or else some."""
    if figsize is None:
        return default
    try:
        width, height = map(float, figsize)
    except (TypeError, ValueError):
        width = height = 0.0
    if not (0 < width < np.inf and 0 < height < np.inf):
        raise ValueError(f"figsize={shown(figsize)} must be two positive numbers, width and height in inches.")
    return width, height


def letters_of(inches: float) -> int:
    """Return how many letters of a title stand above a panel of a width."""
    return max(8, int(inches / LETTER_INCHES))


def wrapped(title: str, inches: float) -> str:
    """Return a title on lines that are no longer than a panel is wide."""
    return "\n".join(textwrap.fill(line, letters_of(inches)) for line in title.split("\n"))


def axes_for(
    ax: Axes | NDArray[np.object_] | None, n_rows: int, n_columns: int, inches: tuple[float, float]
) -> NDArray[np.object_]:
    """Return the axes (n_rows, n_columns): those given, or those of a new figure with panels of a width and height."""
    if ax is None:
        import matplotlib.pyplot as plt

        size = (inches[0] * n_columns, inches[1] * n_rows)
        return plt.subplots(n_rows, n_columns, figsize=size, squeeze=False, layout="constrained")[1]
    axes = np.asarray(ax, dtype=object).reshape(-1)
    if axes.size != n_rows * n_columns:
        raise ValueError(f"ax= has {axes.size} axes, but there are {n_rows * n_columns} panels to draw.")
    return axes.reshape(n_rows, n_columns)
