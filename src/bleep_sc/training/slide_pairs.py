"""Slides whose expression is known as a whole, beside the features of their tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._arrays.blocks import slices, some_rows
from bleep_sc.models.slide_scale import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from bleep_sc.training.pairs import Pairs

READ_AT_ONCE = 4096
"""Tiles of a slide, where all of them are looked at one after another."""


@dataclass(frozen=True)
class Bag:
    """The tiles of a slide."""

    name: str
    """Of the slide, for messages."""
    features: Sequence[Any]
    """Arrays (n, d), side by side, in memory or read when they are needed."""
    rows: NDArray[np.intp]
    """Which rows of them are of this slide, ascending."""
    centers: NDArray[np.float64] | None = None
    """(x, y) of these tiles, (n_tiles, 2)."""

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, some: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.float32]:
        """Read the features of some of the tiles, in ascending order, (n, n_features)."""
        rows = self.rows[some]
        parts = [np.asarray(some_rows(each, rows)[:], dtype=np.float32) for each in self.features]
        return np.concatenate(parts, axis=1)

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Give all tiles once, block by block."""
        for some in slices(len(self), READ_AT_ONCE):
            yield some, self.read(some)


@dataclass(frozen=True)
class SlidePairs:
    """Slides: the ``bags`` of their tiles, and ``expression`` (n_slides, n_genes) of each as a whole."""

    bags: Sequence[Bag]
    expression: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.bags)

    def __getitem__(self, rows: NDArray[np.bool_]) -> SlidePairs:
        return SlidePairs([self.bags[i] for i in np.flatnonzero(rows).tolist()], self.expression[rows])


def slides_of_spots(
    pairs: Pairs, slides: NDArray[np.str_], *, base: float, centers: NDArray[np.float64] | None
) -> SlidePairs:
    """Make slides of paired spots: of their expression only what all spots of a slide amount to is kept.

    ``slides`` is the slide of every spot, (n,), ``base`` that of the logarithms, and ``centers`` where spots are. The
    slides are in the order of their names.
    """
    rows = [np.flatnonzero(slides == name) for name in np.unique(slides)]
    bags = [Bag(str(slides[of[0]]), [pairs.images], of, None if centers is None else centers[of]) for of in rows]
    return SlidePairs(bags, np.stack([profile(pairs.expression[of], base) for of in rows]))


def profile(expression: NDArray[np.floating], base: float) -> NDArray[np.float32]:
    """Return the profile of a slide, (n_genes,): the logarithm of the mean of its spots (n, n_genes) before theirs."""
    rate = math.log(base)
    mean = np.expm1(expression.astype(np.float64) * rate).mean(axis=0)
    return (np.log1p(mean) / rate).astype(np.float32)


@dataclass(frozen=True)
class TileStats:
    """What the tiles of a slide amount to, (n_features,) each: mean, mean square, and largest absolute value."""

    mean: NDArray[np.float64]
    square: NDArray[np.float64]
    largest: NDArray[np.float64]

    @classmethod
    def of(cls, bag: Bag) -> TileStats:
        """Look at all tiles once, block by block, and refuse features that are no numbers."""
        total, square, largest = (np.zeros(bag.read(slice(1)).shape[1]) for _ in range(3))
        for _, block in bag.blocks():
            if not np.isfinite(block).all():
                raise ValueError(f"The features of slide {bag.name!r} hold NaN or infinite values. Compute them again.")
            total += block.sum(axis=0, dtype=np.float64)
            square += np.square(block, dtype=np.float64).sum(axis=0)
            largest = np.maximum(largest, np.abs(block).max(axis=0))
        return cls(total / len(bag), square / len(bag), largest)


def moments(slides: Sequence[TileStats]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation of the features over tiles, (n_features,) each; every slide counts alike.

    A feature that does not vary has the standard deviation 1.
    """
    mean = np.mean([each.mean for each in slides], axis=0)
    variance = np.mean([each.square for each in slides], axis=0) - np.square(mean)
    std = np.sqrt(np.maximum(variance, 0.0))
    varies = std > ROUNDING * np.max([each.largest for each in slides], axis=0)
    return mean.astype(np.float32), np.where(varies, std, 1.0).astype(np.float32)


def supertiles(bag: Bag, n_supertiles: int, random_state: int) -> Bag:
    """Return a slide of fewer tiles, in memory: means over neighbourhoods, which are k-means of the places."""
    from sklearn.cluster import KMeans

    if bag.centers is None:
        raise ValueError(
            f"HE2RNAConfig.n_supertiles={n_supertiles} averages tiles that are near to each other, and nothing says "
            f"where those of slide {bag.name!r} are. Give their centres, obsm['spatial'], or pass n_supertiles=None."
        )
    n_clusters = min(n_supertiles, len(np.unique(bag.centers, axis=0)))
    of_tile = KMeans(n_clusters, n_init=1, random_state=random_state).fit_predict(bag.centers)
    total = np.zeros((n_clusters, bag.read(slice(1)).shape[1]))
    for some, block in bag.blocks():
        np.add.at(total, of_tile[some], block)
    counts = np.bincount(of_tile, minlength=n_clusters)
    means = total[counts > 0] / counts[counts > 0, None]
    return Bag(bag.name, [means.astype(np.float32)], np.arange(len(means)))
