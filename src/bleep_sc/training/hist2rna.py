"""Train hist2RNA: from the mean of the features of a slide to its expression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from bleep_sc.models.hist2rna import Hist2RNA
from bleep_sc.training.pairs import Learnt
from bleep_sc.training.slide_level import SlideLevel
from bleep_sc.training.slide_pairs import Bag, SlidePairs, TileStats, moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc.training.slide_configs import Hist2RNAConfig


def fit_hist2rna(
    pairs: SlidePairs,
    slides: NDArray[np.str_],
    *,
    units: NDArray[np.str_],
    config: Hist2RNAConfig,
    random_state: int = 0,
    device: torch.device | str = "cpu",
    show_progress_bar: bool = True,
    **_: Any,
) -> Learnt:
    """Train hist2RNA to the least squared error of slides, for as long as predicts held-out ones best.

    ``slides`` are the names of the slides, (n_slides,), and ``units`` what each is held out with, (n_slides,). Features
    are standardised by what they are over tiles, which are read out in the end.
    """
    stats = {bag.name: TileStats.of(bag) for bag in pairs.bags}
    means = np.stack([stats[bag.name].mean for bag in pairs.bags]).astype(np.float32)  # (n_slides, n_features)
    shape = {
        "n_features": means.shape[1],
        "n_genes": pairs.expression.shape[1],
        "n_hidden": config.n_hidden,
    }

    def build(of: SlidePairs) -> Hist2RNA:
        model = Hist2RNA(**shape)
        if config.scale_features:
            model.scale.set_to(*map(torch.from_numpy, moments([stats[bag.name] for bag in of.bags])))
        model.start_at(torch.from_numpy(of.expression.mean(axis=0)))
        return model

    def pool(model: nn.Module, tiles: Tensor, sizes: list[int], generator: torch.Generator | None) -> Tensor:
        result: Tensor = model(tiles)
        return result

    level = SlideLevel(build, pool, config, 1, random_state, device, show_progress_bar)
    bags = [Bag(bag.name, [means], np.array([i])) for i, bag in enumerate(pairs.bags)]
    model, history, params = level.learn(SlidePairs(bags, pairs.expression), units)
    return Learnt(model, shape, history=history, params=params)
