import json
import os

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import squidpy as sq
import tifffile
from PIL import Image, ImageFilter

import bleep_sc as bs

UM = {"size": 56, "size_um": 112}


@pytest.fixture
def mpp(query):
    return float(query.uns["patches"]["slice3"]["mpp"])


@pytest.fixture
def image(query):
    return query.uns["spatial"]["slice3"]["images"]["hires"]


@pytest.fixture
def file(image, tmp_path):
    Image.fromarray(image).save(tmp_path / "new.slide.png")
    return tmp_path / "new.slide.png"


def tile(image, **kwargs):
    return bs.pp.tile_slide(image, show_progress_bar=False, **kwargs)


def test_tiles_are_imputed_as_measured_spots_are(file, fitted, query, mpp):
    tiles = tile(file, ref=fitted, mpp=mpp, centers=query.obsm["spatial"])
    assert tiles.obs["library_id"].unique().tolist() == ["new"]
    assert "patches" not in tiles.obsm
    bs.tl.impute(query, ref=fitted)
    bs.tl.impute(tiles, ref=fitted)
    np.testing.assert_array_equal(tiles.layers["bleep"], query.layers["bleep"])


@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")  # squidpy's, of pandas 3.1
def test_a_map_goes_on_into_scanpy_and_squidpy(file, fitted, mpp, tmp_path):
    tiles = tile(file, ref=fitted, mpp=mpp)
    bs.tl.impute(tiles, ref=fitted)
    tiles.write_h5ad(tmp_path / "tiles.h5ad")
    again = ad.read_h5ad(tmp_path / "tiles.h5ad")
    predicted = bs.tl.to_anndata(again)
    sq.gr.spatial_neighbors_grid(predicted)
    assert predicted.obsp["spatial_connectivities"].sum(axis=1).max() == 6
    moran = sq.gr.spatial_autocorr(predicted, mode="moran", copy=True, show_progress_bar=False)
    assert moran.loc["CYP3A4", "I"] > 0.3
    sc.pp.pca(predicted, n_comps=5)
    assert bs.pl.spatial(predicted, "CYP3A4").get_title() == "CYP3A4, predicted"


def test_glass_and_blur_are_left_out_and_counted(image, mpp):
    half = image.shape[1] // 2
    spoilt = np.full_like(image, 245)
    blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(6))
    spoilt[:, half:] = np.asarray(blurred)[:, half:]
    spoilt[:, half : half + 60] = 245  # no sharp edge between glass and blur
    spoilt[:, half:] = np.asarray(Image.fromarray(spoilt).filter(ImageFilter.GaussianBlur(6)))[:, half:]
    spoilt[:, : half // 2] = image[:, : half // 2]
    kwargs = {"mpp": min(mpp, 1.4), "spacing_um": 50 * min(mpp, 1.4), **UM}  # fine enough to be measured
    tiles = tile(spoilt, **kwargs)
    x = tiles.obsm["spatial"][:, 0]
    counts = tiles.uns["tiles"]["slide"]
    assert counts["n_blank"] > 50
    assert counts["n_blurred"] > 50
    assert counts["n_grid"] == counts["n_blank"] + counts["n_blurred"] + tiles.n_obs
    assert (x < half // 2 + 50).all()
    assert tile(spoilt, min_sharpness=0, **kwargs).obsm["spatial"][:, 0].max() > half


@pytest.mark.parametrize("opacity", [None, 0])
def test_no_tile_lies_where_nothing_was_scanned(opacity, image, mpp):
    half = image.shape[1] // 2
    spoilt = np.dstack([image, np.full(image.shape[:2], 255, dtype=np.uint8)])
    spoilt[:, :half] = (0, 0, 0, 255 if opacity is None else opacity)
    kwargs = {"mpp": mpp, "min_sharpness": 0, **UM}
    spoilt_tiles = tile(spoilt if opacity == 0 else spoilt[..., :3], **kwargs)
    places = spoilt_tiles.obsm["spatial"]
    assert (places[:, 0] > half).all()
    there = tile(image, **kwargs).obsm["spatial"]
    assert len(places) >= 0.95 * (there[:, 0] > half + 50).sum() > 20


def test_spacing_and_patches_are_in_micrometres(image, mpp):
    tiles = tile(image, mpp=mpp, spacing_um=200, layout="square", **UM)
    np.testing.assert_allclose(np.diff(np.unique(tiles.obsm["spatial"][:, 0])), 200 / mpp)
    assert tiles.obsm["patches"].shape == (tiles.n_obs, 56, 56, 3)
    record = tiles.uns["patches"]["slide"]
    assert record["size_um"] == pytest.approx(112, rel=0.02)
    expected = bs.slides.cut_patches(
        bs.slides.open_slide(image), tiles.obsm["spatial"], side=record["side_px"], size=56
    )
    np.testing.assert_array_equal(tiles.obsm["patches"], expected)


def test_the_files_own_resolution_is_taken(image, tmp_path):
    per_cm = 1e4 / 2.0
    tifffile.imwrite(
        tmp_path / "a.tif", image, photometric="rgb", resolution=(per_cm, per_cm), resolutionunit="CENTIMETER"
    )
    tiles = tile(tmp_path / "a.tif", **UM)
    assert tiles.uns["tiles"]["a"]["mpp"] == pytest.approx(2.0)
    assert tiles.uns["tiles"]["a"]["mpp_source"] == "resolution tags"
    with pytest.raises(ValueError, match=r"µm per px of 'array' are not known .*Pass mpp="):
        tile(image)


def annotations(*named):
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [[[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]]},
                "properties": {"classification": {"name": name}},
            }
            for name, (x0, y0, x1, y1) in named
        ],
    }


