from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from bleep_sc._adata import keys
from bleep_sc._adata.all_or_nothing import all_or_nothing
from bleep_sc._adata.checks import require_obs
from bleep_sc._adata.expression import both_sides
from bleep_sc._output.messages import listed
from bleep_sc.metrics import correlation_agreement
from bleep_sc.metrics import gene_correlation as correlate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

N_GENES = 50
MAX_GENES = 5000


def gene_correlation(
    adata: AnnData,
    layer: str = "bleep",
    *,
    truth: str | None = None,
    genes: Sequence[str] | None = None,
    covariate: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Correlate genes with each other, in predicted and in measured expression (figure 4 of the paper).

    Averaging over many spots removes their noise, so that predicted genes correlate more than measured ones do; and
    sequencing depth makes measured genes correlate with each other. With ``covariate`` the depth is taken out of the
    measured side.

    Parameters
    ----------
    adata
        A query with measured expression.
    layer
        The predicted layer.
    truth
        Layer with the measured expression; None is ``X``.
    genes
        Genes to correlate; None is the 50 predicted genes that vary most in the measured expression.
    covariate
        Column of ``obs`` with numbers, such as ``"log1p_total_counts"``, to take out of the measured expression.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``varp["{layer}_correlation"]``, ``varp["measured_correlation"]`` : CSR float32, (n_vars, n_vars)
        Pearson correlation of the chosen genes; nothing is stored for the others, and NaN for genes that do not vary.
    ``uns["{layer}_gene_correlation"]`` : dict
        ``genes``, and the agreement over their pairs: ``pearson``, ``rmse``, ``n_pairs``; and ``covariate``.

    Raises
    ------
    KeyError
        When a gene was not predicted.
    ValueError
        With fewer than two genes, or more than 5000.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> bs.tl.gene_correlation(adata_query)
    >>> len(adata_query.uns["bleep_gene_correlation"]["genes"])
    50
    """
    sides, measured, known = both_sides(adata, layer, truth)
    predicted = sides[layer]
    names = adata.var_names[known]
    if genes is None:
        chosen = np.sort(np.argsort(-measured.var(axis=0), kind="stable")[:N_GENES])
    else:
        chosen = names.get_indexer(list(genes))
        absent = [gene for gene, place in zip(genes, chosen, strict=True) if place < 0]
        if absent:
            raise KeyError(f"genes={listed(absent)} were not predicted in layers[{layer!r}]. Leave them out.")
    if not 2 <= len(chosen) <= MAX_GENES:
        raise ValueError(f"genes= names {len(chosen)} genes; between 2 and {MAX_GENES} can be correlated.")
    depth = None
    if covariate is not None:
        column = require_obs(adata, covariate, "Pass covariate=, a column of obs with numbers.")
        depth = column.to_numpy(dtype=np.float64)
    ours, theirs = correlate(predicted[:, chosen]), correlate(measured[:, chosen], covariate=depth)
    agreement = correlation_agreement(ours, theirs)
    places = np.flatnonzero(known)[chosen]
    adata = adata.copy() if copy else adata
    record: dict[str, Any] = {
        "genes": names[chosen].to_numpy(dtype=str),
        "pearson": agreement.pearson,
        "rmse": agreement.rmse,
        "n_pairs": agreement.n_pairs,
        "covariate": covariate or "",
    }
    with all_or_nothing(adata):
        adata.varp[keys.gene_correlation(layer)] = _embedded(ours, places, adata.n_vars)
        adata.varp[keys.gene_correlation("measured")] = _embedded(theirs, places, adata.n_vars)
        adata.uns[keys.gene_gene(layer)] = record
    return adata if copy else None


def _embedded(block: NDArray[np.float64], places: NDArray[np.intp], n_vars: int) -> sparse.csr_matrix:
    rows, columns = np.repeat(places, len(places)), np.tile(places, len(places))
    return sparse.csr_matrix((block.ravel().astype(np.float32), (rows, columns)), shape=(n_vars, n_vars))
