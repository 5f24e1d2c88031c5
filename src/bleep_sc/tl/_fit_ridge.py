from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc.tl._models.fit_method import fit_method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def fit_ridge(
    adata: AnnData,
    *,
    use_rep: str | Sequence[str],
    layer: str | None = None,
    target_rep: str | None = None,
    library_key: str | None = None,
    donor_key: str | None = None,
    key_added: str = "ridge",
    copy: bool = False,
) -> AnnData | None:
    """Fit a ridge regression from image features to expression: the baseline to beat.

    Features are standardised. The penalty is chosen inside the reference, by leaving out one donor after another (one
    slide, where it has one donor or they are not known; five random folds of a single slide), as the one with the best
    mean correlation over the 50 most variable genes.
    (Chosen by :math:`R^2`, it is too large by far: the level of a new slide, which correlations ignore, drives it up.)

    Parameters
    ----------
    adata
        The reference: log-normalised expression and image features. Genes are those of ``var["highly_variable"]`` where
        that exists, else all.
    use_rep
        One key or several of image features in ``obsm``.
    layer, target_rep, library_key, donor_key, key_added, copy
        As in :func:`bleep_sc.tl.fit`.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written is:

    ``uns[key_added]`` : dict
        The model, as :func:`bleep_sc.tl.fit` writes it; ``params`` holds the chosen ``alpha``.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.fit`:

    >>> bs.tl.fit_ridge(adata_ref, use_rep="X_stain_stats")
    """
    return fit_method(
        adata,
        "ridge",
        use_rep=use_rep,
        layer=layer,
        target_rep=target_rep,
        library_key=library_key,
        donor_key=donor_key,
        key_added=key_added,
        copy=copy,
    )
