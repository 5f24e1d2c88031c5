import json

import anndata as ad
import numpy as np
import pytest
from PIL import Image

import bleep_sc as bs
from bleep_sc._adata.patches import patches_of
from bleep_sc.slides._lazy import RestainedPatches
from bleep_sc.slides._stains import FITS, sample_pixels

METHODS = ("reinhard", "macenko")
SHIFT = np.array([[1.2, 0.1, 0.0], [0.05, 0.8, 0.0], [0.0, 0.1, 1.1]])


def otherwise_stained(patches, change=SHIFT):
    """Another staining: optical density times a matrix."""
    density = -np.log((patches.astype(float) + 1) / 256)
    return np.clip(np.rint(256 * np.exp(-density @ change) - 1), 0, 255).astype(np.uint8)


def features(adata, key="patches_normalized", **kwargs):
    bs.pp.image_features(adata, "stain_stats", patches_key=key, show_progress_bar=False, **kwargs)


@pytest.fixture
def small(toy):
    """A few spots of every slide."""
    return toy[::4].copy()


@pytest.mark.parametrize("method", METHODS)
def test_the_reference_is_its_own_target(small, method, tmp_path):
    before = small.obsm["patches"].copy()
    bs.pp.normalize_stains(small, method=method)
    np.testing.assert_array_equal(small.obsm["patches"], before)
    assert "stains" not in small.uns["patches"]["slice1"]
    records = small.uns["patches_normalized"]
    own = [records[name]["stains_own"] for name in ("slice1", "slice2", "slice3")]
    for name, record in records.items():
        assert record["stains"] == method
        here = small.obsm["patches"][(small.obs["library_id"] == name).to_numpy()]
        np.testing.assert_array_equal(record["stains_own"], FITS[method](sample_pixels(here)).numbers())
        np.testing.assert_allclose(record["stain_target"], np.mean(own, axis=0), rtol=1e-3)
        assert {**record} == {**small.uns["patches"][name], **{key: record[key] for key in record if "stain" in key}}
    small.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(again.obsm["patches_normalized"], small.obsm["patches_normalized"])
    for key in ("stains_own", "stain_target"):
        np.testing.assert_array_equal(again.uns["patches_normalized"]["slice2"][key], records["slice2"][key])


@pytest.mark.parametrize("method", METHODS)
def test_slides_look_more_alike_afterwards(small, method):
    is_last = (small.obs["library_id"] == "slice3").to_numpy()
    small.obsm["patches"][is_last] = otherwise_stained(small.obsm["patches"][is_last])
    bs.pp.normalize_stains(small, method=method)

    def distance(key):
        patches = small.obsm[key]
        return np.abs(patches[is_last].mean(axis=(0, 1, 2)) - patches[~is_last].mean(axis=(0, 1, 2))).max()

    assert distance("patches") > 12
    assert distance("patches_normalized") < 6


@pytest.mark.parametrize("method", METHODS)
def test_nothing_of_a_query_takes_part_in_the_target(reference, query, method):
    reference, query = reference[::4].copy(), query[::4].copy()
    bs.pp.normalize_stains(reference, method=method)
    target = reference.uns["patches_normalized"]["slice1"]["stain_target"].copy()
    other = query.copy()
    other.obsm["patches"] = otherwise_stained(query.obsm["patches"])
    for each in (query, other):
        bs.pp.normalize_stains(each, reference)
        record = each.uns["patches_normalized"]["slice3"]
        assert record["stains"] == method
        np.testing.assert_array_equal(record["stain_target"], target)
    np.testing.assert_array_equal(reference.uns["patches_normalized"]["slice1"]["stain_target"], target)
    apart = np.abs(query.obsm["patches_normalized"].astype(int) - other.obsm["patches_normalized"])
    assert apart.mean() < 4 < np.abs(query.obsm["patches"].astype(int) - other.obsm["patches"]).mean()
    alone = query[:, :0].copy()
    del alone.uns["patches_normalized"], alone.obsm["patches_normalized"]
    result = bs.pp.normalize_stains(alone, reference, copy=True)
    assert "patches_normalized" not in alone.obsm
    np.testing.assert_array_equal(result.obsm["patches_normalized"], query.obsm["patches_normalized"])


@pytest.fixture
def three_ways(small, tmp_path):
    """The same patches in memory, in a store, and still in their slides."""
    adata = small[small.obs["library_id"] != "slice3"].copy()
    files = {}
    for name in ("slice1", "slice2"):
        files[name] = tmp_path / f"{name}.png"
        Image.fromarray(adata.uns["spatial"][name]["images"]["hires"]).save(files[name])
    bs.pp.extract_patches(adata, files, size=24, size_um=112)
    stored, uncut = adata.copy(), adata.copy()
    bs.pp.extract_patches(stored, files, size=24, size_um=112, store=tmp_path / "p.zarr")
    del uncut.obsm["patches"]
    return adata, stored, uncut


