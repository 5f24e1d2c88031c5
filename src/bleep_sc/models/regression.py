"""Ridge regression on the joint embedding, for every gene that a reference measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    Block = tuple[slice, slice, NDArray[np.float32]]


@dataclass(frozen=True)
class EmbeddingRegression:
    r"""Predict expression from the image embedding, whatever the genes are.

    With the unit embeddings :math:`E` of the reference, centred, the prediction for a unit embedding :math:`q` is

    .. math:: \bar y + (q - \bar e) \, (E^\top E + \lambda I)^{-1} E^\top Y,

    so that what is fitted, the matrix in front of :math:`Y`, is the same for all genes. Spots may count more or less,
    with weights :math:`W` on the diagonal: the means are weighted then, and the matrix is
    :math:`(E^\top W E + \lambda I)^{-1} E^\top W`.
    """

    center: NDArray[np.float32]
    """(n_dims,)."""
    operator: NDArray[np.float32]
    """(n_dims, n_reference)."""
    share: NDArray[np.float32] | None = None
    """Share of every reference spot in the means, (n_reference,); None where all count the same."""

    @classmethod
    def fit(
        cls, embedding: NDArray[np.float32], penalty: float, weights: NDArray[np.float32] | None = None
    ) -> EmbeddingRegression:
        """Fit to the image embeddings (n_reference, n_dims) of a reference.

        ``weights`` (n_reference,) say what every spot counts; None: one.
        """
        unit = _unit(embedding)
        share = None if weights is None else np.asarray(weights / weights.sum(dtype=np.float64), dtype=np.float32)
        center = unit.mean(axis=0) if share is None else share @ unit
        centred = np.asarray(unit - center, dtype=np.float64)
        weighted = centred if weights is None else centred * np.asarray(weights, dtype=np.float64)[:, None]
        gram = weighted.T @ centred + penalty * np.eye(centred.shape[1])
        return cls(center, np.linalg.solve(gram, weighted.T).astype(np.float32), share)

    def coefficients(self, values: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return slopes (n_dims, n_genes) and intercepts (n_genes,) for expression (n_reference, n_genes)."""
        average: Any = values.mean(axis=0) if self.share is None else values.T @ self.share
        mean = np.asarray(average, dtype=np.float32).ravel()
        transposed: Any = values.T @ self.operator.T  # (n_genes, n_dims)
        return np.asarray(transposed, dtype=np.float32).T, mean

    def predict(self, embedding: NDArray[np.float32], values: Any) -> NDArray[np.float32]:
        """Predict (n_query, n_genes) from image embeddings (n_query, n_dims) of a query."""
        slopes, intercepts = self.coefficients(values)
        return np.asarray((_unit(embedding) - self.center) @ slopes + intercepts, dtype=np.float32)

    def correct(
        self,
        retrieved: Iterable[Block],
        embedding: NDArray[np.float32],
        values: Any,
        shrinkage: NDArray[np.float32],
    ) -> Iterator[Block]:
        """Move retrieved means towards the regression: ``retrieved + shrinkage * (regressed - retrieved)``.

        Blocks of genes come one after another, as :func:`bleep_sc.models.retrieval.averages` gives them; ``shrinkage``
        is (n_genes,). The result stays within what the reference shows of a gene.
        """
        columns = values.tocsc() if sparse.issparse(values) else values
        current: slice | None = None
        for rows, genes, mean in retrieved:
            if genes != current:
                current = genes
                part = columns[:, genes]
                slopes, intercepts = self.coefficients(part)
                lowest, highest = (_along(part, extreme) for extreme in ("min", "max"))
            regressed = (_unit(embedding[rows]) - self.center) @ slopes + intercepts
            yield rows, genes, np.clip(mean + shrinkage[genes] * (regressed - mean), lowest, highest)


def _unit(embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    return embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), np.float32(1e-12))


def _along(values: Any, extreme: str) -> NDArray[np.float32]:
    found = getattr(values, extreme)(axis=0)
    return np.asarray(found.toarray() if sparse.issparse(found) else found, dtype=np.float32).ravel()
