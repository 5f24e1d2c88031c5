"""Spots of SpatialData objects as spatialdata_io lays them out: which image, and where on it."""

import warnings

import anndata as ad
import geopandas
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import box

import bleep_sc as bs

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of packages that warn of each other when they are imported
    import spatialdata as sd
    from spatialdata.models import Image2DModel, Labels2DModel, ShapesModel, TableModel
    from spatialdata.transformations import Affine, Identity, Scale

pytestmark = pytest.mark.filterwarnings("ignore:Converting .region_key:UserWarning")

MPP, PX_OF_LABELS = 0.5, 0.8
SCAN = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
CENTERS = np.array([[x, y] for x in (40, 100, 160, 220, 280) for y in (36, 96, 152, 212, 260)], dtype=float)
"""(x, y) in px of the scan, of cells that stand apart."""
HE = Affine([[0.25, 0.0, 30.0], [0.0, 0.25, 12.0], [0, 0, 1]], ("x", "y"), ("x", "y"))
"""From px of the scan to those of a smaller picture, as an alignment does."""


def image(pixels=SCAN, **systems):
    return Image2DModel.parse(pixels, dims=("y", "x", "c"), transformations=systems or {"global": Identity()})


def circles(places=CENTERS, index=None, **systems):
    index = pd.Index(np.arange(len(places)) if index is None else index)
    systems = systems or {"global": Identity()}
    return ShapesModel.parse(np.asarray(places), geometry=0, radius=5.0, index=index, transformations=systems)


def table(region="x", ids=None, **obsm):
    ids = np.arange(len(CENTERS)) if ids is None else ids
    obs = pd.DataFrame(
        {"region": pd.Categorical([region] * len(ids)), "id": ids}, index=[str(i) for i in range(len(ids))]
    )
    adata = ad.AnnData(np.ones((len(ids), 3), dtype=np.float32), obs=obs, obsm=obsm)
    return TableModel.parse(adata, region=region, region_key="region", instance_key="id")


def spots(images, shapes=None, labels=None, **of_table):
    parts = {"images": images, "shapes": shapes or {}, "labels": labels or {}}
    return sd.SpatialData(**parts, tables={"table": table(**of_table)})


def cut(sdata, **kwargs):
    bs.pp.extract_patches(sdata, **{"size": 16, "mpp": MPP, **kwargs})
    return sdata.tables["table"].obsm["patches"]


def expected(pixels=SCAN, places=CENTERS):
    return bs.slides.cut_patches(bs.slides.open_slide(pixels), places, side=16, size=16)


def cells(radius=4):
    """Labels at .8 µm per px, of cells around the centres; (y, x)."""
    labels = np.zeros((200, 260), dtype=np.int32)
    y, x = np.indices(labels.shape) + 0.5
    for number, (cx, cy) in enumerate(CENTERS * MPP / PX_OF_LABELS, start=1):
        labels[np.hypot(x - cx, y - cy) < radius] = number
    return labels


@pytest.mark.parametrize("scales", [None, (2,)])
def test_labels_are_placed_by_their_transformation_and_not_by_obsm(scales):
    um = {"scale_factors": scales, "transformations": {"global": Scale([PX_OF_LABELS] * 2, axes=("x", "y"))}}
    labels = Labels2DModel.parse(cells(), dims=("y", "x"), **um)
    images = {"morphology_focus": image(), "he_image": image(**{"global": Scale([MPP] * 2, axes=("x", "y"))})}
    ids = np.arange(1, len(CENTERS) + 1)
    places = {"spatial": CENTERS * MPP}  # in µm
    sdata = spots(images, labels={"cell_labels": labels}, region="cell_labels", ids=ids, **places)
    cut(sdata)
    found = sdata.tables["table"].obsm["spatial"]
    np.testing.assert_allclose(found, CENTERS, atol=0.5)
    np.testing.assert_array_equal(sdata.tables["table"].obsm["patches"], expected(places=found))
    with pytest.raises(
        ValueError, match=r"Where region 'cell_labels' lies on image= is not known.*labels, in px of th"
    ):
        cut(sdata, image={"cell_labels": SCAN})


