"""The methods to compare: callables that take the two sides of a fold and return a prediction."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc import tl
from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obsm
from bleep_sc.bm import _baselines
from bleep_sc.pp import batch_correct as correct
from bleep_sc.tl._models.inputs import as_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy import sparse

    Method = Callable[..., NDArray[np.floating] | sparse.csr_matrix]


HISTOGENE_PX = 112
"""Side of the patches that HisToGene was published with."""
LARGEST_SECTION, WINDOW_SPOTS = 1000, 128
"""Sections of more spots than the former are read in windows of the latter."""


def methods(
    names: Sequence[str] | None = None,
    *,
    use_rep: str | Sequence[str] | None = None,
    patches_key: str = keys.PATCHES,
    paper: bool = True,
    batch_correct: bool = False,
    show_progress_bar: bool = False,
) -> dict[str, Method]:
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
    networks: dict[str, Any] = {
        "paper": paper,
        "patches_key": patches_key,
        "show_progress_bar": show_progress_bar,
    }
    every: dict[str, Method] = {
        "mean": _baselines.mean,
        "location": partial(_baselines.location, patches_key=patches_key),
        "stnet": partial(_stnet, use_rep=use_rep, **networks),
        "histogene": partial(_histogene, **networks),
        "bleep": partial(_bleep, use_rep=use_rep, batch_correct=batch_correct, **networks),
    }
    if use_rep is not None:
        every["knn"] = partial(_baselines.knn, use_rep=as_keys(use_rep))
        every["ridge"] = partial(_ridge, use_rep=use_rep)
    order = ["mean", "location", "knn", "ridge", "stnet", "histogene", "bleep"]
    wanted = [name for name in order if name in every] if names is None else list(names)
    unknown = [name for name in wanted if name not in order]
    if unknown:
        raise ValueError(f"names={unknown} are no methods of the package; it has: {', '.join(order)}.")
    featureless = [name for name in wanted if name not in every]
    if featureless:
        raise ValueError(f"{' and '.join(featureless)} need image features: pass use_rep=, their key in obsm.")
    return {name: every[name] for name in wanted}


def _ridge(train: AnnData, query: AnnData, *, use_rep: str | Sequence[str]) -> NDArray[np.float32]:
    tl.fit_ridge(train, use_rep=use_rep)
    return _predicted(train, query, "ridge")


def _stnet(train: AnnData, query: AnnData, *, random_state: int, paper: bool, **kwargs: Any) -> NDArray[np.float32]:
    # A linear probe has no published recipe.
    published = paper and kwargs["use_rep"] is None
    config = tl.StNetConfig.paper() if published else tl.StNetConfig()
    tl.fit_stnet(train, config=config, random_state=random_state, **kwargs)
    return _predicted(train, query, "stnet")


def _histogene(
    train: AnnData, query: AnnData, *, random_state: int, paper: bool, patches_key: str, show_progress_bar: bool
) -> NDArray[np.float32]:
    config = tl.HisToGeneConfig.paper() if paper else tl.HisToGeneConfig()
    if train.obs[keys.LIBRARY].value_counts().max() > LARGEST_SECTION:
        config = replace(config, max_spots=WINDOW_SPOTS)
    for side in (train, query):
        _keep_middle(side, patches_key)
    tl.fit_histogene(
        train,
        patches_key=patches_key,
        config=config,
        random_state=random_state,
        show_progress_bar=show_progress_bar,
    )
    return _predicted(train, query, "histogene")


def _keep_middle(adata: AnnData, patches_key: str) -> None:
    """Cut larger patches down to the middle of the published side."""
    patches = require_obsm(adata, patches_key, "HisToGene reads patches: run bleep_sc.pp.extract_patches(adata) first.")
    size = patches.shape[1]
    if size <= HISTOGENE_PX:
        return
    first = (size - HISTOGENE_PX) // 2
    middle = slice(first, first + HISTOGENE_PX)
    adata.obsm[patches_key] = np.ascontiguousarray(patches[:, middle, middle])
    share = HISTOGENE_PX / size
    adata.uns[patches_key] = {
        slide: {**record, "size": HISTOGENE_PX, **{key: share * record[key] for key in ("side_px", "size_um")}}
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


def _predicted(train: AnnData, query: AnnData, key: str) -> NDArray[np.float32]:
    tl.predict(query, ref=train, key=key)
    return query[:, train.var[keys.HIGHLY_VARIABLE].to_numpy()].layers[key]
