"""The layers of a prediction by retrieval, in memory or not."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._arrays.blocks import slices
from bleep_sc.tl._predictions.record import SPOTS, among_all, store_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from bleep_sc.models.regression import Block
    from bleep_sc.tl._references.read import Reference

    Correction = Callable[[Iterable[Block]], Iterator[Block]]

CORRECTED_AT_ONCE = 1024
"""Genes that are corrected at once."""


def correction(reference: Reference, embedding: NDArray[np.float32], images: Any, device: torch.device) -> Correction:
    """Return what moves retrieved means towards a regression on the image embeddings of the references."""
    from bleep_sc.models.regression import EmbeddingRegression

    penalty = reference.model.description.config["regression_penalty"]
    regression = EmbeddingRegression.fit(images, penalty, reference.weights, device)
    return partial(
        regression.correct, embedding=embedding, values=reference.values, shrinkage=reference.panel.shrinkage
    )


def predicted_layers(
    name: str,
    shape: tuple[int, int],
    reference: Reference,
    index: Tensor,
    weights: Tensor,
    correct: Correction | None,
    interval: float | None,
    store: str | Path | None,
) -> dict[str, Any]:
    """Return the layers of a prediction, (n_obs, n_vars) each."""
    from bleep_sc.models import retrieval

    genes, values = reference.genes, reference.values
    if store is not None:

        def blocks(edges: Sequence[int]) -> Any:
            means = retrieval.averages(index, weights, values, edges, n_rows=SPOTS)
            return means if correct is None else correct(means)

        return {name: store_layer(store, shape, genes, blocks)}
    retrieved = retrieval.average(index, weights, values)
    layers = {name: retrieved}
    if correct is not None:
        whole = [(slice(None), block, retrieved[:, block]) for block in slices(len(reference.names), CORRECTED_AT_ONCE)]
        layers = {
            name: np.concatenate([part for _, _, part in correct(whole)], axis=1),
            keys.retrieved(name): retrieved,
        }
    if interval is not None:
        ends = reference.panel.interval(interval, index, weights, values, retrieved, layers[name])
        layers |= dict(zip((keys.lower(name), keys.upper(name)), ends, strict=True))
    return {each: among_all(part, genes) for each, part in layers.items()}
