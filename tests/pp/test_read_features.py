import h5py
import numpy as np
import pytest

import bleep_sc as bs
from bleep_sc._adata.records import check_same_features, feature_recipe

SIDE = 112
"""Of a patch, px: 112 µm."""
QUICK = bs.tl.FitConfig(max_epochs=3)


def scan(adata):
    (name,) = adata.obs["library_id"].unique()
    return adata.uns["spatial"][name]["images"]["hires"]


def write(path, adata, side, key="X_stain_stats", rows=slice(None), **attributes):
    """A file of TRIDENT: the features of the spots, as those of patches around them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["coords"] = np.rint(adata.obsm["spatial"] - side / 2).astype(np.int64)[rows]
        file["features"] = np.asarray(adata.obsm[key])[rows]
        if attributes is not None:
            file["coords"].attrs.update({"patch_size": 64, "patch_size_level0": side, **attributes})
    return path


@pytest.fixture
def parts(toy):
    """A reference of two slides and a query, few spots each."""
    toy = toy[::2].copy()
    named = {name: toy[toy.obs["library_id"] == name].copy() for name in ("slice1", "slice2", "slice3")}
    reference = toy[toy.obs["library_id"] != "slice3"].copy()
    return reference, named["slice3"], named


def test_spots_get_the_features_of_the_patch_around_them(parts, tmp_path):
    _, query, _ = parts
    order = np.random.default_rng(0).permutation(query.n_obs)
    path = write(tmp_path / "features_mine" / "s.h5", query, SIDE, rows=order)
    bs.pp.read_features(query, path)
    np.testing.assert_array_equal(query.obsm["X_mine"], query.obsm["X_stain_stats"])
    recipe = query.uns["X_mine"]
    mpp = query.uns["patches"]["slice3"]["mpp"]
    assert (recipe["encoder"], recipe["size"], recipe["fingerprint"]) == ("mine", 64, "")
    assert recipe["size_um"] == pytest.approx(SIDE * mpp)
    again = bs.pp.read_features(query, path, "mine", key_added="X_again", copy=True)
    assert "X_again" not in query.obsm
    assert again.uns["X_again"] == recipe


def test_tiles_lie_where_the_patches_are_and_have_their_features(parts, tmp_path):
    _, query, _ = parts
    path, mpp = write(tmp_path / "s.h5", query, 57), 2.0
    tiles = bs.pp.tile_slide(scan(query), mpp=mpp, centers=path, show_progress_bar=False)
    assert tiles.n_obs == query.n_obs
    assert np.abs(tiles.obsm["spatial"] - query.obsm["spatial"]).max() <= 1
    record = tiles.uns["patches"]["slide"]
    assert (record["size"], record["side_px"], record["size_um"]) == (64, 57, 57 * mpp)
    corners = np.rint(query.obsm["spatial"] - 57 / 2).astype(int)  # as written
    image, (x, y) = scan(query), corners[7]
    whole = bs.slides.cut_patches(bs.slides.open_slide(image), tiles.obsm["spatial"][7:8], side=57, size=57)[0]
    np.testing.assert_array_equal(whole, image[y : y + 57, x : x + 57])
    bs.pp.read_features(tiles, path, "anything")
    np.testing.assert_array_equal(tiles.obsm["X_anything"], query.obsm["X_stain_stats"])
    given = bs.pp.tile_slide(image, mpp=mpp, centers=str(path), size=32, size_um=112, show_progress_bar=False)
    assert given.obsm["patches"].shape[1] == 32


@pytest.mark.filterwarnings("ignore:.*looks unlike the reference")
def test_a_reference_and_a_query_of_files_are_compared(parts, tmp_path):
    reference, query, named = parts
    files = {name: write(tmp_path / f"{name}.h5", named[name], SIDE) for name in named}
    bs.pp.read_features(reference, files, "mine")
    np.testing.assert_array_equal(reference.obsm["X_mine"], reference.obsm["X_stain_stats"])
    bs.tl.fit(reference, use_rep="X_mine", config=QUICK, show_progress_bar=False)
    assert "mine, frozen, on patches of 64 px" in repr(bs.tl.load_model(reference))
    with pytest.raises(KeyError, match=r"X_mine.*and read them: bleep_sc.pp.read_features\(adata, path, 'mine'\)"):
        bs.tl.impute(query, ref=reference)
    tiles = bs.pp.tile_slide(
        scan(query), ref=reference, mpp=query.uns["patches"]["slice3"]["mpp"], centers=files["slice3"]
    )
    bs.pp.read_features(tiles, files["slice3"], "mine")
    bs.tl.impute(tiles, ref=reference)
    assert np.isfinite(tiles.layers["bleep"][:, tiles.var["bleep_predicted"]]).all()
    bs.pp.read_features(tiles, files["slice3"], "other", key_added="X_mine")
    with pytest.raises(
        ValueError, match=r"another encoder than the model was trained on \(encoder 'other' against 'mine'"
    ):
        bs.tl.impute(tiles, ref=reference)
    bs.pp.read_features(tiles, write(tmp_path / "t.h5", query, SIDE, patch_size=128), "mine")
    with pytest.raises(ValueError, match="patches are 128 px wide, but the model was trained on 64 px"):
        bs.tl.impute(tiles, ref=reference)


def test_features_computed_here_go_with_those_of_a_file_by_the_name_of_the_encoder(parts, tmp_path, caplog):
    _, query, _ = parts
    bs.pp.read_features(query, write(tmp_path / "s.h5", query, SIDE, patch_size=56), "stain_stats", key_added="X_read")
    read, computed = feature_recipe(query, "X_read"), feature_recipe(query, "X_stain_stats")
    check_same_features(read, computed, "X_read")
    assert "by the encoder's name alone, 'stain_stats'" in caplog.text
    check_same_features(computed, read, "X_read")
    for one, other in (("uni", "stain_stats"), ("", "")):  # of modules there are no names
        with pytest.raises(ValueError, match="another encoder"):
            check_same_features({**read, "encoder": one}, {**computed, "encoder": other}, "X_read")


def test_spots_without_a_patch_are_counted_and_refused(parts, tmp_path):
    _, query, _ = parts
    path = write(tmp_path / "s.h5", query, SIDE, rows=slice(10, None))
    with pytest.raises(
        ValueError, match=r"of slide 'slice3' have no patch of .*within 28 px.*tile_slide\(image, centers="
    ) as error:
        bs.pp.read_features(query, path, "mine")
    far = int(str(error.value).split()[0])
    assert 1 <= far <= 10
    assert "X_mine" not in query.obsm
    bs.pp.read_features(query[10:].copy(), path, "mine")
    bs.pp.read_features(query, path, "mine", tolerance=100.0)
    np.testing.assert_array_equal(query.obsm["X_mine"][10:], query.obsm["X_stain_stats"][10:])


def test_a_file_of_clam_needs_the_side(parts, tmp_path):
    _, query, _ = parts
    path = write(tmp_path / "s.h5", query, SIDE)
    with h5py.File(path, "a") as file:
        for name in list(file["coords"].attrs):
            del file["coords"].attrs[name]
    with pytest.raises(ValueError, match="Pass side_px="):
        bs.pp.read_features(query, path, "mine")
    bs.pp.read_features(query, path, "mine", side_px=SIDE)
    np.testing.assert_array_equal(query.obsm["X_mine"], query.obsm["X_stain_stats"])
    assert query.uns["X_mine"]["size"] == SIDE


def test_what_is_not_clear_is_asked(parts, tmp_path):
    reference, query, named = parts
    files = {name: write(tmp_path / f"{name}.h5", named[name], SIDE) for name in ("slice1", "slice2")}
    with pytest.raises(ValueError, match=r"Which encoder made the features is not known.*Pass encoder="):
        bs.pp.read_features(named["slice1"], files["slice1"])
    with pytest.raises(ValueError, match=r"is one file, but there are 2 slides .*Pass a mapping"):
        bs.pp.read_features(reference, files["slice1"], "mine")
    with pytest.raises(KeyError, match=r"path= has no file of slide 'slice2' \(it has: 'slice1'\)"):
        bs.pp.read_features(reference, {"slice1": files["slice1"]}, "mine")
    write(files["slice2"], named["slice2"], SIDE, patch_size=128)
    with pytest.raises(ValueError, match=r"differ in px a patch: 64 \(.*slice1.h5\) and 128 \(.*slice2.h5\)"):
        bs.pp.read_features(reference, files, "mine")
    with pytest.raises(ValueError, match=r"encoder='s.h5' is a file.*bleep_sc.pp.read_features\(adata, 's.h5'\)"):
        bs.pp.image_features(query, "s.h5")


def test_features_of_another_width_are_not_those_of_the_encoder(parts, tmp_path):
    _, _, named = parts
    file = write(tmp_path / "features_uni_v2" / "s.h5", named["slice1"], SIDE)
    with pytest.raises(
        ValueError, match=r"encoder='uni2-h' makes 1,536 features .* 36 were read.* encoder='uni2-h-36'"
    ):
        bs.pp.read_features(named["slice1"], file)
    assert "X_uni2-h" not in named["slice1"].obsm
    bs.pp.read_features(named["slice1"], file, "uni2-h-36")
    assert named["slice1"].obsm["X_uni2-h-36"].shape[1] == 36


def test_a_real_scan_with_a_file_as_clam_writes_it(data_folder, tmp_path):
    """Patches of 256 px of level 0 in a grid, and features without any attributes; then the same from the command line."""
    from click.testing import CliRunner

    from bleep_sc.cli import main

    slide = data_folder / "wsi" / "CMU-1-Small-Region.svs"
    if not slide.is_file():
        pytest.skip("wsi/CMU-1-Small-Region.svs is not in the folder of real tissue")
    with bs.slides.open_slide(slide) as opened:
        x, y = np.meshgrid(np.arange(0, opened.width - 255, 256), np.arange(0, opened.height - 255, 256), indexing="ij")
    corners = np.column_stack([x.ravel(), y.ravel()])
    with h5py.File(tmp_path / "patches.h5", "w") as file:
        file["coords"] = corners
        file["coords"].attrs.update({"patch_size": 256, "patch_level": 0, "downsample": (1.0, 1.0), "name": "CMU"})
    tiles = bs.pp.tile_slide(slide, centers=tmp_path / "patches.h5", show_progress_bar=False)
    assert tiles.uns["patches"][tiles.obs["library_id"].iloc[0]]["size_um"] == pytest.approx(256 * 0.499, rel=1e-3)
    bs.pp.image_features(tiles, "stain_stats", show_progress_bar=False)
    with h5py.File(tmp_path / "features.h5", "w") as file:
        file["coords"], file["features"] = corners.astype(np.int32), tiles.obsm["X_stain_stats"]
    commands = (
        ["tile", slide, "--centers", tmp_path / "patches.h5", "--out", tmp_path / "t.h5ad"],
        ["features", tmp_path / "t.h5ad", "--read", tmp_path / "features.h5", "--encoder", "mine", "--side-px", 256],
    )
    for arguments in commands:
        result = CliRunner().invoke(main, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
    import anndata as ad

    again = ad.read_h5ad(tmp_path / "t.h5ad")
    np.testing.assert_array_equal(again.obsm["X_mine"], tiles.obsm["X_stain_stats"])
    assert again.uns["X_mine"]["size"] == 256
