from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.all_or_nothing import all_or_nothing
from bleep_sc._adata.libraries import libraries
from bleep_sc._adata.places import centers_px, microns_per_pixel
from bleep_sc._adata.records import read_recipe
from bleep_sc._output.messages import listed, logger
from bleep_sc.slides._patch_file import PatchFile, read_patch_features, read_patch_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

FOLDER = "features_"
"""How TRIDENT begins the name of a folder of features, before the encoder's."""


def read_features(
    adata: AnnData,
    path: str | Path | Mapping[str, str | Path],
    encoder: str | None = None,
    *,
    side_px: float | None = None,
    tolerance: float = 0.25,
    library_key: str | None = None,
    spatial_key: str | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Read features that TRIDENT or CLAM computed, and give every spot those of the patch around it.

    A file names upper left corners of patches, a spot is a centre: the patch whose centre is nearest counts, if it is
    near enough. Tiles that lie where the patches are, by ``bleep_sc.pp.tile_slide(image, centers="slide.h5")``, have
    theirs exactly. The spots of a reference have none of a grid that was laid without them: have the other software
    describe patches around the spots, or compute features here by the same encoder
    (:func:`bleep_sc.pp.image_features`).

    Parameters
    ----------
    adata
        Spots or tiles, with full-resolution (x, y) in ``obsm[spatial_key]``.
    path
        The ``.h5`` file of the slide, with ``features`` (n, d) and ``coords`` (n, 2), px of the full resolution; of
        several slides a mapping from their names to their files.
    encoder
        What made the features, by the name by which it is compared with others: one of
        :func:`bleep_sc.models.list_encoders`, or any. None is what TRIDENT's folder says (``features_uni_v2``).
    side_px
        Side of a patch, px of the full resolution; None is what the file says (CLAM's files of features do not).
    tolerance
        How far the centre of a patch may lie from a spot, as a share of the side of a patch.
    library_key, spatial_key
        Column of ``obs`` that names the slide, and key of the coordinates in ``obsm``; None is what an earlier call was
        told, else ``library_id`` and ``spatial``.
    key_added
        Key under which the features are written; None is ``X_`` and the encoder's name.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``obsm[key_added]`` : float32, (n_obs, n_features)
        Features of the patch around every spot.
    ``uns[key_added]`` : dict
        The recipe, by which features of reference and query are compared: ``encoder``, ``size`` of the patches (px, as
        they were scaled) and ``size_um``; ``fingerprint`` and ``patches_key`` are empty.

    Raises
    ------
    KeyError
        When the file has no features or coordinates, or a slide has no file.
    ValueError
        When spots have no patch near enough, features of two slides are not of the same width, or they are not as wide
        as those of an encoder that is known: they were pooled in another way, and are another encoder's.

    Examples
    --------
    >>> import bleep_sc as bs
    >>> import h5py
    >>> image = bs.datasets.toy(n_slices=1).uns["spatial"]["slice1"]["images"]["hires"]
    >>> with h5py.File("toy.h5", "w") as file:  # as TRIDENT writes it
    ...     file["coords"] = [[400, 400], [600, 400], [600, 600]]
    ...     file["coords"].attrs.update({"patch_size": 64, "patch_size_level0": 128})
    ...     file["features"] = [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]
    >>> tiles = bs.pp.tile_slide(image, mpp=1.0, centers="toy.h5")
    >>> bs.pp.read_features(tiles, "toy.h5", "mine")
    >>> tiles.obsm["X_mine"].shape
    (3, 2)
    """
    from bleep_sc.models.pathology_encoders import recorded_name

    names, centers = libraries(adata, library_key), centers_px(adata, spatial_key)
    files = _files(path, names)
    name = recorded_name(encoder or _told_by_folder(files))
    parts: list[tuple[NDArray[np.intp], NDArray[np.float32]]] = []
    sizes, sides = {}, {}
    for slide, own in files.items():
        rows, file = np.flatnonzero(names == slide), read_patch_file(own)
        nearest = _nearest(file, centers[rows], slide, side_px, tolerance)
        parts.append((rows, read_patch_features(own)[nearest]))
        side = float(file.side_px if side_px is None else side_px)  # type: ignore[arg-type] # the centres needed it
        sides[slide] = side * microns_per_pixel(adata, rows, centers[rows], slide)[0]
        sizes[slide] = round(side) if file.size is None else file.size
    features = _together(parts, adata.n_obs, files, sizes)
    _compare_width(name, features.shape[1])
    adata = adata.copy() if copy else adata
    key = key_added or keys.features(name)
    with all_or_nothing(adata):
        adata.obsm[key] = features
        adata.uns[key] = read_recipe(name, next(iter(sizes.values())), sides)
    return adata if copy else None


def _files(path: Any, names: NDArray[np.str_]) -> dict[str, str | Path]:
    """Return the file of every slide that is there."""
    there = np.unique(names).tolist()
    if not hasattr(path, "keys"):
        if len(there) > 1:
            raise ValueError(
                f"path={str(path)!r} is one file, but there are {len(there)} slides ({listed(there)}). Pass a mapping "
                "from their names to their files."
            )
        return {there[0]: path}
    if missing := [name for name in there if name not in path]:
        raise KeyError(f"path= has no file of slide {listed(missing)} (it has: {listed(path)}). Pass one of each.")
    return {name: path[name] for name in there}


def _told_by_folder(files: Mapping[str, str | Path]) -> str:
    """Return the encoder that TRIDENT's folder is named after, or ask for it."""
    folders = {Path(path).absolute().parent.name for path in files.values()}
    found = {each.removeprefix(FOLDER) for each in folders if each.startswith(FOLDER)}
    if len(found) != 1 or len(folders) != 1:
        raise ValueError(
            f"Which encoder made the features is not known: folder {listed(sorted(folders))} does not name it. Pass "
            "encoder=, such as 'uni2' (bleep_sc.models.list_encoders()), the same for reference and query."
        )
    return found.pop()


def _nearest(
    file: PatchFile, centers: NDArray[np.float64], slide: str, side_px: float | None, tolerance: float
) -> NDArray[np.intp]:
    """Return which patch of a file is around every spot, or refuse where none is."""
    from scipy.spatial import cKDTree

    distance, nearest = cKDTree(file.centers(side_px)).query(centers)
    side = file.side_px if side_px is None else side_px
    far = distance > tolerance * side  # type: ignore[operator] # the centres needed it
    if far.any():
        raise ValueError(
            f"{int(far.sum())} of {len(centers)} spots of slide {slide!r} have no patch of {file.path!r} within "
            f"{tolerance * side:.0f} px of them (tolerance={tolerance:g} of its side, {side:g} px; the median distance "  # type: ignore[operator]
            f"is {np.median(distance):.0f} px). For a query, lay tiles where the patches are: "
            f"bleep_sc.pp.tile_slide(image, centers={file.path!r}). For spots, compute features around them: "
            "bleep_sc.pp.image_features(adata, encoder). Pass tolerance=1, to take the nearest patch all the same, or "
            "leave the spots out that have none. Where all are far, coordinates are of another resolution, or slide."
        )
    logger.info(
        "%s: %d spots have features of %d patches of %s; the centre of a patch is %.3g px from its spot in the median.",
        *(slide, len(centers), len(np.unique(nearest)), file.path, np.median(distance)),
    )
    return np.asarray(nearest, dtype=np.intp)


def _together(
    parts: list[tuple[NDArray[np.intp], NDArray[np.float32]]],
    n_obs: int,
    files: Mapping[str, str | Path],
    sizes: Mapping[str, int],
) -> NDArray[np.float32]:
    """Return the features of all slides in the order of the spots, or refuse what was not made alike."""
    widths = [values.shape[1] for _, values in parts]
    for what, found in (("features a patch", widths), ("px a patch", list(sizes.values()))):
        if len(set(found)) > 1:
            both = " and ".join(f"{each} ({path})" for each, path in zip(found, files.values(), strict=True))
            raise ValueError(f"The files differ in {what}: {both}. Pass files that one encoder made of patches alike.")
    features = np.empty((n_obs, widths[0]), dtype=np.float32)
    for rows, values in parts:
        features[rows] = values
    return features


def _compare_width(name: str, width: int) -> None:
    """Refuse features that are pooled in another way than they are here, under the same name."""
    from bleep_sc.models.pathology_encoders import find

    row = find(name)
    if row is not None and row.width != width:
        raise ValueError(
            f"encoder={name!r} makes {row.width:,} features a patch ({row.pooling}), and {width:,} were read. If they "
            f"are its, pooled in another way, name them otherwise, such as encoder='{name}-{width}', in reference and "
            "query alike."
        )
