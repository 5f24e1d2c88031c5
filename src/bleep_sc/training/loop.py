"""The training loop. It knows no model: it draws batches, takes steps, and asks after every epoch whether to go on."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from bleep_sc._output.messages import progress
from bleep_sc.training.checkpoint import Checkpoint
from bleep_sc.training.processes.group import ALONE, Processes


def batches(n: int, batch_size: int, generator: torch.Generator, *, of_one_size: bool = True) -> Iterator[Tensor]:
    """Shuffle n samples into batches of one size, so that every contrast is as hard; the rest waits an epoch.

    Or, where samples are not contrasted, all of them into as many batches, of sizes that differ by one at most.
    """
    order = torch.randperm(n, generator=generator)
    size = min(n, batch_size)
    n_batches = n // size if of_one_size else -(-n // size)
    yield from order[: n_batches * size].tensor_split(n_batches)


class _Order(Sampler[Tensor]):
    """The batches of an epoch, drawn anew in every epoch; of each the share of this process."""

    def __init__(self, draw: Callable[[], Iterator[Tensor]], processes: Processes) -> None:
        self.draw, self.processes = draw, processes

    def __iter__(self) -> Iterator[Tensor]:
        for batch in self.draw():
            yield batch[self.processes.share(len(batch))]


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
    of_one_size: bool = True,
    num_workers: int = 0,
    processes: Processes = ALONE,
    checkpoint: Checkpoint | None = None,
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
    of_one_size
        Batches are of one size, and what is left over waits an epoch, as a contrast wants it; or all samples are seen
        in every epoch.
    num_workers
        Processes that load ahead; what they load, and in which order, is the same for any number.
    processes
        Those that train together. Each gets its share of every batch, and its loss must be that of the whole batch.
    checkpoint
        Where the state is saved after epochs; training goes on from what is found there.
    on_epoch_end
        Called with the number of finished epochs and the mean loss of the last; training ends when it returns True.
    description, show_progress_bar
        Name of the bar, and whether to show one.

    Returns
    -------
    The mean loss of every epoch.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    loader = DataLoader(
        _Loaded(load),
        batch_size=None,
        sampler=_Order(lambda: batches(n_samples, batch_size, generator, of_one_size=of_one_size), processes),
        collate_fn=_as_it_is,
        num_workers=num_workers,
        multiprocessing_context="spawn" if num_workers else None,  # forked workers hang on zarr
        persistent_workers=num_workers > 0,
        pin_memory=parameters[0].device.type == "cuda",  # which then fetches a batch while it is at work on another
        generator=torch.Generator(),  # the global one, which dropout draws from, is left alone
    )
    history = [] if checkpoint is None else checkpoint.load(optimizer, generator)
    epochs = range(len(history) + 1, max_epochs + 1)
    bar = progress(epochs, description, show=show_progress_bar and processes.is_first)
    for epoch in bar:
        losses = []
        for batch in loader:
            optimizer.zero_grad(set_to_none=True)
            value = loss(batch)
            value.backward()
            processes.sum_gradients(parameters)
            optimizer.step()
            losses.append(value.detach())
        history.append(float(torch.stack(losses).mean()))
        bar.set_postfix(loss=f"{history[-1]:.3f}", refresh=False)  # drawn with the next epoch, ten times a second
        stop = epoch == max_epochs
        if on_epoch_end is not None:
            stop |= on_epoch_end(epoch, history[-1])
        if checkpoint is not None:
            checkpoint.save(optimizer, generator, history, last=stop)
        if stop:
            break
    return history
