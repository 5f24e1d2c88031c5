"""Images in batches, whether they are in memory or read when they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bleep_sc._arrays.blocks import slices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


class Unread(Protocol):
    """Images that are not in memory: stored patches, or windows of a slide."""

    @property
    def ndim(self) -> int:
        """Number of axes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, ...)."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        """Read some of them."""

    def take(self, rows: NDArray[Any]) -> Unread:
        """Return some of them, unread; ``rows`` are indices or a mask."""

    def batches(self, batch_size: int) -> Iterator[tuple[NDArray[np.intp], NDArray[Any]]]:
        """Give positions and images in the cheapest order."""


def subset(images: NDArray[Any] | Unread, rows: NDArray[Any]) -> Any:
    """Return some of the images; what is not in memory stays unread."""
    return images[rows] if isinstance(images, np.ndarray) else images.take(rows)


def batches_of(images: NDArray[Any] | Unread, batch_size: int) -> Iterator[tuple[NDArray[np.intp], NDArray[Any]]]:
    """Give positions and images (batch, ...), each of them once, in the cheapest order."""
    if not isinstance(images, np.ndarray):
        yield from images.batches(batch_size)
        return
    for rows in slices(len(images), batch_size):
        yield np.arange(rows.start, rows.stop), images[rows]
