"""What tissue a reference knows, judged by donors, or slides, that were held out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc.models.known_tissue import N_PERCENTILES, KnownTissue
from bleep_sc.training.validation import MAX_FOLDS, folds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc.models.known_tissue import Around


def learn_typicality(
    features: NDArray[np.float32], units: NDArray[np.str_], around: Around, random_state: int = 0
) -> KnownTissue:
    """Learn how far from a reference the tissue of others like its own is, from features (n, n_features).

    ``units`` is what each spot is held out with as a whole, (n,), its donor or its slide, two or more of them;
    ``around`` is as in :meth:`KnownTissue.fit`. The seed says which of them
    are held out together, where there are more than five, and which spots are looked at.
    """
    parts = []
    for is_held_out in folds(units, MAX_FOLDS, random_state):
        others = KnownTissue.fit(features, around, ~is_held_out, random_state)
        parts.append(others.distance(features, around)[is_held_out])
    whole = KnownTissue.fit(features, around, np.ones(len(features), dtype=bool), random_state)
    percentiles = np.percentile(np.concatenate(parts), np.linspace(0, 100, N_PERCENTILES))
    return replace(whole, percentiles=np.maximum.accumulate(percentiles).astype(np.float32))
