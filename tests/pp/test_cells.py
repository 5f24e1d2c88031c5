"""Cells of a segmentation as places to predict at: real H&E, outlines of a threshold, and back to the same polygons."""

import json
import warnings

import anndata as ad
import geopandas
import numpy as np
import pytest
import shapely
from skimage import color, filters, measure

import bleep_sc as bs

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import spatialdata as sd
    from spatialdata.models import Image2DModel, Labels2DModel, ShapesModel
    from spatialdata.transformations import Identity, Scale

LEAST = 40
"""Px of a nucleus, at least."""


def nuclei(pixels):
    """Pieces of what has most haematoxylin, as labels."""
    blue = filters.gaussian(color.rgb2hed(pixels)[..., 0], 2)
    labels = measure.label(blue > np.quantile(blue, 0.9))
    small = np.flatnonzero(np.bincount(labels.ravel()) < LEAST)
    labels[np.isin(labels, small)] = 0
    return labels


def as_qupath(labels):
    """A detection for every label, as QuPath exports its own; a hole in some."""
    features = []
    for number, region in enumerate(measure.regionprops(labels)):
        outline = max(measure.find_contours(np.pad(region.image, 1), 0.5), key=len)[:, ::-1]
        outline = (outline - 1 + [region.bbox[1], region.bbox[0]] + 0.5).round(2).tolist()
        properties = {"objectType": "cell", "measurements": {"Nucleus: Area": float(region.area)}, "isLocked": False}
        properties |= {"classification": {"name": "Tumor"}} if number % 3 == 0 else {}
        geometry = {"type": "Polygon", "coordinates": [[*outline, outline[0]]]}
        own = {"id": f"{number:08x}-0000-4000-8000-000000000000", "geometry": geometry, "nucleusGeometry": geometry}
        features.append({"type": "Feature", **own, "properties": properties})
    return {"type": "FeatureCollection", "features": features}


@pytest.fixture(scope="module", params=["CMU-1-Small-Region.svs", "HE_example.tif"])
def slide(request, data_folder, tmp_path_factory):
    """A real scan, its GeoJSON of nuclei, and what that holds."""
    path = data_folder / "wsi" / request.param
    if not path.is_file():
        pytest.skip(f"{request.param} is not there")
    with bs.slides.open_slide(path) as scan:
        pixels = scan.read_region(0, 0, 1300, scan.height)
    content = as_qupath(nuclei(pixels))
    folder = tmp_path_factory.mktemp("cells")
    (folder / "cells.geojson").write_text(json.dumps(content))
    return path, folder / "cells.geojson", content["features"]


