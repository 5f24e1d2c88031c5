"""Liver lobules: where everything lies in a slice. One px is one µm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import Voronoi, cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Points = NDArray[np.float64]

LOBULE_UM = 620.0
"""Distance between neighbouring central veins."""
MARGIN_UM = 90


@dataclass(frozen=True)
class Vessels:
    """Round structures: centres (n, 2) in µm, radii of the lumina (n,) in µm."""

    centers: Points
    radii: NDArray[np.float64]


@dataclass(frozen=True)
class Anatomy:
    """Where everything lies in a slice; (x, y) in µm."""

    shape: tuple[int, int]
    """(height, width)."""
    central_veins: Vessels
    portal_veins: Vessels
    bile_ducts: Vessels
    arteries: Vessels
    outline: Points
    """Radius of the tissue, as a share of the slice, at equally spaced angles."""

    def zonation(self, points: Points) -> NDArray[np.float64]:
        """Position between the portal border of the lobule (0) and its central vein (1), for points (n, 2)."""
        distance, _ = cKDTree(self.central_veins.centers).query(points, k=2)
        return (distance[:, 1] - distance[:, 0]) / distance.sum(axis=1)

    def nearness(self, vessels: Vessels, points: Points, reach: float) -> NDArray[np.float64]:
        """Fall from 1 at the nearest of some vessels to 0, over a reach in µm, for points (n, 2)."""
        distance, _ = cKDTree(vessels.centers).query(points)
        return np.exp(-((distance / reach) ** 2))

    def inside(self, points: Points) -> NDArray[np.bool_]:
        """Tell which points (n, 2) lie on tissue."""
        height, width = self.shape
        x, y = (points[:, 0] / width - 0.5) * 2, (points[:, 1] / height - 0.5) * 2
        angle = np.arctan2(y, x) % (2 * np.pi)
        angles = np.linspace(0, 2 * np.pi, len(self.outline) + 1)
        return np.hypot(x, y) < np.interp(angle, angles, np.append(self.outline, self.outline[0]))


def draw_anatomy(shape: tuple[int, int], rng: np.random.Generator) -> Anatomy:
    """Lay out a slice: a jittered hexagonal grid of central veins, portal triads where three lobules meet."""
    height, width = shape
    spacing = np.array([LOBULE_UM, LOBULE_UM * np.sqrt(3) / 2])
    columns, rows = np.meshgrid(np.arange(-2, width / spacing[0] + 3), np.arange(-2, height / spacing[1] + 3))
    centers = np.column_stack([(columns + 0.5 * (rows % 2)).ravel(), rows.ravel()]) * spacing
    centers += rng.normal(0, 0.09 * LOBULE_UM, centers.shape) + rng.uniform(0, 1, 2) * spacing
    corners = Voronoi(centers).vertices
    corners = corners[((corners > -LOBULE_UM) & (corners < np.array([width, height]) + LOBULE_UM)).all(axis=1)]
    angles = rng.uniform(0, 2 * np.pi, len(corners))

    def beside(distance: float, turn: float) -> Points:
        return corners + distance * np.column_stack([np.cos(angles + turn), np.sin(angles + turn)])

    wave = sum(
        rng.normal(0, 0.03) * np.cos(k * np.linspace(0, 2 * np.pi, 180) + rng.uniform(0, 6)) for k in range(1, 7)
    )
    return Anatomy(
        shape,
        central_veins=Vessels(centers, rng.uniform(24, 42, len(centers))),
        portal_veins=Vessels(corners, rng.uniform(20, 34, len(corners))),
        bile_ducts=Vessels(beside(48, 0.0), rng.uniform(6, 9, len(corners))),
        arteries=Vessels(beside(44, 1.6), rng.uniform(4, 6, len(corners))),
        outline=np.clip(0.93 + wave, 0.72, 0.98),
    )
