"""The methods to compare: callables that take the two sides of a fold and return a prediction."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc import tl
from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obsm
from bleep_sc.bm import _baselines
from bleep_sc.pp import batch_correct as correct
from bleep_sc.tl._models.fit_method import fit_method
from bleep_sc.tl._models.inputs import as_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy import sparse

    Compared = Callable[..., NDArray[np.floating] | sparse.csr_matrix]


def methods(
    names: Sequence[str] | None = None,
    *,
    use_rep: str | Sequence[str] | None = None,
    patches_key: str = keys.PATCHES,
    paper: bool = True,
    batch_correct: bool = False,
    show_progress_bar: bool = False,
) -> dict[str, Compared]:
    """Return the methods that come with the package, by name.

    ==============  ===================================================================================
    ``mean``        the mean of the training spots
    ``location``    the same place on the training slides, aligned by outline and colour: no morphology
    ``knn``         the training spots whose image features are nearest
    ``ridge``       ridge regression on the image features
    ``stnet``       ST-Net; on features, where ``use_rep`` is given, a linear probe
    ``histogene``   HisToGene, on the middle 112 px of larger patches; sections of over a thousand spots in windows
                    of 128, as the authors of BLEEP ran it on Visium
    ``bleep``       BLEEP
    ==============  ===================================================================================

    Parameters
    ----------
    names
        Which; None is all that can run on what is given.
    use_rep
        One key or several of image features in ``obsm``. None: ST-Net and BLEEP train an encoder on the patches, and
        the methods that need features are left out.
    patches_key
        Key of the patches in ``obsm``, which HisToGene and location copy need.
    paper
        Networks as published (``Config.paper()``), or the small presets.
    batch_correct
        Train BLEEP on expression that Harmony has corrected over the training slides, as the paper does.
    show_progress_bar
        Show the epochs of every network.

    Returns
    -------
    For every name a callable ``(train, query)`` or ``(train, query, random_state=...)``, as
    :func:`bleep_sc.bm.cross_validate` takes them.

    Examples
    --------
    >>> import bleep_sc as bs
    >>> list(bs.bm.methods(["mean", "ridge"], use_rep="X_stain_stats"))
    ['mean', 'ridge']
    """
    from bleep_sc.models.methods import METHODS

    features, pictures, published = {"use_rep": use_rep}, {"patches_key": patches_key}, {"paper": paper}
    every: dict[str, Compared] = {
        "mean": _baselines.mean,
        "location": partial(_baselines.location, patches_key=patches_key),
        "knn": partial(_baselines.knn, use_rep=as_keys(use_rep)),
    }
    for name, method in METHODS.items():
        how: dict[str, Any] = {  # and no more, since runs with other arguments are others
            **(features if method.images != "pixels" else {}),
            **(pictures if method.images != "features" else {}),
            **(published if method.config is not None else {}),
            "show_progress_bar": show_progress_bar,
        }
        if method.predict is None:
            every[name] = partial(_bleep, batch_correct=batch_correct, **how)
        else:
            every[name] = partial(_fitted if method.is_random else _fitted_once, name, **how)
    of_features = {"knn", *(name for name, method in METHODS.items() if method.images == "features")}
    runnable = [name for name in every if use_rep is not None or name not in of_features]
    wanted = runnable if names is None else list(names)
    unknown = [name for name in wanted if name not in every]
    if unknown:
        raise ValueError(f"names={unknown} are no methods of the package; it has: {', '.join(every)}.")
    featureless = [name for name in wanted if name not in runnable]
    if featureless:
        raise ValueError(f"{' and '.join(featureless)} need image features: pass use_rep=, their key in obsm.")
    return {name: every[name] for name in wanted}


def _fitted(
    name: str,
    train: AnnData,
    query: AnnData,
    *,
    use_rep: str | Sequence[str] | None = None,
    patches_key: str = keys.PATCHES,
    paper: bool = True,
    show_progress_bar: bool = False,
    random_state: int = 0,
) -> NDArray[np.float32]:
    """Fit a method of the table on one side, and predict the other."""
    from bleep_sc.models.methods import METHODS

    method, kind = METHODS[name], METHODS[name].load("config")
    how: dict[str, Any] = {"use_rep": use_rep, "patches_key": patches_key}
    if method.images == "pixels":
        how["use_rep"] = None
        for side in (train, query):
            _keep_middle(side, patches_key, method.published_px)
    if kind is not None:
        published = paper and (how["use_rep"] is None or method.published_on_features)
        how["config"] = kind.paper() if published else kind()
    if method.for_large_sections is not None:
        largest = int(train.obs[keys.LIBRARY].value_counts().max())
        how["config"] = method.load("for_large_sections")(how["config"], largest)
    fit_method(train, name, random_state=random_state, show_progress_bar=show_progress_bar, **how)
    tl.predict(query, ref=train, key=name)
    return query[:, train.var[keys.HIGHLY_VARIABLE].to_numpy()].layers[name]


def _fitted_once(
    name: str, train: AnnData, query: AnnData, *, use_rep: str | Sequence[str], show_progress_bar: bool
) -> NDArray[np.float32]:
    """Do the same with a method that draws nothing, which has no seed."""
    return _fitted(name, train, query, use_rep=use_rep, show_progress_bar=show_progress_bar)


def _keep_middle(adata: AnnData, patches_key: str, side: int | None) -> None:
    """Cut patches that are larger than a method was published with down to their middle."""
    remedy = "The method reads patches: run bleep_sc.pp.extract_patches(adata) first."
    patches = require_obsm(adata, patches_key, remedy)
    size = patches.shape[1]
    if side is None or size <= side:
        return
    first = (size - side) // 2
    middle = slice(first, first + side)
    adata.obsm[patches_key] = np.ascontiguousarray(patches[:, middle, middle])
    share = side / size
    adata.uns[patches_key] = {
        slide: {**record, "size": side, **{key: share * record[key] for key in ("side_px", "size_um")}}
        for slide, record in adata.uns.get(patches_key, {}).items()
    }


def _bleep(
    train: AnnData, query: AnnData, *, random_state: int, paper: bool, batch_correct: bool, **kwargs: Any
) -> NDArray[np.float32] | sparse.csr_matrix:
    """Return the weights of the training spots, where what BLEEP predicts is their mean; else its predictions."""
    target_rep = None
    if batch_correct:
        correct(train, batch_key=keys.LIBRARY)
        target_rep = keys.HARMONY
    config = tl.FitConfig.paper() if paper else tl.FitConfig()
    tl.fit(train, target_rep=target_rep, config=config, random_state=random_state, **kwargs)
    genes = train.var_names[train.var[keys.HIGHLY_VARIABLE]].tolist()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* looks unlike the reference")  # how wrong it is there, is measured here
        tl.impute(query, ref=train, genes=genes)
    return query[:, genes].layers["bleep"] if config.regression else query.obsm[keys.weights("bleep")]
