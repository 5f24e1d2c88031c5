"""How much the tissue of a query looks like that of a reference, in the colours in which it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc.models.slide_scale import varies

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Around = Callable[[NDArray[np.float32]], NDArray[np.float32]]

N_COMPONENTS = 64
MAX_SPOTS = 4000
"""Spots of the reference in which components are sought, at most."""
N_PERCENTILES = 201
RADIUS_UM = 500.0
"""The tissue within this distance of a spot is looked at."""
FOREIGN = 0.05
"""Tissue less typical than this is taken for foreign: so is 5 % of that of slides like the reference's."""
MOSTLY = 0.75
"""Share of foreign spots from which a slide is warned of."""
LEAST = 1e-6


@dataclass(frozen=True)
class KnownTissue:
    r"""A Gaussian model of the features of the tissue of a reference, and how far held-out slides are from it.

    Features are projected on the first k principal components of those of the reference and averaged over the tissue
    around a spot; what is far is told by :math:`\sum_i (z_i - \mu_i)^2 / \lambda_i`, with the mean and the variances
    of these averages over the reference. The features are *not* in units of their slide, since a stain or a scanner
    that the reference does not know is to show; and they are averaged, since such a change is common to the spots of
    a place, while a single patch may look like anything.
    """

    offset: NDArray[np.float32]
    """Mean of every feature, (n_features,)."""
    components: NDArray[np.float32]
    """(k, n_features), to be multiplied with features from which their mean was taken."""
    mean: NDArray[np.float32]
    """Of the projections of the tissue around spots, (k,)."""
    variances: NDArray[np.float32]
    """The same, (k,)."""
    percentiles: NDArray[np.float32]
    """Of the distances of the spots of slides that were held out, (201,)."""

    @classmethod
    def fit(
        cls, features: NDArray[np.float32], around: Around, rows: NDArray[np.bool_], random_state: int
    ) -> KnownTissue:
        """Fit to the spots ``rows`` of features (n, n_features); the percentiles are left empty.

        ``around`` averages values (n, d) over the tissue around every spot, within slides.
        """
        sample = np.flatnonzero(rows)
        if len(sample) > MAX_SPOTS:
            sample = np.sort(np.random.default_rng(random_state).permutation(sample)[:MAX_SPOTS])
        known = np.asarray(features[sample], dtype=np.float32)
        offset, std = known.mean(axis=0), known.std(axis=0)
        spread = np.where(varies(std, known), np.maximum(std, LEAST), np.inf)  # what is constant says nothing
        _, _, components = np.linalg.svd((known - offset) / spread, full_matrices=False)
        k = max(1, min(N_COMPONENTS, len(known) // 4))
        model = cls(offset, (components[:k] / spread).astype(np.float32), *(np.empty(0, dtype=np.float32),) * 3)
        values = around(model.project(features))[rows]
        return replace(model, mean=values.mean(axis=0), variances=np.maximum(values.var(axis=0), LEAST))

    def project(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return features (n, n_features) along the components, (n, k)."""
        return np.asarray((features - self.offset) @ self.components.T, dtype=np.float32)

    def distance(self, features: NDArray[np.float32], around: Around) -> NDArray[np.float32]:
        """Return how far the tissue around every spot is from that of the reference, (n,)."""
        values = around(self.project(features))
        return np.asarray((np.square(values - self.mean) / self.variances).sum(axis=1), dtype=np.float32)

    def share_beyond(self, features: NDArray[np.float32], around: Around) -> NDArray[np.float32]:
        """Return the share of held-out spots that are further away than every spot, (n,): 0 for the least typical."""
        ranks = np.interp(self.distance(features, around), self.percentiles, np.linspace(0, 1, N_PERCENTILES))
        return (1 - ranks).astype(np.float32)
