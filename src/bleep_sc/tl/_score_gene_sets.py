from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc._adata import keys
from bleep_sc._adata.all_or_nothing import all_or_nothing
from bleep_sc._adata.expression import log_expression, record_of
from bleep_sc._adata.promise import why_not_promised
from bleep_sc._output.messages import listed, logger
from bleep_sc.tl._gene_sets.given import read_gene_sets
from bleep_sc.tl._gene_sets.judge import Judge, check_made_by
from bleep_sc.tl._gene_sets.scoring import Method, scoring
from bleep_sc.tl._predictions.record import require_prediction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from bleep_sc.tl._gene_sets.scoring import Scoring

MEASURED = "measured"


def score_gene_sets(
    adata: AnnData,
    gene_sets: Mapping[str, Sequence[str]] | pd.DataFrame | str | Path,
    *,
    layer: str | None = "bleep",
    ref: AnnData | None = None,
    key: str = "bleep",
    method: Method = "score_genes",
    min_genes: int = 5,
    n_permutations: int = 9999,
    random_state: int = 0,
    copy: bool = False,
) -> AnnData | None:
    """Score sets of genes (pathways, modules) on predicted expression, and say how far each can be believed.

    Errors of single genes average out over a set, so that sets are predicted better than most of their genes. With
    ``ref`` every set gets a predictability of its own: held-out spots of the reference are scored by their predictions
    and by their measurements, in the same way and on the same genes, and both scores are correlated. A p-value says
    how often two maps of that tissue that have nothing in common agree as well, and a q-value controls the false
    discoveries among all sets (Benjamini and Hochberg, 1995).

    Neighbouring spots are alike, which a permutation of spots ignores: it calls a third of unrelated maps significant.
    The p-value is from random maps with the same spatial autocorrelation (Moran spectral randomization; Wagner and
    Dray, Methods in Ecology and Evolution 2015), slide by slide.

    Parameters
    ----------
    adata
        A query that :func:`bleep_sc.tl.impute` or :func:`bleep_sc.tl.predict` wrote to, or measured expression.
    gene_sets
        Names of sets and their genes, by the names of ``adata.var_names``; or a network as decoupler has it, a
        DataFrame with ``source`` (the set), ``target`` (the gene) and maybe ``weight``; or the path of a ``.gmt`` file.
    layer
        The predicted layer. None is measured expression, log-normalised in ``X``.
    ref
        The reference that ``layer`` was imputed from (the first of them, if they are several), in memory or on disk.
        Scores are then of the genes that it held out, the panel of its model, with control genes drawn by what it
        measured. With ``layer=None`` measured expression is scored in just that way, so that both can be compared.
    key
        Name of the model of ``ref``.
    method
        ``"score_genes"``: mean of the genes less the mean of control genes of like expression, as
        :func:`scanpy.tl.score_genes`; control genes are those at hand, in as many bins of expression as hold ten genes,
        25 at most. ``"mean"``: mean of the genes in standard deviations (those of the reference), each by its weight,
        divided by the sum of the absolute weights.
    min_genes
        Sets of which fewer genes are at hand are not scored.
    n_permutations
        Random maps for the p-values, the smallest of which is ``1 / (n_permutations + 1)``.
    random_state
        Seeds control genes and random maps.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are, with ``"measured"`` for ``layer=None``:

    ``obsm["{layer}_gene_sets"]`` : pandas.DataFrame of float32, (n_obs, n_sets)
        The scores; NaN for sets that cannot be scored. Files of h5ad hold up to 4,000 sets, zarr any number.
    ``uns["{layer}_gene_sets"]`` : pandas.DataFrame
        A row for every set: ``gene_set``; ``n_genes`` that were given and ``n_used`` that are at hand;
        ``predictability``, Pearson r of predicted and measured scores within slides that were held out, mean over
        slides by their spots, less what is chance; ``pvalue``, one-sided, and ``qvalue``; ``basis``, which says what
        was held out (``"donors"``, ``"slides of one donor"``, or ``"slides"``, whose donors were not told), or why
        nothing is known; and ``note``, why a set has no score. Where
        ``var["{layer}_predictability"]`` promises nothing for genes, nothing is promised for sets. A reference without
        coordinates, such as one of :func:`bleep_sc.tl.load_reference`, gives no p-values.

    Raises
    ------
    FileNotFoundError
        When there is no such ``.gmt`` file.
    KeyError
        Without the layer, or the model of ``ref`` or what it held out.
    ValueError
        When no set has enough genes at hand, sets are not in one of the three formats or have weights with
        ``"score_genes"``, or ``ref`` is not what the layer was imputed from.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> sets = {"periportal": ["FABP1", "HAL", "ALB", "CPS1", "ASS1"], "central vein": ["GLUL", "LGR5"]}
    >>> bs.tl.score_gene_sets(adata_query, sets, ref=adata_ref, min_genes=2)
    >>> adata_query.obsm["bleep_gene_sets"].columns.tolist()
    ['periportal', 'central vein']
    >>> adata_query.uns["bleep_gene_sets"]["n_used"].tolist()
    [5, 2]
    """
    sets = read_gene_sets(gene_sets)
    _check_weights(sets, method)
    values, known, record = _expression(adata, layer)
    if ref is not None and layer is not None:
        check_made_by(record, ref, key, layer)
    judge = None if ref is None else Judge.of(ref, key, adata, _gene_key(record), known)
    columns = np.flatnonzero(known) if judge is None else judge.columns
    profiles = values[:, columns] if judge is None else judge.measured
    genes = adata.var_names[columns]
    how = scoring(sets, genes, profiles, method=method, min_genes=min_genes, random_state=random_state)
    _require_some(how, sets, genes, min_genes)
    scores = how.scores(values[:, columns])
    scored = np.isfinite(how.shift)
    if not np.isfinite(scores[:, scored]).all():
        raise ValueError(f"layers[{layer!r}] holds NaN in genes that it calls predicted. Predict them again.")
    basis, is_promised = _promise(adata, layer, judge)
    table = pd.DataFrame({"gene_set": list(sets), "n_genes": [len(each) for each in sets.values()]})
    judged = _judged(how, judge if is_promised else None, n_permutations, random_state)
    table = table.assign(n_used=how.n_used, **judged, basis=basis, note=how.notes)
    table.index = table.index.astype(str)
    name = keys.gene_sets(MEASURED if layer is None else layer)
    frame = pd.DataFrame(scores.astype(np.float32), index=adata.obs_names, columns=list(sets))
    adata = adata.copy() if copy else adata
    with all_or_nothing(adata):
        adata.obsm[name], adata.uns[name] = frame, table
    return adata if copy else None


