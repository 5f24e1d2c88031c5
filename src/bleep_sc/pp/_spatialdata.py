"""The spots of a SpatialData object, on the px of its images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc._adata import keys
from bleep_sc._adata.checks import is_by_slide
from bleep_sc._output.messages import listed, warn
from bleep_sc.slides._labels import label_centers

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

FULL = "_full_image"
"""What spatialdata_io's readers of Visium and Visium HD append to the name of a dataset for its scan."""
ALIGNED = "he_image"
"""What its reader of Xenium calls an H&E that is aligned."""
NO_SCAN = re.compile(r".*_(hires|lowres|cytassist)_image|morphology_(mip|focus).*|(.*_)?if_image")
"""What they call images that are scaled down, of the CytAssist, or of fluorescence."""

COARSEST_PX, BINS = 10.0, 0.95
"""Px of the image to which the centre of a label is to be known; share of labels of one px in a map of bins."""
SAME_PLACE_PX = 0.5
"""Px of the image that a centre may be apart in two coordinate systems."""


def from_spatialdata(sdata: SpatialData, image: Any, table_key: str) -> tuple[AnnData, dict[str, Any], str]:
    """Return the spots of a table, with ``obsm["spatial"]`` in px; the images by region; and the key of the regions.

    Nothing is written to the object. ``image`` is the name of an image, or a mapping from regions to names, paths or
    arrays; None takes the one that is called as spatialdata_io calls the scan, or else the only one that may be one.
    """
    from anndata import AnnData

    table, region_key, instance_key = _table(sdata, table_key)
    regions = table.obs[region_key].astype(str).to_numpy()
    images, centers, uns = {}, np.full((table.n_obs, 2), np.nan), dict(table.uns)
    for region in dict.fromkeys(regions.tolist()):
        rows = np.flatnonzero(regions == region)
        images[region], name = _image(sdata, image, region)
        ids = table.obs[instance_key].to_numpy()[rows]
        centers[rows], side = _places(sdata, region, name, ids, instance_key)
        _note_resolution(uns, region, side)
    spots = AnnData(obs=table.obs.copy(), uns=uns)
    spots.obsm[keys.SPATIAL] = centers
    return spots, images, region_key


def _table(sdata: SpatialData, table_key: str) -> tuple[AnnData, str, str]:
    """Return a table, and the columns that name the element and the instance of every spot."""
    if not hasattr(sdata, "tables"):
        raise TypeError(f"adata must be an AnnData or SpatialData object, not {type(sdata).__name__}.")
    if table_key not in sdata.tables:
        raise KeyError(f"table_key={table_key!r} not found (tables: {listed(sdata.tables)}). Pass table_key=.")
    table = sdata.tables[table_key]
    attributes = table.uns.get("spatialdata_attrs", {})
    if "region_key" not in attributes:
        raise ValueError(f"tables[{table_key!r}] annotates no shapes (it has no uns['spatialdata_attrs']).")
    return table, str(attributes["region_key"]), str(attributes["instance_key"])


def _image(sdata: SpatialData, image: Any, region: str) -> tuple[Any, str | None]:
    """Return the image of a region, and its name where it is one of the object's."""
    wanted = image.get(region) if is_by_slide(image) else image
    if wanted is None:
        wanted = _scan(sdata, region)
    if isinstance(wanted, str) and wanted in sdata.images:
        if NO_SCAN.fullmatch(wanted):
            warn(
                f"image={wanted!r} is called as what spatialdata_io reads beside the scan: scaled down, of the "
                "CytAssist, or of fluorescence. Patches of it are blurred, or no H&E. Pass the scan as image=."
            )
        return sdata.images[wanted], wanted
    if isinstance(wanted, str) and not Path(wanted).is_file():
        raise KeyError(f"image={wanted!r} is neither an image of the object ({listed(sdata.images)}) nor a file.")
    return wanted, None


