from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obs, require_obsm
from bleep_sc._adata.libraries import named
from bleep_sc._adata.promise import LEAST, why_not_promised
from bleep_sc._adata.records import names_hash
from bleep_sc._arrays.blocks import dense, slices
from bleep_sc._output.messages import listed, logger
from bleep_sc.tl._predictions.record import SPOTS, params_of, require_prediction
from bleep_sc.tl._references.read import as_references
from bleep_sc.tl._references.values import in_common_units, reference_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray


def pseudobulk(
    adata: AnnData,
    layer: str = "bleep",
    *,
    sample_key: str,
    region_key: str | None = None,
    min_predictability: float | None = LEAST,
    n_draws: int = 0,
    ref: AnnData | Sequence[AnnData] | None = None,
    donor_key: str | None = keys.LIBRARY,
    random_state: int = 0,
) -> AnnData:
    """Average predicted expression over the spots of every sample, so that samples can be compared.

    Predictions are smooth, and spots of a slide are not independent: a test between spots does not know how much
    samples differ anyhow. What is independent is the sample, so a test between conditions takes one value of each; the
    page *Compare conditions* goes on from here. Differences in the composition of samples are kept by the default, and
    much reduced by models that take features in units of their slide, ``FitConfig(views=("scaled",))``.

    With ``n_draws`` every mean is also imputed several times, for :func:`bleep_sc.metrics.rubin`. In each draw every
    spot takes the expression of **one** reference spot, with the probabilities of ``obsm["{layer}_weights"]``, and
    keeps what a regression added to the mean of its neighbours. All spots of a sample prefer the donors of the
    reference in the same random order: the error of a sample's mean lies mostly in what distinguishes a slide or donor
    as a whole, which no average over spots removes. Drawing every spot by itself (``donor_key=None``) leaves that out:
    on the toy tissue the variance between its draws is an eightieth of the squared error of a mean, and that of draws
    by donors six tenths. With :math:`S` donors expect :math:`(S - 1) / (S + 1)`, and with one next to nothing.

    Parameters
    ----------
    adata
        A query that :func:`bleep_sc.tl.impute` or :func:`bleep_sc.tl.predict` wrote to.
    layer
        The predicted layer.
    sample_key
        Column of ``obs`` that names what is independent: donors, where they have several slides.
    region_key
        Column of ``obs`` with regions, which get a row each in every sample; spots without one are left out.
    min_predictability
        Leave out genes whose ``var["{layer}_predictability"]`` is smaller, or not known. At 0.2 the image explains a
        twenty-fifth of a gene's variance on a held-out slide; None keeps every predicted gene.
    n_draws
        How many imputations; 20 are enough for a test.
    ref
        With ``n_draws``: the reference, or references in the order, that the layer was imputed from.
    donor_key
        Column of the reference's ``obs`` that names its donors (slides, where there is one a donor); None draws every
        spot by itself.
    random_state
        Seeds the draws.

    Returns
    -------
    A new AnnData with a row for every sample, or region of a sample, and the genes that were kept:

    ``X`` : float32, (n_groups, n_genes)
        Mean prediction.
    ``layers["draw_0"]``, ... : float32, (n_groups, n_genes)
        The imputations, which scatter around ``X``.
    ``obs[sample_key]``, ``obs[region_key]``, ``obs["n_spots"]``
        The group and its size; and every column of ``adata.obs`` that is constant within all groups.
    ``var["imputed"]`` : bool
        True; and the columns of ``adata.var``, among them ``"{layer}_predictability"``.
    ``uns["{layer}_imputed"]`` : dict
        Units and provenance, as they were.
    ``uns["pseudobulk"]`` : dict
        ``layer`` and ``params``.

    Raises
    ------
    KeyError
        Without the layer, a column, predictability where a threshold is asked for, or weights where draws are.
    ValueError
        When no gene is left, predictability was not promised where a threshold is asked for, or ``ref`` is not what the
        layer was imputed from.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> bulk = bs.tl.pseudobulk(adata_query, sample_key="library_id", min_predictability=None)
    >>> bulk.shape
    (1, 250)
    """
    values, genes, record = require_prediction(adata, layer)
    genes = genes & _predictable(adata, layer, genes, min_predictability)
    kept, samples, groups, obs = _groups(adata, sample_key, region_key)
    means = _means(values, kept, np.flatnonzero(genes), groups)
    if not np.isfinite(means).all():
        raise ValueError(f"layers[{layer!r}] holds NaN in genes that it calls predicted. Predict them again.")
    layers = {}
    if n_draws:
        from bleep_sc.models.draws import group_draws, group_weights

        weights, refs = _weights(adata, layer, record)[kept], _references(ref, record, layer)
        expression, donors = _expression(adata, record, layer, genes, refs), _donors(refs, donor_key)
        expected = dense(group_weights(weights, groups) @ expression)
        drawn = group_draws(weights, groups, samples, n_draws, donors=donors, random_state=random_state)
        for i, shares in enumerate(drawn):
            layers[keys.draw(i)] = (means + dense(shares @ expression) - expected).astype(np.float32)
    params = {
        "sample_key": sample_key,
        "region_key": region_key,
        "min_predictability": min_predictability,
        "n_draws": n_draws,
        "donor_key": donor_key,
        "random_state": random_state,
    }
    return type(adata)(
        means.astype(np.float32),
        obs=obs,
        var=adata.var.loc[genes].drop(columns=[keys.HIGHLY_VARIABLE], errors="ignore").assign(imputed=True),
        uns={
            keys.imputed(layer): deepcopy(record),
            keys.PSEUDOBULK: {"layer": layer, "params": json.dumps(params)},
        },
        layers=layers,
    )


