"""Axes that were given, or new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

T = TypeVar("T", str, str | None)


def as_list(names: str | Sequence[T]) -> list[T]:
    """Return one name or several as a list."""
    return [names] if isinstance(names, str) else list(names)


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
