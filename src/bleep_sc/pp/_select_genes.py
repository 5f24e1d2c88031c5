from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from bleep_sc._adata import keys
from bleep_sc._adata.all_or_nothing import all_or_nothing
from bleep_sc._adata.checks import require_obs
from bleep_sc._adata.expression import log_expression
from bleep_sc._adata.libraries import named
from bleep_sc._output.messages import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def select_genes(
    adata: AnnData,
    *,
    batch_key: str | None = None,
    n_top_genes: int = 1000,
    genes: Sequence[str] | None = None,
    layer: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Choose the genes to learn on: the union over slides of each slide's own most variable ones.

    Every slide is ranked by itself, by :func:`scanpy.pp.highly_variable_genes` (``flavor="seurat"``), and a gene among
    the best of one slide is in (Xie et al., NeurIPS 2023, section 4.1). The ``batch_key`` of scanpy does something
    else: it keeps ``n_top_genes`` in all. Pass the reference alone: a held-out slide must not choose genes.

    Parameters
    ----------
    adata
        Log-normalised expression.
    batch_key
        Column of ``obs`` that names the slide. None ranks all spots together.
    n_top_genes
        How many genes each slide contributes; 0 leaves it at ``genes``.
    genes
        Genes that are chosen whether they vary or not, such as markers or a pathway: what is learnt of a gene, its
        predictability and its intervals, is learnt for chosen ones alone.
    layer
        Where the expression is; None is ``X``.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``var["highly_variable"]`` : bool
        The union.
    ``var["highly_variable_nbatches"]`` : int64
        Among how many slides' best a gene was.

    Raises
    ------
    KeyError
        When ``genes`` names some that ``adata`` does not have.
    ValueError
        When the expression holds no logarithms, or no gene would be chosen.

    Examples
    --------
    >>> import bleep_sc as bs, scanpy as sc
    >>> adata = bs.datasets.toy(n_slices=2)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> bs.pp.select_genes(adata, batch_key="library_id", n_top_genes=50)
    >>> bool(adata.var["highly_variable"].sum() >= 50)
    True
    """
    import scanpy as sc

    adata = adata.copy() if copy else adata
    expression = log_expression(adata, layer)
    if n_top_genes < (1 if genes is None or not len(genes) else 0):
        raise ValueError(f"n_top_genes={n_top_genes} must be at least 1, or 0 with genes=.")
    unknown = [gene for gene in ([] if genes is None else genes) if gene not in adata.var_names]
    if unknown:
        raise KeyError(f"genes= asks for {listed(unknown)}, which adata.var_names does not have. Leave them out.")
    if batch_key is None:
        batches = np.zeros(adata.n_obs, dtype=int)
    else:
        require_obs(adata, batch_key, "Pass batch_key=, the column that names the slide.")
        batches = named(adata, batch_key)
    chosen_by = np.zeros(adata.n_vars, dtype=np.int64)
    for batch in np.unique(batches) if n_top_genes else ():
        part = expression[batches == batch]
        slide = sc.AnnData(sparse.csr_matrix(part) if sparse.issparse(part) else part)
        ranking = sc.pp.highly_variable_genes(slide, n_top_genes=min(n_top_genes, adata.n_vars), inplace=False)
        chosen_by += ranking["highly_variable"].to_numpy(dtype=np.int64)
    with all_or_nothing(adata):
        adata.var[keys.HIGHLY_VARIABLE] = (chosen_by > 0) | adata.var_names.isin([] if genes is None else list(genes))
        adata.var[keys.CHOSEN_BY] = chosen_by
    return adata if copy else None
