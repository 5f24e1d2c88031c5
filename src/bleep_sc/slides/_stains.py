"""The stains of H&E pixels: statistics of a slide, and carrying patches from those of one slide to those of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._arrays.unread import batches_of, subset

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from bleep_sc._arrays.unread import Unread

FAINTEST = 0.15
"""Mean optical density (natural logarithm) up to which a pixel is glass."""
N_PATCHES, N_PIXELS = 500, 2_000_000
"""The most that a slide's statistics are taken from."""
FEWEST_PIXELS = 100
"""Pixels of tissue below which there are no statistics."""
SMALLEST_SPREAD = 1e-3
"""Standard deviation, and sine of the angle between stains, below which tissue has one colour."""

DENSITY = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)
"""Optical density of every value of a pixel; white has none, and black a finite one."""
LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
"""From RGB to the responses of the cones (Reinhard et al. 2001, eq. 4)."""
LAB = np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]]) / np.sqrt([[3], [6], [2]])
"""From their logarithms to one achromatic and two opponent axes (eq. 6)."""


@dataclass(frozen=True, eq=False)
class ReinhardStains:
    """Mean and standard deviation of tissue on the three axes of Reinhard et al. (2001)."""

    mean: NDArray[np.float64]
    """(3,)."""
    sd: NDArray[np.float64]
    """(3,)."""

    method = "reinhard"

    def numbers(self) -> NDArray[np.float64]:
        """Return mean and standard deviation in one row, (6,)."""
        return np.concatenate([self.mean, self.sd])


@dataclass(frozen=True, eq=False)
class MacenkoStains:
    """Directions and strength of two stains in optical density (Macenko et al. 2009)."""

    vectors: NDArray[np.float64]
    """Unit vectors of haematoxylin and eosin in red, green and blue, (2, 3)."""
    strongest: NDArray[np.float64]
    """99th percentile of the concentration of both, (2,)."""

    method = "macenko"

    def numbers(self) -> NDArray[np.float64]:
        """Return vectors and strengths in one row, (8,)."""
        return np.concatenate([self.vectors.ravel(), self.strongest])


Stains = ReinhardStains | MacenkoStains


def fit_reinhard(pixels: NDArray[np.uint8]) -> ReinhardStains:
    r"""Describe tissue by the mean and standard deviation of its colour on three nearly independent axes.

    The axes :math:`l\alpha\beta` are those of Reinhard et al. (IEEE Computer Graphics and Applications 2001), made from
    :math:`\log(\mathrm{LMS} + 1)`. They are not CIE Lab.

    Parameters
    ----------
    pixels
        (n, 3); those with a mean optical density up to .15 are glass, and left out.

    Raises
    ------
    ValueError
        When there is no tissue, or when it has one colour.

    Examples
    --------
    >>> image = bs.datasets.toy(n_slices=1).uns["spatial"]["slice1"]["images"]["hires"]
    >>> bs.slides.fit_reinhard(image.reshape(-1, 3)).mean.shape
    (3,)
    """
    colour = _lab(_tissue(pixels))
    stains = ReinhardStains(colour.mean(axis=0, dtype=np.float64), colour.std(axis=0, dtype=np.float64))
    if stains.sd.min() < SMALLEST_SPREAD:
        raise ValueError("its tissue has one colour")
    return stains


def fit_macenko(pixels: NDArray[np.uint8]) -> MacenkoStains:
    r"""Find the two stains of tissue, and how strong they get.

    Macenko et al. (ISBI 2009): optical densities lie in the plane of their two first singular vectors; the stains are
    the directions at the 1st and 99th percentile of the angles in it. Concentrations follow by least squares, and the
    strength of a stain is their 99th percentile. Haematoxylin is the one that absorbs more red.
    ``pixels`` and errors are as in :func:`fit_reinhard`.

    Examples
    --------
    >>> image = bs.datasets.toy(n_slices=1).uns["spatial"]["slice1"]["images"]["hires"]
    >>> stains = bs.slides.fit_macenko(image.reshape(-1, 3))
    >>> stains.vectors.shape
    (2, 3)
    """
    density = DENSITY[_tissue(pixels)].astype(np.float64)  # (n, 3)
    plane = np.linalg.eigh(density.T @ density)[1][:, :0:-1]  # (3, 2), the larger one first
    plane = plane * np.where(density.mean(axis=0) @ plane < 0, -1, 1)  # so that no angle is near ±π
    along, across = (density @ plane).T
    angles = np.percentile(np.arctan2(across, along), [1, 99])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ plane.T  # (2, 3)
    vectors = vectors[np.argsort(-vectors[:, 0], kind="stable")]
    if np.linalg.norm(np.cross(*vectors)) < SMALLEST_SPREAD:
        raise ValueError("its tissue has one colour")
    strongest = np.percentile(density @ np.linalg.pinv(vectors), 99, axis=0)
    if strongest.min() < SMALLEST_SPREAD:
        raise ValueError("its tissue has one stain")
    return MacenkoStains(vectors, strongest)