@pytest.mark.parametrize("n_px", [1, 2])
def test_labels_that_are_too_coarse_are_refused(n_px):
    labels = np.zeros((20, 20), dtype=np.int32)
    for shift in range(n_px):
        labels[1:16:3, shift : 15 + shift : 3] = np.arange(1, 26).reshape(5, 5)
    coarse = Labels2DModel.parse(labels, dims=("y", "x"), transformations={"global": Scale([16, 16], axes=("x", "y"))})
    sdata = spots({"he_image": image()}, labels={"cell_labels": coarse}, region="cell_labels", ids=np.arange(1, 26))
    with pytest.raises(
        ValueError, match=rf"too coarse .* at most {n_px} px, and each of these is 16 px of the image wide"
    ):
        cut(sdata)


def test_bins_of_one_px_each_are_known_as_they_are():
    """As rasterize_bins returns them, each many px of the image wide."""
    bins = Labels2DModel.parse(
        np.arange(1, 26, dtype=np.int32).reshape(5, 5),
        dims=("y", "x"),
        transformations={"global": Scale([29.6, 29.6], axes=("x", "y"))},
    )
    sdata = spots({"he_image": image()}, labels={"bins": bins}, region="bins", ids=np.arange(1, 26))
    cut(sdata, mpp=1.0)
    y, x = (29.6 * (axis.ravel() + 0.5) for axis in np.mgrid[0:5, 0:5])
    np.testing.assert_allclose(sdata.tables["table"].obsm["spatial"], np.column_stack([x, y]))


def test_shapes_in_um_lie_where_the_alignment_says():
    um = circles(CENTERS * MPP, **{"global": Scale([1 / MPP] * 2, axes=("x", "y"))})
    matrix = np.linalg.inv(HE.to_affine_matrix(("x", "y"), ("x", "y")))
    true = np.column_stack([CENTERS, np.ones(25)]) @ matrix[:2].T
    sdata = spots(
        {"he_image": image(np.tile(SCAN, (4, 4, 1)), **{"global": HE})}, {"cell_circles": um}, region="cell_circles"
    )
    np.testing.assert_array_equal(cut(sdata), expected(np.tile(SCAN, (4, 4, 1)), true))


def test_shapes_that_are_moved_are_not_laid_on_an_image_that_is_no_part_of_the_object():
    um = circles(CENTERS * MPP, **{"global": Scale([1 / MPP] * 2, axes=("x", "y"))})
    sdata = spots({"he_image": image()}, {"cell_circles": um}, region="cell_circles")
    with pytest.raises(ValueError, match=r"region is moved to 'global'. Add the image with its transformation"):
        cut(sdata, image={"cell_circles": SCAN})
    sdata = spots({"he_image": image()}, {"x": circles()})
    np.testing.assert_array_equal(cut(sdata, image={"x": SCAN}), expected())


def test_coordinates_that_look_like_um_are_warned_of():
    sdata = spots({"x_full_image": image()}, {"x": circles(CENTERS * 0.25)})
    with pytest.warns(UserWarning, match="at 0.25 µm per px they look like µm: they keep to a corner of the image"):
        cut(sdata, mpp=0.25)