@pytest.mark.parametrize("method", METHODS)
def test_unread_patches_give_the_same(three_ways, method, tmp_path):
    adata, stored, uncut = three_ways
    for each in three_ways:
        bs.pp.normalize_stains(each, method=method)
    expected = adata.obsm["patches_normalized"]
    assert hasattr(stored.obsm["patches_normalized"], "dask")
    assert "patches_normalized" not in uncut.obsm
    assert isinstance(patches_of(uncut, "patches_normalized"), RestainedPatches)
    chosen = np.random.default_rng(0).permutation(adata.n_obs)[:30]
    for each in (stored, uncut):
        patches = patches_of(each, "patches_normalized")
        np.testing.assert_array_equal(np.asarray(patches), expected)
        np.testing.assert_array_equal(np.asarray(patches.take(chosen)), expected[chosen])
        np.testing.assert_array_equal(
            np.asarray(patches_of(each[chosen].copy(), "patches_normalized")), expected[chosen]
        )
        features(each)
    features(adata)
    np.testing.assert_array_equal(stored.obsm["X_stain_stats"], adata.obsm["X_stain_stats"])
    np.testing.assert_array_equal(uncut.obsm["X_stain_stats"], adata.obsm["X_stain_stats"])
    assert stored.uns["X_stain_stats"] == uncut.uns["X_stain_stats"] == adata.uns["X_stain_stats"]
    uncut.write_h5ad(tmp_path / "uncut.h5ad")
    again = ad.read_h5ad(tmp_path / "uncut.h5ad")
    np.testing.assert_array_equal(np.asarray(patches_of(again, "patches_normalized")), expected)


@pytest.fixture
def trained(reference):
    bs.pp.normalize_stains(reference)
    features(reference)
    bs.tl.fit(reference, use_rep="X_stain_stats", config=bs.tl.FitConfig(max_epochs=2), show_progress_bar=False)
    return reference


def test_features_say_how_their_patches_were_stained(trained, tmp_path):
    record = trained.uns["X_stain_stats"]
    assert (record["patches_key"], record["stains"]) == ("patches_normalized", "reinhard")
    np.testing.assert_array_equal(record["stain_target"], trained.uns["patches_normalized"]["slice1"]["stain_target"])
    assert json.loads(trained.uns["bleep"]["recipe"])["features"] == [record]
    trained.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    bs.tl.fit_ridge(again, use_rep="X_stain_stats")
    assert json.loads(again.uns["ridge"]["recipe"])["features"] == [record]


def test_a_query_that_is_stained_otherwise_is_refused(trained, query):
    both = r"have their own stains, but the model was trained on .* normalised by reinhard to \(.*normalize_stains"
    for call in (bs.tl.impute, bs.tl.embed):
        with pytest.raises(ValueError, match=both):
            call(query, ref=trained)
    bs.pp.normalize_stains(query)  # to a target of its own
    features(query)
    with pytest.raises(
        ValueError, match=r"normalised by reinhard to \(.*but the model .* normalised by reinhard to \("
    ):
        bs.tl.impute(query, ref=trained)
    bs.pp.normalize_stains(query, ref=trained)
    features(query)
    bs.tl.impute(query, ref=trained)
    expected = query.layers["bleep"].copy()
    del query.obsm["X_stain_stats"]
    bs.tl.impute(query, ref=trained)  # made again from the patches
    np.testing.assert_array_equal(query.layers["bleep"], expected)
    del query.obsm["patches_normalized"], query.uns["patches_normalized"]
    with pytest.raises(KeyError, match=r"then bleep_sc.pp.normalize_stains\(adata, ref="):
        bs.tl.impute(query, ref=trained)


def test_a_model_without_normalised_patches_refuses_those(fitted, query):
    bs.pp.normalize_stains(query)
    features(query)
    with pytest.raises(
        ValueError, match=r"normalised by reinhard.*trained on patches with their own stains.*as they are"
    ):
        bs.tl.impute(query, ref=fitted)


def test_an_encoder_that_is_trained_takes_them_too(reference, query):
    reference, query = reference[::3].copy(), query[::3].copy()
    bs.pp.normalize_stains(reference, method="macenko")
    config = bs.tl.FitConfig(max_epochs=1, train_encoder=True)
    bs.tl.fit(
        reference, encoder="stain_stats", patches_key="patches_normalized", config=config, show_progress_bar=False
    )
    with pytest.raises(KeyError, match=r"trained on normalised patches: run bleep_sc.pp.normalize_stains\(adata, ref="):
        bs.tl.impute(query, ref=reference)
    bs.pp.normalize_stains(query, reference)
    bs.tl.impute(query, ref=reference)


