from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc import _keys
from bleep_sc._patches import patches_of
from bleep_sc._records import patch_recipe

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import nn

    from bleep_sc.models.encoders import Transform


def image_features(
    adata: AnnData,
    encoder: str | nn.Module = "resnet50",
    *,
    patches_key: str = _keys.PATCHES,
    transform: Transform | None = None,
    symmetries: bool = False,
    batch_size: int = 64,
    num_workers: int = 0,
    device: str | None = None,
    key_added: str | None = None,
    show_progress_bar: bool = True,
    copy: bool = False,
) -> AnnData | None:
    """Describe every patch by the features of a frozen image encoder, computed once.

    Parameters
    ----------
    adata
        Spots with patches: in memory, in a store, or still in their slides (:func:`bleep_sc.pp.tile_slide`).
    encoder
        ``"stain_stats"``: colour and texture statistics of the two stains, which need no weights. The name of a
        torchvision classifier, such as ``"resnet50"``; a timm name, or ``"hf-hub:owner/model"``: pretrained weights are
        downloaded, and each model's own normalisation is used. Or a torch module that returns pooled features.
    patches_key
        Key of the patches in ``obsm``.
    transform
        For a module without ``pretrained_cfg``: normalises images (B, 3, H, W) whose values lie in [0, 1].
    symmetries
        Average the features over the eight symmetries of a patch (eight times the work).
    batch_size
        Patches at once.
    num_workers
        Processes that read stored patches ahead; a script with ``num_workers=1`` or more must be guarded by
        ``if __name__ == "__main__":``, since they are spawned.
    device
        Where to compute; None takes the best there is.
    key_added
        Key under which the features are written; by default ``X_`` and the encoder's name, ``X_encoder`` for a module.
    show_progress_bar
        Whether to show a bar.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``obsm[key_added]`` : float32, (n_obs, n_features)
        Features.
    ``uns[key_added]`` : dict
        The recipe: ``encoder`` (empty for a module), ``fingerprint`` of its weights and normalisation, ``symmetries``,
        and ``patches_key``, ``size`` (px) and ``size_um`` of the patches.

    Examples
    --------
    >>> import bleep_sc as bs
    >>> adata = bs.datasets.toy(n_slices=1)
    >>> bs.pp.extract_patches(adata, size=64, size_um=112)
    >>> bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    >>> adata.obsm["X_stain_stats"].shape[1]
    36
    """
    from bleep_sc.models.encoders import encode, load_encoder
    from bleep_sc.training.device import resolve_device

    patches = patches_of(adata, patches_key)
    network = load_encoder(encoder, transform=transform)
    features = encode(
        network,
        patches,
        symmetries=symmetries,
        batch_size=batch_size,
        num_workers=num_workers,
        device=resolve_device(device),
        show_progress_bar=show_progress_bar,
    )
    adata = adata.copy() if copy else adata
    key = key_added or _keys.features(network.name or "encoder")
    adata.obsm[key] = features
    adata.uns[key] = {
        "encoder": network.name,
        "fingerprint": network.fingerprint(),
        "symmetries": symmetries,
        **patch_recipe(adata, patches_key),
    }
    return adata if copy else None
