import json
import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import bleep_sc as bs
from bleep_sc.slides import transform_points

WIDTH, HEIGHT = 1900, 1700
AT = np.array([[300.0, 200.0], [1650.0, 350.0], [1500.0, 1400.0], [250.0, 1500.0], [900.0, 800.0]])
"""Landmarks on a slice of toy tissue."""
TURNED = np.array([[0.0, -1.0, HEIGHT], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
"""A quarter turn clockwise."""
HALF = np.diag([0.5, 0.5, 1.0])
MIRRORED = np.array([[-1.0, 0.0, WIDTH], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def _slice():
    adata = bs.datasets.toy(n_slices=1)
    adata.obsm["spatial"] = adata.obsm["spatial"].round()
    return adata


@pytest.fixture
def measured(_slice):
    return _slice.copy()


def scan_of(adata, name="slice1"):
    return adata.uns["spatial"][name]["images"]["hires"]


def turned(adata):
    return np.rot90(scan_of(adata), -1)


def pair(matrix, noise=0.0):
    return AT, transform_points(AT, matrix) + np.random.default_rng(0).normal(0, noise, AT.shape)


def unchanged(adata, before):
    assert list(adata.uns) == list(before.uns)
    assert list(adata.obsm) == list(before.obsm)
    np.testing.assert_array_equal(adata.obsm["spatial"], before.obsm["spatial"])
    assert adata.uns["spatial"]["slice1"]["images"].keys() == before.uns["spatial"]["slice1"]["images"].keys()
    assert scan_of(adata).shape == scan_of(before).shape


@pytest.mark.parametrize("by", ["landmarks", "transform"])
def test_patches_of_a_turned_scan_are_the_turned_patches(measured, by):
    given = {"landmarks": pair(TURNED)} if by == "landmarks" else {"transform": TURNED}
    new = bs.pp.register(measured, turned(measured), **given, copy=True)
    assert "registration" not in measured.uns
    np.testing.assert_allclose(new.obsm["spatial"], transform_points(measured.obsm["spatial"], TURNED), atol=1e-9)
    for adata in (measured, new):
        bs.pp.extract_patches(adata, size=32, size_um=32)
    np.testing.assert_array_equal(new.obsm["patches"], np.rot90(measured.obsm["patches"], -1, axes=(1, 2)))


def test_a_mirrored_scan_is_no_error(measured):
    """Patches are those of the other side, and nobody warns that x and y look swapped."""
    new = bs.pp.register(measured, scan_of(measured)[:, ::-1], pair(MIRRORED), reflection=True, copy=True)
    for adata in (measured, new):
        bs.pp.extract_patches(adata, size=32, size_um=32)
    np.testing.assert_array_equal(new.obsm["patches"], measured.obsm["patches"][:, :, ::-1])


def test_lengths_are_those_of_the_new_image(measured):
    bs.pp.register(measured, turned(measured)[::2, ::2], pair(HALF @ TURNED))
    factors = measured.uns["spatial"]["slice1"]["scalefactors"]
    assert factors == pytest.approx(
        {"tissue_hires_scalef": 1, "spot_diameter_fullres": 27.5, "microns_per_pixel": 2}, rel=1e-4
    )
    entry = measured.uns["registration"]["slice1"]
    assert entry["mpp"] == pytest.approx(2, rel=1e-4)
    assert entry["mpp_source"] == "the map"
    bs.pp.extract_patches(measured, size=28, size_um=112)
    assert measured.uns["patches"]["slice1"]["side_px"] == 56


def test_residuals_are_kept_and_said(measured, caplog):
    landmarks = pair(HALF @ TURNED, noise=3)
    with caplog.at_level(logging.INFO, "bleep_sc"):
        bs.pp.register(measured, turned(measured)[::2, ::2], landmarks)
    entry = measured.uns["registration"]["slice1"]
    fit = bs.slides.fit_landmarks(*landmarks)
    np.testing.assert_array_equal(entry["matrix"], fit.matrix)
    np.testing.assert_array_equal(entry["residual_px"], fit.residual_px)
    assert entry["rms_px"] == pytest.approx(np.sqrt((fit.residual_px**2).mean()))
    assert entry["left_out_rms_um"] == pytest.approx(np.sqrt((fit.left_out_px**2).mean()) * entry["mpp"])
    at_spots = fit.standard_error(measured.obsm["spatial_unregistered"])
    assert entry["spot_error_um"] == pytest.approx(at_spots.mean() * entry["mpp"])
    said = f"5 landmarks, residual {entry['rms_um']:.1f} µm, left out {entry['left_out_rms_um']:.1f}"
    assert said in caplog.text
    assert "turned by 90." in caplog.text or "turned by 89." in caplog.text


def test_a_second_call_starts_from_what_was_measured(measured):
    before = measured.copy()
    bs.pp.register(measured, turned(before), pair(TURNED, noise=8))
    bs.pp.register(measured, turned(before)[::2, ::2], pair(HALF @ TURNED))
    once = bs.pp.register(before, turned(before)[::2, ::2], pair(HALF @ TURNED), copy=True)
    np.testing.assert_array_equal(measured.obsm["spatial"], once.obsm["spatial"])
    np.testing.assert_array_equal(measured.obsm["spatial_unregistered"], before.obsm["spatial"])
    entry = measured.uns["registration"]["slice1"]
    np.testing.assert_array_equal(entry["unregistered"]["images"]["hires"], scan_of(before))
    assert measured.uns["spatial"]["slice1"]["scalefactors"] == once.uns["spatial"]["slice1"]["scalefactors"]


def test_other_slides_stay_where_they_are(toy):
    del toy.uns["patches"], toy.obsm["patches"], toy.uns["X_stain_stats"]
    before = toy.copy()
    with pytest.raises(ValueError, match=r"several slides .* Pass library_id=, one of them"):
        bs.pp.register(toy, turned(toy), pair(TURNED))
    bs.pp.register(toy, np.rot90(scan_of(toy, "slice2"), -1), pair(TURNED), library_id="slice2")
    bs.pp.register(toy, scan_of(toy, "slice3")[:, ::-1], pair(MIRRORED), library_id="slice3", reflection=True)
    for name, matrix in (("slice1", np.eye(3)), ("slice2", TURNED), ("slice3", MIRRORED)):
        rows = (toy.obs["library_id"] == name).to_numpy()
        there = transform_points(before.obsm["spatial"][rows], matrix)
        np.testing.assert_allclose(toy.obsm["spatial"][rows], there, atol=1e-8)
    np.testing.assert_array_equal(toy.obsm["spatial_unregistered"], before.obsm["spatial"])
    assert list(toy.uns["registration"]) == ["slice2", "slice3"]
    assert toy.uns["spatial"]["slice1"] is not toy.uns["spatial"]["slice2"]
    bs.pp.extract_patches(toy, size=16, size_um=112)
    one = bs.pp.register(
        before[before.obs["library_id"] == "slice2"].copy(),
        np.rot90(scan_of(before, "slice2"), -1),
        pair(TURNED),
        copy=True,
    )
    bs.pp.extract_patches(one, size=16, size_um=112)
    np.testing.assert_array_equal(toy[toy.obs["library_id"] == "slice2"].obsm["patches"], one.obsm["patches"])


def test_what_is_written_survives_h5ad(measured, tmp_path):
    bs.pp.register(measured, turned(measured), pair(TURNED, noise=2))
    measured.write_h5ad(tmp_path / "registered.h5ad")
    read = ad.read_h5ad(tmp_path / "registered.h5ad")
    entry, theirs = (each.uns["registration"]["slice1"] for each in (measured, read))
    assert entry.keys() == theirs.keys()
    np.testing.assert_array_equal(entry["matrix"], theirs["matrix"])
    bs.pp.register(read, scan_of(read), pair(TURNED))
    np.testing.assert_allclose(
        read.obsm["spatial"], transform_points(read.obsm["spatial_unregistered"], TURNED), atol=1e-8
    )


def test_a_file_is_found_again(measured, tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "scan.tif", np.ascontiguousarray(turned(measured)), photometric="rgb")
    bs.pp.register(measured, tmp_path / "scan.tif", pair(TURNED))
    assert measured.uns["spatial"]["slice1"]["metadata"]["source_image_path"] == str(tmp_path / "scan.tif")
    bs.pp.extract_patches(measured, size=16)
    assert measured.uns["patches"]["slice1"]["image"] == str(tmp_path / "scan.tif")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"Pass landmarks=, .* or transform=, .* one of the two"),
        ({"landmarks": pair(TURNED), "transform": TURNED}, "one of the two"),
        ({"landmarks": (AT[:1], AT[:1])}, "1 landmarks are too few"),
        ({"landmarks": (AT, transform_points(AT, MIRRORED))}, "pass reflection=True"),
        ({"landmarks": (AT, transform_points(AT, TURNED)[:, ::-1])}, "swapped in one of the two sets"),
        ({"landmarks": (AT, transform_points(AT, TURNED) + 5000)}, r"230 of 230 spots|spots lie outside the image"),
        ({"landmarks": (AT, AT[[0, 1, 2, 2, 4]])}, "lie in one place of the new image"),
        ({"transform": np.eye(4)}, r"shape \(4, 4\); an affine map is 2 × 3 or 3 × 3"),
        ({"transform": np.zeros((2, 3))}, "singular"),
        ({"transform": "absent.json"}, "there is no such file"),
    ],
)
def test_a_call_that_is_wrong_says_what_mends_it_and_writes_nothing(measured, arguments, message):
    before = measured.copy()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        bs.pp.register(measured, turned(before), **arguments)
    unchanged(measured, before)


@pytest.mark.parametrize("order", [[4, 3, 2, 1, 0], [1, 0, 2, 3, 4]], ids=["reversed", "two exchanged"])
def test_landmarks_that_do_not_belong_together_are_refused(measured, order):
    source, target = pair(TURNED)
    before = measured.copy()
    with pytest.raises(ValueError, match=r"do not show the same places .* px around .*Are they in the same order"):
        bs.pp.register(measured, turned(measured), (source, target[order]))
    unchanged(measured, before)


def test_patches_of_the_image_before_are_in_the_way(measured):
    image = turned(measured)
    bs.pp.extract_patches(measured, size=16)
    bs.pp.image_features(measured, "stain_stats", show_progress_bar=False)
    said = r"uns\['patches'\] says .* show the image before.* for key in \['patches', 'X_stain_stats'\]: adata.uns.pop"
    with pytest.raises(ValueError, match=said):
        bs.pp.register(measured, image, pair(TURNED))
    for key in ["patches", "X_stain_stats"]:
        measured.uns.pop(key), measured.obsm.pop(key, None)
    bs.pp.register(measured, image, pair(TURNED))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"landmarks": pair(TURNED), "mpp": 0.5}, r"measures 1 µm per px, .* but it has 0\.5 \(given\)"),
        (
            {"landmarks": pair(TURNED, noise=90)},
            r"px off where the others say .*diameter of a spot, 5\d px; most so '\d'",
        ),
        ({"landmarks": (AT[:2], transform_points(AT, TURNED)[:2])}, "The 2 landmarks .* always fit"),
        ({"transform": TURNED @ np.diag([0.8, 1.0, 1.0])}, r"stretches slide 'slice1' by 1\.25"),
        (
            {"transform": TURNED @ np.array([[1, 0, 0], [0, 1, -300], [0, 0, 1.0]])},
            r"\d+ of \d+ spots .* outside the new",
        ),
    ],
)
def test_what_is_doubtful_is_said(measured, arguments, message):
    with pytest.warns(UserWarning, match=message):
        bs.pp.register(measured, turned(measured), **arguments)
    assert "registration" in measured.uns


