"""The patches of an AnnData, wherever they are: in memory, in a store, or still in their slides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obsm
from bleep_sc._adata.libraries import libraries
from bleep_sc._adata.places import centers_px, spatial_slot
from bleep_sc._adata.told import of_patches_in, told
from bleep_sc.slides._lazy import ComputedPatches, CutPatches, RestainedPatches, StoredPatches
from bleep_sc.slides._slide import IN_MEMORY
from bleep_sc.slides._stains import stains_from

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from bleep_sc._arrays.unread import Unread

REMEDY = "Run bleep_sc.pp.extract_patches(adata) first."


def has_patches(adata: AnnData, key: str) -> bool:
    """Tell whether there are patches, or a record of the store or of the image files from which they can be had."""
    if key in adata.obsm or _has_store(adata, key):
        return True
    records = adata.uns.get(key, {})
    images = {str(record.get("image", IN_MEMORY)) for record in records.values() if isinstance(record, dict)}
    return (
        bool(images)
        and IN_MEMORY not in images
        and spatial_slot(adata, None, *told(of_patches_in(records), "spatial_key")) in adata.obsm
    )


def patches_of(adata: AnnData, key: str) -> NDArray[np.uint8] | Unread:
    """Return patches (n, size, size, 3), uint8; what is not in memory is read when it is needed.

    Patches that ``pp.extract_patches`` stored are read from their store, also where ``obsm`` was saved without them;
    those of ``pp.tile_slide`` are cut from the slide.
    """
    if key not in adata.obsm:
        return _stored(adata, key) if _has_store(adata, key) else _cut(adata, key)
    patches = adata.obsm[key]
    if patches.ndim != 4 or patches.shape[3] != 3 or patches.dtype != np.uint8:
        raise ValueError(
            f"obsm[{key!r}] has shape {patches.shape} and type {patches.dtype}; patches are (n_obs, size, size, "
            "3) of uint8. Run bleep_sc.pp.extract_patches(adata)."
        )
    if not hasattr(patches, "dask"):
        return np.asarray(patches)
    return _stored(adata, key) if keys.store_rows(key) in adata.obs else ComputedPatches(patches)


def _has_store(adata: AnnData, key: str) -> bool:
    if keys.store_rows(key) not in adata.obs:
        return False
    stores = {str(record.get("store", "")) for record in adata.uns.get(key, {}).values() if isinstance(record, dict)}
    return bool(stores) and all(store and Path(store).is_dir() for store in stores)


def _stored(adata: AnnData, key: str) -> StoredPatches:
    """Return the rows of the store that are the spots' own, whatever was cut out of the AnnData since."""
    records = adata.uns[key]
    names = libraries(adata, None, *told(of_patches_in(records), "library_key"))
    paths = sorted({records[name]["store"] for name in np.unique(names)})
    which = np.array([paths.index(records[name]["store"]) for name in names], dtype=np.intp)
    return StoredPatches(tuple(paths), which, adata.obs[keys.store_rows(key)].to_numpy(dtype=np.intp))


def _cut(adata: AnnData, key: str) -> CutPatches | RestainedPatches:
    if not has_patches(adata, key):
        require_obsm(adata, key, REMEDY)
    records = adata.uns[key]
    names = libraries(adata, None, *told(of_patches_in(records), "library_key"))
    slides = list(dict.fromkeys(names.tolist()))
    unknown = [name for name in slides if not Path(str(records.get(name, {}).get("image", ""))).is_file()]
    if unknown:
        raise FileNotFoundError(
            f"obsm[{key!r}] not found, and its patches cannot be cut: the image of slide {unknown[0]!r} is not at "
            f"{records.get(unknown[0], {}).get('image')!r}. Say where it is now, "
            f"bleep_sc.pp.extract_patches(adata, {{{unknown[0]!r}: 'path', ...}}), with the same size= and size_um=."
        )
    centers = centers_px(adata, None, *told(of_patches_in(records), "spatial_key"))
    first = records[slides[0]]
    which = np.array([slides.index(name) for name in names], dtype=np.intp)
    patches = CutPatches(
        tuple(str(records[name]["image"]) for name in slides),
        tuple(int(records[name]["side_px"]) for name in slides),
        which,
        centers,
        int(first["size"]),
        "constant" if first["pad"] == "constant" else "reflect",
        tuple(int(records[name].get("level", 0)) for name in slides),
    )
    return restained(patches, which, [records[name] for name in slides]) if "stains" in first else patches


def restained(patches: Unread, which: NDArray[np.intp], records: list[dict[str, Any]]) -> RestainedPatches:
    """Return patches that get the stains that ``pp.normalize_stains`` recorded for their slides when they are read."""
    own = tuple(stains_from(record["stains"], record["stains_own"]) for record in records)
    return RestainedPatches(patches, which, own, stains_from(records[0]["stains"], records[0]["stain_target"]))