def _check_weights(sets: Mapping[str, Mapping[str, float]], method: str) -> None:
    """Refuse weights that would not count."""
    weighted = [name for name, of_set in sets.items() if any(weight != 1 for weight in of_set.values())]
    if weighted and method == "score_genes":
        raise ValueError(
            f"gene_sets= weighs the genes of {listed(weighted, 3)}, but with method='score_genes' all genes count the "
            "same. Pass method='mean', or gene_sets.drop(columns='weight')."
        )


def _expression(adata: AnnData, layer: str | None) -> tuple[Any, NDArray[np.bool_], dict[str, Any]]:
    """Return expression, (n_obs, n_vars), which genes it holds, and the record of a prediction; empty of measured."""
    if layer is not None:
        return require_prediction(adata, layer)
    if record_of(adata, None) is not None:
        raise ValueError(
            "layer=None is measured expression, but adata.X is a prediction. Pass the query itself, and layer=, the "
            "name of the predicted layer."
        )
    return log_expression(adata), np.ones(adata.n_vars, dtype=bool), {}


def _gene_key(record: dict[str, Any]) -> str | None:
    """Return by which column of var the genes of query and reference were compared."""
    gene_key = record.get("gene_key", "var_names")
    return None if gene_key == "var_names" else gene_key


def _require_some(how: Scoring, sets: Mapping[str, Mapping[str, float]], genes: pd.Index, min_genes: int) -> None:
    """Refuse sets of which none can be scored, and tell which cannot."""
    left_out = {name: note for name, note in zip(sets, how.notes, strict=True) if note}
    if len(left_out) == len(sets):
        name, note = next(iter(left_out.items()))
        raise ValueError(
            f"No set of gene_sets= can be scored (of {name!r}: {note}; the genes of the set are such as "
            f"{listed(sets[name], 3)}, those at hand such as {listed(genes, 3)}). Pass sets by the names of "
            f"adata.var_names, or a smaller min_genes= (it is {min_genes})."
        )
    if left_out:
        logger.info("%d of %d sets are not scored: %s.", len(left_out), len(sets),
                    listed([f"{name} ({note})" for name, note in left_out.items()]))  # fmt: skip


def _promise(adata: AnnData, layer: str | None, judge: Judge | None) -> tuple[str, bool]:
    """Return what is known of sets, or why nothing is, and which of both."""
    if layer is None:
        return "measured", False
    if judge is None:
        return "no reference was given", False
    why = why_not_promised(adata, layer)
    if why:
        logger.info("Sets have no predictability: %s.", why)
    return why or judge.basis, not why


def _judged(
    how: Scoring, judge: Judge | None, n_permutations: int, random_state: int
) -> dict[str, NDArray[np.floating]]:
    """Return predictability, p-value and q-value of every set, (n_sets,) each."""
    from scipy.stats import false_discovery_control

    unknown = np.full(len(how.notes), np.nan)
    if judge is None:
        return {"predictability": unknown.astype(np.float32), "pvalue": unknown, "qvalue": unknown.copy()}
    pvalue, qvalue = judge.pvalues(how, n_permutations, random_state), unknown
    tested = np.isfinite(pvalue)
    qvalue[tested] = false_discovery_control(pvalue[tested])
    return {"predictability": judge.predictability(how), "pvalue": pvalue, "qvalue": qvalue}
