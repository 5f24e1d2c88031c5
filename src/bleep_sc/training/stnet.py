"""Train ST-Net on arrays: from patches end to end, or a linear probe on features of a frozen encoder."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bleep_sc._arrays.moments import moments
from bleep_sc._output.messages import logger
from bleep_sc.models import symmetries
from bleep_sc.models.map_batches import channels_first
from bleep_sc.models.on_device import memory_format
from bleep_sc.models.stnet import Standardize, StNet, predict, stnet_loss
from bleep_sc.training.feed import Feed
from bleep_sc.training.loop import train
from bleep_sc.training.pairs import Learnt
from bleep_sc.training.seeds import seeded
from bleep_sc.training.validation import folds, monitored_genes, validation_score

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from bleep_sc.models.encoders import Encoder
    from bleep_sc.training.baseline_configs import StNetConfig
    from bleep_sc.training.pairs import Pairs

DIVERGED = -1.0
"""What a model scores whose loss is no number: the lowest correlation there is."""


def fit_stnet(
    pairs: Pairs,
    slides: NDArray[np.str_],
    *,
    units: NDArray[np.str_],
    config: StNetConfig,
    encoder: Encoder | None = None,
    random_state: int = 0,
    device: torch.device | str = "cpu",
    show_progress_bar: bool = True,
) -> Learnt:
    """Train ST-Net on paired spots, for as long as predicts units best that are held out in turn.

    The arguments are those of :func:`bleep_sc.training.fit.fit_bleep`. ``units``, (n,), are held out as a whole:
    donors or slides; spots, where there is only one slide.

    Returns
    -------
    The model, with ``loss`` of every epoch on all slides and ``validation_pearson``, the mean correlation on held-out
    slides, (n_learning_rates, n_epochs); and the ``learning_rate`` and ``n_epochs`` that were chosen by it.
    """
    fit = partial(
        _train,
        config=config,
        encoder=encoder,
        random_state=random_state,
        device=device,
        show_progress_bar=show_progress_bar,
    )
    held_out = folds(units, config.n_folds, random_state)
    scores = np.full((len(config.learning_rates), len(held_out), config.max_epochs), DIVERGED)
    for i, learning_rate in enumerate(config.learning_rates):
        for k, fold in enumerate(held_out):
            score = _Score(pairs, slides, fold, scores[i, k], device)
            fit(pairs[~fold], learning_rate, config.max_epochs, score=score)
    pearson = scores.mean(axis=1)  # (n_learning_rates, n_epochs)
    best, last_epoch = np.unravel_index(pearson.argmax(), pearson.shape)
    learning_rate, n_epochs = config.learning_rates[best], int(last_epoch) + 1
    logger.info("Predicts best with learning rate %g after %d epochs; training on all.", learning_rate, n_epochs)
    model, loss = fit(pairs, learning_rate, n_epochs)
    if not np.isfinite(loss).all():
        raise ValueError(
            f"ST-Net diverged with StNetConfig.learning_rates={config.learning_rates!r}; pass smaller ones."
        )
    return Learnt(
        model,
        {"n_features": model.head.in_features, "n_genes": model.head.out_features},
        history={"loss": loss, "validation_pearson": pearson},
        params={"learning_rate": learning_rate, "n_epochs": n_epochs},
    )


def _train(
    pairs: Pairs,
    learning_rate: float,
    n_epochs: int,
    *,
    config: StNetConfig,
    encoder: Encoder | None,
    random_state: int,
    device: torch.device | str,
    show_progress_bar: bool,
    score: Callable[[StNet, int], None] | None = None,
) -> tuple[StNet, list[float]]:
    device = torch.device(device)
    with seeded(random_state, device) as generator:
        model = _build(pairs, encoder).to(device).to(memory_format=memory_format(device)).train()
        feed = Feed(pairs, device)

        def loss(batch: Any) -> Tensor:
            image, expression = feed(batch)
            image = symmetries.augment(image, generator) if pairs.are_patches else image
            return stnet_loss(model(image), expression)

        def stop(epoch: int, mean_loss: float) -> bool:
            if np.isfinite(mean_loss) and score is not None:
                score(model, epoch)
            return not np.isfinite(mean_loss)

        history = train(
            loss,
            torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=config.momentum),
            load=feed.load,
            n_samples=len(pairs),
            batch_size=config.batch_size,
            max_epochs=n_epochs,
            generator=generator,
            on_epoch_end=stop,
            description="Training" if score is None else "Choosing learning rate and epochs",
            show_progress_bar=show_progress_bar,
        )
    return model.eval(), history


def _build(pairs: Pairs, encoder: Encoder | None) -> StNet:
    """Return a model that predicts the mean of the spots."""
    n_genes = pairs.expression.shape[1]
    if not pairs.are_patches:
        standardize = Standardize(pairs.images.shape[1])
        standardize.learn(torch.from_numpy(np.asarray(pairs.images)))
        model = StNet(pairs.images.shape[1], n_genes, encoder=standardize)
    elif encoder is None:
        raise ValueError("Patches need an encoder that turns them into features; pass encoder=.")
    else:
        encoder = copy.deepcopy(encoder).cpu()
        with torch.inference_mode():
            n_features = encoder.eval()(channels_first(pairs.images[:1])).shape[1]
        model = StNet(n_features, n_genes, encoder=encoder)
    model.start_at(torch.from_numpy(moments(pairs.expression)[0].astype(np.float32)))
    return model


class _Score:
    """Predict held-out slides after an epoch, and note how well that went."""

    def __init__(
        self,
        pairs: Pairs,
        slides: NDArray[np.str_],
        fold: NDArray[np.bool_],
        scores: NDArray[np.float64],
        device: torch.device | str,
    ) -> None:
        self.held_out, self.slides, self.scores, self.device = pairs[fold], slides[fold], scores, device
        self.genes = monitored_genes(pairs.expression[~fold], slides[~fold])

    def __call__(self, model: StNet, epoch: int) -> None:
        """Write the mean over slides into ``scores``."""
        prediction = predict(model, self.held_out.images, device=self.device)[:, self.genes]
        model.train()
        truth = self.held_out.expression[:, self.genes]
        if np.isfinite(prediction).all():
            on_slides = [self.slides == slide for slide in np.unique(self.slides)]
            self.scores[epoch - 1] = np.mean([validation_score(prediction[rows], truth[rows]) for rows in on_slides])
