from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc.tl._models.fit_slides import fit_slides
from bleep_sc.training.slide_configs import Hist2RNAConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def fit_hist2rna(
    adata: AnnData,
    tiles: AnnData | Sequence[AnnData] | None = None,
    *,
    use_rep: str | Sequence[str],
    sample_key: str | None = None,
    layer: str | None = None,
    library_key: str | None = None,
    donor_key: str | None = None,
    config: Hist2RNAConfig | None = None,
    key_added: str = "hist2rna",
    random_state: int = 0,
    device: str | None = None,
    show_progress_bar: bool = True,
    copy: bool = False,
) -> AnnData | None:
    r"""Train hist2RNA: the expression of whole slides from the mean of the features of their tiles.

    Features are averaged over all tiles of a slide, :math:`\bar x_s`, and three layers and a linear one, :math:`f`,
    minimise the squared error of its expression, :math:`\sum_g (f_g(\bar x_s) - y_{sg})^2`, by Adam. For how long is
    chosen as in :func:`bleep_sc.tl.fit_he2rna`. Mondol et al., Cancers 15:2569 (2023).

    The paper predicts patients. That :func:`bleep_sc.tl.predict` reads out single tiles, :math:`f(x_t)`, is an
    extension: a tile is predicted as a slide would be that is like it all over, although no slide was.

    Parameters
    ----------
    adata, tiles, use_rep, sample_key, layer, library_key, donor_key
        As in :func:`bleep_sc.tl.fit_he2rna`. All tiles are read once, block by block, and their means kept.
    config
        Hyper-parameters; None is ``Hist2RNAConfig()``.
    key_added, random_state, show_progress_bar, copy
        As in :func:`bleep_sc.tl.fit`.
    device
        Where to train; None takes the best there is.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written is:

    ``uns[key_added]`` : dict
        The model, as :func:`bleep_sc.tl.fit_he2rna` writes it.

    Raises
    ------
    KeyError, ValueError
        As in :func:`bleep_sc.tl.fit_he2rna`.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.fit_he2rna`:

    >>> config = bs.tl.Hist2RNAConfig(max_epochs=5)
    >>> bs.tl.fit_hist2rna(bulk, tiles, use_rep="X_stain_stats", config=config, show_progress_bar=False)
    >>> bs.tl.predict(adata_query, ref=bulk, key="hist2rna")
    """
    return fit_slides(
        adata,
        "hist2rna",
        tiles=tiles,
        use_rep=use_rep,
        sample_key=sample_key,
        layer=layer,
        library_key=library_key,
        donor_key=donor_key,
        config=config,
        key_added=key_added,
        random_state=random_state,
        device=device,
        show_progress_bar=show_progress_bar,
        copy=copy,
    )
