"""How long a training takes, said as soon as it can be told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._output.messages import logger
from bleep_sc.training.validation import MAX_FOLDS, folds, holds_out

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc.training.config import FitConfig

LEAST_S = 60
"""Of the time that is left: what is over sooner needs no estimate."""


def epochs_in_all(config: FitConfig, units: NDArray[np.str_], random_state: int, *, trains_encoder: bool) -> float:
    """Return how many epochs of the model all trainings take; ``units`` are what is held out as a whole, (n_spots,).

    Models of fewer spots and heads count for less; beside an encoder that is trained, heads take no time.
    """
    if not holds_out(config, units):
        return float(config.max_epochs)
    heads = 1.0 if trains_encoder else len(dict.fromkeys(config.views)) / (len(config.views) * config.n_models)
    shares = [float((~held_out).mean()) for held_out in folds(units, MAX_FOLDS, random_state)]
    return config.max_epochs * (1 + heads * sum(shares))


class Estimate:
    """Says once how long the rest takes: after the epoch that follows the first one, which takes longer."""

    def __init__(self, n_epochs: float) -> None:
        self.n_epochs = n_epochs
        self.first: tuple[int, float] | None = None
        self.is_said = False

    def after(self, epoch: int) -> None:
        """Look at the clock after so many epochs."""
        now = time.perf_counter()
        if self.first is None:
            self.first = (epoch, now)
        elif epoch > self.first[0] and not self.is_said:
            self.is_said = True
            each = (now - self.first[1]) / (epoch - self.first[0])
            if (left := each * (self.n_epochs - epoch)) >= LEAST_S:
                logger.info("An epoch takes %.2g s: the training takes about %s more.", each, in_words(left))


def in_words(seconds: float) -> str:
    """Return a time as it is said: in minutes, or in hours."""
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 120 else f"{seconds / 3600:.1f} h"
