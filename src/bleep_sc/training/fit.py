"""Train BLEEP on arrays: from features of a frozen encoder, or from patches end to end."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bleep_sc._batches import subset
from bleep_sc._runtime import logger
from bleep_sc.models import retrieval, stain_jitter, symmetries
from bleep_sc.models.batches import as_tensor, map_batches
from bleep_sc.models.bleep import BLEEP
from bleep_sc.models.losses import bleep_loss
from bleep_sc.training.loop import train
from bleep_sc.training.validation import monitored_genes, validation_score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc._batches import Unread
    from bleep_sc.models.encoders import Encoder
    from bleep_sc.training.config import FitConfig

RUNNING_MEAN, PLATEAU = 15, 0.01
"""Epochs over which the scores of a held-out slide are smoothed, and how much lower a plateau may be than its peak."""


@dataclass(frozen=True)
class Pairs:
    """Spots whose image and expression are both known.

    ``images`` are features (n, d) float32, or patches (n, S, S, 3) uint8, which need not be in memory;
    ``expression`` is (n, genes) float32.
    """

    images: NDArray[np.float32] | NDArray[np.uint8] | Unread
    expression: NDArray[np.float32]

    def __getitem__(self, rows: NDArray[np.bool_]) -> Pairs:
        return Pairs(subset(self.images, rows), self.expression[rows])

    def __len__(self) -> int:
        return len(self.expression)

    @property
    def are_patches(self) -> bool:
        """Whether the images are patches, which an encoder turns into features."""
        return self.images.ndim == 4

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, d) or images (B, 3, S, S), and expression (B, genes), of some spots."""
        index = rows.numpy()
        return as_tensor(self.images[index]), torch.from_numpy(self.expression[index])


@dataclass(frozen=True)
class Trained:
    """What training left behind."""

    model: BLEEP
    loss: list[float]
    """Mean loss of every epoch on all slides."""
    validation_group: str | None = None
    """The slide that was held out to choose the number of epochs."""
    validation_pearson: list[float] = field(default_factory=list)
    """Mean correlation over the monitored genes on that slide, after every epoch of the search."""


def fit_bleep(
    pairs: Pairs,
    groups: NDArray[np.str_],
    *,
    config: FitConfig,
    encoder: Encoder | None = None,
    random_state: int = 0,
    device: torch.device | str = "cpu",
    num_workers: int = 0,
    show_progress_bar: bool = True,
) -> Trained:
    """Train BLEEP on paired spots.

    Parameters
    ----------
    pairs
        Images and expression of the spots.
    groups
        Slide of every spot, (n,). With early stopping and several slides, one of them is held out to choose the number
        of epochs, and the model is then trained on all slides for that long.
    config
        Hyper-parameters.
    encoder
        Turns patches into features and is trained; needed when the images are patches.
    random_state
        Seeds weights, batches, dropout, augmentation and the choice of the held-out slide.
    device
        Where to train.
    num_workers
        Processes that read patches ahead.
    show_progress_bar
        Whether to show a bar.
    """
    train_on = partial(
        _train,
        encoder=encoder,
        random_state=random_state,
        device=device,
        num_workers=num_workers,
        show_progress_bar=show_progress_bar,
    )
    names = np.unique(groups)
    if not config.early_stopping or len(names) < 2:
        model, loss = train_on(pairs, config)
        return Trained(model, loss)
    held_out = str(np.random.default_rng(random_state).choice(names))
    search = _EpochSearch(pairs, groups, held_out, config, device)
    train_on(search.reference, config, search=search)
    logger.info("Imputed %s well until epoch %d; training on all slides for as long.", held_out, search.best_epoch)
    final = replace(config, max_epochs=search.best_epoch)
    model, loss = train_on(pairs, final)
    return Trained(model, loss, held_out, search.pearson)