def test_tiles_are_named_after_the_annotations_they_lie_in(image, mpp, tmp_path):
    height, width = image.shape[:2]
    drawn = annotations(("left", (0, 0, width / 2, height)), ("spot", (200, 200, 900, 900)))
    (tmp_path / "a.geojson").write_text(json.dumps(drawn))
    tiles = tile(image, mpp=mpp, region=tmp_path / "a.geojson", **UM)
    x, y = tiles.obsm["spatial"].T
    assert (x <= width / 2).all()
    inside = (x >= 200) & (x <= 900) & (y >= 200) & (y <= 900)
    np.testing.assert_array_equal(tiles.obs["region"], np.where(inside, "spot", "left"))
    assert tiles.uns["tiles"]["slide"]["n_outside_region"] > 0
    elsewhere = annotations(
        ("left", tuple(2 * (v - s) for v, s in zip((0, 0, width / 2, height), (100, 50) * 2, strict=True)))
    )
    whole = tile(image, mpp=mpp, **UM)  # part of an image twice as large, on which the annotations were drawn
    there = bs.slides.transform_points(whole.obsm["spatial"], [[2, 0, -200], [0, 2, -100]])
    inside = bs.slides.label_points(there, bs.slides.read_regions(elsewhere)) != ""
    np.testing.assert_array_equal(whole.obsm["spatial"][inside], tiles.obsm["spatial"])


@pytest.mark.parametrize("change", ["turn", "mirror"])
def test_patches_and_features_move_along_with_the_slide(image, query, mpp, change):
    width = image.shape[1]
    places = query.obsm["spatial"].round()
    x, y = places.T
    turn = (
        (lambda pixels: np.rot90(pixels, axes=(-3, -2))) if change == "turn" else (lambda pixels: pixels[..., ::-1, :])
    )
    moved_places = np.column_stack([y, width - x] if change == "turn" else [width - x, y])
    straight = tile(image, mpp=mpp, centers=places, **UM)
    moved = tile(np.ascontiguousarray(turn(image)), mpp=mpp, centers=moved_places, **UM)
    difference = moved.obsm["patches"].astype(int) - turn(straight.obsm["patches"])
    assert np.abs(difference).max() <= 1  # of rounding while resampling
    for each in (straight, moved):
        bs.pp.image_features(each, "stain_stats", symmetries=True, show_progress_bar=False)
    np.testing.assert_allclose(moved.obsm["X_stain_stats"], straight.obsm["X_stain_stats"], atol=0.2)


