from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc import slides
from bleep_sc._adata import keys
from bleep_sc._adata.libraries import libraries, one_slide
from bleep_sc._adata.places import centers_px, spot_diameter
from bleep_sc._adata.unregistered import as_measured, registration_of
from bleep_sc._output.messages import listed
from bleep_sc._output.text import drawn
from bleep_sc.pl._axes import axes_for
from bleep_sc.pl._colors import OWN
from bleep_sc.pl._finish import finished
from bleep_sc.pl._slide import draw_slide

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

INCHES = (2.34, 2.3)
N_SQUARES = 8
"""Of the chequerboard, along the longer side of the tissue."""
MARGIN = 0.06
"""Around the spots, as a share of the longer side of the tissue."""
MOST_NAMED = 20
"""Landmarks whose names are written."""
LONGEST_ARROW = 0.06
"""How long the longest residual is drawn, as a share of the longer side of the tissue, at most."""
NOTHING = 1e-6
"""As a share of that side: a residual that is rounding alone has no arrow."""
SHORTEST = 1e-3
"""Residual that is said, µm or px."""
ABOVE_BAR = 7
FACTORS = (200, 100, 50, 20, 10, 5, 2, 1)
SPOT, THERE = "#1a1a1a", "#0072b2"
LABEL = {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}


def registration(
    adata: AnnData,
    *,
    library_id: str | None = None,
    library_key: str | None = None,
    ax: NDArray[np.object_] | None = None,
    show: bool | None = None,
    save: str | Path | bool | None = None,
    return_fig: bool | None = None,
) -> Any:
    """Draw how a slide was laid on another image, to see whether it lies right.

    Look at edges of the tissue that run from one square of the chequerboard into the next: where the map is right they
    go on, where it is wrong they break.

    Parameters
    ----------
    adata
        After :func:`bleep_sc.pp.register`, :func:`bleep_sc.pp.register_scan` or :func:`bleep_sc.pp.register_section`.
    library_id
        The slide to draw, of several that were registered.
    library_key
        Column of ``obs`` that names the slide; None is what an earlier call was told, else ``library_id``.
    ax
        Three axes to draw on.
    show, save, return_fig
        As in :func:`bleep_sc.pl.spatial`: show the figure, save it, return it.

    Returns
    -------
    Three axes: the measured image and the new one, with spots and landmarks, and both as the squares of a
    chequerboard. Arrows on the new image lead from where the map takes a landmark to where it belongs; they are
    enlarged as the title says. With ``return_fig`` the figure; with ``show`` nothing.

    Examples
    --------
    After the example of :func:`bleep_sc.pp.register`:

    >>> axes = bs.pl.registration(adata)
    """
    name, rows, entry = _registered(adata, library_id, library_key)
    before = as_measured(adata, name, rows, entry["spatial_key"])
    old, new = centers_px(before, keys.SPATIAL), centers_px(adata, entry["spatial_key"])[rows]
    axes = axes_for(ax, 1, 3, INCHES)[0]
    source, target = entry.get("source"), entry.get("target")
    draw_slide(axes[0], before, name, np.arange(len(rows)), old, marks=source)
    _draw_spots(axes[0], old, spot_diameter(before, name, old))
    draw_slide(axes[1], adata, name, rows, new, marks=target)
    _draw_spots(axes[1], new, spot_diameter(adata, name, new))
    enlarged = _draw_landmarks(axes[0], axes[1], entry, _side(new)) if "source" in entry else 0
    draw_slide(axes[2], adata, name, rows, new)
    _draw_squares(axes[2], before.uns[keys.SPATIAL][name], entry["matrix"], new)
    for each, places, set_there in zip(axes, (old, new, new), ("source", "target", None), strict=True):
        _crop(each, np.vstack([places, entry[set_there]]) if set_there in entry else places)
    titles = (drawn(f"{name}, as measured"), _said(entry, enlarged), "both, square by square")
    for each, title in zip(axes, titles, strict=True):
        each.set_title(title, fontsize="small")
    return finished(axes, "registration", show=show, save=save, return_fig=return_fig)


def _registered(
    adata: AnnData, library_id: str | None, library_key: str | None
) -> tuple[str, NDArray[np.intp], dict[str, Any]]:
    known = list(adata.uns.get(keys.REGISTRATION, {}))
    of_each = libraries(adata, library_key)
    here = [name for name in known if name in of_each]
    name, rows = one_slide(of_each, here[0] if library_id is None and len(here) == 1 else library_id)
    entry = registration_of(adata, name)
    if entry is None:
        raise KeyError(
            f"Slide {name!r} was not registered (uns[{keys.REGISTRATION!r}] has: {listed(known)}). Run "
            "bleep_sc.pp.register(adata, image, landmarks) first."
        )
    return name, rows, entry


