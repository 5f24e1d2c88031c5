from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.all_or_nothing import all_or_nothing
from bleep_sc._adata.checks import require_obs
from bleep_sc._adata.expression import log_expression, panel
from bleep_sc._arrays.blocks import dense
from bleep_sc._output.messages import logger

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

# The defaults of harmonypy when BLEEP was published; later versions stop earlier and choose lambda themselves.
PAPER_SETTINGS = {"lamb": 1, "max_iter_kmeans": 20, "epsilon_cluster": 1e-5, "epsilon_harmony": 1e-4}
N_COMPONENTS = 50
COPIES_IN_HARMONY = 6
"""Measured: harmonypy 2.1 peaks at 5.4 double-precision copies of what it is given."""


def batch_correct(
    adata: AnnData,
    *,
    batch_key: str,
    basis: Literal["genes", "pca"] = "genes",
    layer: str | None = None,
    key_added: str = keys.HARMONY,
    random_state: int = 0,
    copy: bool = False,
) -> AnnData | None:
    """Remove slide-to-slide differences from expression with Harmony.

    Only the slides in ``adata`` are looked at: pass the reference alone, since a slide that is to be predicted must not
    take part. The corrected values are a target to learn on (``tl.fit(target_rep="X_harmony")``): they are dense, may
    be negative, and are kept out of ``X`` and ``layers``, where counts and logarithms live.

    Harmony (Korsunsky et al., Nature Methods 2019) is run with the settings that were its defaults when BLEEP was
    published. A single slide is left as it is.

    Parameters
    ----------
    adata
        Log-normalised expression. The genes of ``var["highly_variable"]`` are corrected where that exists, else all.
    batch_key
        Column of ``obs`` that names the slide.
    basis
        ``"genes"``: Harmony on the genes themselves, as in the paper, about 50 bytes of memory a spot and gene.
        ``"pca"``: Harmony on 50 principal components, whose shifts are then added to the genes; for large references.
    layer
        Where the expression is; None is ``X``.
    key_added
        Key under which the result is written.
    random_state
        Seeds Harmony's clustering and the principal components.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``obsm[key_added]`` : float32, (n_obs, n_genes)
        Corrected expression.
    ``uns[key_added]`` : dict
        ``var_names``, the genes of its columns in order, and ``params``.

    Raises
    ------
    MemoryError
        When ``basis="genes"`` would need more memory than this machine has.

    Examples
    --------
    After the example of :func:`bleep_sc.pp.select_genes`:

    >>> bs.pp.batch_correct(adata, batch_key="library_id")
    >>> adata.obsm["X_harmony"].shape[1] == len(adata.uns["X_harmony"]["var_names"])
    True
    """
    if basis not in ("genes", "pca"):
        raise ValueError(f"basis={basis!r} is not known; use 'genes' (as in the paper) or 'pca'.")
    adata = adata.copy() if copy else adata
    batches = require_obs(adata, batch_key, "Pass batch_key=, the column that names the slide.")
    if batches.isna().any():
        raise ValueError(f"obs[{batch_key!r}] is missing for {int(batches.isna().sum())} spots; name their slide.")
    expression, genes = log_expression(adata, layer), panel(adata)
    if basis == "genes":
        _check_memory(adata.n_obs, int(genes.sum()))
    values = dense(expression[:, genes])
    if batches.nunique() > 1:
        correct = _correct_genes if basis == "genes" else _correct_components
        values = correct(values, batches, random_state)
    else:
        logger.warning("obs[%r] names a single slide: there is nothing to correct.", batch_key)
    params = {"batch_key": batch_key, "basis": basis, "layer": layer or "X", "random_state": random_state}
    with all_or_nothing(adata):
        adata.obsm[key_added] = values
        adata.uns[key_added] = {"var_names": adata.var_names[genes].to_numpy(dtype=str), "params": params}
    return adata if copy else None


def _check_memory(n_spots: int, n_genes: int) -> None:
    needed = COPIES_IN_HARMONY * 8 * n_spots * n_genes
    logger.info("Harmony on %d spots and %d genes needs about %.1f GB.", n_spots, n_genes, needed / 1e9)
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else float("inf")
    if needed > installed:
        raise MemoryError(
            f"basis='genes' needs about {needed / 1e9:.0f} GB for {n_spots} spots and {n_genes} genes, and this "
            f"machine has {installed / 1e9:.0f} GB. Use basis='pca', or fewer genes (bleep_sc.pp.select_genes)."
        )


def _correct_genes(values: NDArray[np.float32], batches: pd.Series, random_state: int) -> NDArray[np.float32]:
    return _harmony(values, batches, random_state).astype(np.float32)


def _correct_components(values: NDArray[np.float32], batches: pd.Series, random_state: int) -> NDArray[np.float32]:
    """Correct principal components, and add to the genes what that moved."""
    from sklearn.decomposition import PCA

    pca = PCA(min(N_COMPONENTS, *values.shape), random_state=random_state)
    scores = pca.fit_transform(values)
    shift = _harmony(scores, batches, random_state) - scores
    return values + (shift @ pca.components_).astype(np.float32)


def _harmony(values: NDArray[np.float32], batches: pd.Series, random_state: int) -> NDArray[np.float64]:
    """Harmony on (n_spots, d), whatever d is.

    harmonypy takes either orientation and guesses it from the shape. Given (d, n_spots) it never guesses wrongly: its
    test is whether the second axis has as many entries as there are spots.
    """
    import harmonypy

    frame = batches.astype(str).to_frame("batch")
    result = harmonypy.run_harmony(
        values.T.astype(np.float64), frame, ["batch"], verbose=False, random_state=random_state, **PAPER_SETTINGS
    )
    corrected = np.asarray(result.Z_corr)
    if corrected.shape != values.shape:
        raise RuntimeError(f"harmonypy returned {corrected.shape} for {values.shape}; this version is not supported.")
    return corrected