def _predictable(
    adata: AnnData, layer: str, genes: NDArray[np.bool_], min_predictability: float | None
) -> NDArray[np.bool_]:
    """Return which genes are at least so predictable, (n_vars,)."""
    if min_predictability is None:
        return np.ones(adata.n_vars, dtype=bool)
    key = keys.predictability(layer)
    if key not in adata.var:
        raise KeyError(
            f"var[{key!r}] not found, so min_predictability={min_predictability} can choose no genes. It is written "
            "where bleep_sc.tl.fit had a reference of several slides, and FitConfig(cross_fit=True). Pass "
            "min_predictability=None to keep every predicted gene."
        )
    if why := why_not_promised(adata, layer):
        raise ValueError(
            f"var[{key!r}] is NaN, so min_predictability={min_predictability} can choose no genes: {why}. Pass "
            "min_predictability=None to keep every predicted gene, and read the result with as much care."
        )
    known = adata.var[key].to_numpy(dtype=np.float64)
    chosen = known >= min_predictability  # NaN is not
    if not (genes & chosen).any():
        best = np.nanmax(known[genes], initial=-np.inf)
        raise ValueError(
            f"No predicted gene has a predictability of {min_predictability} (the highest of layers[{layer!r}]: "
            f"{best:.2f}). Pass a smaller min_predictability=, and read the result with as much care."
        )
    logger.info("%d of %d predicted genes are left out: predictability below %g, or not known.",
                int((genes & ~chosen).sum()), int(genes.sum()), min_predictability)  # fmt: skip
    return chosen


def _groups(
    adata: AnnData, sample_key: str, region_key: str | None
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], pd.DataFrame]:
    """Return the spots that belong to a group, sample and group of each as whole numbers, and a row for every group."""
    require_obs(adata, sample_key, "Pass sample_key=, the column that names the sample of every spot.")
    by, kept = [sample_key], np.arange(adata.n_obs)
    named(adata, sample_key)  # none may be missing
    if region_key is not None:
        region = require_obs(adata, region_key, "Pass region_key=, a column with the region of every spot.")
        by.append(region_key)
        kept = np.flatnonzero(region.notna())
        if not len(kept):
            raise ValueError(f"obs[{region_key!r}] names the region of no spot.")
        logger.info("%d spots without a region are left out.", adata.n_obs - len(kept))
    frame = adata.obs.iloc[kept]
    grouped = frame.groupby(by, observed=True, sort=True)
    groups = grouped.ngroup().to_numpy()
    first = np.unique(groups, return_index=True)[1]
    constant = [key for key in frame if key in by or (grouped[key].nunique(dropna=False) == 1).all()]
    obs = frame.iloc[first][by + [key for key in constant if key not in by]]
    obs = obs.assign(**{keys.N_SPOTS: np.bincount(groups)})
    obs.index = pd.Index(["_".join(map(str, row)) for row in obs[by].itertuples(index=False)], dtype=str)
    return kept, pd.factorize(frame[sample_key])[0], groups, obs


