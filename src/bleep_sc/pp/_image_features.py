from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.all_or_nothing import all_or_nothing
from bleep_sc._adata.patches import patches_of
from bleep_sc._adata.places import spatial_slot
from bleep_sc._adata.records import names_hash, patch_recipe
from bleep_sc._output.messages import warn
from bleep_sc.slides._store import recipe_hash

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import nn

    from bleep_sc._arrays.unread import Unread
    from bleep_sc.models.encoders import Encoder, Transform

SAMPLED = 256
"""Of patches that are not in memory, how many are read to recognise them."""


def image_features(
    adata: AnnData,
    encoder: str | nn.Module = "resnet50",
    *,
    patches_key: str = keys.PATCHES,
    transform: Transform | None = None,
    symmetries: bool = False,
    batch_size: int | None = None,
    num_workers: int = 0,
    device: str | None = None,
    store: str | Path | None = None,
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
        ``"stain_stats"``: colour and texture statistics of the two stains, which need no weights. An encoder of
        pathology by one of its names, such as ``"uni2"`` (:func:`bleep_sc.models.list_encoders`); a torchvision
        classifier, such as ``"resnet50"``; a timm name, or ``"hf-hub:owner/model"``: pretrained weights are downloaded,
        and each model's own normalisation and pooling are used. Or a torch module that returns pooled features, such
        as :func:`bleep_sc.models.load_encoder` builds of weights that you have.
    patches_key
        Key of the patches in ``obsm``.
    transform
        For a module without ``pretrained_cfg``: normalises images (B, 3, H, W) whose values lie in [0, 1].
    symmetries
        Average the features over the eight symmetries of a patch (eight times the work).
    batch_size
        Patches at once; None: 64 on a GPU, and 10 of 224 px on the CPU, which larger batches make slower.
    num_workers
        Processes that read stored patches ahead; a script with ``num_workers=1`` or more must be guarded by
        ``if __name__ == "__main__":``, since they are spawned.
    device
        Where to compute; None takes the best there is.
    store
        A folder for the features, which are then computed block by block (4096 patches) and not held in memory: a zarr
        array that ``obsm[key_added]`` wraps as a dask array. It appears when it is complete; an interrupted call goes
        on where it was, and one for the same patches and encoder finds them there. Under torchrun or SLURM every
        process calls this with the same arguments, computes its share of the blocks, and gets the whole.
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
        Features; a dask array with ``store=``.
    ``uns[key_added]`` : dict
        The recipe: ``encoder`` (empty for a module), ``fingerprint`` of its weights and normalisation, ``symmetries``,
        and ``patches_key``, ``size`` (px), ``size_um`` and ``full_resolution`` of the patches.

    Raises
    ------
    KeyError
        Without patches.
    FileExistsError
        When ``store`` holds something else.
    OSError
        When the weights cannot be loaded, or the disk is full; blocks that were written are gone on from.

    Warns
    -----
    UserWarning
        When patches show tissue much finer or coarser than the encoder was trained on.

    Examples
    --------
    After the example of :func:`bleep_sc.pp.extract_patches`:

    >>> bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    >>> adata.obsm["X_stain_stats"].shape[1]
    36
    """
    from bleep_sc.models.encode import encode
    from bleep_sc.models.encoders import load_encoder
    from bleep_sc.training.device import resolve_device

    patches = patches_of(adata, patches_key)
    network = load_encoder(encoder, transform=transform)
    recipe = recipe_of(adata, network, patches_key, symmetries)
    how: dict[str, Any] = {
        "symmetries": symmetries,
        "batch_size": batch_size,
        "num_workers": num_workers,
        "device": resolve_device(device),
        "show_progress_bar": show_progress_bar,
    }
    features: Any
    if store is None:
        features = encode(network, patches, **how)
    else:
        import dask.array as da

        from bleep_sc.training.features import store_features

        identity = {name: value for name, value in recipe.items() if name != "full_resolution"}  # pixels say it
        identity |= _identity(adata, patches)
        features = da.from_zarr(store_features(Path(store).resolve(), network, patches, recipe=identity, **how))
    adata = adata.copy() if copy else adata
    key = key_added or keys.features(network.name or "encoder")
    with all_or_nothing(adata):
        adata.obsm[key] = features
        adata.uns[key] = recipe
    return adata if copy else None


def recipe_of(adata: AnnData, network: Encoder, patches_key: str, symmetries: bool) -> dict[str, Any]:
    """Return how features of patches are made; warn of patches that the encoder was not trained on."""
    from bleep_sc.models.pathology_encoders import doubt_of_scale

    cut = patch_recipe(adata, patches_key)
    if doubt := doubt_of_scale(network.name, cut["size_um"]):
        warn(doubt)
    return {"encoder": network.name, "fingerprint": network.fingerprint(), "symmetries": symmetries, **cut}


def _identity(adata: AnnData, patches: NDArray[np.uint8] | Unread) -> dict[str, Any]:
    """Return what tells the patches from others, for the recipe of a store."""
    some: Any = patches
    if not isinstance(patches, np.ndarray):
        some = patches[np.linspace(0, len(patches) - 1, min(SAMPLED, len(patches)), dtype=np.intp)]
    slot = spatial_slot(adata)
    places = [np.asarray(adata.obsm[slot])] if slot in adata.obsm else []
    return {
        "spots": names_hash(adata.obs_names),
        "coordinates": recipe_hash(places),
        "pixels": f"{tuple(patches.shape)} {recipe_hash([some])}",
    }
