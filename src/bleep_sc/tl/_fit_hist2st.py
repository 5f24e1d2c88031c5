from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc._adata import keys
from bleep_sc.tl._models.fit_method import fit_method
from bleep_sc.training.hist2st_config import Hist2STConfig

if TYPE_CHECKING:
    from anndata import AnnData


def fit_hist2st(
    adata: AnnData,
    *,
    patches_key: str = keys.PATCHES,
    layer: str | None = None,
    target_rep: str | None = None,
    library_key: str | None = None,
    config: Hist2STConfig | None = None,
    key_added: str = "hist2st",
    random_state: int = 0,
    device: str | None = None,
    show_progress_bar: bool = True,
    copy: bool = False,
) -> AnnData | None:
    r"""Train Hist2ST, a baseline: convolutions, a transformer over the section, and a graph of neighbouring spots.

    ConvMixer layers turn every patch into a token, to which learned vectors of its row and its column on the array are
    added; attention runs over the section, GraphSAGE over neighbouring spots, and an LSTM over what the latter gives
    layer by layer. What is minimised, a section a step, is

    .. math::
        \operatorname{mse}(\hat x, x) + \alpha \operatorname{ZINB}(c)
        + \beta \operatorname{mse}\Big(\sum_v w_v \hat x^{(v)}, \hat x\Big),

    with log-normalised expression :math:`x`, raw counts :math:`c` (:func:`bleep_sc.models.zinb_loss`, with the depth
    of every spot), and predictions from augmented patches with learned weights; no epoch is chosen. As published
    (``Hist2STConfig.paper()``) pixels enter raw, patches measure 112 px (``pp.extract_patches(adata, size=112)``), and
    training takes a GPU. Zeng et al., Briefings in Bioinformatics 23:bbac297 (2022).

    What differs, since few sections or an AnnData force it:

    - A section with more than ``config.max_spots`` spots is trained on window by window, each a spot with its nearest
      neighbours on the array, and is predicted in overlapping windows that cover it.
    - Neighbours are found by ``obsm["spatial"]``, and all spots as near as the fourth are, where the original takes
      whole places on a square array and the one that comes first: their order makes no difference, and hexagons have
      six. A spot without any is its own neighbour; there it was no number.
    - Tables of positions grow with the array; the token is as wide as the patches make it.
    - The likelihood is computed in logarithms, without the :math:`10^{-10}` that the original adds inside of them, and
      a spot without counts is as deep as one with a single count.
    - Expression is that of ``layer``, normalised by all genes, where the original normalises within its panel.

    Parameters
    ----------
    adata
        The reference: log-normalised expression, raw counts in ``layers["counts"]``, patches of any size,
        ``obsm["spatial"]``, and ``obs["array_row"]`` and ``obs["array_col"]``, which are rounded where they are not
        whole. Genes are those of
        ``var["highly_variable"]`` where that exists, else all. Without raw counts a warning says that their part of
        the loss is left out; ``Hist2STConfig(zinb_weight=0)`` asks for that.
    patches_key
        Key of the patches in ``obsm``. Features of a frozen encoder are not taken: the augmented patches of the loss
        could not be made from them.
    layer, target_rep, key_added, random_state, show_progress_bar, copy
        As in :func:`bleep_sc.tl.fit`.
    library_key
        Column of ``obs`` that names the section, in the reference and in every query; not needed for a single one.
    config
        Hyper-parameters; None is ``Hist2STConfig()``.
    device
        Where to train; None takes the best there is.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written is:

    ``uns[key_added]`` : dict
        The model, as :func:`bleep_sc.tl.fit` writes it: 290 MB in its published size. ``history`` holds ``loss``, and
        ``params`` also ``zinb``, whether it was trained on raw counts too.

    Raises
    ------
    KeyError
        Without array positions or coordinates.
    ValueError
        When some are missing or negative, patches are smaller than a tile, or training diverges; what else may be wrong
        is as in :func:`bleep_sc.tl.fit`.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.fit`:

    >>> config = bs.tl.Hist2STConfig(n_channels=8, max_epochs=2, zinb_weight=0)
    >>> bs.tl.fit_hist2st(adata_ref, config=config, show_progress_bar=False)
    >>> len(adata_ref.uns["hist2st"]["history"]["loss"])
    2
    """
    return fit_method(
        adata,
        "hist2st",
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
