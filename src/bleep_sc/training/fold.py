"""Spots that a model has not seen: what it finds for them, and what is predicted by that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bleep_sc._arrays.unread import subset
from bleep_sc.models import retrieval
from bleep_sc.models.embed import embed_expression, embed_images
from bleep_sc.models.exact_search import kept_on_device, on_device
from bleep_sc.models.regression import EmbeddingRegression
from bleep_sc.models.smoothing import smoothed
from bleep_sc.models.weighing import ANCHORS, found_and_weighed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from bleep_sc.models.bleep import BLEEP
    from bleep_sc.models.regression import Coefficients
    from bleep_sc.training.config import FitConfig
    from bleep_sc.training.pairs import Pairs


@dataclass(frozen=True)
class Found:
    """What a model finds for the spots that are predicted, looked for over so much tissue."""

    query: NDArray[np.float32]
    """Where they are looked for, (n, n_dims)."""
    similarity: NDArray[np.float32]
    """Mean similarity of the neighbours, (n,)."""
    index: Tensor
    """Which spots of ``Fold.used`` these are, (n, n_neighbors)."""
    weights: Tensor
    """What they count, (n, n_neighbors)."""
    used: NDArray[np.intp]
    """Spots, of all, that are a neighbour of any, in ascending order."""


@dataclass(frozen=True)
class Fold:
    """What is left of a model that has not seen some spots: no embeddings, so that there is room for the next one."""

    found: dict[float, Found]
    """By how much tissue embeddings are averaged over, µm."""
    regression: Coefficients | None
    """Of all genes, where the configuration has a regression."""

    def predict(self, smoothing_um: float, expression: Any) -> dict[str, NDArray[np.float32]]:
        """Return what :class:`HeldOut` says of predictions, by the names of its fields.

        ``expression`` is that of all spots, (n_spots, n_genes).
        """
        found = self.found[smoothing_um]
        retrieved, regressed = self.means(smoothing_um, expression)
        return {
            "retrieved": retrieved,
            "variance": retrieval.variance(found.index, found.weights, subset(expression, found.used), retrieved),
            "regressed": regressed,
            "similarity": found.similarity,
        }

    def means(
        self, smoothing_um: float, expression: Any, genes: Any = slice(None)
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what is retrieved and what is regressed, (n, n_genes) each, of the genes that are the columns."""
        found = self.found[smoothing_um]
        retrieved = retrieval.average(found.index, found.weights, subset(expression, found.used))
        return retrieved, retrieved if self.regression is None else self.regression.predict(found.query, genes)


def placed(
    model: BLEEP,
    pairs: Pairs,
    groups: NDArray[np.str_],
    is_held_out: NDArray[np.bool_],
    kept: NDArray[np.intp],
    centers_um: NDArray[np.float64] | None,
    smoothings_um: Sequence[float],
    config: FitConfig,
    device: torch.device,
) -> Fold:
    """Find what is behind those spots that a model has not seen which are ``kept``, (n,), of all that it has not.

    Each of ``smoothings_um`` is looked for. Image embeddings of the reference are gone before those of expression come.
    """
    reference, slides = pairs[~is_held_out], groups[is_held_out]
    images: Any = embed_images(model, reference.images, groups[~is_held_out], device=device)
    regression = None
    if config.regression:
        fitted = EmbeddingRegression.fit(images, config.regression_penalty, device=device)
        regression = fitted.coefficients(reference.expression)
        del fitted
    by_anchors = config.neighbor_weights == ANCHORS
    images = images if by_anchors else None
    keys = kept_on_device(embed_expression(model, reference.expression, device=device), device)
    # All spots are embedded, since some views of features depend on those of their slide.
    query = embed_images(model, pairs[is_held_out].images, slides, device=device)
    # Anchors are found for all spots of a slide; else spots have nothing to do with each other.
    needed, rows = (slice(None), kept) if by_anchors else (kept, slice(None))
    seen, result = np.flatnonzero(~is_held_out), {}
    for smoothing_um in smoothings_um:
        whole = smoothed(query, slides, None if centers_um is None else centers_um[is_held_out], smoothing_um)
        looked_for = whole if config.metric == "cosine" else query
        found, weights = found_and_weighed(
            on_device(looked_for[needed], device),
            keys,
            weights=config.neighbor_weights,
            embedding=query[needed],
            images=images,
            slides=slides[needed],
            n_neighbors=min(config.n_neighbors, len(keys)),
            metric=config.metric,
        )
        similarity, index, weights = found.similarity[rows], found.index[rows], weights[rows]
        used, place = torch.unique(index, return_inverse=True)
        result[smoothing_um] = Found(
            query=whole[kept],
            similarity=retrieval.mean_similarity(similarity, weights),
            index=place.to(index.dtype),
            weights=weights,
            used=seen[used.cpu().numpy()],
        )
    return Fold(result, regression)