def _side(places: NDArray[np.float64]) -> float:
    return float(np.ptp(places, axis=0).max())


def _draw_spots(ax: Axes, centers: NDArray[np.float64], diameter: float) -> None:
    from matplotlib.collections import EllipseCollection

    size = np.full(len(centers), diameter)
    shape: dict[str, Any] = {"units": "xy", "offsets": centers, "transOffset": ax.transData}
    ax.add_collection(
        EllipseCollection(
            size, size, np.zeros_like(size), facecolors="none", edgecolors=SPOT, linewidths=0.4, alpha=0.6, **shape
        )
    )


def _draw_landmarks(first: Axes, second: Axes, entry: dict[str, Any], side: float) -> int:
    """Draw landmarks on both images, and residuals on the second; return by how much these are enlarged."""
    source, target = np.asarray(entry["source"]), np.asarray(entry["target"])
    mapped = slides.transform_points(source, entry["matrix"])
    from matplotlib.patheffects import withStroke

    few = len(source) <= MOST_NAMED
    style: dict[str, Any] = {"s": 28 if few else 5, "linewidths": 1.2 if few else 0.5, "zorder": ABOVE_BAR}
    style["path_effects"] = [withStroke(linewidth=style["linewidths"] + 1.5, foreground="white")]
    first.scatter(*source.T, marker="+", color=OWN, **style)
    second.scatter(*target.T, marker="+", color=OWN, **style)
    off = target - mapped
    longest = float(np.linalg.norm(off, axis=1).max())
    factor = 1
    if longest > NOTHING * side:
        factor = next((each for each in FACTORS if each * longest <= LONGEST_ARROW * side), 1)
        arrows: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.006, "zorder": ABOVE_BAR}
        second.quiver(*mapped.T, *(factor * off).T, color=THERE, **arrows)
    if few:
        for label, one, other in zip(entry["landmarks"], source, target, strict=True):
            for axis, place in ((first, one), (second, other)):
                axis.annotate(
                    drawn(str(label)),
                    place,
                    xytext=(4, 4),
                    textcoords="offset points",
                    fontsize="x-small",
                    color=OWN,
                    weight="bold",
                    bbox=LABEL,
                    zorder=ABOVE_BAR,
                )
    return factor


def _draw_squares(ax: Axes, record: dict[str, Any], matrix: NDArray[np.float64], places: NDArray[np.float64]) -> None:
    """Lay the image before over every second square of the new one, where there is one."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path
    from matplotlib.transforms import Affine2D

    picture = next((name for name in ("hires", "lowres") if name in record.get("images", {})), None)
    if picture is None:
        return
    factor = float(record["scalefactors"][f"tissue_{picture}_scalef"])
    low, step = places.min(axis=0) - MARGIN * _side(places), (1 + 2 * MARGIN) * _side(places) / N_SQUARES
    corners = [low + step * np.array(at) for at in np.ndindex(N_SQUARES, N_SQUARES) if sum(at) % 2]
    square = step * np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
    board = Path.make_compound_path(*(Path(corner + square, closed=True) for corner in corners))
    pixels = np.asarray(record["images"][picture])
    extent = (0, pixels.shape[1] / factor, pixels.shape[0] / factor, 0)
    shown = ax.imshow(pixels, extent=extent, transform=Affine2D(matrix) + ax.transData, interpolation="antialiased")
    shown.set_clip_path(PathPatch(board, transform=ax.transData))
    ax.add_patch(PathPatch(board, facecolor="none", edgecolor="white", linewidth=0.6))


def _crop(ax: Axes, places: NDArray[np.float64]) -> None:
    margin = MARGIN * _side(places)
    low, high = places.min(axis=0) - margin, places.max(axis=0) + margin
    ax.set_xlim(low[0], high[0])
    ax.set_ylim(high[1], low[1])


def _said(entry: dict[str, Any], enlarged: int) -> str:
    if "rms_px" not in entry:
        return f"on the new image, by {entry['by']}"
    unit = "um" if np.isfinite(entry["rms_um"]) else "px"
    shown = f"residual {_length(entry[f'rms_{unit}'])} {unit.replace('u', 'µ')}"
    if np.isfinite(entry["left_out_rms_px"]):
        shown += f", left out {_length(entry[f'left_out_rms_{unit}'])}"
    return shown + (f"\narrows × {enlarged}" if enlarged > 1 else "")


def _length(length: float) -> str:
    return "0" if length < SHORTEST else f"{length:.3g}"
