"""What a reference is worth: every donor predicted from the others, or every slide where donors are not several."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._output.messages import listed, logger
from bleep_sc.models import retrieval
from bleep_sc.models.embed import embed_expression, embed_images
from bleep_sc.models.regression import EmbeddingRegression
from bleep_sc.training.fit import fit_bleep
from bleep_sc.training.pairs import Pairs
from bleep_sc.training.processes.group import is_first
from bleep_sc.training.validation import folds

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from bleep_sc.training.config import FitConfig

MAX_FOLDS, MAX_SPOTS = 5, 4000
"""Models that are trained to predict what they have not seen, and spots that each of them predicts at most."""


@dataclass(frozen=True)
class HeldOut:
    """Spots as models predicted them that had not seen their donor, or their slide."""

    slides: NDArray[np.str_]
    """(n,)."""
    units: NDArray[np.str_]
    """What each was held out with as a whole: its donor, or its slide, (n,)."""
    truth: NDArray[np.float32]
    """(n, n_genes)."""
    retrieved: NDArray[np.float32]
    """Mean of the neighbours, (n, n_genes)."""
    variance: NDArray[np.float32]
    """Variance among the neighbours, (n, n_genes)."""
    regressed: NDArray[np.float32]
    """By the regression on the embedding, (n, n_genes); what was retrieved, where there is none."""
    similarity: NDArray[np.float32]
    """Mean similarity of the neighbours, (n,)."""
    rows: NDArray[np.intp]
    """Which spots of the reference they are, (n,)."""


def cross_fit(
    pairs: Pairs,
    groups: NDArray[np.str_],
    *,
    units: NDArray[np.str_],
    config: FitConfig,
    random_state: int = 0,
    device: torch.device | str = "cpu",
    checkpoint_dir: str | Path | None = None,
    **how: Any,
) -> HeldOut:
    """Predict the spots of every unit from the other units; the arguments are those of :func:`fit_bleep`.

    At most five models are trained, each without a share of the units and with one pair of heads, which errs on the
    safe side, and each predicts at most 4,000 spots. Each has a folder of its own in ``checkpoint_dir``.
    """
    rng = np.random.default_rng(random_state)
    parts = []
    for number, is_held_out in enumerate(folds(units, MAX_FOLDS, random_state), start=1):
        if is_first():
            logger.info("Predicting %s from the others.", listed(np.unique(units[is_held_out])))
        reference, slides = pairs[~is_held_out], groups[~is_held_out]
        model, _ = fit_bleep(
            reference,
            slides,
            units=units[~is_held_out],
            config=replace(config, n_models=1),
            random_state=random_state,
            device=device,
            checkpoint_dir=None if checkpoint_dir is None else Path(checkpoint_dir) / f"fold{number}",
            **how,
        )
        spots = np.flatnonzero(is_held_out)
        kept = np.sort(rng.permutation(len(spots))[:MAX_SPOTS])
        # All spots are embedded, since features are in units of their slide.
        query = embed_images(model, pairs[is_held_out].images, groups[is_held_out], device=device)[kept]
        images = embed_images(model, reference.images, slides, device=device)
        keys = embed_expression(model, reference.expression, device=device)
        spots = spots[kept]
        predicted = _predict(query, keys, images, reference.expression, config)
        parts.append(HeldOut(groups[spots], units[spots], pairs.expression[spots], **predicted, rows=spots))
    return HeldOut(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(HeldOut)))


def _predict(
    query: NDArray[np.float32],
    keys: NDArray[np.float32],
    images: NDArray[np.float32],
    expression: NDArray[np.float32],
    config: FitConfig,
) -> dict[str, NDArray[np.float32]]:
    """Return what :class:`HeldOut` says of predictions, by the names of its fields."""
    n_neighbors = min(config.n_neighbors, len(keys))
    similarity, index = retrieval.nearest(query, keys, n_neighbors=n_neighbors, metric=config.metric)
    weights = retrieval.neighbor_weights(similarity)
    retrieved = retrieval.average(index, weights, expression)
    variance = retrieval.variance(index, weights, expression, retrieved)
    regressed = retrieved
    if config.regression:
        regressed = EmbeddingRegression.fit(images, config.regression_penalty).predict(query, expression)
    return {
        "retrieved": retrieved,
        "variance": variance,
        "regressed": regressed,
        "similarity": retrieval.mean_similarity(similarity, weights),
    }