@pytest.mark.filterwarnings("ignore:.*foreign:UserWarning", "ignore:.*unlike:UserWarning")
def test_predictions_return_to_the_same_polygons(slide, fitted, tmp_path):
    path, file, features = slide
    cells = bs.pp.tile_slide(path, ref=fitted, cells=file, show_progress_bar=False)
    assert cells.n_obs == len(features) > 300
    assert cells.obs_names.tolist() == [feature["id"] for feature in features]
    expected = [shapely.geometry.shape(feature["geometry"]).centroid.coords[0] for feature in features]
    np.testing.assert_allclose(cells.obsm["spatial"], expected)
    assert (cells.obs["cell_class"] == "Tumor").sum() == -(-len(features) // 3)
    some = np.random.default_rng(0).permutation(cells.n_obs)[:60]
    cells[some].copy().write_h5ad(tmp_path / "cells.h5ad")  # some of them, in another order, from disk
    cells = ad.read_h5ad(tmp_path / "cells.h5ad")
    bs.tl.impute(cells, ref=fitted)

    bs.tl.to_geojson(cells, tmp_path / "new.geojson", genes=["HAL", "CYP3A4"], classes="cell_class")
    written = json.loads((tmp_path / "new.geojson").read_text())["features"]
    own = [features[i] for i in some]
    assert [feature["id"] for feature in written] == [feature["id"] for feature in own]
    assert [feature["geometry"] for feature in written] == [feature["geometry"] for feature in own]
    classes = [feature["properties"].get("classification") for feature in own]
    assert [feature["properties"].get("classification") for feature in written] == classes
    columns = cells.var_names.get_indexer(["HAL", "CYP3A4"])
    values = [list(feature["properties"]["measurements"].values()) for feature in written]
    np.testing.assert_allclose(values, cells.layers["bleep"][:, columns], atol=1e-4)

    bs.tl.to_geojson(cells, tmp_path / "all.geojson", genes="HAL", cells=file)
    again = json.loads((tmp_path / "all.geojson").read_text())["features"]
    added = {again[i]["id"]: again[i]["properties"]["measurements"].pop("HAL") for i in some}
    np.testing.assert_allclose(list(added.values()), cells.layers["bleep"][:, columns[0]], atol=1e-4)
    assert again == features  # nuclei, measurements and cells that were not predicted included


def test_polygons_become_shapes_of_spatialdata(slide, fitted):
    path, file, features = slide
    cells = bs.pp.tile_slide(path, ref=fitted, cells=file, library_id="scan", show_progress_bar=False)[:20].copy()
    cells.layers["bleep"] = np.ones(cells.shape, dtype=np.float32)
    cells.var["bleep_predicted"] = True
    cells.uns["bleep_imputed"] = {"transform": "log1p"}
    shapes = bs.tl.to_spatialdata(cells).shapes["scan"]
    expected = [shapely.geometry.shape(feature["geometry"]) for feature in features[:20]]
    assert shapely.equals_identical(np.asarray(shapes.geometry), expected).all()


def predicted(image, ref, **kwargs):
    mpp = ref.uns["patches"]["slice1"]["mpp"]
    cells = bs.pp.tile_slide(image, ref=ref, mpp=mpp, library_id="x", show_progress_bar=False, **kwargs)
    bs.tl.impute(cells, ref=ref)
    return cells


@pytest.fixture
def image(query):
    return query.uns["spatial"]["slice3"]["images"]["hires"]


@pytest.fixture
def squares(query):
    return geopandas.GeoDataFrame(
        {"geometry": [shapely.box(x, y, x + 10, y + 16) for x, y in query.obsm["spatial"][::9]]},
        index=[f"cell{i}" for i in range(len(query[::9]))],
    )


@pytest.mark.filterwarnings("ignore")  # what spatialdata, dask and xarray say of each other
def test_a_table_annotates_the_elements_that_cells_are_of(fitted, image, squares, tmp_path):
    halved = squares.set_geometry(squares.affine_transform([0.5, 0, 0, 0.5, 0, 0]))
    shapes = ShapesModel.parse(halved, transformations={"global": Scale([2, 2], axes=("x", "y"))})
    labels = np.zeros(image.shape[:2], dtype=np.int32)
    for number, (x, y) in enumerate(squares.geometry.apply(lambda box: box.bounds[:2]), start=3):
        labels[int(y) : int(y) + 16, int(x) : int(x) + 10] = number
    sdata = sd.SpatialData(
        images={"he": Image2DModel.parse(image, dims=("y", "x", "c"), transformations={"global": Identity()})},
        shapes={"cells": shapes},
        labels={"masks": Labels2DModel.parse(labels, transformations={"global": Identity()})},
    )
    plain = predicted(image, fitted, cells=squares)
    for region in ("cells", "masks"):
        element = sdata[region]
        cells = predicted(sdata["he"], fitted, cells=element)
        np.testing.assert_allclose(
            cells.obsm["spatial"], plain.obsm["spatial"], atol=1.5 if region == "masks" else 0
        )  # px
        bs.tl.to_table(cells, sdata, region, table_name=f"of_{region}")
    sdata.write(tmp_path / "a.zarr")
    again = sd.read_zarr(tmp_path / "a.zarr")
    table = again.tables["of_cells"]
    assert table.obs["cell_id"].tolist() == squares.index.tolist()
    np.testing.assert_allclose(table.X, plain.layers["bleep"][:, plain.var["bleep_predicted"]], rtol=1e-5)
    assert again.tables["of_masks"].obs["cell_id"].tolist() == list(range(3, 3 + len(squares)))
    elements, matched = sd.join_spatialelement_table(again, "cells", table_name="of_cells", how="inner")
    assert len(elements["cells"]) == matched.n_obs == len(squares)
    with pytest.raises(KeyError, match="region='masks' lacks"):
        bs.tl.to_table(plain, sdata, "masks")
    with pytest.raises(KeyError, match="region='none' not found"):
        bs.tl.to_table(plain, sdata, "none")
    unnamed = plain.copy()
    del unnamed.obs["cell_id"]
    with pytest.raises(KeyError, match=r"obs\['cell_id'\] not found"):
        bs.tl.to_table(unnamed, sdata, "cells")
    assert set(sdata.tables) == {"of_cells", "of_masks"}
    sdata.tables["bleep"] = ad.AnnData(np.ones((2, 2)))
    with pytest.raises(ValueError, match="exists and is no prediction"):
        bs.tl.to_table(plain, sdata, "cells")


def test_cells_are_those_inside_regions_and_on_the_image(fitted, image, squares):
    half = {"type": "Polygon", "coordinates": [[[0, 0], [900, 0], [900, 9999], [0, 9999], [0, 0]]]}
    kwargs = {"ref": fitted, "mpp": 2.0, "show_progress_bar": False}
    cells = bs.pp.tile_slide(image, cells=squares, region=half, **kwargs)
    inside = squares.geometry.centroid.x.to_numpy() <= 900
    assert 0 < inside.sum() < len(squares)
    assert cells.obs_names.tolist() == squares.index[inside].tolist()
    assert cells.uns["cells"]["slide"]["ids"].tolist() == squares.index[inside].tolist()
    with pytest.raises(ValueError, match="spots lie outside the image"):
        bs.pp.tile_slide(image, cells=squares.set_geometry(squares.translate(1e5)), **kwargs)
    with pytest.raises(ValueError, match="pass one of them"):
        bs.pp.tile_slide(image, cells=squares, centers=[[5, 5]], **kwargs)


def test_a_file_that_lacks_cells_is_refused(fitted, image, squares, tmp_path):
    cells = predicted(image, fitted, cells=squares)
    (tmp_path / "some.geojson").write_text(squares.iloc[:3].to_json())
    with pytest.raises(KeyError, match=r"lacks \d+ of \d+ cells, such as"):
        bs.tl.to_geojson(cells, tmp_path / "a.geojson", genes="HAL", cells=tmp_path / "some.geojson")
    assert not (tmp_path / "a.geojson").exists()
