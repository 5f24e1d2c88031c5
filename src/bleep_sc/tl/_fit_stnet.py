from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc._adata import keys
from bleep_sc.tl._models.fit_method import fit_method
from bleep_sc.training.baseline_configs import StNetConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from torch import nn


def fit_stnet(
    adata: AnnData,
    *,
    use_rep: str | Sequence[str] | None = None,
    patches_key: str = keys.PATCHES,
    encoder: str | nn.Module | None = None,
    layer: str | None = None,
    target_rep: str | None = None,
    library_key: str | None = None,
    donor_key: str | None = None,
    config: StNetConfig | None = None,
    key_added: str = "stnet",
    random_state: int = 0,
    device: str | None = None,
    show_progress_bar: bool = True,
    copy: bool = False,
) -> AnnData | None:
    r"""Train ST-Net, a baseline: patches to expression by an ImageNet network of which every layer is trained.

    DenseNet-121 with a linear layer on top, whose weights start at 0 and biases at the mean expression
    :math:`\bar y`, minimises

    .. math::
        \frac{1}{G} \sum_{i \in \mathrm{batch}} \lVert \hat y_i - y_i \rVert^2

    over :math:`G` genes by SGD, with flips and quarter turns. How long is chosen by cross-validation inside the
    reference: donors are held out in turn (slides, where it has one donor or they are not known), predicted after
    every epoch, and scored by the mean correlation of the 50 genes that vary most in the others; then all slides are
    trained on for that long. :func:`bleep_sc.tl.predict` averages over the eight symmetries of a patch. He et al.,
    Nature Biomedical Engineering 4:827 (2020).

    With ``use_rep`` no layer of the encoder is trained: on features, which are standardised, this is a linear probe,
    and ``params["variant"]`` says so.

    Parameters
    ----------
    adata
        The reference: log-normalised expression and images. Genes are those of ``var["highly_variable"]`` where that
        exists, else all.
    use_rep
        One key or several of image features in ``obsm``: fit the linear probe.
    patches_key, layer, target_rep, donor_key, key_added, random_state, show_progress_bar, copy
        As in :func:`bleep_sc.tl.fit`.
    encoder
        The network to train on patches: a name or a module, as in :func:`bleep_sc.pp.image_features`. None is
        ``"densenet121"``, as published.
    library_key
        Column of ``obs`` that names the slide; not needed for a single one, of which spots are held out.
    config
        Hyper-parameters; None is ``StNetConfig()``. Every learning rate to choose from costs a cross-validation.
    device
        Where to train; None takes the best there is.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written is:

    ``uns[key_added]`` : dict
        The model, as :func:`bleep_sc.tl.fit` writes it. ``params`` holds ``variant`` (``"end to end"`` or ``"linear
        probe"``), ``backbone``, and what was chosen, ``learning_rate`` and ``n_epochs``; ``history`` holds ``loss`` and
        ``validation_pearson``, (n_learning_rates, n_epochs).

    Raises
    ------
    ValueError
        When there is a single spot, or training diverges; what else may be wrong is as in :func:`bleep_sc.tl.fit`.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.fit`:

    >>> bs.tl.fit_stnet(adata_ref, use_rep="X_stain_stats", show_progress_bar=False)
    >>> bs.tl.load_model(adata_ref, "stnet").description.params["variant"]
    'linear probe'
    """
    return fit_method(
        adata,
        "stnet",
        use_rep=use_rep,
        patches_key=patches_key,
        encoder=encoder,
        layer=layer,
        target_rep=target_rep,
        library_key=library_key,
        donor_key=donor_key,
        config=config,
        key_added=key_added,
        random_state=random_state,
        device=device,
        show_progress_bar=show_progress_bar,
        copy=copy,
    )
