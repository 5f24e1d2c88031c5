"""Train Hist2ST on arrays: a section, or a window of neighbouring spots of it, is one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision import transforms

from bleep_sc._output.messages import warn
from bleep_sc.models.hist2st import Hist2ST
from bleep_sc.models.zinb import ZINB, zinb_loss
from bleep_sc.training.feed import some_rows_on
from bleep_sc.training.histogene import draw_window, n_windows
from bleep_sc.training.loop import train
from bleep_sc.training.pairs import Learnt
from bleep_sc.training.seeds import seeded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc.training.hist2st_config import Hist2STConfig
    from bleep_sc.training.pairs import Pairs

DECAY_EPOCHS, DECAY = 50, 0.9
"""After so many epochs the learning rate is multiplied by the latter."""
AUGMENTATIONS = (
    transforms.RandomGrayscale(0.1),
    transforms.RandomRotation(90),  # degrees, either way
    transforms.RandomHorizontalFlip(0.2),
)


class Objective(nn.Module):
    r"""The loss of a section, and what is trained for it beside the network.

    .. math::
        \mathcal{L} = \operatorname{mse}(\hat x, x) + \alpha \operatorname{ZINB}(c)
        + \beta \operatorname{mse}\Big(\sum_v w_v \hat x^{(v)}, \hat x\Big)

    with expression :math:`x`, raw counts :math:`c`, predictions :math:`\hat x^{(v)}` from augmented patches, and
    weights of these that a perceptron reads off their embeddings, spot by spot (softmax over :math:`v`). Gradients flow
    into both sides of the last term.
    """

    def __init__(self, model: Hist2ST, config: Hist2STConfig) -> None:
        super().__init__()
        n_dims, n_genes = model.head.in_features, model.head.out_features
        self.model, self.config = model, config
        self.zinb = ZINB(n_dims, n_genes)
        self.view_weight = nn.Sequential(nn.Linear(n_dims, n_dims), nn.ReLU(), nn.Linear(n_dims, 1))

    def forward(
        self,
        patches: Tensor,
        positions: Tensor,
        centers: Tensor,
        expression: Tensor,
        counts: Tensor | None = None,
        size_factors: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of one section.

        ``patches`` (1, N, S, S, 3), ``positions`` and ``centers`` (1, N, 2), ``expression`` and ``counts``
        (1, N, n_genes), and ``size_factors`` (1, N, 1), the depth of every spot. Without counts the second term is left
        out.
        """
        embedded = self.model.embed(patches, positions, centers)  # (1, N, n_dims)
        predicted = self.model.expression(embedded)  # (1, N, n_genes)
        loss = nn.functional.mse_loss(predicted, expression)
        if counts is not None and self.config.zinb_weight:
            mean, dispersion, zero_logits = self.zinb(embedded)
            loss = loss + self.config.zinb_weight * zinb_loss(counts, mean * size_factors, dispersion, zero_logits)
        if self.config.distillation_weight:
            distilled = self.distil([augment(patches) for _ in range(self.config.n_views)], positions, centers)
            loss = loss + self.config.distillation_weight * nn.functional.mse_loss(distilled, predicted)
        return loss

    def distil(self, views: list[Tensor], positions: Tensor, centers: Tensor) -> Tensor:
        """Return what several views of the patches give together, (1, N, n_genes)."""
        embedded = torch.stack(
            [self.model.embed(view, positions, centers) for view in views]
        )  # (n_views, 1, N, n_dims)
        weights = self.view_weight(embedded).softmax(dim=0)  # (n_views, 1, N, 1)
        return (weights * self.model.expression(embedded)).sum(dim=0)


def augment(patches: Tensor) -> Tensor:
    """Lose the colours, turn and mirror patches (1, N, S, S, 3), all in one way: the section stays in one piece."""
    images = patches[0].movedim(-1, 1)  # (N, 3, S, S)
    for transform in AUGMENTATIONS:
        images = transform(images)
    return images.movedim(1, -1)[None]


def size_factors(counts: NDArray[np.float32], slides: NDArray[np.str_]) -> NDArray[np.float32]:
    """Return the counts of every spot over the median of its slide, (n, 1); a spot without any counts as one count."""
    factors = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for name in np.unique(slides):
        factors[slides == name] /= np.median(factors[slides == name])
    return factors


