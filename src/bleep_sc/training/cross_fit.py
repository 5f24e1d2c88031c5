"""What a reference is worth: donors predicted from each other; slides, where there is one; parts, where it has one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._output.messages import listed, logger
from bleep_sc.models import retrieval
from bleep_sc.models.embed import embed_expression, embed_images
from bleep_sc.models.regression import EmbeddingRegression
from bleep_sc.models.smoothing import smoothed
from bleep_sc.training.fit import fit_bleep
from bleep_sc.training.processes.group import is_first
from bleep_sc.training.validation import folds, monitored_genes, validation_score

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from bleep_sc.training.config import FitConfig
    from bleep_sc.training.pairs import Pairs

MAX_FOLDS, MAX_SPOTS = 5, 4000
"""Models that are trained to predict what they have not seen, and spots that each of them predicts at most."""


@dataclass(frozen=True)
class HeldOut:
    """Spots as models predicted them that had not seen their donor, their slide, or their part of the only one."""

    slides: NDArray[np.str_]
    """(n,)."""
    units: NDArray[np.str_]
    """What each was held out with as a whole: its donor, its slide, or its part of it, (n,)."""
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
    smoothing_um: float = 0.0
    """Over how much tissue embeddings were averaged before they were looked for, µm."""


SMOOTHINGS_UM = (0.0, 50.0, 75.0, 100.0, 150.0, 200.0)
"""Between which held-out slides choose."""


@dataclass(frozen=True)
class Fold:
    """Spots in the embedding of a model that has not seen them, and those that it has."""

    rows: NDArray[np.intp]
    """Of the spots that are predicted, among all, (n,)."""
    query: NDArray[np.float32]
    """All spots that were held out, (n_held_out, n_dims)."""
    kept: NDArray[np.intp]
    """Which of these are predicted, (n,)."""
    slides: NDArray[np.str_]
    """Of all spots that were held out, (n_held_out,)."""
    centers_um: NDArray[np.float64] | None
    """The same, (n_held_out, 2)."""
    images: NDArray[np.float32]
    """Of the spots that were not, (n_reference, n_dims)."""
    keys: NDArray[np.float32]
    """The same."""
    expression: NDArray[np.float32]
    """(n_reference, n_genes)."""

    def predict(
        self, config: FitConfig, smoothing_um: float, genes: Any = slice(None)
    ) -> dict[str, NDArray[np.float32]]:
        """Return what :class:`HeldOut` says of predictions, by the names of its fields."""
        query = smoothed(self.query, self.slides, self.centers_um, smoothing_um)[self.kept]
        looked_for = query if config.metric == "cosine" else self.query[self.kept]
        expression = self.expression[:, genes]
        n_neighbors = min(config.n_neighbors, len(self.keys))
        similarity, index = retrieval.nearest(looked_for, self.keys, n_neighbors=n_neighbors, metric=config.metric)
        weights = retrieval.neighbor_weights(similarity)
        retrieved = retrieval.average(index, weights, expression)
        regressed = retrieved
        if config.regression:
            regressed = EmbeddingRegression.fit(self.images, config.regression_penalty).predict(query, expression)
        return {
            "retrieved": retrieved,
            "variance": retrieval.variance(index, weights, expression, retrieved),
            "regressed": regressed,
            "similarity": retrieval.mean_similarity(similarity, weights),
        }


def cross_fit(
    pairs: Pairs,
    groups: NDArray[np.str_],
    *,
    units: NDArray[np.str_],
    config: FitConfig,
    centers_um: NDArray[np.float64] | None = None,
    random_state: int = 0,
    device: torch.device | str = "cpu",
    checkpoint_dir: str | Path | None = None,
    **how: Any,
) -> HeldOut:
    """Predict the spots of every unit from the other units; the arguments are those of :func:`fit_bleep`.

    At most five models are trained, each without a share of the units and with one pair of heads a view, which errs on
    the safe side, and each predicts at most 4,000 spots. Each has a folder of its own in ``checkpoint_dir``. Where
    spots are (``centers_um``, (n, 2); None: not known) and the configuration leaves it open, they choose over how
    much tissue embeddings are averaged.
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
            config=replace(config, views=tuple(dict.fromkeys(config.views)), n_models=1),
            random_state=random_state,
            device=device,
            checkpoint_dir=None if checkpoint_dir is None else Path(checkpoint_dir) / f"fold{number}",
            **how,
        )
        spots = np.flatnonzero(is_held_out)
        kept = np.sort(rng.permutation(len(spots))[:MAX_SPOTS])
        fold = Fold(
            rows=spots[kept],
            # All spots are embedded, since some views of features depend on those of their slide.
            query=embed_images(model, pairs[is_held_out].images, groups[is_held_out], device=device),
            kept=kept,
            slides=groups[is_held_out],
            centers_um=None if centers_um is None else centers_um[is_held_out],
            images=embed_images(model, reference.images, slides, device=device),
            keys=embed_expression(model, reference.expression, device=device),
            expression=reference.expression,
        )
        parts.append(fold)
    smoothing_um = _smoothing(parts, pairs.expression, groups, config)
    predicted = [fold.predict(config, smoothing_um) for fold in parts]
    rows = np.concatenate([fold.rows for fold in parts])
    return HeldOut(
        slides=groups[rows],
        units=units[rows],
        truth=pairs.expression[rows],
        rows=rows,
        smoothing_um=smoothing_um,
        **{name: np.concatenate([part[name] for part in predicted]) for name in predicted[0]},
    )


def _smoothing(
    parts: list[Fold], expression: NDArray[np.float32], groups: NDArray[np.str_], config: FitConfig
) -> float:
    """Return over how much tissue embeddings are averaged, µm: what held-out slides say, if they are asked."""
    if config.smoothing_um is not None:
        return config.smoothing_um
    if parts[0].centers_um is None or config.metric != "cosine" or len(np.unique(groups)) == 1:
        return 0.0
    genes = monitored_genes(expression, groups)
    scores = dict.fromkeys(SMOOTHINGS_UM, 0.0)
    for fold in parts:
        truth, slides = expression[fold.rows][:, genes], groups[fold.rows]
        for smoothing_um in SMOOTHINGS_UM:
            found = fold.predict(config, smoothing_um, genes)
            predicted = (found["retrieved"] + found["regressed"]) / 2
            for name in np.unique(slides):
                here = slides == name
                scores[smoothing_um] += here.sum() * validation_score(predicted[here], truth[here])
    return max(scores, key=scores.__getitem__)
