"""Learn the kinds of tissue of a reference, by which its slides are aligned."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc.models.alignment import LEAST, N_COMPONENTS, N_TISSUES, Alignment
from bleep_sc.models.slide_scale import SlideScale

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDS = 3
"""How often kinds are sought: after the first time in features aligned by those found before."""
MAX_SPOTS = 4000
"""Spots in which they are sought, at most."""
SPOTS_OF_A_KIND = 30
"""Fewer spots a kind would not tell what it looks like."""


def learn_alignment(features: NDArray[np.float32], slides: NDArray[np.str_], random_state: int = 0) -> Alignment:
    """Fit a mixture to features (n, n_features) of a reference; ``slides`` is the slide of every spot, (n,)."""
    scale = SlideScale.of(features, slides)
    sample = np.arange(len(features))
    if len(sample) > MAX_SPOTS:
        sample = np.sort(np.random.default_rng(random_state).permutation(sample)[:MAX_SPOTS])
    offsets = {name: features[slides == name].mean(axis=0, dtype=np.float64) for name in np.unique(slides)}
    for step in range(ROUNDS):
        without = np.stack([features[i] - offsets[slides[i]] for i in sample]).astype(np.float32)
        model = _mixture(without, scale, random_state)
        if step < ROUNDS - 1:
            offsets = {name: model.offset(features[slides == name]) for name in offsets}
    return model


def _mixture(features: NDArray[np.float32], scale: SlideScale, random_state: int) -> Alignment:
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    n, n_features = features.shape
    inverse = np.divide(1, scale.std, out=np.zeros_like(scale.std), where=scale.std > 0)
    n_components = min(N_COMPONENTS, n_features, n - 1)
    pca = PCA(n_components, random_state=random_state).fit(features * inverse)
    components = np.zeros((N_COMPONENTS, n_features), dtype=np.float32)
    components[:n_components] = pca.components_ * inverse
    along = features @ components.T
    n_kinds = max(1, min(N_TISSUES, n // SPOTS_OF_A_KIND))
    floor = max(1e-2 * float(along[:, :n_components].var()), LEAST)
    mixture = GaussianMixture(n_kinds, covariance_type="diag", reg_covar=floor, random_state=random_state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer kinds than asked for, or vague ones, are no harm
        kinds = mixture.fit(along[:, :n_components]).predict_proba(along[:, :n_components])
    padded = {
        "profiles": np.zeros((N_TISSUES, n_features), dtype=np.float32),
        "centers": np.zeros((N_TISSUES, N_COMPONENTS), dtype=np.float32),
        "variances": np.ones((N_TISSUES, N_COMPONENTS), dtype=np.float32),
        "shares": np.zeros(N_TISSUES, dtype=np.float32),
    }
    padded["profiles"][:n_kinds] = (kinds.T @ features) / np.maximum(kinds.sum(axis=0), LEAST)[:, None]
    padded["centers"][:n_kinds, :n_components] = mixture.means_
    padded["variances"][:n_kinds, :n_components] = mixture.covariances_
    padded["shares"][:n_kinds] = mixture.weights_
    return Alignment(scale.mean, scale.std, components, **padded)
