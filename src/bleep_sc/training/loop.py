"""The training loop. It knows no model: it draws batches, takes steps, and asks after every epoch whether to go on."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from bleep_sc._runtime import progress


def batches(n: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Shuffle n samples into batches of one size, so that every contrast is as hard; the rest waits an epoch."""
    order = torch.randperm(n, generator=generator)
    size = min(n, batch_size)
    for start in range(0, n - size + 1, size):
        yield order[start : start + size]


class _Order(Sampler[Tensor]):
    """The batches of an epoch, drawn anew in every epoch."""

    def __init__(self, n: int, batch_size: int, generator: torch.Generator) -> None:
        self.n, self.batch_size, self.generator = n, batch_size, generator

    def __iter__(self) -> Iterator[Tensor]:
        return batches(self.n, self.batch_size, self.generator)

    def __len__(self) -> int:
        return max(1, self.n // self.batch_size)


class _Loaded(Dataset[Any]):
    """Batches by their indices."""

    def __init__(self, load: Callable[[Tensor], Any]) -> None:
        self.load = load

    def __getitem__(self, batch: Tensor) -> Any:
        return self.load(batch)


def _as_it_is(batch: Any) -> Any:
    return batch


def train(
    loss: Callable[[Any], Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    load: Callable[[Tensor], Any] = lambda batch: batch,
    n_samples: int,
    batch_size: int,
    max_epochs: int,
    generator: torch.Generator,
    num_workers: int = 0,
    on_epoch_end: Callable[[int, float], bool] | None = None,
    description: str = "Training",
    show_progress_bar: bool = True,
) -> list[float]:
    """Minimise a loss of batches.

    Parameters
    ----------
    loss
        From a batch, as it was loaded, to its mean loss.
    optimizer
        Holds the parameters that are trained.
    load
        From the indices of a batch to its data; by default the loss takes the indices.
    n_samples, batch_size, max_epochs
        How many samples there are, how many make a batch, and how often all of them pass by.
    generator
        Draws the batches.
    num_workers
        Processes that load ahead; what they load, and in which order, is the same for any number.
    on_epoch_end
        Called with the number of finished epochs and the mean loss of the last; training ends when it returns True.
    description, show_progress_bar
        Name of the bar, and whether to show one.

    Returns
    -------
    The mean loss of every epoch.
    """
    loader = DataLoader(
        _Loaded(load),
        batch_size=None,
        sampler=_Order(n_samples, batch_size, generator),
        collate_fn=_as_it_is,
        num_workers=num_workers,
        multiprocessing_context="spawn" if num_workers else None,  # forked workers hang on zarr
        persistent_workers=num_workers > 0,
        generator=torch.Generator(),  # the global one, which dropout draws from, is left alone
    )
    history = []
    bar = progress(range(1, max_epochs + 1), description, show=show_progress_bar)
    for epoch in bar:
        losses = []
        for batch in loader:
            optimizer.zero_grad(set_to_none=True)
            value = loss(batch)
            value.backward()
            optimizer.step()
            losses.append(value.detach())
        history.append(float(torch.stack(losses).mean()))
        bar.set_postfix(loss=f"{history[-1]:.3f}")
        if on_epoch_end is not None and on_epoch_end(epoch, history[-1]):
            break
    return history
