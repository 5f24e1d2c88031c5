"""The methods to compare: callables that take the two sides of a fold and return a prediction."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bleep_sc import tl
from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obsm
from bleep_sc._output.messages import did_you_mean, listed
from bleep_sc.bm import _ablation, _baselines, _probes
from bleep_sc.bm._external import External
from bleep_sc.bm._external import external as from_elsewhere
from bleep_sc.pp import batch_correct as correct
from bleep_sc.tl._models.fit_method import fit_method
from bleep_sc.tl._models.inputs import as_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy import sparse

    Compared = Callable[..., NDArray[np.floating] | sparse.csr_matrix]

PUBLISHED, PLACE = "bleep_published", "bleep_place"
ON_FEATURES: dict[str, Compared] = {
    "knn": _baselines.knn,
    "hest_ridge": _probes.hest_ridge,
    "random_forest": _probes.random_forest,
    "boosting": _probes.boosting,
}
"""Baselines that take image features and are only compared."""
SLOW = ("random_forest", "boosting")
"""Run where they are named alone."""
HOURS = ("hist2st",)
"""Likewise, as published."""
VARIANTS: dict[str, dict[str, Any]] = {
    "clip": {"soft_targets": False},
    "bleep_simple": {"n_neighbors": 1},
    "bleep_weighted": {"neighbor_weights": "distance"},
    "bleep_anchors": {"neighbor_weights": "anchors"},
}
"""BLEEP with something of its configuration changed, which is compared where it is named."""
OF_TABLE_2 = ("clip", "bleep_weighted")
"""Those of the paper's ablation, beside its numbers of neighbours."""


