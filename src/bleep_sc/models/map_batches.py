"""Apply a network to all images, batch by batch."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bleep_sc._arrays.ahead import ahead
from bleep_sc._arrays.unread import Unread, batches_of
from bleep_sc._output.messages import progress
from bleep_sc.models.on_device import fetched, one_behind, transfer


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

    The next batch is read while the network is at work, by a thread; or several by processes (``num_workers``), which
    are spawned, since forked ones hang on zarr. A GPU is sent a batch while it is at work on the one before.
    """
    device = torch.device(device)
    batches: Iterator[tuple[NDArray[np.intp], Tensor]]
    if num_workers:
        batches = _read_ahead(images, batch_size, num_workers, pin_memory=device.type == "cuda")
    else:
        batches = ((rows, channels_first(batch)) for rows, batch in _read(images, batch_size))
    total = -(-len(images) // batch_size)
    bar = progress(batches, description, show=bool(description), total=total)
    queued = ((rows, fetched(network(transfer(batch, device)).float())) for rows, batch in bar)
    result: NDArray[np.float32] | None = None
    for rows, wait in one_behind(queued):
        values = wait().numpy()
        if result is None:
            result = np.empty((len(images), values.shape[1]), dtype=np.float32)
        result[rows] = values
    if result is None:
        raise ValueError("There are no images.")
    return result


def _read(images: NDArray[Any] | Unread, batch_size: int) -> Iterator[tuple[NDArray[np.intp], NDArray[Any]]]:
    batches = batches_of(images, batch_size)
    return batches if isinstance(images, np.ndarray) else ahead(batches)


class _Batches(Dataset[tuple[NDArray[np.intp], Tensor]]):
    """Batches by their numbers; as tensors, which pass from a process to another in memory that both share."""

    def __init__(self, images: NDArray[Any] | Unread, batch_size: int) -> None:
        self.images, self.batch_size = images, batch_size

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, i: int) -> tuple[NDArray[np.intp], Tensor]:
        if i >= len(self):
            raise IndexError(i)
        rows = np.arange(i * self.batch_size, min((i + 1) * self.batch_size, len(self.images)))
        return rows, channels_first(self.images[rows])


def _read_ahead(
    images: NDArray[Any] | Unread, batch_size: int, num_workers: int, *, pin_memory: bool
) -> Iterator[tuple[NDArray[np.intp], Tensor]]:
    loader = DataLoader(
        _Batches(images, batch_size),
        batch_size=None,
        collate_fn=tuple,
        num_workers=num_workers,
        multiprocessing_context="spawn",
        pin_memory=pin_memory,
        generator=torch.Generator(),  # the global one is left alone
    )
    yield from loader
