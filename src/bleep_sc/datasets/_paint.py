"""Liver lobules, painted as H&E: stains first, then light. One px is one µm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc.datasets._lobules import Anatomy, Points, Vessels

    Plane = NDArray[np.float32]

COARSE = 4
"""Smooth fields are computed on every fourth px."""
HAEMATOXYLIN = np.array([0.65, 0.70, 0.29]) / np.linalg.norm([0.65, 0.70, 0.29])
EOSIN = np.array([0.16, 0.86, 0.34]) / np.linalg.norm([0.16, 0.86, 0.34])


def paint(anatomy: Anatomy, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Paint a slice as H&E, (height, width, 3) uint8."""
    canvas = _Canvas(anatomy, rng)
    canvas.paint_parenchyma()
    canvas.paint_veins()
    canvas.paint_triads()
    canvas.trim()
    return canvas.develop()


class _Canvas:
    """Optical densities of the two stains, filled in layer by layer."""

    def __init__(self, anatomy: Anatomy, rng: np.random.Generator) -> None:
        self.anatomy, self.rng = anatomy, rng
        height, width = anatomy.shape
        self.grid = np.stack(np.meshgrid(np.arange(0, width, COARSE), np.arange(0, height, COARSE)), axis=-1)
        points = self.grid.reshape(-1, 2).astype(np.float64)
        self.zonation = self._fine(anatomy.zonation(points))
        self.tissue = self._fine(anatomy.inside(points).astype(np.float64)) > 0.5
        self.collagen = self._fine(anatomy.nearness(anatomy.portal_veins, points, 62.0))
        self.haematoxylin = np.zeros(anatomy.shape, dtype=np.float32)
        self.eosin = np.zeros(anatomy.shape, dtype=np.float32)

    def _fine(self, coarse: NDArray[np.floating]) -> Plane:
        """Bring a field from the coarse grid, flattened, to every px."""
        height, width = self.anatomy.shape
        plane = coarse.reshape(self.grid.shape[:2]).astype(np.float32)
        return np.asarray(ndimage.zoom(plane, COARSE, order=1, grid_mode=True, mode="nearest")[:height, :width])

    def _noise(self, scale: float) -> Plane:
        """Smooth noise with a standard deviation of one, whose grain is a scale in px."""
        step = max(1, int(scale // 2))
        height, width = self.anatomy.shape
        small = self.rng.standard_normal((height // step + 2, width // step + 2)).astype(np.float32)
        small = ndimage.gaussian_filter(small, scale / step)
        fine = ndimage.zoom(small, step, order=1)[:height, :width]
        return np.asarray(fine / fine.std(), dtype=np.float32)

    def paint_parenchyma(self) -> None:
        """Hepatocyte plates between sinusoids, both along the way to the central vein."""
        zone = self.zonation
        plates = self._streaks() + 0.25 * self._noise(3)
        sinusoid = plates < -0.95 + 0.6 * zone  # wider around the central vein
        self.lumen = sinusoid
        cytoplasm = 0.62 - 0.24 * zone + 0.05 * self._noise(14) + 0.05 * self._noise(2)
        self.eosin[:] = np.where(sinusoid, 0.12, cytoplasm)
        self.haematoxylin[:] = np.where(sinusoid, 0.03, 0.13 - 0.07 * zone)
        self._add_vacuoles()
        self._add_hepatocyte_nuclei()
        lining = self._scatter(24.0, keep=sinusoid)
        self._stamp(lining, radius=1.7, stretch=2.2, density=0.75)

    def _streaks(self) -> Plane:
        """Noise drawn out along the way to the central vein (line integral convolution)."""
        height, width = self.anatomy.shape
        slope_y, slope_x = np.gradient(ndimage.gaussian_filter(self.zonation[::2, ::2], 6))
        length = np.hypot(slope_x, slope_y) + 1e-9
        x, y = np.meshgrid(np.arange(slope_x.shape[1]), np.arange(slope_x.shape[0]))
        grain = ndimage.gaussian_filter(self.rng.standard_normal(slope_x.shape, dtype=np.float32), 1.5)
        total = np.zeros_like(grain)
        for step in range(-14, 15, 2):
            column = np.clip(x + step * slope_x / length, 0, slope_x.shape[1] - 1).astype(np.intp)
            row = np.clip(y + step * slope_y / length, 0, slope_x.shape[0] - 1).astype(np.intp)
            total += grain[row, column]
        fine = ndimage.zoom(total / total.std(), 2, order=1)
        return np.asarray(np.pad(fine, ((0, 1), (0, 1)), mode="edge")[:height, :width])

    def _scatter(self, spacing: float, keep: NDArray[np.bool_]) -> Points:
        """Points about a spacing apart where a mask allows them, (n, 2)."""
        height, width = self.anatomy.shape
        x, y = np.meshgrid(np.arange(0, width, spacing), np.arange(0, height, spacing))
        points = np.column_stack([x.ravel(), y.ravel()])
        points += self.rng.uniform(0, spacing, points.shape)
        points = points[(points < (width, height)).all(axis=1)]
        return points[keep[tuple(points.astype(int).T[::-1])]]

    def _add_hepatocyte_nuclei(self) -> None:
        """Nuclei: small and crowded on the portal side, large and sparse around the central vein."""
        plates = ndimage.binary_erosion(~self.lumen, iterations=2)
        points = self._scatter(17.0, keep=plates)
        zone = self.zonation[tuple(points.astype(int).T[::-1])]
        kept = self.rng.uniform(size=len(points)) < 1.0 - 0.65 * zone
        points, zone = points[kept], zone[kept]
        self._stamp(points, radius=3.3 + 1.2 * zone + self.rng.normal(0, 0.35, len(points)), stretch=1.15, density=0.95)

    def _add_vacuoles(self) -> None:
        """Pale droplets in the cytoplasm, more of them around the central vein."""
        points = self._scatter(9.0, keep=~self.lumen)
        zone = self.zonation[tuple(points.astype(int).T[::-1])]
        points = points[self.rng.uniform(size=len(points)) < 0.9 * zone**1.5]
        radius = self.rng.uniform(1.5, 3.5, len(points))
        self._stamp(points, radius=radius, stretch=1.0, density=-0.25, plane=self.eosin)

    def _stamp(
        self,
        points: Points,
        *,
        radius: float | NDArray[np.float64],
        stretch: float,
        density: float,
        plane: Plane | None = None,
    ) -> None:
        """Add soft ellipses of random orientation to a plane; a negative density takes away."""
        plane = self.haematoxylin if plane is None else plane
        radius = np.broadcast_to(np.asarray(radius, dtype=np.float64), len(points))
        reach = int(np.ceil(radius.max(initial=1) * stretch)) + 1
        offset = np.arange(-reach, reach + 1)
        dx, dy = np.meshgrid(offset, offset)
        angle = self.rng.uniform(0, np.pi, len(points))[:, None, None]
        corner = points.astype(int)
        x, y = corner[:, 0, None, None] + dx, corner[:, 1, None, None] + dy  # (n, d, d)
        along = (dx * np.cos(angle) + dy * np.sin(angle)) / stretch
        across = dy * np.cos(angle) - dx * np.sin(angle)
        mask = np.clip(radius[:, None, None] + 0.5 - np.hypot(along, across), 0, 1)
        strength = density * self.rng.uniform(0.75, 1.15, len(points))[:, None, None]
        height, width = self.anatomy.shape
        seen = (mask > 0) & (x >= 0) & (y >= 0) & (x < width) & (y < height)
        layer = np.zeros_like(plane)
        np.maximum.at(layer, (y[seen], x[seen]), (mask * np.abs(strength))[seen].astype(np.float32))
        plane += layer if density > 0 else -np.minimum(layer, plane)

    def paint_veins(self) -> None:
        """Central veins: an empty lumen in a thin wall with flat nuclei."""
        self._paint_vessels(self.anatomy.central_veins, wall=4, eosin=0.5)

    def paint_triads(self) -> None:
        """Portal fields: collagen with a vein, an artery and a bile duct with its ring of cuboidal cells."""
        fibres = 0.34 + 0.10 * self._noise(2) + 0.06 * self._noise(8)
        share = np.clip((self.collagen - 0.35) * 6, 0, 1)
        self.eosin += share * (fibres - self.eosin)
        self.haematoxylin *= 1 - share
        self._stamp(self._scatter(14.0, keep=share > 0.6), radius=1.8, stretch=1.9, density=0.75)
        self._paint_vessels(self.anatomy.portal_veins, wall=4, eosin=0.55)
        self._paint_vessels(self.anatomy.arteries, wall=7, eosin=0.95)
        self._paint_vessels(self.anatomy.bile_ducts, wall=9, eosin=0.42)
        ducts = self.anatomy.bile_ducts
        for turn in np.arange(0, 2 * np.pi, 2 * np.pi / 9):
            ring = ducts.centers + (ducts.radii + 4)[:, None] * (np.cos(turn), np.sin(turn))
            self._stamp(self._on_slide(ring), radius=3.4, stretch=1.1, density=1.15)

    def _on_slide(self, points: Points) -> Points:
        height, width = self.anatomy.shape
        return points[((points >= 0) & (points < (width, height))).all(axis=1)]

    def _paint_vessels(self, vessels: Vessels, *, wall: float, eosin: float) -> None:
        """Draw every vessel in a window of its own: lumen, wall, and flat nuclei on the wall."""
        height, width = self.anatomy.shape
        for (cx, cy), radius in zip(vessels.centers, vessels.radii, strict=True):
            reach = int(radius * 1.3 + wall + 3)
            left, right = max(0, int(cx) - reach), min(width, int(cx) + reach)
            top, bottom = max(0, int(cy) - reach), min(height, int(cy) + reach)
            if left >= right or top >= bottom:
                continue
            x, y = np.meshgrid(np.arange(left, right) - cx, np.arange(top, bottom) - cy)
            uneven = 1 + 0.12 * np.cos(2 * np.arctan2(y, x) + cx) + 0.05 * np.cos(5 * np.arctan2(y, x) + cy)
            distance = np.hypot(x, y) / uneven - radius
            window = (slice(top, bottom), slice(left, right))
            in_wall, in_lumen = (distance >= 0) & (distance < wall), distance < 0
            self.eosin[window] = np.where(in_wall, eosin, np.where(in_lumen, 0.02, self.eosin[window]))
            nuclei = np.where(in_wall, 0.10, np.where(in_lumen, 0.0, self.haematoxylin[window]))
            self.haematoxylin[window] = nuclei
        angles = self.rng.uniform(0, 2 * np.pi, (len(vessels.radii), 6))
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=-1) * (vessels.radii + wall / 2)[:, None, None]
        points = (vessels.centers[:, None] + ring).reshape(-1, 2)
        self._stamp(self._on_slide(points), radius=1.6, stretch=2.4, density=0.8)

    def trim(self) -> None:
        """Leave glass around the tissue, whose edge is a little ragged and darker."""
        edge = ndimage.gaussian_filter(self.tissue.astype(np.float32), 6) + 0.06 * self._noise(5)
        tissue = edge > 0.5
        rim = np.clip((0.9 - edge) * 2, 0, 0.5)
        self.eosin = np.where(tissue, self.eosin * (1 + rim), 0.01)
        self.haematoxylin = np.where(tissue, self.haematoxylin, 0.0)

    def develop(self) -> NDArray[np.uint8]:
        """Send light through both stains (Beer and Lambert), a little different on every slice."""
        strength_h, strength_e = self.rng.normal(1, 0.06, 2)
        hue = 1 + self.rng.normal(0, 0.02, 3)
        grain = 1 + 0.04 * self.rng.standard_normal(self.anatomy.shape, dtype=np.float32)
        eosin, haematoxylin = self.eosin * grain, ndimage.gaussian_filter(self.haematoxylin, 0.6) * grain
        densities = [
            strength_h * h * haematoxylin + strength_e * e * eosin
            for h, e in zip(HAEMATOXYLIN * hue, EOSIN, strict=True)
        ]
        light = np.stack([np.exp(-density) for density in densities], axis=-1) * (0.965, 0.955, 0.965)
        return (np.clip(light, 0, 1) * 255).astype(np.uint8)
