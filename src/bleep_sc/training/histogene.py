"""Train HisToGene on arrays: a section, or a window of neighbouring spots of it, is one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bleep_sc.models.histogene import HisToGene, nearest_spots
from bleep_sc.training.loop import train
from bleep_sc.training.pairs import Learnt

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc.training.baseline_configs import HisToGeneConfig
    from bleep_sc.training.pairs import Pairs


@dataclass(frozen=True)
class Section:
    """All spots of a section: ``patches`` (N, S, S, 3) uint8, array ``positions`` (N, 2), ``expression`` (N, genes)."""

    patches: NDArray[np.uint8]
    positions: NDArray[np.int64]
    expression: NDArray[np.float32]


def fit_histogene(
    pairs: Pairs,
    slides: NDArray[np.str_],
    *,
    positions: NDArray[np.int64],
    config: HisToGeneConfig,
    random_state: int = 0,
    device: torch.device | str = "cpu",
    show_progress_bar: bool = True,
    **_: Any,
) -> Learnt:
    """Train HisToGene to the least squared error; no epoch is chosen, the last model is the result.

    A section of more than ``config.max_spots`` spots makes as many steps an epoch as windows of that size hold it, each
    with the neighbourhood of a spot drawn at random.

    ``slides`` is the section of every spot, (n,), and ``positions`` its row and column on the array, (n, 2); the other
    arguments are those of :func:`bleep_sc.training.fit.fit_bleep`.
    """
    patches, rows_of = np.asarray(pairs.images), [slides == name for name in np.unique(slides)]
    sections = [Section(patches[rows], positions[rows], pairs.expression[rows]) for rows in rows_of]
    steps = [section for section in sections for _ in range(_n_windows(section, config.max_spots))]
    with torch.random.fork_rng():
        torch.manual_seed(random_state)
        generator = torch.Generator().manual_seed(random_state)
        model = HisToGene(**architecture(sections, config)).to(device).train()

        def loss(batch: Tensor) -> Tensor:
            section = steps[int(batch)]
            spots = _window(section.positions, config.max_spots, generator)
            arrays = (section.patches, section.positions, section.expression)
            patches, positions, truth = (torch.from_numpy(array[spots])[None].to(device) for array in arrays)
            return torch.nn.functional.mse_loss(model(patches, positions), truth)

        history = train(
            loss,
            torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True),  # a third of the time on a CPU
            n_samples=len(steps),
            batch_size=1,
            max_epochs=config.max_epochs,
            generator=generator,
            show_progress_bar=show_progress_bar,
        )
    if not np.isfinite(history).all():
        raise ValueError(
            f"HisToGene diverged with HisToGeneConfig.learning_rate={config.learning_rate!r}; pass a smaller one."
        )
    return Learnt(model.eval(), architecture(sections, config), {"loss": history})


def architecture(sections: list[Section], config: HisToGeneConfig) -> dict[str, Any]:
    """Return the arguments of :class:`HisToGene`; its position tables hold every position of the sections."""
    largest = max(int(section.positions.max()) for section in sections)
    return {
        "patch_size": sections[0].patches.shape[1],
        "n_genes": sections[0].expression.shape[1],
        "n_positions": max(config.n_positions, largest + 1),
        "n_dims": config.n_dims,
        "n_layers": config.n_layers,
        "n_heads": config.n_heads,
        "dropout": config.dropout,
        "scale_pixels": config.scale_pixels,
    }


def _n_windows(section: Section, max_spots: int | None) -> int:
    return 1 if max_spots is None else -(-len(section.positions) // max_spots)


def _window(positions: NDArray[np.int64], max_spots: int | None, generator: torch.Generator) -> NDArray[np.intp]:
    if max_spots is None or len(positions) <= max_spots:
        return np.arange(len(positions))
    center = int(torch.randint(len(positions), (), generator=generator))
    return nearest_spots(positions, center, max_spots)