def _scan(sdata: SpatialData, region: str) -> str:
    """Return the name of the scan that shows a region, or say that there is none, or that several may."""
    datasets = [name.removesuffix(FULL) for name in sdata.images if name.endswith(FULL)]
    own = [each for each in datasets if region == each or region.startswith(f"{each}_")]
    if own:
        return max(own, key=len) + FULL
    if ALIGNED in sdata.images:
        return ALIGNED
    others = {str(name) for name in sdata.shapes} | {str(name) for name in sdata.labels}
    theirs = {f"{each}{FULL}" for each in datasets if any(name.split("_square_")[0] == each for name in others)}
    may = [name for name in sdata.images if not NO_SCAN.fullmatch(name) and name not in theirs]
    may = [name for name in may if _shared(_element(sdata, region), sdata.images[name])] or may
    if len(may) == 1:
        return may[0]
    what = "There is no scan of" if not may else "Which image shows"
    raise KeyError(
        f"{what} region {region!r}{' is not clear' if may else ''} (images: {listed(sdata.images)}; those called "
        "hires, lowres, cytassist or morphology are no scans). Pass image=, its name, or a mapping from regions to "
        "names; or read the object again with the scan, spatialdata_io.visium_hd(..., fullres_image_file=...)."
    )


def _note_resolution(uns: dict[str, Any], region: str, side: float) -> None:
    """Note µm per px of the bins of Visium HD, whose region is named after their side in µm; ``side`` is in px."""
    bins = re.search(r"square_(\d+)um$", region)
    if bins and np.isfinite(side):
        known = uns.get(keys.SPATIAL, {})
        library = known.get(region, {})
        factors = {"microns_per_pixel": float(bins[1]) / side, **library.get("scalefactors", {})}
        uns[keys.SPATIAL] = {**known, region: {**library, "scalefactors": factors}}


def _places(
    sdata: SpatialData, region: str, image: str | None, ids: NDArray[Any], instance_key: str
) -> tuple[NDArray[np.float64], float]:
    """Return the centres of instances of a region in px of an image, (n, 2), and the side of those that are squares."""
    element = _element(sdata, region)
    if region in sdata.shapes:
        points, known, n_px = element.geometry.centroid, element.index, np.empty(0, dtype=np.int64)
        centers, area = np.column_stack([points.x, points.y]), float(element.geometry.area.median())
    else:
        known, centers, n_px = label_centers(_full_scale(element))
        area = 0.0  # as of points, which have a radius instead
    matrix = onto(sdata, region, element, image, centers)
    _refuse_coarse(region, centers, n_px, float(np.sqrt(abs(np.linalg.det(matrix[:2, :2])))))
    if not (index := pd.Index(known)).is_unique:
        raise ValueError(
            f"Region {region!r} has several instances of one id, {index[index.duplicated()].tolist()[0]!r}: which of "
            "them a spot is, is not known. Give each its own."
        )
    found = index.get_indexer(pd.Index(ids))
    if (found < 0).any():
        lost, there = ids[found < 0].tolist(), index.tolist()
        raise KeyError(
            f"Region {region!r} lacks {len(lost)} of the {len(ids)} instances that the table names in "
            f"obs[{instance_key!r}], such as {lost[0]!r} ({type(lost[0]).__name__}); it has {there[0]!r} "
            f"({type(there[0]).__name__}). Where its ids are of another type, convert them; where the region was "
            "filtered, filter the table too: spatialdata.match_table_to_element(sdata, element_name=region)."
        )
    placed = _moved(centers[found], matrix)
    return placed, float(np.sqrt(area * abs(np.linalg.det(matrix[:2, :2])))) if area > 0 else float("nan")


def _element(sdata: SpatialData, region: str) -> Any:
    for elements in (sdata.shapes, sdata.labels):
        if region in elements:
            return elements[region]
    raise KeyError(
        f"Region {region!r} has no places: it is neither among the shapes ({listed(sdata.shapes)}) nor the labels "
        f"({listed(sdata.labels)}). Pass the table itself, with places in px of the image in obsm['spatial']: "
        "bleep_sc.pp.extract_patches(sdata.tables[...], image)."
    )