def test_an_affine_map_follows_a_stretched_section(measured):
    stretch = TURNED @ np.array([[0.95, 0.02, 40.0], [0, 1.0, 20.0], [0, 0, 1]])
    bs.pp.register(measured, turned(measured), pair(stretch), model="affine")
    there = transform_points(measured.obsm["spatial_unregistered"], stretch)
    np.testing.assert_allclose(measured.obsm["spatial"], there, atol=1e-8)


def alignment(path, spots, onto=None, per_um=None, serial="V43A11-001"):
    """An alignment file as 10x writes it, of spots with array_row and array_col, in px of the picture."""
    oligo = [
        {"x": 1, "y": 1, "row": int(row), "col": int(column), "imageX": x, "imageY": y, "dia": 55, "tissue": True}
        for row, column, (x, y) in spots
    ]
    content = {"format": 1, "serialNumber": serial, "area": "A1", "checksum": "0", "fiducial": [], "oligo": oligo}
    if onto is not None:
        content["cytAssistInfo"] = {"checksum": "0", "transformImages": np.asarray(onto).tolist()}
        content["transform"] = (np.diag([per_um, per_um, 1.0]) if per_um else np.eye(3)).ravel().tolist()
    path.write_text(json.dumps(content))
    return path


def spots_at(adata, matrix):
    return list(
        zip(
            adata.obs["array_row"], adata.obs["array_col"], transform_points(adata.obsm["spatial"], matrix), strict=True
        )
    )


