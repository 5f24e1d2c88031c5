"""The same place of other sections: where their spots come to lie, and how well sections match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from bleep_sc._arrays.unread import batches_of
from bleep_sc.slides._align import NEAR, align, blended_colors, standardized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc._arrays.unread import Unread

PATCHES = 256
"""Patches whose colours are averaged at once."""


@dataclass(frozen=True)
class Match:
    """How well one section lies on another."""

    overlap: float
    """Share of the spots of either that lie on the other, the mean of both."""
    color: float
    """Pearson r of their colours where they do, the mean over channels."""


def lay_sections(
    points: NDArray[np.floating],
    colors: NDArray[np.floating],
    sections: NDArray[np.str_],
    onto: NDArray[np.floating],
    onto_colors: NDArray[np.floating],
) -> tuple[NDArray[np.float64], dict[str, Match]]:
    """Lay sections onto another one, each by itself, by outline and colour (:func:`bleep_sc.slides._align.align`).

    Parameters
    ----------
    points, colors, sections
        (n, 2), (n, d) and (n,): spots of all sections that are laid, and the section of each.
    onto, onto_colors
        (m, 2) and (m, d): spots of the section that they are laid on. Points are in one unit.

    Returns
    -------
    Where ``points`` come to lie, (n, 2), and how well every section matches, by its name.
    """
    laid, matches = np.empty((len(points), 2)), {}
    for name in np.unique(sections):
        own = sections == name
        laid[own] = align(points[own], colors[own], onto, onto_colors)
        matches[str(name)] = match(laid[own], colors[own], onto, onto_colors)
    return laid, matches


def laid_back(
    points: NDArray[np.floating], laid: NDArray[np.floating], others: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return where ``others`` (m, 2) lie on a section whose ``points`` came to lie at ``laid``, (n, 2) each."""
    center, laid_center = points.mean(axis=0), laid.mean(axis=0)
    undone = np.linalg.lstsq(laid - laid_center, points - center, rcond=None)[0]
    return center + (others - laid_center) @ undone


def match(
    laid: NDArray[np.floating],
    colors: NDArray[np.floating],
    onto: NDArray[np.floating],
    onto_colors: NDArray[np.floating],
) -> Match:
    """Return how well a section, (n, 2) with colours (n, d), lies on another, (m, 2) with (m, d)."""
    spacing = float(np.median(cKDTree(onto).query(onto, k=2)[0][:, 1]))
    over, under = (np.asarray(points, dtype=np.float64) / spacing for points in (laid, onto))
    is_under = cKDTree(over).query(under)[0] <= NEAR
    ours, theirs = standardized(colors), standardized(onto_colors)
    below, distance = blended_colors(over, cKDTree(under), theirs)
    is_on = distance <= NEAR
    return Match(float((is_on.mean() + is_under.mean()) / 2), _mean_pearson(ours[is_on], below[is_on]))


def _mean_pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return the mean over columns of the correlation of (n, d) with (n, d); 0 where one does not vary."""
    if len(x) < 2:
        return 0.0
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    scale = np.sqrt(np.square(x).sum(axis=0) * np.square(y).sum(axis=0))
    return float(np.divide((x * y).sum(axis=0), scale, out=np.zeros_like(scale), where=scale > 0).mean())


def mean_colors(patches: NDArray[np.uint8] | Unread) -> NDArray[np.float64]:
    """Return the mean colour of every patch (n, size, size, 3), (n, 3)."""
    result = np.empty((len(patches), patches.shape[3]))
    for rows, some in batches_of(patches, PATCHES):
        result[rows] = np.asarray(some, dtype=np.float64).mean(axis=(1, 2))
    return result
