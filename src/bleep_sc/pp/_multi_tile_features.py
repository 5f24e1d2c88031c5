from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc._adata import keys
from bleep_sc._adata.all_or_nothing import all_or_nothing
from bleep_sc._adata.libraries import libraries
from bleep_sc._adata.patches import patches_of
from bleep_sc._adata.places import centers_px, centers_um
from bleep_sc._adata.spots import note
from bleep_sc.pp._image_features import recipe_of

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import nn

    from bleep_sc.models.encoders import Transform

LEAST_PX = 8
"""Side of a part of a patch below which nothing is to be seen."""


def multi_tile_features(
    adata: AnnData,
    encoder: str | nn.Module = "resnet50",
    *,
    radius_um: float,
    sub_tiles: int = 3,
    patches_key: str = keys.PATCHES,
    transform: Transform | None = None,
    symmetries: bool = False,
    batch_size: int | None = None,
    num_workers: int = 0,
    device: str | None = None,
    key_added: str | None = None,
    show_progress_bar: bool = True,
    copy: bool = False,
) -> AnnData | None:
    """Describe every spot by its patch, by the parts of its patch, and by the patches around it.

    That is what DeepSpot looks at (Nonchev et al., 2025): a patch as a whole tells the kind of tissue, its parts single
    structures at a finer scale, and the neighbours where in the tissue it is. Here a frozen encoder describes each, and
    four blocks stand side by side: the features of the patch, mean and standard deviation of those of its parts, and
    the average of those of the patches within ``radius_um``, as :func:`bleep_sc.pp.spatial_context` weighs them. Where
    DeepSpot trains a network on each before it adds them up, a linear model takes these as they are.

    Parameters
    ----------
    adata
        Spots with patches, in memory, in a store or still in their slides, and with coordinates.
    encoder, transform, symmetries, num_workers, device
        As in :func:`bleep_sc.pp.image_features`. An encoder that insists on a size gets parts scaled up to it.
    radius_um
        How far the surroundings reach, µm: somewhat more than the distance between neighbouring spots.
    sub_tiles
        Parts along a side; 3 makes nine parts, and ten passes through the encoder for every spot.
    patches_key
        Key of the patches in ``obsm``.
    batch_size
        Patches at once, each with all its parts; None is what :func:`bleep_sc.pp.image_features` takes, over the number
        of parts where the encoder scales each of them up.
    key_added
        Key under which the features are written; by default ``X_``, the encoder's name and ``_multi_tile``,
        ``X_encoder_multi_tile`` for a module.
    show_progress_bar
        Whether to show a bar.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``obsm[key_added]`` : float32, (n_obs, 4 × n_features)
        The four blocks, in this order.
    ``uns[key_added]`` : dict
        The recipe, as :func:`bleep_sc.pp.image_features` writes it, with ``sub_tiles`` and ``neighbors_um``, by which
        :func:`bleep_sc.tl.impute` does the same for a query, or refuses features that were made otherwise;
        ``library_key`` and ``spatial_key``.

    Raises
    ------
    KeyError
        Without patches or coordinates.
    ValueError
        Where µm per px are not known, or parts would be narrower than 8 px.

    Examples
    --------
    After the example of :func:`bleep_sc.pp.extract_patches`:

    >>> bs.pp.multi_tile_features(adata, "stain_stats", radius_um=150, show_progress_bar=False)
    >>> adata.obsm["X_stain_stats_multi_tile"].shape[1] == 4 * 36
    True
    """
    from bleep_sc.models.encode import encode
    from bleep_sc.models.encoders import load_encoder
    from bleep_sc.models.sub_tiles import SubTiled, with_neighbors
    from bleep_sc.training.device import resolve_device

    if sub_tiles < 2:
        raise ValueError(
            f"sub_tiles={sub_tiles} makes no parts. Pass 2 or more; without parts, bleep_sc.pp.image_features and "
            "bleep_sc.pp.spatial_context describe patch and surroundings."
        )
    patches = patches_of(adata, patches_key)
    side = patches.shape[1] // sub_tiles
    if side < LEAST_PX:
        raise ValueError(
            f"sub_tiles={sub_tiles} cuts patches of {patches.shape[1]} px into parts of {side} px. Pass fewer, or cut "
            "patches with more pixels: bleep_sc.pp.extract_patches(adata, size=224)."
        )
    names, centers = libraries(adata), centers_px(adata)
    places = centers_um(adata, names, centers)
    network = load_encoder(encoder, transform=transform)
    recipe = {
        **recipe_of(adata, network, patches_key, symmetries),
        "sub_tiles": sub_tiles,
        "neighbors_um": float(radius_um),
        **note(adata, None, None, None),
    }
    alone = encode(
        SubTiled(network, sub_tiles),
        patches,
        symmetries=symmetries,
        batch_size=batch_size,
        num_workers=num_workers,
        device=resolve_device(device),
        show_progress_bar=show_progress_bar,
    )
    result = with_neighbors(alone, names, places, radius_um)
    adata = adata.copy() if copy else adata
    key = key_added or keys.multi_tile(keys.features(network.name or "encoder"))
    with all_or_nothing(adata):
        adata.obsm[key] = result
        adata.uns[key] = recipe
    return adata if copy else None