@pytest.mark.parametrize("method", METHODS)
def test_tiles_get_the_stains_of_the_reference(reference, query, method, tmp_path):
    bs.pp.normalize_stains(reference, method=method)
    features(reference)
    bs.tl.fit_ridge(reference, use_rep="X_stain_stats")
    image = query.uns["spatial"]["slice3"]["images"]["hires"]
    Image.fromarray(image).save(tmp_path / "new.png")
    mpp = float(query.uns["patches"]["slice3"]["mpp"])
    del reference.uns["patches_normalized"], reference.obsm["patches_normalized"]  # the model knows
    tiled = [
        bs.pp.tile_slide(
            source, ref=reference, key="ridge", mpp=mpp, centers=query.obsm["spatial"], show_progress_bar=False
        )
        for source in (image, tmp_path / "new.png")
    ]
    assert ["patches_normalized" in tiles.obsm for tiles in tiled] == [True, False]
    target = reference.uns["X_stain_stats"]["stain_target"]
    for tiles in tiled:
        bs.tl.predict(tiles, ref=reference, key="ridge")
        (record,) = tiles.uns["patches_normalized"].values()
        np.testing.assert_array_equal(record["stain_target"], target)
    np.testing.assert_array_equal(tiled[0].layers["ridge"], tiled[1].layers["ridge"])
    bs.pp.extract_patches(query, size=56, size_um=112, mpp=mpp)
    reference.uns["patches_normalized"] = {"slice1": {"stains": method, "stain_target": target}}
    bs.pp.normalize_stains(query, ref=reference)
    features(query)
    bs.tl.predict(query, ref=reference, key="ridge")
    np.testing.assert_array_equal(tiled[0].layers["ridge"], query.layers["ridge"])


def test_what_is_wrong_is_named_and_nothing_is_overwritten(small):
    bare = small.copy()
    del bare.obsm["patches"], bare.uns["patches"]
    bs.pp.normalize_stains(small)
    kept = small.obsm["patches_normalized"].copy()
    cases = [
        (bare, {}, KeyError, r"obsm\['patches'\] not found .*Run bleep_sc.pp.extract_patches"),
        (small, {"ref": bare}, KeyError, r"uns\['patches_normalized'\] not found.*normalize_stains\(adata_ref\) first"),
        (small, {"method": "vahadane"}, ValueError, "method='vahadane' is not known; use 'reinhard', 'macenko'"),
        (small, {"ref": small, "method": "macenko"}, ValueError, "'macenko' is not that of the reference, 'reinhard'"),
        (small, {"key_added": "patches"}, ValueError, "would overwrite the patches"),
        (small, {"patches_key": "patches_normalized"}, ValueError, "is normalised already. Pass patches_key="),
        (small, {"library_key": "section"}, KeyError, r"obs\['section'\] not found"),
    ]
    for adata, arguments, error, message in cases:
        with pytest.raises(error, match=message):
            bs.pp.normalize_stains(adata, **arguments)
    small.obsm["float"] = small.obsm["patches"] / 255
    with pytest.raises(ValueError, match=r"obsm\['float'\] has shape .* and type float64; patches are .* of uint8"):
        bs.pp.normalize_stains(small, patches_key="float")
    is_last = (small.obs["library_id"] == "slice3").to_numpy()
    for colour, reason in ((250, "0 of .* pixels are tissue"), (100, "its tissue has one colour")):
        small.obsm["patches"][is_last] = colour
        for method in METHODS:
            with pytest.raises(ValueError, match=f"The stains of slide 'slice3' cannot be found: {reason}"):
                bs.pp.normalize_stains(small, method=method)
    np.testing.assert_array_equal(small.obsm["patches_normalized"], kept)
    assert small.uns["patches_normalized"]["slice3"]["stains"] == "reinhard"


def test_slides_with_other_targets_are_not_mixed(small):
    parts = [small[small.obs["library_id"] == name].copy() for name in ("slice1", "slice2")]
    for part in parts:
        bs.pp.normalize_stains(part)
    joined = ad.concat(parts, uns_merge="first")
    joined.uns["patches_normalized"] = {
        name: part.uns["patches_normalized"][name] for name, part in zip(("slice1", "slice2"), parts, strict=True)
    }
    with pytest.raises(ValueError, match="the stains of slides 'slice1' and 'slice2' were normalised differently"):
        features(joined)


def test_patches_of_elsewhere_need_no_record(small):
    expected = bs.pp.normalize_stains(small, copy=True).obsm["patches_normalized"]
    del small.uns["patches"]
    bs.pp.normalize_stains(small)
    np.testing.assert_array_equal(small.obsm["patches_normalized"], expected)
    features(small)
    assert np.isnan(small.uns["X_stain_stats"]["size_um"])


@pytest.mark.parametrize("method", METHODS)
def test_real_tissue_that_is_stained_otherwise_comes_back(data_folder, method):
    adata = bs.datasets.her2st("C2")[::6].copy()
    bs.pp.extract_patches(adata, size=64)
    other = adata.copy()
    other.obsm["patches"] = otherwise_stained(adata.obsm["patches"], np.diag([0.9, 1.1, 1.05]))
    bs.pp.normalize_stains(adata, method=method)
    bs.pp.normalize_stains(other, adata)

    def apart(key):
        return np.abs(adata.obsm["patches"].astype(int) - other.obsm[key]).mean()

    np.testing.assert_allclose(adata.obsm["patches_normalized"], adata.obsm["patches"], atol=1)
    # Reinhard's axes do not follow the stains: it brings slides nearer to each other, not onto each other.
    assert apart("patches_normalized") < {"reinhard": 0.6, "macenko": 0.35}[method] * apart("patches")
