"""Lay two sections on each other by their outline and colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_ANGLES = 24
N_REFINED = 6
COLOR_WEIGHT = 1.0
"""How much one standard deviation of colour counts, in distances between neighbouring spots."""
NEAR, FAR = 0.75, 3.0
"""A spot as near as that to one of the other section is on it, and one beyond counts no more: the section may lack it.
In distances between neighbouring spots. (Were smaller distances to count, the lattices would be laid on each other.)"""
N_BLENDED = 6
"""How many spots the colour at a place is blended from."""


def align(
    points: NDArray[np.floating],
    colors: NDArray[np.floating],
    onto: NDArray[np.floating],
    onto_colors: NDArray[np.floating],
    *,
    reflection: bool | None = None,
) -> NDArray[np.float64]:
    """Lay one section onto another by a rigid motion, mirrored or not.

    Every spot is compared with the place where it comes to lie, both ways: is it on the other section, and has the
    tissue there the same colour (standardised within each section, blended from the nearest spots)? All turns and both
    sides are tried, and the best few refined.

    Parameters
    ----------
    points, onto
        (n, 2) and (m, 2), in the same units.
    colors, onto_colors
        (n, d) and (m, d): of the tissue under every spot.
    reflection
        Whether one is mirrored; None tries both.

    Returns
    -------
    Where ``points`` come to lie, (n, 2).
    """
    points, onto = np.asarray(points, dtype=np.float64), np.asarray(onto, dtype=np.float64)
    center, onto_center = points.mean(axis=0), onto.mean(axis=0)
    spacing = float(np.median(cKDTree(onto).query(onto, k=2)[0][:, 1]))
    ours, theirs = (points - center) / spacing, (onto - onto_center) / spacing
    our_colors, their_colors = standardized(colors), standardized(onto_colors)
    tree = cKDTree(theirs)

    def cost(parameters: NDArray[np.float64], mirrored: bool) -> float:
        moved = ours @ _matrix(parameters[0], mirrored).T + parameters[1:]
        forth = _mismatch(moved, our_colors, tree, their_colors)
        back = _mismatch(theirs, their_colors, cKDTree(moved), our_colors)
        return (forth + back) / 2

    sides = (False, True) if reflection is None else (reflection,)
    starts = [(angle, mirrored) for angle in np.arange(N_ANGLES) * 2 * np.pi / N_ANGLES for mirrored in sides]
    starts.sort(key=lambda start: cost(np.array([start[0], 0.0, 0.0]), start[1]))
    best = min((_refined(cost, angle, mirrored) for angle, mirrored in starts[:N_REFINED]), key=lambda found: found[0])
    _, parameters, mirrored = best
    matrix = _matrix(parameters[0], mirrored)
    return points @ matrix.T + (onto_center + parameters[1:] * spacing - matrix @ center)


def _refined(cost, angle: float, mirrored: bool) -> tuple[float, NDArray[np.float64], bool]:  # type: ignore[no-untyped-def]
    simplex = np.array([[angle, 0, 0], [angle + 0.15, 0, 0], [angle, 2, 0], [angle, 0, 2]], dtype=np.float64)
    options = {"initial_simplex": simplex, "xatol": 1e-2, "fatol": 1e-3, "maxiter": 150}
    found = minimize(cost, simplex[0], args=(mirrored,), method="Nelder-Mead", options=options)
    return float(found.fun), found.x, mirrored


def _matrix(angle: float, mirrored: bool) -> NDArray[np.float64]:
    sine, cosine = np.sin(angle), np.cos(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return turn @ np.diag([-1.0, 1.0]) if mirrored else turn


def standardized(colors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return colours (n, d) in units of their section."""
    colors = np.asarray(colors, dtype=np.float64)
    std = colors.std(axis=0)
    return (colors - colors.mean(axis=0)) / np.where(std > 0, std, 1.0)


def _mismatch(
    points: NDArray[np.float64], colors: NDArray[np.float64], tree: cKDTree, tree_colors: NDArray[np.float64]
) -> float:
    """Return how far points lie off the section of a tree, and how other its colours are there, on average."""
    blended, distance = blended_colors(points, tree, tree_colors)
    off = np.clip(distance - NEAR, 0, FAR)
    return float(off.mean() + COLOR_WEIGHT * np.sqrt(((colors - blended) ** 2).mean(axis=1)).mean())


def blended_colors(
    points: NDArray[np.float64], tree: cKDTree, tree_colors: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the colours of the section of a tree at points (n, 2), (n, d), and how far its nearest spot is, (n,)."""
    distance, nearest = tree.query(points, k=min(N_BLENDED, tree.n))
    distance, nearest = distance.reshape(len(points), -1), nearest.reshape(len(points), -1)
    share = np.exp(-(distance**2))
    share /= np.maximum(share.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    return np.einsum("nk,nkd->nd", share, tree_colors[nearest]), distance[:, 0]
