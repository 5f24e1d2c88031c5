"""Ridge regression on the joint embedding, for every gene that a reference measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._arrays.blocks import extremes, row_blocks
from bleep_sc.models.on_device import CPU
from bleep_sc.models.products import product

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch
    from numpy.typing import NDArray

    Block = tuple[slice, slice, NDArray[np.float32]]


@dataclass(frozen=True)
class Coefficients:
    """A regression of expression on unit embeddings, without those that it was learnt on."""

    center: NDArray[np.float32]
    """Of the embeddings, (n_dims,)."""
    slopes: NDArray[np.float32]
    """(n_dims, n_genes)."""
    intercepts: NDArray[np.float32]
    """(n_genes,)."""
    device: torch.device = CPU
    """Where matrices are multiplied."""

    def predict(self, embedding: NDArray[np.float32], genes: Any = slice(None)) -> NDArray[np.float32]:
        """Predict some genes, (n_query, n_genes), from embeddings (n_query, n_dims) of norm one, or means of such."""
        change = product(embedding - self.center, self.slopes[:, genes], self.device)
        return np.asarray(change + self.intercepts[genes], dtype=np.float32)


@dataclass(frozen=True)
class EmbeddingRegression:
    r"""Predict expression from the image embedding, whatever the genes are.

    With the unit embeddings :math:`E` of the reference, centred, the prediction for a unit embedding :math:`q` is

    .. math:: \bar y + (q - \bar e) \, (E^\top E + \lambda I)^{-1} E^\top Y.

    Spots may count more or less, with weights :math:`W` on the diagonal: the means are weighted then, and the matrices
    are :math:`E^\top W E` and :math:`E^\top W Y`. Both are sums over spots, so that embeddings and expression may pass
    by in blocks and need not be in memory.
    """

    embedding: Any
    """Image embeddings of the reference, (n_reference, n_dims)."""
    weights: NDArray[np.float32] | None
    """What every spot of it counts, (n_reference,); None where all count the same."""
    center: NDArray[np.float32]
    """(n_dims,)."""
    gram: NDArray[np.float64]
    r""":math:`E^\top W E + \lambda I`, (n_dims, n_dims)."""
    device: torch.device = CPU
    """Where matrices are multiplied."""

    @classmethod
    def fit(
        cls,
        embedding: Any,
        penalty: float,
        weights: NDArray[np.float32] | None = None,
        device: torch.device = CPU,
    ) -> EmbeddingRegression:
        """Fit to the image embeddings (n_reference, n_dims) of a reference, in memory or not.

        ``weights`` (n_reference,) say what every spot counts; None: one.
        """
        n_dims = embedding.shape[1]
        center, gram, count = np.zeros(n_dims), np.zeros((n_dims, n_dims)), 0.0
        for rows, block in row_blocks(embedding):
            units = unit(block).astype(np.float64)
            counts = _counts(weights, rows)
            center += counts @ units
            gram += product((units * counts[:, None]).T, units, device)
            count += counts.sum()
        center /= count
        gram += penalty * np.eye(n_dims) - count * np.outer(center, center)
        return cls(embedding, weights, center.astype(np.float32), gram, device)

    def coefficients(self, values: Any) -> Coefficients:
        """Return what predicts expression, of which ``values`` are that of the reference, (n_reference, n_genes)."""
        n_genes = values.shape[1]
        moments, total, count = np.zeros((n_genes, len(self.center))), np.zeros(n_genes), 0.0
        for whole, images in row_blocks(self.embedding):
            for rows, block in row_blocks(values, within=whole):
                counts = _counts(self.weights, rows)
                centred = unit(images[rows.start - whole.start : rows.stop - whole.start]) - self.center
                moments += product(block.T, centred * counts[:, None].astype(np.float32), self.device)
                total += block.T @ counts
                count += counts.sum()
        slopes = np.linalg.solve(self.gram, moments.T)
        intercepts = (total / count).astype(np.float32)
        return Coefficients(self.center, slopes.astype(np.float32), intercepts, self.device)

    def predict(self, embedding: NDArray[np.float32], values: Any) -> NDArray[np.float32]:
        """Predict (n_query, n_genes) from image embeddings (n_query, n_dims) of norm one, or means of such."""
        return self.coefficients(values).predict(embedding)

    def correct(
        self,
        retrieved: Iterable[Block],
        embedding: NDArray[np.float32],
        values: Any,
        shrinkage: NDArray[np.float32],
    ) -> Iterator[Block]:
        """Move retrieved means towards the regression: ``retrieved + shrinkage * (regressed - retrieved)``.

        ``retrieved`` are blocks, as :func:`bleep_sc.models.retrieval.averages` gives them; ``embedding`` is as in
        :meth:`predict`, and ``shrinkage`` (n_genes,).
        The result stays within what the reference shows of a gene.
        """
        coefficients = self.coefficients(values)
        lowest, highest = extremes(values)
        for rows, genes, mean in retrieved:
            step = mean + shrinkage[genes] * (coefficients.predict(embedding[rows], genes) - mean)
            yield rows, genes, np.clip(step, lowest[genes], highest[genes])


def unit(embedding: Any) -> NDArray[np.float32]:
    """Return embeddings (n, n_dims) with norm one."""
    embedding = np.asarray(embedding, dtype=np.float32)
    return embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), np.float32(1e-12))


def _counts(weights: NDArray[np.float32] | None, rows: slice) -> NDArray[np.float64]:
    return np.ones(rows.stop - rows.start) if weights is None else weights[rows].astype(np.float64)