def fit_hist2st(
    pairs: Pairs,
    slides: NDArray[np.str_],
    *,
    positions: NDArray[np.int64],
    centers: NDArray[np.float64],
    config: Hist2STConfig,
    counts: NDArray[np.float32] | None = None,
    random_state: int = 0,
    device: torch.device | str = "cpu",
    show_progress_bar: bool = True,
    **_: Any,
) -> Learnt:
    """Train Hist2ST to the least loss of :class:`Objective`; no epoch is chosen, the last model is the result.

    A section of more than ``config.max_spots`` spots makes as many steps an epoch as windows of that size hold it, each
    with the neighbourhood of a spot drawn at random.

    ``slides`` is the section of every spot, (n,), ``positions`` its row and column on the array, (n, 2), ``centers``
    where it is, px, (n, 2), and ``counts`` are raw, (n, n_genes); the other arguments are those of
    :func:`bleep_sc.training.fit.fit_bleep`.

    Returns
    -------
    The model, with ``loss`` of every epoch; and ``zinb``, whether it was trained on counts too.
    """
    if counts is None and config.zinb_weight:
        warn(
            "Hist2ST is trained without the likelihood of raw counts, which is part of its loss: layers['counts'] does "
            "not hold those of its genes. Keep them there (adata.layers['counts'] = adata.X.copy(), before "
            "sc.pp.normalize_total), or leave that part out: Hist2STConfig(zinb_weight=0)."
        )
    uses_counts = counts is not None and config.zinb_weight > 0
    sections = [np.flatnonzero(slides == name) for name in np.unique(slides)]
    steps = [rows for rows in sections for _ in range(n_windows(len(rows), config.max_spots))]
    arrays = [np.asarray(pairs.images), positions, centers.astype(np.float32), pairs.expression]
    arrays += [counts, size_factors(counts, slides)] if counts is not None and uses_counts else []
    shape = architecture(pairs, positions, config)
    device = torch.device(device)
    with seeded(random_state, device) as generator:
        of_spots = some_rows_on(arrays, device)
        objective = Objective(Hist2ST(**shape), config).to(device).train()

        def loss(batch: Tensor) -> Tensor:
            rows = steps[int(batch)]
            spots = rows[draw_window(positions[rows], config.max_spots, generator)]
            return objective(*(each[None] for each in of_spots(spots)))

        optimizer = torch.optim.Adam(objective.parameters(), lr=config.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, DECAY_EPOCHS, DECAY)

        def decay(epoch: int, mean_loss: float) -> bool:
            schedule.step()
            return not np.isfinite(mean_loss)

        history = train(
            loss,
            optimizer,
            n_samples=len(steps),
            batch_size=1,
            max_epochs=config.max_epochs,
            generator=generator,
            on_epoch_end=decay,
            show_progress_bar=show_progress_bar,
        )
    if not np.isfinite(history).all():
        raise ValueError(
            f"Hist2ST diverged with Hist2STConfig.learning_rate={config.learning_rate!r}; pass a smaller one."
        )
    return Learnt(objective.model.eval(), shape, {"loss": history}, {"zinb": uses_counts})


def architecture(pairs: Pairs, positions: NDArray[np.int64], config: Hist2STConfig) -> dict[str, Any]:
    """Return the arguments of :class:`Hist2ST`; its position tables hold every position of the sections."""
    patch_size = int(pairs.images.shape[1])
    if patch_size < config.tile_size:
        raise ValueError(
            f"Hist2STConfig.tile_size={config.tile_size!r} is more than the {patch_size} px of the patches; pass a "
            "smaller one, or cut larger patches."
        )
    return {
        "patch_size": patch_size,
        "n_genes": pairs.expression.shape[1],
        "tile_size": config.tile_size,
        "n_channels": config.n_channels,
        "kernel_size": config.kernel_size,
        "n_mixers": config.n_mixers,
        "n_layers": config.n_layers,
        "n_graph_layers": config.n_graph_layers,
        "n_heads": config.n_heads,
        "n_positions": max(config.n_positions, int(positions.max()) + 1),
        "dropout": config.dropout,
        "scale_pixels": config.scale_pixels,
    }
