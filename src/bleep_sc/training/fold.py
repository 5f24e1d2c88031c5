"""Spots that a model has not seen, in its embedding, and what is predicted of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bleep_sc.models import retrieval
from bleep_sc.models.embed import embed_expression, embed_images
from bleep_sc.models.exact_search import kept_on_device, on_device
from bleep_sc.models.regression import EmbeddingRegression
from bleep_sc.models.smoothing import smoothed
from bleep_sc.models.weighing import found_and_weighed

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from bleep_sc.models.bleep import BLEEP
    from bleep_sc.training.config import FitConfig
    from bleep_sc.training.pairs import Pairs


@dataclass(frozen=True)
class Fold:
    """Spots in the embedding of a model that has not seen them, and those that it has."""

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
    keys: NDArray[np.float32] | Tensor
    """The same, where they are compared."""
    expression: NDArray[np.float32]
    """(n_reference, n_genes)."""
    device: torch.device

    def predict(
        self, config: FitConfig, smoothing_um: float, genes: Any = slice(None)
    ) -> dict[str, NDArray[np.float32]]:
        """Return what :class:`HeldOut` says of predictions, by the names of its fields."""
        whole = smoothed(self.query, self.slides, self.centers_um, smoothing_um)
        looked_for = whole if config.metric == "cosine" else self.query
        # Anchors are found for all spots of a slide; else spots have nothing to do with each other.
        needed, rows = (slice(None), self.kept) if config.neighbor_weights == "anchors" else (self.kept, slice(None))
        found, weights = found_and_weighed(
            on_device(looked_for[needed], self.device),
            self.keys,
            weights=config.neighbor_weights,
            embedding=self.query[needed],
            images=self.images,
            slides=self.slides[needed],
            n_neighbors=min(config.n_neighbors, len(self.keys)),
            metric=config.metric,
        )
        similarity, index, weights = found.similarity[rows], found.index[rows], weights[rows]
        query, expression = whole[self.kept], self.expression[:, genes]
        retrieved = retrieval.average(index, weights, expression)
        regressed = retrieved
        if config.regression:
            regression = EmbeddingRegression.fit(self.images, config.regression_penalty, device=self.device)
            regressed = regression.predict(query, expression)
        return {
            "retrieved": retrieved,
            "variance": retrieval.variance(index, weights, expression, retrieved),
            "regressed": regressed,
            "similarity": retrieval.mean_similarity(similarity, weights),
        }


def placed(
    model: BLEEP,
    pairs: Pairs,
    groups: NDArray[np.str_],
    is_held_out: NDArray[np.bool_],
    kept: NDArray[np.intp],
    centers_um: NDArray[np.float64] | None,
    device: torch.device,
) -> Fold:
    """Embed the spots that a model has not seen, and those that it has."""
    reference, slides = pairs[~is_held_out], groups[~is_held_out]
    return Fold(
        # All spots are embedded, since some views of features depend on those of their slide.
        query=embed_images(model, pairs[is_held_out].images, groups[is_held_out], device=device),
        kept=kept,
        slides=groups[is_held_out],
        centers_um=None if centers_um is None else centers_um[is_held_out],
        images=embed_images(model, reference.images, slides, device=device),
        keys=kept_on_device(embed_expression(model, reference.expression, device=device), device),
        expression=reference.expression,
        device=device,
    )
