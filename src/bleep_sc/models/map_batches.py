"""Apply a network to all images, batch by batch."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bleep_sc._arrays.unread import Unread, batches_of
from bleep_sc._output.messages import progress
from bleep_sc.models.on_device import fetched, transfer

T = TypeVar("T")


def channels_first(images: NDArray[Any]) -> Tensor:
    """Features (B, d) as they are; patches (B, S, S, 3) as images (B, 3, S, S)."""
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor


def map_batches(
    network: Callable[[Tensor], Tensor],
    images: NDArray[Any] | Unread,
    *,
    batch_size: int,
    device: torch.device | str = "cpu",
    num_workers: int = 0,
    description: str = "",
) -> NDArray[np.float32]:
    """Apply a network to features (n, d) or patches (n, S, S, 3), in memory or not, and collect (n, width).

    Processes (``num_workers``) read ahead of the network. They are spawned, since forked ones hang on zarr. A GPU is at
    work on a batch while the next one is read and sent after it.
    """
    device = torch.device(device)
    batches = batches_of(images, batch_size) if num_workers == 0 else _read_ahead(images, batch_size, num_workers)
    total = -(-len(images) // batch_size)
    bar = progress(batches, description, show=bool(description), total=total)
    queued = ((rows, fetched(network(transfer(channels_first(batch), device)).float())) for rows, batch in bar)
    result: NDArray[np.float32] | None = None
    for rows, wait in _one_behind(queued):
        values = wait().numpy()
        if result is None:
            result = np.empty((len(images), values.shape[1]), dtype=np.float32)
        result[rows] = values
    if result is None:
        raise ValueError("There are no images.")
    return result


def _one_behind(items: Iterator[T]) -> Iterator[T]:
    """Give every item when the next one has been made, so that a GPU has work when a result of it is waited for."""
    waiting: list[T] = []
    for item in items:
        waiting.append(item)
        if len(waiting) > 1:
            yield waiting.pop(0)
    yield from waiting


class _Batches(Dataset[tuple[NDArray[np.intp], NDArray[Any]]]):
    def __init__(self, images: NDArray[Any] | Unread, batch_size: int) -> None:
        self.images, self.batch_size = images, batch_size

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, i: int) -> tuple[NDArray[np.intp], NDArray[Any]]:
        if i >= len(self):
            raise IndexError(i)
        rows = np.arange(i * self.batch_size, min((i + 1) * self.batch_size, len(self.images)))
        return rows, self.images[rows]


def _read_ahead(
    images: NDArray[Any] | Unread, batch_size: int, num_workers: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[Any]]]:
    loader = DataLoader(
        _Batches(images, batch_size),
        batch_size=None,
        collate_fn=tuple,
        num_workers=num_workers,
        multiprocessing_context="spawn",
        generator=torch.Generator(),  # the global one is left alone
    )
    yield from loader
