"""Fit a ridge regression from image features to expression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc.models.ridge import with_coefficients
from bleep_sc.models.slide_scale import varies
from bleep_sc.training.pairs import Learnt
from bleep_sc.training.validation import monitored_genes, validation_score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc.training.pairs import Pairs

ALPHAS = tuple(np.logspace(0, 6, 13))
"""Penalties to choose from."""


def fit_ridge(pairs: Pairs, slides: NDArray[np.str_], *, units: NDArray[np.str_], **_: Any) -> Learnt:
    """Fit to standardised features, with the penalty that predicts units best that are left out in turn.

    ``units`` are the donors of the spots, or their slides, (n,). Judged by the mean correlation over the 50 most
    variable genes; five random folds where there is one slide.
    """
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, KFold, LeaveOneGroupOut
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    images, values = _without_rounding(np.asarray(pairs.images)), pairs.expression
    genes = monitored_genes(values, slides)

    def score(model: Any, images: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
        return validation_score(model.predict(images), truth)

    if len(np.unique(units)) > 1:
        folds = list(LeaveOneGroupOut().split(images, groups=units))
    else:
        folds = list(KFold(5, shuffle=True, random_state=0).split(images))
    model = make_pipeline(StandardScaler(), Ridge())
    search = GridSearchCV(model, {"ridge__alpha": list(ALPHAS)}, scoring=score, cv=folds, refit=False)
    search.fit(images, values[:, genes])
    model.set_params(**search.best_params_).fit(images, values)
    scaler, ridge = model.named_steps.values()
    weight = np.atleast_2d(ridge.coef_) / scaler.scale_  # of the features as they are
    architecture = {"n_features": images.shape[1], "n_genes": values.shape[1]}
    layer = with_coefficients(weight, ridge.intercept_ - weight @ scaler.mean_)
    return Learnt(layer, architecture, params={"alpha": float(ridge.alpha)})


def _without_rounding(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return features (n, n_features), constant where they vary by rounding alone: that would be scaled up to one."""
    mean = features.mean(axis=0, dtype=np.float64)
    return np.where(varies(features.std(axis=0, dtype=np.float64), features), features, mean).astype(features.dtype)
