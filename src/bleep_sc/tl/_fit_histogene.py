from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc._adata import keys
from bleep_sc.tl._models.fit_method import fit_method
from bleep_sc.training.baseline_configs import HisToGeneConfig

if TYPE_CHECKING:
    from anndata import AnnData


def fit_histogene(
    adata: AnnData,
    *,
    patches_key: str = keys.PATCHES,
    layer: str | None = None,
    target_rep: str | None = None,
    library_key: str | None = None,
    config: HisToGeneConfig | None = None,
    key_added: str = "histogene",
    random_state: int = 0,
    device: str | None = None,
    show_progress_bar: bool = True,
    copy: bool = False,
) -> AnnData | None:
    """Train HisToGene, a baseline: a vision transformer over all spots of a section at once.

    Every spot is a token: its patch, pixel by pixel, in one linear layer, plus learned vectors of its row and its
    column on the array. Attention runs over the section, and the mean squared error is minimised, a section a step; no
    epoch is chosen. As published (``HisToGeneConfig.paper()``) pixels enter raw, with values from 0 to 255, and patches
    measure 112 px: ``pp.extract_patches(adata, size=112)``. Pang et al., bioRxiv 2021.11.28.470212 (2021).

    A section with more than ``config.max_spots`` spots, as Visium has, is trained on window by window, each a spot with
    its nearest neighbours on the array, and is predicted in overlapping windows that cover it.

    Parameters
    ----------
    adata
        The reference: log-normalised expression, patches of any size, and ``obs["array_row"]`` and
        ``obs["array_col"]``, which are rounded where they are not whole. Genes are those of ``var["highly_variable"]``
        where that exists, else all.
    patches_key
        Key of the patches in ``obsm``.
    layer, target_rep, key_added, random_state, show_progress_bar, copy
        As in :func:`bleep_sc.tl.fit`.
    library_key
        Column of ``obs`` that names the section, in the reference and in every query; not needed for a single one.
    config
        Hyper-parameters; None is ``HisToGeneConfig()``.
    device
        Where to train; None takes the best there is.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written is:

    ``uns[key_added]`` : dict
        The model, as :func:`bleep_sc.tl.fit` writes it: 430 MB in its published size. ``history`` holds ``loss``.

    Raises
    ------
    KeyError
        Without array positions.
    ValueError
        When some are missing or negative, or training diverges; what else may be wrong is as in
        :func:`bleep_sc.tl.fit`.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.fit`:

    >>> bs.tl.fit_histogene(adata_ref, config=bs.tl.HisToGeneConfig(max_epochs=5), show_progress_bar=False)
    >>> len(adata_ref.uns["histogene"]["history"]["loss"])
    5
    """
    return fit_method(
        adata,
        "histogene",
        patches_key=patches_key,
        layer=layer,
        target_rep=target_rep,
        library_key=library_key,
        config=config,
        key_added=key_added,
        random_state=random_state,
        device=device,
        show_progress_bar=show_progress_bar,
        copy=copy,
    )
