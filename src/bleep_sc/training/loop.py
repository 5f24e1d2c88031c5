"""The training loop. It knows no model: it draws batches, takes steps, and asks after every epoch whether to go on."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bleep_sc._runtime import progress


def batches(n: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Shuffle n samples into batches of one size, so that every contrast is as hard; the rest waits an epoch."""
    order = torch.randperm(n, generator=generator)
    size = min(n, batch_size)
    for start in range(0, n - size + 1, size):
        yield order[start : start + size]


def train(
    loss: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    n_samples: int,
    batch_size: int,
    max_epochs: int,
    generator: torch.Generator,
    on_epoch_end: Callable[[int, float], bool] | None = None,
    description: str = "Training",
    show_progress_bar: bool = True,
) -> list[float]:
    """Minimise a loss of batches.

    Parameters
    ----------
    loss
        From the indices of a batch to its mean loss.
    optimizer
        Holds the parameters that are trained.
    n_samples, batch_size, max_epochs
        How many samples there are, how many make a batch, and how often all of them pass by.
    generator
        Draws the batches.
    on_epoch_end
        Called with the number of finished epochs and the mean loss of the last; training ends when it returns True.
    description, show_progress_bar
        Name of the bar, and whether to show one.

    Returns
    -------
    The mean loss of every epoch.
    """
    history = []
    bar = progress(range(1, max_epochs + 1), description, show=show_progress_bar)
    for epoch in bar:
        losses = []
        for batch in batches(n_samples, batch_size, generator):
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
