"""All that a reference teaches: the model, and what it is worth on tissue that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc.training.cross_fit import HeldOut, cross_fit
from bleep_sc.training.estimate import Estimate, epochs_in_all
from bleep_sc.training.fit import fit_bleep
from bleep_sc.training.pairs import Pairs
from bleep_sc.training.processes.group import is_first, joined
from bleep_sc.training.validation import holds_out

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from numpy.typing import NDArray

    from bleep_sc.models.bleep import BLEEP
    from bleep_sc.training.config import FitConfig


@dataclass(frozen=True)
class Trained:
    """What training on a reference left behind."""

    model: BLEEP
    loss: list[float]
    """Mean loss of every epoch."""
    held_out: HeldOut | None
    """Spots predicted from other donors, or slides, with ``FitConfig(cross_fit=True)`` and several of them."""


def fit_reference(
    pairs: Pairs,
    groups: NDArray[np.str_],
    *,
    config: FitConfig,
    units: NDArray[np.str_] | None = None,
    centers_um: NDArray[np.float64] | None = None,
    device: torch.device | str = "cpu",
    checkpoint_dir: str | Path | None = None,
    **how: Any,
) -> Trained:
    """Train the model, and those that have not seen a share of the donors, or of the slides.

    Parameters
    ----------
    pairs, groups, config, device, **how
        As in :func:`bleep_sc.training.fit.fit_bleep`.
    units
        What each spot is held out with as a whole, (n,), as
        :func:`bleep_sc.training.validation.units_to_hold_out` says; None is its slide.
    centers_um
        Where spots are on their slides, (n, 2); None is not known, and then nothing is averaged over tissue.
    checkpoint_dir
        Holds a folder of checkpoints for every model that is trained. One that is finished is not trained again.
    """
    units = groups if units is None else units
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    with joined(device):  # once for all models
        how = {"config": config, "units": units, "device": device, **how}
        estimate = Estimate(epochs_in_all(config, units, how.get("random_state", 0), trains_encoder=pairs.are_patches))
        model, loss = fit_bleep(
            pairs,
            groups,
            checkpoint_dir=None if folder is None else folder / "model",
            **{**how, "on_epoch_end": _told(estimate, how.get("on_epoch_end"))},
        )
        held_out = None
        if holds_out(config, units):
            held_out = cross_fit(pairs, groups, centers_um=centers_um, checkpoint_dir=folder, **how)
    return Trained(model, loss, held_out)


def _told(estimate: Estimate, on_epoch_end: Callable[[int, float], bool] | None) -> Callable[[int, float], bool]:
    """Return what is called after every epoch, which tells an estimate of it, too."""

    def call(epoch: int, loss: float) -> bool:
        if is_first():
            estimate.after(epoch)
        return on_epoch_end is not None and on_epoch_end(epoch, loss)

    return call
