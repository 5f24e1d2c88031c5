from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.expression import units
from bleep_sc._adata.libraries import libraries
from bleep_sc.tl._models import inputs
from bleep_sc.tl._models.in_uns import write_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

ALPHAS = np.logspace(0, 6, 13)
"""Penalties to choose from."""


def fit_ridge(
    adata: AnnData,
    *,
    use_rep: str | Sequence[str],
    layer: str | None = None,
    target_rep: str | None = None,
    library_key: str = keys.LIBRARY,
    key_added: str = "ridge",
    copy: bool = False,
) -> AnnData | None:
    """Fit a ridge regression from image features to expression: the baseline to beat.

    Features are standardised. The penalty is chosen inside the reference, by leaving out one slide after another (five
    random folds where there is one slide), as the one with the best mean correlation over the 50 most variable genes.
    (Chosen by :math:`R^2`, it is too large by far: the level of a new slide, which correlations ignore, drives it up.)

    Parameters
    ----------
    adata
        The reference: log-normalised expression and image features. Genes are those of ``var["highly_variable"]`` where
        that exists, else all.
    use_rep
        One key or several of image features in ``obsm``.
    layer
        Where the expression is; None is ``X``.
    target_rep
        Learn on ``obsm[target_rep]`` instead, such as ``"X_harmony"``.
    library_key
        Column of ``obs`` that names the slide; not needed for a single one.
    key_added
        Name of the model.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written is:

    ``uns[key_added]`` : dict
        The model, as :func:`bleep_sc.tl.fit` writes it; ``params`` holds the chosen ``alpha``.

    Examples
    --------
    >>> import bleep_sc as bs, scanpy as sc
    >>> adata = bs.datasets.toy(n_slices=2)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> bs.pp.extract_patches(adata, size=32, size_um=112)
    >>> bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    >>> bs.tl.fit_ridge(adata, use_rep="X_stain_stats")
    """
    from bleep_sc.models.fitted import Description, FittedModel
    from bleep_sc.models.ridge import linear

    reps = inputs.as_keys(use_rep)
    values, genes = inputs.expression(adata, layer, target_rep)
    images = inputs.features(adata, reps)
    weight, bias, alpha = _fit(images, values, libraries(adata, library_key))
    description = Description(
        method="ridge",
        architecture={"n_features": images.shape[1], "n_genes": len(genes)},
        genes=genes,
        recipe=inputs.features_recipe(adata, reps),
        params={
            "layer": layer,
            "target_rep": target_rep,
            "library_key": library_key,
            "alpha": alpha,
            "units": units(adata, layer, target_rep),
        },
    )
    adata = adata.copy() if copy else adata
    write_model(adata, key_added, FittedModel(linear(weight, bias), description), {})
    return adata if copy else None


def _fit(
    images: NDArray[np.float32], values: NDArray[np.float32], slides: NDArray[np.str_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return weights (genes, features) and biases (genes,) on the features as they are, and the chosen penalty."""
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, KFold, LeaveOneGroupOut
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from bleep_sc.training.validation import monitored_genes, validation_score

    genes = monitored_genes(values, slides)

    def score(model: Any, images: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
        return validation_score(model.predict(images), truth)

    if len(np.unique(slides)) > 1:
        folds = list(LeaveOneGroupOut().split(images, groups=slides))
    else:
        folds = list(KFold(5, shuffle=True, random_state=0).split(images))
    model = make_pipeline(StandardScaler(), Ridge())
    search = GridSearchCV(model, {"ridge__alpha": ALPHAS}, scoring=score, cv=folds, refit=False)
    search.fit(images, values[:, genes])
    model.set_params(**search.best_params_).fit(images, values)
    scaler, ridge = model.named_steps.values()
    weight = np.atleast_2d(ridge.coef_) / scaler.scale_
    return weight, ridge.intercept_ - weight @ scaler.mean_, float(ridge.alpha)