def _refuse_coarse(region: str, centers: NDArray[np.float64], n_px: NDArray[np.int64], side: float) -> None:
    """Refuse labels whose places are known too roughly: ``n_px`` of each, ``side`` px of the image wide.

    Bins of an array that are one px each, side by side, are known as they are.
    """
    if len(n_px) and not _are_bins(centers, n_px) and side / np.sqrt(np.median(n_px)) > COARSEST_PX:
        raise ValueError(
            f"The labels of region {region!r} are too coarse to say where a patch belongs: half of them have at most "
            f"{np.median(n_px):.0f} px, and each of these is {side:.3g} px of the image wide. Annotate shapes, such as "
            "spatialdata_io.xenium(..., cells_as_circles=True), or labels of a higher resolution."
        )


def _are_bins(centers: NDArray[np.float64], n_px: NDArray[np.int64]) -> bool:
    """Tell labels of one px side by side, px of their own apart, from cells on a coarse map."""
    from scipy.spatial import cKDTree

    if len(centers) < 2 or np.mean(n_px == 1) < BINS:
        return False
    return bool(np.median(cKDTree(centers).query(centers, k=2)[0][:, 1]) < 1.1)


def _full_scale(labels: Any) -> Any:
    """Return labels as an array (height, width), of several scales the finest."""
    array = next(iter(labels["scale0"].values())) if hasattr(labels, "children") else labels
    return array.transpose("y", "x").data


def _moved(centers: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([centers, np.ones(len(centers))]) @ matrix[:2].T


def onto(
    sdata: SpatialData, region: str, element: Any, image: str | None, centers: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what moves the coordinates of a region, such as ``centers`` (n, 2), onto the px of an image, (3, 3).

    How an image lies that is no part of the object, nothing says: shapes that are not moved are taken to be in its px,
    as those of Visium are; others, and labels, may be in µm or in px of another image.
    """
    from spatialdata.transformations import get_transformation

    own = _matrices(get_transformation(element, get_all=True))
    if image is None:
        if region in sdata.shapes and any(np.allclose(each, np.eye(3)) for each in own.values()):
            return np.eye(3)
        raise ValueError(
            f"Where region {region!r} lies on image= is not known: the image is no part of the object, and the region "
            f"is {'moved' if region in sdata.shapes else 'labels, in px of their own,'} to {listed(own)}. Add the "
            "image with its transformation, sdata.images['he_image'] = spatialdata_io.xenium_aligned_image(...) or "
            "Image2DModel.parse(..., transformations=...), and pass image='he_image'."
        )
    theirs = _matrices(get_transformation(sdata.images[image], get_all=True))
    if not (common := _shared(element, sdata.images[image])):
        raise ValueError(
            f"Region {region!r} and image {image!r} have no common coordinate system (the region: {listed(own)}; the "
            f"image: {listed(theirs)}), so that it is not known where it lies. Set one: "
            "spatialdata.transformations.set_transformation(element, transformation, 'global'), or pass another image=."
        )
    moves = [np.linalg.inv(theirs[system]) @ own[system] for system in common]
    first = _moved(centers, moves[0])
    apart = {
        system: float(np.abs(_moved(centers, move) - first).max(initial=0))
        for system, move in zip(common, moves, strict=True)
    }
    if other := [system for system, px in apart.items() if px > SAME_PLACE_PX]:
        raise ValueError(
            f"Region {region!r} lies on image {image!r} in one place in coordinate system {common[0]!r} and in another "
            f"one in {listed(other)}, up to {max(apart.values()):.3g} px away. Remove the one that is wrong: "
            "spatialdata.transformations.remove_transformation(element, to_coordinate_system)."
        )
    return moves[0]


def _shared(element: Any, image: Any) -> list[str]:
    """Return the coordinate systems of two elements that both have."""
    from spatialdata.transformations import get_transformation

    theirs = get_transformation(image, get_all=True)
    return [system for system in get_transformation(element, get_all=True) if system in theirs]


def _matrices(transformations: dict[str, Any]) -> dict[str, NDArray[np.float64]]:
    return {system: each.to_affine_matrix(("x", "y"), ("x", "y")) for system, each in transformations.items()}
