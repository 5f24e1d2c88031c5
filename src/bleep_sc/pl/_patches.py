from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.libraries import libraries, spots_of
from bleep_sc._adata.patches import patches_of
from bleep_sc._adata.places import centers_px
from bleep_sc._output.text import drawn
from bleep_sc.pl._axes import axes_for, panel_size
from bleep_sc.pl._colors import OWN
from bleep_sc.pl._finish import finished
from bleep_sc.pl._look import Look
from bleep_sc.pl._slide import draw_slide

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

INCHES = (3.35, 2.9)
GAP = 4
"""White px between the patches of the gallery, at least."""
APART = 0.12
"""Least distance of two patches that are shown, as a share of the side of the tissue."""
N_CLEAR = 300
"""Patches whose outlines leave the tissue to be seen."""
OUTLINE, SHOWN = "#00000055", OWN
LABEL = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}


def patches(
    adata: AnnData,
    *,
    library_id: str | None = None,
    n_patches: int = 12,
    patches_key: str = keys.PATCHES,
    library_key: str | None = None,
    spatial_key: str | None = None,
    random_state: int = 0,
    img_alpha: float | None = None,
    bw: bool = False,
    figsize: tuple[float, float] | None = None,
    ax: NDArray[np.object_] | None = None,
    show: bool | None = None,
    save: str | Path | bool | None = None,
    return_fig: bool | None = None,
) -> Any:
    """Draw where patches were cut, and some of them, to see whether they show what they should.

    Parameters
    ----------
    adata
        Spots with patches: in memory, in a store, or still in their slide.
    library_id
        The slide to draw; None is the first.
    n_patches
        How many patches the gallery shows.
    patches_key
        Key of the patches in ``obsm``.
    library_key, spatial_key
        Column of ``obs`` that names the slide, and key of the coordinates in ``obsm``; None is what an earlier call was
        told, else ``library_id`` and ``spatial``.
    random_state
        Of the patches that are shown.
    img_alpha, bw, figsize
        As in :func:`bleep_sc.pl.spatial`: opacity of the image, in grey, and width and height of a panel in inches.
    ax
        Two axes to draw on: the slide, and the gallery.
    show, save, return_fig
        As in :func:`bleep_sc.pl.spatial`: show the figure, save it, return it.

    Returns
    -------
    Both axes. On the slide every patch has its outline, and those of the gallery are red and numbered. With
    ``return_fig`` the figure; with ``show`` nothing.

    Examples
    --------
    After the example of :func:`bleep_sc.pp.extract_patches`:

    >>> axes = bs.pl.patches(adata)
    """
    name, rows = next(iter(spots_of(libraries(adata, library_key), library_id).items()))
    centers = centers_px(adata, spatial_key)[rows]
    source = patches_of(adata, patches_key)
    shown = np.sort(_apart(centers, n_patches, random_state))
    record = adata.uns.get(patches_key, {}).get(name, {})
    side = float(record.get("side_px", source.shape[1]))
    look = Look(img_alpha=img_alpha, bw=bw).checked()
    axes = axes_for(ax, 1, 2, panel_size(figsize, INCHES))[0]
    draw_slide(axes[0], adata, name, rows, centers, look)
    _draw_outlines(axes[0], centers, side, shown)
    _draw_gallery(axes[1], source[rows[shown]])
    um = record.get("size_um", float("nan"))
    measure = f"{um:.0f} µm" if np.isfinite(um) else f"{side:.0f} px"
    axes[0].set_title(drawn(f"{name}: {len(rows)} patches of {measure}"), fontsize="medium")
    axes[1].set_title(f"{len(shown)} of them, {source.shape[1]} px", fontsize="medium")
    return finished(axes, "patches", show=show, save=save, return_fig=return_fig)


def _apart(centers: NDArray[np.float64], n: int, random_state: int) -> NDArray[np.intp]:
    """Draw places at random, none next to another as long as there are such."""
    order = np.random.default_rng(random_state).permutation(len(centers))
    least = APART * np.sqrt(np.prod(np.ptp(centers, axis=0)))
    near: list[int] = []
    apart: list[int] = []
    for place in order:
        free = all(np.linalg.norm(centers[place] - centers[other]) >= least for other in apart)
        (apart if free else near).append(place)
        if len(apart) == n:
            break
    return np.array([*apart, *near][:n], dtype=np.intp)


def _draw_outlines(ax: Axes, centers: NDArray[np.float64], side: float, shown: NDArray[np.intp]) -> None:
    from matplotlib.collections import PolyCollection

    square = side / 2 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    outlines = centers[:, None] + square
    width = 0.5 * min(1.0, N_CLEAR / len(centers))  # many outlines would hide the tissue
    ax.add_collection(PolyCollection(list(outlines), facecolors="none", edgecolors=OUTLINE, linewidths=width))
    ax.add_collection(PolyCollection(list(outlines[shown]), facecolors="none", edgecolors=SHOWN, linewidths=1.3))
    for number, spot in enumerate(shown, start=1):
        ax.annotate(
            str(number),
            centers[spot],
            color=SHOWN,
            fontsize="x-small",
            ha="center",
            va="center",
            weight="bold",
            bbox=LABEL,
        )
    low, high = centers.min(axis=0) - side, centers.max(axis=0) + side
    ax.set_xlim(low[0], high[0])
    ax.set_ylim(high[1], low[1])


def _draw_gallery(ax: Axes, patches: NDArray[np.uint8]) -> None:
    n, size = len(patches), patches.shape[1]
    n_columns = int(np.ceil(np.sqrt(n)))
    n_rows = -(-n // n_columns)
    step = size + max(GAP, size // 16)
    mosaic = np.full((n_rows * step, n_columns * step, 3), 255, dtype=np.uint8)
    for i, patch in enumerate(patches):
        top, left = i // n_columns * step, i % n_columns * step
        mosaic[top : top + size, left : left + size] = patch
        ax.annotate(
            str(i + 1),
            (left, top),
            xytext=(2, -2),
            textcoords="offset points",
            va="top",
            color=SHOWN,
            fontsize="small",
            weight="bold",
            bbox=LABEL,
        )
    ax.imshow(mosaic, interpolation="antialiased")
    ax.axis("off")
