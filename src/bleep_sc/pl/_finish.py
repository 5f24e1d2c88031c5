"""What becomes of a figure: it is returned, shown, or written to a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".svg", ".pdf", ".png")


def finished(
    axes: Any, name: str, *, show: bool | None, save: str | Path | bool | None, return_fig: bool | None
) -> Any:
    """Return the axes, or their figure; save and show it before where that is asked for, as scanpy does."""
    import matplotlib.pyplot as plt

    figure: Figure = np.ravel(axes)[0].get_figure(root=True)
    if save:
        path = _path(name, save)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, bbox_inches="tight")
    if show:
        plt.show()
    if save:
        plt.close(figure)
    if return_fig:
        return figure
    return None if show else axes


def _path(name: str, save: str | Path | bool) -> Path:
    """Return where scanpy would write: in its ``figdir``, the name of the plot and what is given. A path is a path."""
    from scanpy import settings

    if isinstance(save, os.PathLike) or (isinstance(save, str) and os.path.isabs(save)):
        return Path(save)
    given = save if isinstance(save, str) else ""
    ending = next((each for each in FORMATS if given.endswith(each)), f".{settings.file_format_figs}")
    return Path(settings.figdir) / f"{name}{given.removesuffix(ending)}{settings.plot_suffix}{ending}"