def _train(
    pairs: Pairs,
    config: FitConfig,
    *,
    encoder: Encoder | None,
    random_state: int,
    device: torch.device | str,
    num_workers: int,
    show_progress_bar: bool,
    search: _EpochSearch | None = None,
) -> tuple[BLEEP, list[float]]:
    with torch.random.fork_rng():
        torch.manual_seed(random_state)
        generator = torch.Generator().manual_seed(random_state)
        model = _build(pairs, config, encoder).to(device)

        def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
            image, expression = (each.to(device) for each in batch)
            if pairs.are_patches:
                image = symmetries.augment(image, generator)
                image = stain_jitter.jitter(image, config.stain_jitter, generator) if config.stain_jitter else image
            image_embedding, expression_embedding = model(image, expression)
            return bleep_loss(image_embedding, expression_embedding, config.temperature)

        optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        history = train(
            loss,
            optimizer,
            load=pairs.batch,
            n_samples=len(pairs),
            batch_size=config.batch_size,
            max_epochs=config.max_epochs,
            generator=generator,
            num_workers=num_workers,
            on_epoch_end=None if search is None else lambda epoch, _: search(model, epoch),
            description="Training" if search is None else "Choosing the number of epochs",
            show_progress_bar=show_progress_bar,
        )
    return model.eval(), history


def _build(pairs: Pairs, config: FitConfig, encoder: Encoder | None) -> BLEEP:
    n_genes = pairs.expression.shape[1]
    if not pairs.are_patches:
        return BLEEP(pairs.images.shape[1], n_genes, n_dims=config.n_dims, dropout=config.dropout).train()
    if encoder is None:
        raise ValueError("Patches need an encoder that turns them into features; pass encoder=.")
    encoder = copy.deepcopy(encoder).cpu()
    with torch.inference_mode():
        n_features = encoder.eval()(as_tensor(pairs.images[:1])).shape[1]
    return BLEEP(n_features, n_genes, n_dims=config.n_dims, dropout=config.dropout, encoder=encoder).train()


class _EpochSearch:
    """Impute a held-out slide after every epoch, and remember when that went best."""

    def __init__(
        self, pairs: Pairs, groups: NDArray[np.str_], held_out: str, config: FitConfig, device: torch.device | str
    ) -> None:
        rest = groups != held_out
        self.reference, self.held_out, self.config, self.device = pairs[rest], pairs[~rest], config, device
        self.genes = monitored_genes(self.reference.expression, groups[rest])
        self.pearson: list[float] = []

    @property
    def best_epoch(self) -> int:
        """The last epoch on the plateau: where the running mean of the scores is about as high as it gets."""
        half = RUNNING_MEAN // 2
        n = len(self.pearson)
        means = np.array([np.mean(self.pearson[max(0, i - half) : i + half + 1]) for i in range(n)])
        return int(np.flatnonzero(means >= means.max() - PLATEAU)[-1]) + 1

    def __call__(self, model: BLEEP, epoch: int) -> bool:
        """Score the model and return True when it has stopped getting better."""
        model.eval()
        prediction, _ = retrieval.impute(
            embed_images(model, self.held_out.images, device=self.device),
            embed_expression(model, self.reference.expression, device=self.device),
            self.reference.expression[:, self.genes],
            n_neighbors=min(self.config.n_neighbors, len(self.reference)),
            weights=self.config.weights,
            temperature=self.config.softmax_temperature,
            metric=self.config.metric,
        )
        model.train()
        self.pearson.append(validation_score(prediction, self.held_out.expression[:, self.genes]))
        return epoch - self.best_epoch >= self.config.patience


@torch.inference_mode()
def embed_images(
    model: BLEEP,
    images: NDArray[np.float32] | NDArray[np.uint8] | Unread,
    *,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    num_workers: int = 0,
) -> NDArray[np.float32]:
    """Embed features (n, d), or patches (n, S, S, 3), as (n, n_dims)."""
    return map_batches(model.embed_images, images, batch_size=batch_size, device=device, num_workers=num_workers)


@torch.inference_mode()
def embed_expression(
    model: BLEEP, expression: NDArray[np.float32], *, batch_size: int = 4096, device: torch.device | str = "cpu"
) -> NDArray[np.float32]:
    """Embed expression (n, genes) as (n, n_dims)."""
    batches = torch.from_numpy(expression).split(batch_size)
    return torch.cat([model.embed_expression(batch.to(device)).cpu() for batch in batches]).numpy()