def methods(
    names: Sequence[str] | Literal["all"] | None = None,
    *,
    use_rep: str | Sequence[str] | None = None,
    patches_key: str = keys.PATCHES,
    paper: bool | Literal["both"] = True,
    batch_correct: bool = False,
    external: Mapping[str, Any] | None = None,
    ablation: bool = False,
    show_progress_bar: bool = False,
) -> dict[str, Compared]:
    """Return the methods that come with the package, by name.

    =================  ================================================================================
    ``mean``           the mean of the training spots
    ``location``       the same place on the training slides, aligned by outline and colour: no morphology
    ``knn``            the training spots whose image features are nearest
    ``hest_ridge``     the probe of HEST-Bench: ridge regression on 256 principal components, its penalty given
    ``random_forest``  HEST's other probe: 70 trees; one forest for all genes here, where HEST grows one a gene
    ``boosting``       HEST's third: boosted trees, gene by gene, by scikit-learn where HEST takes XGBoost
    ``ridge``          ridge regression on the image features, its penalty chosen on the training slides
    ``stnet``          ST-Net; on features, where ``use_rep`` is given, a linear probe
    ``histogene``      HisToGene, on the middle 112 px of larger patches; sections of over a thousand spots in
                       windows of 128, as the authors of BLEEP ran it on Visium
    ``hist2st``        Hist2ST, on the same patches and windows; as published it takes a GPU, or hours
    ``he2rna``         HE2RNA, which learns from the profiles of whole slides alone; on features
    ``hist2rna``       hist2RNA, likewise
    ``bleep``          BLEEP
    =================  ================================================================================

    And BLEEP with one thing changed, each with a fit of its own, where it is named:

    ==================  ===============================================================================
    ``clip``            hard targets in the loss, as in CLIP
    ``bleep_simple``    the nearest reference spot alone, ``simple`` in the public code
    ``bleep_weighted``  reference spots weighed by their distance, ``weighted_average`` there
    ``bleep_anchors``   reference spots weighed by anchors (:func:`bleep_sc.models.anchor_weights`)
    ``bleep_place``     blended with the same place of the training slides (:func:`bleep_sc.tl.blend_place`):
                        for serial sections
    ==================  ===============================================================================

    Parameters
    ----------
    names
        Which; None is all of the first table that can run on what is given but for ``random_forest`` and ``boosting``,
        which take minutes for a thousand genes, and Hist2ST as published: these are run where they are named.
        ``"all"``: all of both tables that can run.
    use_rep
        One key or several of image features in ``obsm``. None: ST-Net and BLEEP train an encoder on the patches, and
        the methods that need features are left out.
    patches_key
        Key of the patches in ``obsm``, which HisToGene, Hist2ST and location copy need.
    paper
        Networks as published (``Config.paper()``), or the small presets. ``"both"``: BLEEP as published
        (``bleep_published``) beside BLEEP by default (``bleep``), and the others as published.
    batch_correct
        Train BLEEP on expression that Harmony has corrected over the training slides, as the paper does.
    external
        Models from elsewhere by name, which are compared beside the others: what :func:`bleep_sc.bm.external` returns,
        or a model that it takes as it is.
    ablation
        Also table 2 of the paper: BLEEP as published with 50, 1, 10 and 100 neighbours (``bleep_k50`` and so on), read
        off one fit a fold and seed, whose time is that of ``bleep_k50``; and ``clip`` and ``bleep_weighted``, which are
        then made of BLEEP as published too.
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

    features, pictures, published = {"use_rep": use_rep}, {"patches_key": patches_key}, {"paper": bool(paper)}
    every: dict[str, Compared] = {
        "mean": _baselines.mean,
        "location": partial(_baselines.location, patches_key=patches_key),
        **{name: partial(baseline, use_rep=as_keys(use_rep)) for name, baseline in ON_FEATURES.items()},
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
            if paper == "both":
                every[PUBLISHED], every[name] = every[name], partial(every[name], paper=False)
        else:
            every[name] = partial(_fitted if method.is_random else _fitted_once, name, **how)
    every |= {name: partial(every["bleep"], changes=changes) for name, changes in VARIANTS.items()}
    every[PLACE] = partial(_bleep_place, show_progress_bar=show_progress_bar, use_rep=use_rep, patches_key=patches_key)
    of_features = {*ON_FEATURES, *(name for name, method in METHODS.items() if method.images == "features")}
    runnable = [name for name in every if use_rep is not None or name not in of_features]
    slow = (*SLOW, *HOURS) if paper else SLOW
    by_default = [name for name in runnable if name not in (*slow, *VARIANTS, PLACE)]
    asked = by_default if names is None else runnable if names == "all" else list(names)
    wanted = _with_published(asked) if paper == "both" and names is not None else asked
    unknown = [name for name in wanted if name not in every]
    if unknown:
        raise ValueError(
            f"names= has {listed(unknown)}, which is no method of the package.{did_you_mean(unknown, every)} It has: "
            f"{', '.join(every)}."
        )
    featureless = [name for name in wanted if name not in runnable]
    if featureless:
        raise ValueError(f"{' and '.join(featureless)} need image features; use_rep= names them.")
    read_off: dict[str, Compared] = {}
    if ablation:
        read_off = _ablation.numbers_of_neighbors(
            use_rep=use_rep,
            patches_key=patches_key,
            batch_correct=batch_correct,
            show_progress_bar=show_progress_bar,
        )
        as_published = partial(every["bleep"], paper=True)
        read_off |= {name: partial(as_published, changes=VARIANTS[name]) for name in OF_TABLE_2}
    of_package = {name: every[name] for name in wanted} | read_off
    return of_package | _from_elsewhere(external or {}, {**every, **read_off}, patches_key)


def _from_elsewhere(
    given: Mapping[str, Any], of_package: Mapping[str, Compared], patches_key: str
) -> dict[str, Compared]:
    """Return models from elsewhere as methods."""
    if taken := [name for name in given if name in of_package]:
        raise ValueError(f"external= has {listed(taken)}, which is a method of the package. Rename it.")
    return {
        name: model if isinstance(model, External) else from_elsewhere(model, patches_key=patches_key)
        for name, model in given.items()
    }


def known_names() -> list[str]:
    """Return what the methods of the package are called."""
    from bleep_sc.models.methods import METHODS

    return ["mean", "location", *ON_FEATURES, *METHODS, *VARIANTS, PLACE]


def _with_published(names: Sequence[str]) -> list[str]:
    """Return names with the published BLEEP beside the other one, where that is among them."""
    both = [["bleep", PUBLISHED] if name == "bleep" else [name] for name in names]
    return list(dict.fromkeys(name for part in both for name in part))


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
    train: AnnData,
    query: AnnData,
    *,
    random_state: int,
    paper: bool,
    batch_correct: bool,
    changes: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> NDArray[np.float32] | sparse.csr_matrix:
    """Return the weights of the training spots, where what BLEEP predicts is their mean; else its predictions."""
    config = replace(tl.FitConfig.paper() if paper else tl.FitConfig(), **(changes or {}))
    found = _imputed(train, query, config, random_state=random_state, batch_correct=batch_correct, **kwargs)
    return found.layers["bleep"] if config.regression else query.obsm[keys.weights("bleep")]


def _bleep_place(
    train: AnnData, query: AnnData, *, random_state: int, patches_key: str, **kwargs: Any
) -> NDArray[np.float32]:
    """Return what the default of BLEEP predicts, blended with the same place of the training slides."""
    found = _imputed(train, query, tl.FitConfig(), random_state=random_state, patches_key=patches_key, **kwargs)
    tl.blend_place(query, train, patches_key=patches_key)
    return query[:, found.var_names].layers[keys.placed("bleep")]


def _imputed(
    train: AnnData,
    query: AnnData,
    config: tl.FitConfig,
    *,
    random_state: int,
    batch_correct: bool = False,
    **kwargs: Any,
) -> AnnData:
    """Fit BLEEP, impute the query, and return it for the genes to predict."""
    target_rep = None
    if batch_correct:
        correct(train, batch_key=keys.LIBRARY)
        target_rep = keys.HARMONY
    tl.fit(train, target_rep=target_rep, config=config, random_state=random_state, **kwargs)
    genes = train.var_names[train.var[keys.HIGHLY_VARIABLE]].tolist()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* looks unlike the reference")  # how wrong it is there, is measured here
        tl.impute(query, ref=train, genes=genes)
    return query[:, genes]
