"""The weights of the epoch that did best on spots that were not trained on."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from bleep_sc.training.pairs import Pairs
    from bleep_sc.training.processes.group import Processes


class BestEpoch(nn.Module):
    """A model that is trained, and its weights after the epoch with the lowest loss so far, as one module.

    Both go into a checkpoint together, so that a training that was interrupted ends with the same weights.
    """

    best: Any
    """A model of the same class, which is not trained itself."""
    lowest: Tensor
    epoch: Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.best = model, copy.deepcopy(model).requires_grad_(requires_grad=False)
        self.register_buffer("lowest", torch.tensor(torch.inf, dtype=torch.float64))
        self.register_buffer("epoch", torch.tensor(0))

    @torch.no_grad()
    def judge(self, epoch: int, losses: Callable[[], Iterator[Tensor]], processes: Processes) -> None:
        """Keep the weights where the mean of the losses, without dropout, is lower than it ever was.

        Of several processes the first one decides: statistics of batches may be each one's own.
        """
        self.model.eval()
        mean = torch.stack(list(losses())).double().mean().to(self.lowest.device)
        self.model.train()
        processes.broadcast([mean])
        if mean < self.lowest:
            self.lowest.copy_(mean)
            self.epoch.fill_(epoch)
            self.best.load_state_dict(self.model.state_dict())


def judges(n: int, fraction: float, generator: torch.Generator) -> NDArray[np.intp]:
    """Return which of n spots epochs are judged by: a share of them, drawn at random, in the order of the draw.

    Batches of them then hold spots of all slides, as those of the training do.
    """
    n_judges = int(n * fraction)
    if not fraction:
        return np.empty(0, dtype=np.intp)
    if n_judges < 2 or n - n_judges < 2:
        raise ValueError(
            f"FitConfig.validation_fraction={fraction} leaves {n - n_judges} of {n} spots to train on, and {n_judges} "
            "to judge epochs by: a contrast needs two spots. Pass another share, or 0."
        )
    return torch.randperm(n, generator=generator)[:n_judges].numpy()


def batches_to_judge(pairs: Pairs, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Give all spots in batches of one size; what is left over is not looked at, since fewer are contrasted easily."""
    size = min(len(pairs), batch_size)
    for rows in torch.arange(len(pairs) // size * size).split(size):
        yield pairs.batch(rows)