def test_an_alignment_of_visium_says_where_every_spot_lies(measured, tmp_path):
    image, truth = turned(measured)[::2, ::2], HALF @ TURNED
    file = alignment(tmp_path / "alignment.json", spots_at(measured, truth)[::-1])
    new = bs.pp.register(measured, image, transform=file, copy=True)
    np.testing.assert_allclose(new.obsm["spatial"], transform_points(measured.obsm["spatial"], truth), atol=1e-6)
    assert new.uns["registration"]["slice1"]["by"] == "alignment of 10x"
    onto = np.array([[0.1, 0.05, 30.0], [-0.05, 0.1, 200.0], [0, 0, 1]])  # px of the image to those of the CytAssist
    file = alignment(tmp_path / "alignment.json", spots_at(measured, onto @ truth), onto)
    new = bs.pp.register(measured, image, transform=str(file), copy=True)
    np.testing.assert_allclose(new.obsm["spatial"], transform_points(measured.obsm["spatial"], truth), atol=1e-6)


def test_spots_that_an_alignment_does_not_list_are_moved_with_the_others(measured, tmp_path):
    file = alignment(tmp_path / "alignment.json", spots_at(measured[:150], TURNED))
    new = bs.pp.register(measured, turned(measured), transform=file, copy=True)
    np.testing.assert_allclose(new.obsm["spatial"], transform_points(measured.obsm["spatial"], TURNED), atol=1e-6)