def test_predictions_of_a_slide_scanned_twice_as_finely_are_about_the_same(image, fitted, query, mpp):
    larger = Image.fromarray(image).resize((2 * image.shape[1], 2 * image.shape[0]), Image.Resampling.BICUBIC)
    fine = tile(np.asarray(larger), ref=fitted, mpp=mpp / 2, centers=2 * query.obsm["spatial"])
    for each in (fine, query):
        bs.tl.impute(each, ref=fitted)
    assert np.median(bs.metrics.pearson(fine.layers["bleep"], query.layers["bleep"])) > 0.98


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"spacing_um": 0}, "spacing_um=0, size=56"),
        ({"layout": "round"}, "layout='round' is not known"),
        ({"min_tissue": 50}, "min_tissue=50 is a share"),
        ({"mpp": -1.0}, "mpp=-1.0 must be positive"),
        ({"centers": np.zeros((3, 3))}, r"centers= has shape \(3, 3\)"),
        ({"centers": np.array([[1e6, 1.0]])}, "1 of 1 spots lie outside the image"),
        ({"min_tissue": 1.0, "min_sharpness": 1.0, "mpp": 1.0}, "No tile is left of"),
    ],
)
def test_bad_input(image, mpp, kwargs, message):
    with pytest.raises(ValueError, match=message):
        tile(image, **{"mpp": mpp, **UM, **kwargs})


def test_a_slide_without_tissue(mpp):
    for blank in (np.full((800, 900, 3), 240, dtype=np.uint8),):
        with pytest.raises(ValueError, match=r"No tile is left of \d+ on slide 'slide': .*have less tissue"):
            tile(blank, mpp=mpp, **UM)


def test_a_reference_without_a_model_is_named(image, reference, mpp):
    with pytest.raises(KeyError, match="The reference holds no model"):
        tile(image, mpp=mpp, ref=reference)


def test_real_tissue_is_found(data_folder):
    adata = bs.datasets.her2st("C4")
    path = adata.uns["spatial"]["C4"]["metadata"]["source_image_path"]
    mpp = adata.uns["spatial"]["C4"]["scalefactors"]["microns_per_pixel"]
    tiles = tile(path, mpp=mpp, min_sharpness=0, spacing_um=200)
    from scipy.spatial import cKDTree

    distance = cKDTree(tiles.obsm["spatial"]).query(adata.obsm["spatial"])[0] * mpp
    assert np.mean(distance < 200) > 0.97
    assert isinstance(tiles.obs, pd.DataFrame)
    assert 150 < tiles.n_obs < 300


def test_a_reference_with_features_of_other_software_gives_the_genes(image, reference, query, mpp):
    rng = np.random.default_rng(0)
    reference.obsm["X_other"] = rng.normal(size=(reference.n_obs, 8)).astype(np.float32)
    config = bs.tl.FitConfig(max_epochs=2)
    bs.tl.fit(reference, use_rep="X_other", config=config, show_progress_bar=False)
    tiles = tile(image, ref=reference, mpp=mpp, centers=query.obsm["spatial"], **UM)
    assert list(tiles.var_names) == list(reference.var_names)
    assert tiles.obsm["patches"].shape == (query.n_obs, 56, 56, 3)
    with pytest.raises(KeyError, match=r"X_other.* compute them as for the reference"):
        bs.tl.impute(tiles, ref=reference)
    tiles.obsm["X_other"] = rng.normal(size=(tiles.n_obs, 8)).astype(np.float32)
    bs.tl.impute(tiles, ref=reference)
    assert np.isfinite(tiles.layers["bleep"]).all()


def test_names_that_no_file_takes_are_refused_before_anything_is_cut(tmp_path):
    pixels = np.full((40, 40, 3), 200, dtype=np.uint8)
    with pytest.raises(ValueError, match=r"library_id='a/b' .*h5ad and zarr take no '/'"):
        bs.pp.tile_slide(pixels, mpp=1.0, library_id="a/b")
    path = os.path.join(os.fsencode(tmp_path), b"bad\xe4.png")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    os.rename(os.fsencode(tmp_path / "a.png"), path)
    with pytest.raises(ValueError, match=r"bad\\udce4.png' holds bytes that are no text, .*Rename the file"):
        bs.pp.tile_slide(os.fsdecode(path), mpp=1.0)
