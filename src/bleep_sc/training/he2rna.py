"""Train HE2RNA: slides are the mean of the highest scores of their tiles, and how many is drawn for every batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bleep_sc.models.he2rna import HE2RNA
from bleep_sc.training.pairs import Learnt
from bleep_sc.training.slide_level import SlideLevel
from bleep_sc.training.slide_pairs import SlidePairs, TileStats, moments, supertiles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bleep_sc.training.slide_configs import HE2RNAConfig


def fit_he2rna(
    pairs: SlidePairs,
    slides: NDArray[np.str_],
    *,
    units: NDArray[np.str_],
    config: HE2RNAConfig,
    random_state: int = 0,
    device: torch.device | str = "cpu",
    show_progress_bar: bool = True,
    **_: Any,
) -> Learnt:
    """Train HE2RNA to the least squared error of slides, for as long as predicts held-out ones best.

    ``slides`` are the names of the slides, (n_slides,), and ``units`` what each is held out with, (n_slides,).
    """
    if config.n_supertiles is not None:
        fewer = [supertiles(bag, config.n_supertiles, random_state) for bag in pairs.bags]
        pairs = SlidePairs(fewer, pairs.expression)
    stats = {bag.name: TileStats.of(bag) for bag in pairs.bags}
    shape = {
        "n_features": pairs.bags[0].read(slice(1)).shape[1],
        "n_genes": pairs.expression.shape[1],
        "n_hidden": config.n_hidden,
        "n_layers": config.n_layers,
        "dropout": config.dropout,
    }

    def build(of: SlidePairs) -> HE2RNA:
        model = HE2RNA(**shape)
        if config.scale_features:
            model.scale.set_to(*map(torch.from_numpy, moments([stats[bag.name] for bag in of.bags])))
        model.start_at(torch.from_numpy(of.expression.mean(axis=0)))
        return model

    def pool(model: nn.Module, tiles: Tensor, sizes: list[int], generator: torch.Generator | None) -> Tensor:
        result: Tensor = model.of_slides(  # type: ignore[operator]
            tiles, sizes, shares(config.shares, generator)
        )
        return result

    level = SlideLevel(build, pool, config, config.max_tiles, random_state, device, show_progress_bar)
    model, history, params = level.learn(pairs, units)
    return Learnt(model, shape, history=history, params=params)


def shares(of: tuple[float, ...], generator: torch.Generator | None) -> tuple[float, ...]:
    """Draw one of the shares of the tiles, or return all of them where nothing is drawn."""
    return of if generator is None else (of[int(torch.randint(len(of), (), generator=generator))],)