def test_an_alignment_of_another_area_is_refused(measured, tmp_path):
    file = alignment(tmp_path / "alignment.json", spots_at(measured[:50], TURNED))
    with pytest.raises(ValueError, match=r"slide V43A11-001-A1\) lacks \d+ of the \d+ spots of 'slice1'"):
        bs.pp.register(measured, turned(measured), transform=file)


def test_two_alignments_are_put_together(measured, tmp_path):
    """Of Visium HD, which lists no spots: the image that Space Ranger was given, and the new one."""
    old, new = np.diag([0.2, 0.2, 1.0]), np.diag([0.2, 0.2, 1.0]) @ np.linalg.inv(HALF @ TURNED)
    files = [alignment(tmp_path / "old.json", [], old, 0.2), alignment(tmp_path / "new.json", [], new, 0.2)]
    image = turned(measured)[::2, ::2]
    moved = bs.pp.register(measured, image, transform=files, copy=True)
    there = transform_points(measured.obsm["spatial"], HALF @ TURNED)
    np.testing.assert_allclose(moved.obsm["spatial"], there, atol=1e-8)
    with pytest.raises(ValueError, match=r"not known: .* Pass both alignments, transform=\("):
        bs.pp.register(measured, image, transform=files[1])
    other = alignment(tmp_path / "other.json", [], new, 0.2, serial="H1-XYZ")
    with pytest.raises(ValueError, match=r"capture area 'V43A11-001-A1' and 'other.json' of 'H1-XYZ-A1'"):
        bs.pp.register(measured, image, transform=[files[0], other])


def test_coordinates_in_px_of_the_cytassist_need_one_alignment(measured, tmp_path):
    """Space Ranger without another image: the picture of the CytAssist is the full-resolution one."""
    there = transform_points(measured.obsm["spatial"], HALF @ TURNED)
    onto = np.diag([0.1, 0.1, 1.0])
    measured.obsm["spatial"] = transform_points(there, onto)  # 20 µm a px
    file = alignment(tmp_path / "alignment.json", [], onto, 0.05)
    bs.pp.register(measured, np.zeros((950, 850, 3), dtype=np.uint8), transform=file)
    np.testing.assert_allclose(measured.obsm["spatial"], there, atol=1e-8)