def _means(
    values: Any, kept: NDArray[np.intp], genes: NDArray[np.intp], groups: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Average a layer, in memory or not, over groups, (n_groups, n_genes)."""
    total = np.zeros((groups.max() + 1, len(genes)))
    for block in slices(len(kept), SPOTS):
        of_block, rows = groups[block], kept[block]
        member = sparse.csr_matrix(
            (np.ones(len(rows)), (of_block, np.arange(len(rows)))), shape=(len(total), len(rows))
        )
        total += member @ dense(values[rows][:, genes]).astype(np.float64)
    return total / np.bincount(groups)[:, None]


def _weights(adata: AnnData, layer: str, record: dict[str, Any]) -> sparse.csr_matrix:
    """Return the weights of the reference spots, (n_obs, n_reference), complete."""
    key = keys.weights(layer)
    weights = require_obsm(adata, key, "Draws need the weights that bleep_sc.tl.impute writes; or pass n_draws=0.")
    if weights.shape[1] != record["n_reference"]:
        raise ValueError(
            f"obsm[{key!r}] knows {weights.shape[1]} reference spots, but there were {record['n_reference']}: a "
            "concatenation cut it. Take the pseudobulk of every part, and concatenate the results."
        )
    return sparse.csr_matrix(weights)


def _expression(
    adata: AnnData, record: dict[str, Any], layer: str, genes: NDArray[np.bool_], refs: list[AnnData]
) -> Any:
    """Return the expression of the kept genes in the references, (n_reference, n_genes), where it was averaged."""
    params = params_of(record, layer)
    gene_key = None if record["gene_key"] == "var_names" else record["gene_key"]
    called = [f"reference {number}" for number in range(1, len(refs) + 1)]
    names = adata.var_names[genes].tolist()
    refs, _ = in_common_units(refs, called, params["layers"], params["target_rep"], None)
    return reference_values(adata, refs, called, names, gene_key, params["layers"], params["target_rep"])[1]


def _donors(refs: list[AnnData], donor_key: str | None) -> NDArray[np.intp] | None:
    """Return the donor of every reference spot as a whole number, (n_reference,)."""
    if donor_key is None:
        return None
    names, donors = np.unique(np.concatenate([named(each, donor_key) for each in refs]), return_inverse=True)
    if len(names) == 1:
        logger.info("The reference has one donor, so what distinguishes donors is not in the draws.")
    return donors


def _references(ref: AnnData | Sequence[AnnData] | None, record: dict[str, Any], layer: str) -> list[AnnData]:
    """Return the references that a layer was imputed from, or say that they are others."""
    if ref is None:
        raise ValueError("n_draws= takes the expression of the reference: pass ref=, as for bleep_sc.tl.impute.")
    refs = as_references(ref, None)
    is_same = names_hash(spot for each in refs for spot in each.obs_names) == record["reference_hash"]
    if not is_same or len(refs) != len(params_of(record, layer)["layers"]):
        n_spots = sum(each.n_obs for each in refs)
        raise ValueError(
            f"ref= has {n_spots} spots ({listed(refs[0].obs_names, 2)}) in {len(refs)} AnnData, "
            f"which are not what layers[{layer!r}] was imputed from ({record['n_reference']} spots). Pass the same, in "
            "the same order."
        )
    return refs