@pytest.mark.parametrize(
    ("sdata", "error", "message"),
    [
        (lambda: spots({"x_full_image": image()}, {"x": circles(a=Identity())}), ValueError,
         "Region 'x' and image 'x_full_image' have no common coordinate system .*'a'; the image: 'global'"),
        (lambda: spots({"x_full_image": image(a=Identity(), b=Identity())}, {"x": circles(a=Identity(), b=HE)}), ValueError,
         "Region 'x' lies on image 'x_full_image' in one place in coordinate system 'a' and in another one in 'b'"),
        (lambda: spots({"x_full_image": image(a=Identity(), b=Identity())},
                       {"x": circles(a=Scale([.09] * 2, ("x", "y")), b=Scale([.03] * 2, ("x", "y")))}), ValueError,
         "in one place in coordinate system 'a' and in another one in 'b', up to 16.8 px away"),
        (lambda: spots({"x_full_image": image()}, {"x": circles(CENTERS[:-5], np.arange(20))}), KeyError,
         r"Region 'x' lacks 5 of the 25 instances .*obs\['id'\], such as 20 .*match_table_to_element"),
        (lambda: spots({"x_full_image": image()}, {"x": circles(index=[str(i) for i in range(25)])}), KeyError,
         r"Region 'x' lacks 25 of the 25 instances .*0 \(int\); it has '0' \(str\)"),
        (lambda: spots({"x_full_image": image()}, region="y", spatial=CENTERS), KeyError,
         "Region 'y' has no places: it is neither among the shapes .* Pass the table itself"),
        (lambda: spots({"x_full_image": image()}, {"x": circles(index=[0, *range(24)])}), ValueError,
         "Region 'x' has several instances of one id, 0"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:The table is annotating")
def test_elements_that_do_not_fit_are_named(sdata, error, message):
    with pytest.raises(error, match=message):
        cut(sdata())


def test_a_call_that_fails_changes_nothing():
    squares = geopandas.GeoDataFrame(geometry=[box(x - 8, y - 8, x + 8, y + 8) for x, y in CENTERS])
    shapes = {"x_square_016um": ShapesModel.parse(squares, transformations={"global": Identity()})}
    sdata = spots({"x_full_image": image()}, shapes, region="x_square_016um", spatial=CENTERS + 1)
    before = sdata.tables["table"].copy()
    for wrong in (
        {"mpp": -1},
        {"size": 0},
        {"size_um": -3},
        {"image": "absent"},
        {"pad": "wrap"},
        {"library_key": 3, "mpp": 0},
    ):
        with pytest.raises((ValueError, KeyError)):
            cut(sdata, **wrong)
        after = sdata.tables["table"]
        assert set(after.obsm) == set(before.obsm)
        assert list(after.uns) == list(before.uns)
        np.testing.assert_array_equal(after.obsm["spatial"], before.obsm["spatial"])
    np.testing.assert_array_equal(cut(sdata), expected())
    np.testing.assert_array_equal(sdata.tables["table"].obsm["spatial"], CENTERS)
    assert sdata.tables["table"].uns["spatial"]["x_square_016um"]["scalefactors"]["microns_per_pixel"] == 1.0


def small(factor):
    return image(SCAN[::factor, ::factor], **{"global": Scale([factor] * 2, axes=("x", "y"))})


def of_hd(*names):
    return {f"hd_{name}_image": image() if name == "full" else small(2) for name in names}


@pytest.mark.parametrize(
    ("region", "images", "found"),
    [
        ("hd_square_016um", of_hd("cytassist", "hires", "full"), "hd_full_image"),
        ("hd_cell_segmentations", of_hd("cytassist", "full"), "hd_full_image"),
        ("hd", of_hd("hires", "lowres", "full"), "hd_full_image"),
        ("cell_circles", {"morphology_mip": small(2), "if_image": small(2), "he_image": image()}, "he_image"),
        ("a_b", {"a_full_image": small(2), "a_b_full_image": image()}, "a_b_full_image"),
        ("mine", {"my_scan": image(), "hd_hires_image": small(2)}, "my_scan"),
    ],
)
def test_the_scan_is_found_by_the_names_that_spatialdata_io_gives(region, images, found):
    sdata = spots(images, {region: circles()}, region=region)
    np.testing.assert_array_equal(cut(sdata), expected())
    assert found in images


@pytest.mark.parametrize(
    ("region", "images", "message"),
    [
        (
            "hd_square_016um",
            of_hd("cytassist", "hires"),
            "There is no scan of region 'hd_square_016um' .*fullres_image_f",
        ),
        ("hd", of_hd("cytassist"), "There is no scan of region 'hd'"),
        ("cell_labels", {"morphology_focus": small(2)}, "There is no scan of region 'cell_labels'"),
        ("hd", {"one": image(), "two": image()}, "Which image shows region 'hd' is not clear"),
    ],
)
def test_other_pictures_are_not_taken_for_the_scan(region, images, message):
    with pytest.raises(KeyError, match=message):
        cut(spots(images, {region: circles()}, region=region))


def test_a_picture_that_is_asked_for_by_name_is_warned_of():
    sdata = spots(of_hd("cytassist"), {"hd": circles()}, region="hd")
    with pytest.warns(
        UserWarning, match="image='hd_cytassist_image' is called as what spatialdata_io reads beside the"
    ):
        cut(sdata, image="hd_cytassist_image")
    np.testing.assert_allclose(sdata.tables["table"].obsm["spatial"], CENTERS / 2)


def test_of_several_images_the_one_in_the_regions_coordinate_system_is_taken():
    images = {"he_image-a": small(2), "he_image-b": image(b=Identity()), "morphology_focus-b": image(b=Identity())}
    sdata = spots(images, {"cell_circles-b": circles(b=Identity())}, region="cell_circles-b")
    np.testing.assert_array_equal(cut(sdata), expected())


def test_the_scan_of_another_slide_is_not_taken():
    shapes = {"a": circles(), "b": circles()}
    sdata = spots({"a_full_image": image()}, shapes, region="b")
    with pytest.raises(KeyError, match="There is no scan of region 'b'"):
        cut(sdata)