def test_an_alignment_of_xenium_is_read(measured, tmp_path):
    """It takes px of the H&E to px of 0.2125 µm; coordinates are in µm."""
    onto = np.diag([2 / 0.2125, 2 / 0.2125, 1.0]) @ np.array([[1, 0, 10.0], [0, 1, -30], [0, 0, 1]])
    np.savetxt(tmp_path / "he_imagealignment.csv", onto, delimiter=",")
    image = np.zeros((HEIGHT // 2 + 60, WIDTH // 2 + 20, 3), dtype=np.uint8)
    bs.pp.register(measured, image, transform=tmp_path / "he_imagealignment.csv")
    um = measured.obsm["spatial_unregistered"]
    np.testing.assert_allclose(measured.obsm["spatial"], um / 2 + [-10, 30], atol=1e-8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[1]", "is no alignment of 10x: it holds a list"),
        ('{"a": 1}', "neither cytAssistInfo.transformImages nor oligo"),
        ('{"oligo": [{"row": 1}]}', r"has spots \(oligo\) without 'col', 'imageX', 'imageY'"),
        ('{"cytAssistInfo": {"transformImages": [1, 2]}}', r"a matrix of shape \(2,\)"),
    ],
)
def test_other_json_is_no_alignment(measured, content, message, tmp_path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        bs.pp.register(measured, turned(measured), transform=tmp_path / "a.json")


def test_a_table_of_something_else_is_no_alignment_of_xenium(measured, tmp_path):
    for content, message in (("x,y\n1,2\n", "holds no three rows of three numbers"), ("1,2\n3,4\n", "shape")):
        (tmp_path / "a.csv").write_text(content)
        with pytest.raises(ValueError, match=message):
            bs.pp.register(measured, turned(measured), transform=tmp_path / "a.csv")


@pytest.mark.filterwarnings("ignore")  # spatialdata's, about itself
def test_transformations_of_spatialdata_go_round(measured):
    """Spots and two images in one object: the map between them is that of their coordinate systems."""
    import geopandas as gpd
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, PointsModel, ShapesModel, TableModel
    from spatialdata.transformations import Affine, Identity, align_elements_using_landmarks
    from spatialdata.transformations import get_transformation_between_coordinate_systems as between

    image = np.ascontiguousarray(turned(measured)[::2, ::2])
    truth = HALF @ TURNED
    to_global = Affine(np.linalg.inv(truth), ("x", "y"), ("x", "y"))
    shapes = gpd.GeoDataFrame(
        {"radius": 27.5}, geometry=gpd.points_from_xy(*measured.obsm["spatial"].T), index=range(measured.n_obs)
    )
    table = ad.AnnData(
        obs=pd.DataFrame(
            {"region": pd.Categorical(["spots"] * measured.n_obs), "id": range(measured.n_obs)},
            index=measured.obs_names,
        )
    )
    sdata = SpatialData(
        images={"scan": Image2DModel.parse(image, dims=("y", "x", "c"), transformations={"global": to_global})},
        shapes={"spots": ShapesModel.parse(shapes, transformations={"global": Identity()})},
        tables={"table": TableModel.parse(table, region="spots", region_key="region", instance_key="id")},
    )
    new = bs.pp.register(measured, image, transform=between(sdata, sdata["spots"], sdata["scan"]), copy=True)
    bs.pp.extract_patches(new, size=16)
    bs.pp.extract_patches(sdata, "scan", size=16)
    np.testing.assert_allclose(new.obsm["spatial"], sdata["table"].obsm["spatial"], atol=1e-8)
    np.testing.assert_array_equal(new.obsm["patches"], sdata["table"].obsm["patches"])

    landmarks = pair(truth, noise=3)
    ours, theirs = (PointsModel.parse(each) for each in landmarks)
    plain = Image2DModel.parse(image, dims=("y", "x", "c"))
    aligned = align_elements_using_landmarks(theirs, ours, plain, sdata["spots"])
    fitted = bs.pp.register(measured, image, landmarks, copy=True)
    matrix = fitted.uns["registration"]["slice1"]["matrix"]
    np.testing.assert_allclose(matrix, aligned.to_affine_matrix(("x", "y"), ("x", "y")), atol=1e-8)


def test_a_slide_that_was_registered_by_another_key_is_refused(measured):
    measured.obsm["mine"] = measured.obsm["spatial"].copy()
    bs.pp.register(measured, turned(measured), pair(TURNED), spatial_key="mine")
    assert "mine_unregistered" in measured.obsm
    with pytest.raises(ValueError, match=r"registered by spatial_key='mine', not 'spatial'"):
        bs.pp.register(measured, scan_of(measured), pair(np.eye(3)), spatial_key="spatial")
