from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc.tl._models.fit_slides import fit_slides
from bleep_sc.training.slide_configs import HE2RNAConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def fit_he2rna(
    adata: AnnData,
    tiles: AnnData | Sequence[AnnData] | None = None,
    *,
    use_rep: str | Sequence[str],
    sample_key: str | None = None,
    layer: str | None = None,
    library_key: str | None = None,
    donor_key: str | None = None,
    config: HE2RNAConfig | None = None,
    key_added: str = "he2rna",
    random_state: int = 0,
    device: str | None = None,
    show_progress_bar: bool = True,
    copy: bool = False,
) -> AnnData | None:
    r"""Train HE2RNA: the expression of whole slides, such as bulk RNA-seq, is learnt, and read out tile by tile.

    A perceptron that all tiles share gives each of them a score of every gene, :math:`s_{tg}`. A slide of :math:`n`
    tiles is the mean of the :math:`k` highest,

    .. math::
        \hat y_g = \frac{1}{k} \sum_{t \in \mathrm{top}_k(s_{\cdot g})} s_{tg}, \qquad k = \max(1, [q n]),

    with the share :math:`q` drawn from ``config.shares`` for every batch of slides, and the mean over all of them where
    slides are predicted. The squared error of the slides is minimised by Adam. For how long is chosen on donors that
    are held out (slides, where donors are not several or not known), by the mean correlation over slides of the 50
    genes that differ most between them; where there are fewer than eight, training takes ``config.max_epochs``.
    :func:`bleep_sc.tl.predict` returns the scores of the tiles. Schmauch et al., Nature Communications 11:3877 (2020).

    What is learnt is how slides differ: where all are of the same composition there is nothing to learn, however many
    they are. The page *Bulk RNA-seq and slides* says what to expect.

    Parameters
    ----------
    adata
        With ``tiles``: a row for every slide or patient, named as these are, with log-normalised expression. Without:
        spots with log-normalised expression and image features, of which only the profile of every slide is learnt, the
        logarithm of the mean over its spots of what they are before it. Genes are those of ``var["highly_variable"]``
        where that exists, else all.
    tiles
        The tiles of all slides: one AnnData, or several, with image features in ``obsm``, as
        :func:`bleep_sc.pp.tile_slide` and :func:`bleep_sc.pp.image_features` make them. What is in a store
        (``image_features(store=)``) stays there; ``config.max_tiles`` of every slide in a batch are in memory at once.
    use_rep
        One key or several of image features in ``obsm``.
    sample_key
        Column of ``tiles.obs`` that names the row of ``adata``, such as the patient, who may have several slides: all
        are learnt to be like that row. None: rows are named as slides are.
    layer
        Layer of ``adata`` with log-normalised expression; None takes ``X``.
    library_key
        Column of ``obs`` that names the slide of every tile, or spot.
    donor_key
        Column of ``adata.obs`` that names the donors, which are held out as a whole. None: ``patient``, ``donor`` and
        their like, where there is one.
    config
        Hyper-parameters; None is ``HE2RNAConfig()``.
    key_added, random_state, show_progress_bar, copy
        As in :func:`bleep_sc.tl.fit`.
    device
        Where to train; None takes the best there is.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written is:

    ``uns[key_added]`` : dict
        The model, as :func:`bleep_sc.tl.fit` writes it; its ``slides`` say how many tiles each has. ``params`` holds
        ``n_epochs``, and with ``tiles`` also ``sample_key`` and ``is_bulk``; ``history`` holds ``loss`` and
        ``validation_pearson`` of every epoch, (n_epochs,), the latter only where some were held out.

    Raises
    ------
    KeyError
        Without features or a column.
    ValueError
        When names of slides and rows do not match (both sides are listed), expression is not log-normalised, features
        were not made alike or are no numbers, there is one slide, or training diverges.

    Examples
    --------
    Three slices, of which only the sum over all spots is known, and a fourth one to read out:

    >>> import bleep_sc as bs
    >>> import scanpy as sc
    >>> adata = bs.datasets.toy()
    >>> bs.pp.extract_patches(adata, size=56, size_um=112)
    >>> bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    >>> held_out = adata.obs["library_id"] == "slice4"
    >>> tiles, adata_query = adata[~held_out].copy(), adata[held_out].copy()
    >>> bulk = sc.get.aggregate(tiles, by="library_id", func="sum")
    >>> bulk.X = bulk.layers.pop("sum")
    >>> sc.pp.normalize_total(bulk, target_sum=1e4)
    >>> sc.pp.log1p(bulk)
    >>> config = bs.tl.HE2RNAConfig(max_epochs=5)
    >>> bs.tl.fit_he2rna(bulk, tiles, use_rep="X_stain_stats", config=config, show_progress_bar=False)
    >>> bs.tl.predict(adata_query, ref=bulk, key="he2rna")
    >>> adata_query.layers["he2rna"].shape == adata_query.shape
    True
    """
    return fit_slides(
        adata,
        "he2rna",
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
