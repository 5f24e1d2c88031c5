"""Train HisToGene on arrays: a section, or a window of neighbouring spots of it, is one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bleep_sc.models.histogene import HisToGene, nearest_spots
from bleep_sc.training.feed import some_rows_on
from bleep_sc.training.loop import train
from bleep_sc.training.pairs import Learnt
from bleep_sc.training.seeds import seeded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc._arrays.sparse_rows import SparseRows
    from bleep_sc.training.baseline_configs import HisToGeneConfig
    from bleep_sc.training.pairs import Pairs


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
    patches, sections = np.asarray(pairs.images), [np.flatnonzero(slides == name) for name in np.unique(slides)]
    steps = [rows for rows in sections for _ in range(n_windows(len(rows), config.max_spots))]
    device, shape = torch.device(device), architecture(patches, positions, pairs.expression, config)
    with seeded(random_state, device) as generator:
        of_spots = some_rows_on((patches, positions, pairs.expression), device)
        model = HisToGene(**shape).to(device).train()

        def loss(batch: Tensor) -> Tensor:
            rows = steps[int(batch)]
            spots = rows[draw_window(positions[rows], config.max_spots, generator)]
            images, places, truth = (each[None] for each in of_spots(spots))
            return torch.nn.functional.mse_loss(model(images, places), truth)

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
    return Learnt(model.eval(), shape, {"loss": history})


def architecture(
    patches: NDArray[np.uint8],
    positions: NDArray[np.int64],
    expression: NDArray[np.float32] | SparseRows,
    config: HisToGeneConfig,
) -> dict[str, Any]:
    """Return the arguments of :class:`HisToGene`; its position tables hold every position of the spots."""
    return {
        "patch_size": patches.shape[1],
        "n_genes": expression.shape[1],
        "n_positions": max(config.n_positions, int(positions.max()) + 1),
        "n_dims": config.n_dims,
        "n_layers": config.n_layers,
        "n_heads": config.n_heads,
        "dropout": config.dropout,
        "scale_pixels": config.scale_pixels,
    }


def n_windows(n_spots: int, max_spots: int | None) -> int:
    """Return how many windows of at most so many spots hold a section once."""
    return 1 if max_spots is None else -(-n_spots // max_spots)


def draw_window(positions: NDArray[np.int64], max_spots: int | None, generator: torch.Generator) -> NDArray[np.intp]:
    """Draw a spot of a section by its positions (N, 2); return it with its nearest, or all where they fit in."""
    if max_spots is None or len(positions) <= max_spots:
        return np.arange(len(positions))
    center = int(torch.randint(len(positions), (), generator=generator))
    return nearest_spots(positions, center, max_spots)
