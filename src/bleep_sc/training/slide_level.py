"""Train a network on slides: batches of slides, and held-out donors that choose for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from bleep_sc._output.messages import logger
from bleep_sc.models.on_device import transfer
from bleep_sc.training.loop import train
from bleep_sc.training.seeds import seeded
from bleep_sc.training.validation import folds, monitored_genes, validation_score

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from bleep_sc.training.slide_configs import HE2RNAConfig, Hist2RNAConfig
    from bleep_sc.training.slide_pairs import Bag, SlidePairs

LEAST_IN_FOLD = 4
"""Donors or slides in a fold, at least: a correlation over fewer says nothing."""


Pool: TypeAlias = "Callable[[nn.Module, Tensor, list[int], torch.Generator | None], Tensor]"
"""From a network and the tiles of slides, one slide after another, and how many each has, to what the slides express,
(B, n_genes). The generator draws what is drawn in training; None while slides are predicted."""


@dataclass(frozen=True)
class SlideLevel:
    """How a network learns from slides."""

    build: Callable[[SlidePairs], nn.Module]
    """Makes one, untrained, whose statistics are those of the slides that it is to be trained on."""
    pool: Pool
    """Predicts slides with it."""
    config: HE2RNAConfig | Hist2RNAConfig
    """Says how it is trained."""
    max_tiles: int
    """Tiles of a slide that are read at once."""
    random_state: int
    device: torch.device | str
    show_progress_bar: bool

    def learn(self, pairs: SlidePairs, units: NDArray[np.str_]) -> tuple[nn.Module, dict[str, Any], dict[str, Any]]:
        """Train on all slides for as long as predicted best those that were held out; ``units`` are so as a whole.

        Returns the network, ``loss`` of every epoch and, where some were held out, ``validation_pearson`` of every one,
        and the number of epochs, ``n_epochs``.
        """
        if len(pairs) < 2:
            raise ValueError(
                f"There is one slide, {pairs.bags[0].name!r}: what is learnt from slides as a whole is how they "
                "differ. Give several, or fit a method that learns from spots, such as "
                "bleep_sc.tl.fit_ridge."
            )
        pearson = self._held_out(pairs, units)
        n_epochs = int(pearson.argmax()) + 1 if len(pearson) else self.config.max_epochs
        model, loss = self._train(pairs, n_epochs)
        if not np.isfinite(loss).all():
            kind = type(self.config).__name__
            raise ValueError(
                f"Training diverged with {kind}.learning_rate={self.config.learning_rate!r}; pass a smaller one."
            )
        held_out = {"validation_pearson": pearson} if len(pearson) else {}
        return model, {"loss": loss, **held_out}, {"n_epochs": n_epochs}

    def _held_out(self, pairs: SlidePairs, units: NDArray[np.str_]) -> NDArray[np.float64]:
        """Return how well held-out slides are predicted after every epoch, (n_epochs,); none where units are few."""
        n_units = len(np.unique(units))
        n_folds = min(self.config.n_folds, n_units // LEAST_IN_FOLD)
        if n_folds < 2:
            logger.info(
                "%d donors or slides are too few to hold some out: trained for %d epochs.",
                *(n_units, self.config.max_epochs),
            )
            return np.empty(0)
        scores = np.zeros((n_folds, self.config.max_epochs))
        for score, fold in zip(scores, folds(units, n_folds, self.random_state), strict=True):
            self._train(pairs[~fold], self.config.max_epochs, held_out=pairs[fold], scores=score)
        return scores.mean(axis=0)

    def _train(
        self,
        pairs: SlidePairs,
        n_epochs: int,
        *,
        held_out: SlidePairs | None = None,
        scores: NDArray[np.float64] | None = None,
    ) -> tuple[nn.Module, list[float]]:
        device = torch.device(self.device)
        with seeded(self.random_state, device) as generator:
            model = self.build(pairs).to(self.device).train()
            genes = monitored_genes(pairs.expression, np.full(len(pairs), "all"))

            def load(slides: Tensor) -> tuple[Tensor, list[int], Tensor]:
                bags = [pairs.bags[i] for i in slides.tolist()]
                tiles = [bag.read(_drawn(len(bag), self.max_tiles, generator)) for bag in bags]
                return *_together(tiles), torch.from_numpy(pairs.expression[slides.numpy()])

            def loss(batch: tuple[Tensor, list[int], Tensor]) -> Tensor:
                tiles, sizes, expression = batch
                predicted = self.pool(model, transfer(tiles, device), sizes, generator)
                return nn.functional.mse_loss(predicted, transfer(expression, device))

            def on_epoch_end(epoch: int, mean_loss: float) -> bool:
                if held_out is not None and scores is not None and np.isfinite(mean_loss):
                    predicted = self.predict(model, held_out.bags)[:, genes]
                    scores[epoch - 1] = validation_score(predicted, held_out.expression[:, genes])
                    model.train()
                return not np.isfinite(mean_loss)

            history = train(
                loss,
                torch.optim.Adam(
                    model.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay
                ),
                load=load,
                n_samples=len(pairs),
                batch_size=self.config.batch_size,
                max_epochs=n_epochs,
                generator=generator,
                of_one_size=False,
                on_epoch_end=on_epoch_end,
                description="Training" if held_out is None else "Choosing the number of epochs",
                show_progress_bar=self.show_progress_bar,
            )
        return model.eval(), history

    @torch.inference_mode()
    def predict(self, model: nn.Module, bags: list[Bag] | Any) -> NDArray[np.float32]:
        """Predict slides as a whole, (n_slides, n_genes); of large ones tiles that are evenly spread over the list."""
        model.eval()
        predicted = []
        for bag in bags:
            tiles, sizes = _together([bag.read(_spread(len(bag), self.max_tiles))])
            predicted.append(self.pool(model, tiles.to(self.device), sizes, None).cpu().numpy())
        return np.concatenate(predicted)


def _together(tiles: list[NDArray[np.float32]]) -> tuple[Tensor, list[int]]:
    """Lay the tiles of slides one after another, (sum of sizes, n_features)."""
    return torch.from_numpy(np.concatenate(tiles)), [len(each) for each in tiles]


def _drawn(n: int, most: int, generator: torch.Generator) -> NDArray[np.intp] | slice:
    if n <= most:
        return slice(None)
    return np.sort(torch.randperm(n, generator=generator)[:most].numpy())


def _spread(n: int, most: int) -> NDArray[np.intp] | slice:
    return slice(None) if n <= most else np.linspace(0, n - 1, most).astype(np.intp)