FITS: dict[str, Callable[[NDArray[np.uint8]], Stains]] = {"reinhard": fit_reinhard, "macenko": fit_macenko}


def stains_from(method: str, numbers: Any) -> Stains:
    """Return the stains whose ``numbers()`` were kept."""
    numbers = np.asarray(numbers, dtype=np.float64)
    if method == "reinhard":
        return ReinhardStains(numbers[:3], numbers[3:])
    return MacenkoStains(numbers[:6].reshape(2, 3), numbers[6:])


def average_stains(each: Sequence[Stains]) -> Stains:
    """Average the statistics of slides, every slide alike."""
    mean = stains_from(each[0].method, np.mean([stains.numbers() for stains in each], axis=0))
    if isinstance(mean, MacenkoStains):
        return MacenkoStains(mean.vectors / np.linalg.norm(mean.vectors, axis=1, keepdims=True), mean.strongest)
    return mean


def sample_pixels(patches: NDArray[np.uint8] | Unread) -> NDArray[np.uint8]:
    """Return pixels (n, 3) of a slide's patches: the same ones, whatever order the patches are read in."""
    rng = np.random.default_rng(0)
    if len(patches) > N_PATCHES:
        patches = subset(patches, np.sort(rng.choice(len(patches), N_PATCHES, replace=False)))
    n_places = patches.shape[1] * patches.shape[2]
    n_each = max(1, min(n_places, N_PIXELS // len(patches)))
    places = np.sort(rng.choice(n_places, n_each, replace=False))
    pixels = np.empty((len(patches), n_each, 3), dtype=np.uint8)
    for rows, batch in batches_of(patches, 64):
        pixels[rows] = batch.reshape(len(batch), n_places, 3)[:, places]
    return pixels.reshape(-1, 3)


def restain(patches: NDArray[np.uint8], own: Stains, target: Stains) -> NDArray[np.uint8]:
    """Carry pixels (..., 3) from the stains of their slide to those of a target.

    Reinhard's map shifts and stretches the three axes. It would colour glass, too, so it fades out below an optical
    density of .15. Macenko's replaces stain vectors and strengths; what the two stains do not explain stays as it is.

    Examples
    --------
    After the example of :func:`bleep_sc.slides.fit_macenko`:

    >>> stronger = type(stains)(stains.vectors, 1.5 * stains.strongest)
    >>> bool(bs.slides.restain(image, stains, stronger).mean() < image.mean())
    True
    """
    if isinstance(own, ReinhardStains) and isinstance(target, ReinhardStains):
        restained = _restain_reinhard(patches, own, target)
    elif isinstance(own, MacenkoStains) and isinstance(target, MacenkoStains):
        restained = _restain_macenko(patches, own, target)
    else:
        raise TypeError(f"Stains of {own.method!r} cannot be carried to those of {target.method!r}.")
    return np.clip(np.rint(restained), 0, 255).astype(np.uint8)


def _restain_reinhard(patches: NDArray[np.uint8], own: ReinhardStains, target: ReinhardStains) -> NDArray[np.float32]:
    stretch = target.sd / own.sd
    back = np.linalg.inv(LAB.T)
    slope, shift = LAB.T * stretch @ back, (target.mean - own.mean * stretch) @ back
    cones = np.exp(_log_cones(patches) @ slope.astype(np.float32) + shift.astype(np.float32)) - 1
    restained = cones @ np.linalg.inv(LMS.T).astype(np.float32)
    share = np.minimum(DENSITY[patches].mean(axis=-1, keepdims=True) / np.float32(FAINTEST), 1)
    return np.asarray(share * restained + (1 - share) * patches, dtype=np.float32)


def _restain_macenko(patches: NDArray[np.uint8], own: MacenkoStains, target: MacenkoStains) -> NDArray[np.float32]:
    change = np.linalg.inv(_basis(own)) @ _basis(target)
    return np.asarray(256 * np.exp(-(DENSITY[patches] @ change.astype(np.float32))) - 1, dtype=np.float32)


def _basis(stains: MacenkoStains) -> NDArray[np.float64]:
    """Return the two stains at full strength, and what is perpendicular to both, (3, 3)."""
    rest = np.cross(*stains.vectors)
    return np.vstack([stains.vectors * stains.strongest[:, None], rest / np.linalg.norm(rest)])


def _tissue(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    tissue = pixels[DENSITY[pixels].mean(axis=1) > FAINTEST]
    if len(tissue) < FEWEST_PIXELS:
        raise ValueError(f"{len(tissue)} of {len(pixels)} pixels are tissue, the others glass")
    return tissue


def _log_cones(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.log(pixels.astype(np.float32) @ LMS.T.astype(np.float32) + 1)


def _lab(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(_log_cones(pixels) @ LAB.T.astype(np.float32))
