"""Patches that are not in memory give what patches in memory give."""

import shutil
import subprocess
import sys

import anndata as ad
import numpy as np
import pytest
from PIL import Image

import bleep_sc as bs
from bleep_sc._adata.patches import patches_of
from bleep_sc.slides._lazy import ComputedPatches, CutPatches, StoredPatches

SIZE = 24


@pytest.fixture
def slides(toy, tmp_path):
    """Two slices with their images in files, and patches in memory."""
    adata = toy[toy.obs["library_id"] != "slice3"].copy()
    files = {}
    for name in ("slice1", "slice2"):
        files[name] = tmp_path / f"{name}.png"
        Image.fromarray(adata.uns["spatial"][name]["images"]["hires"]).save(files[name])
    bs.pp.extract_patches(adata, files, size=SIZE, size_um=112)
    return adata, files


def stored(adata, files, path, **kwargs):
    result = adata.copy()
    bs.pp.extract_patches(result, files, size=SIZE, size_um=112, store=path, **kwargs)
    return result


def test_a_store_holds_the_same_patches(slides, tmp_path):
    adata, files = slides
    kept = stored(adata, files, tmp_path / "p.zarr")
    np.testing.assert_array_equal(np.asarray(kept.obsm["patches"]), adata.obsm["patches"])
    assert isinstance(patches_of(kept, "patches"), StoredPatches)
    chosen = np.random.default_rng(0).permutation(adata.n_obs)[:50]
    part = kept[chosen].copy()
    np.testing.assert_array_equal(np.asarray(part.obsm["patches"]), adata.obsm["patches"][chosen])
    np.testing.assert_array_equal(np.asarray(patches_of(part, "patches")), adata.obsm["patches"][chosen])
    del part.obs["patches_row"]
    assert isinstance(patches_of(part, "patches"), ComputedPatches)
    np.testing.assert_array_equal(np.asarray(patches_of(part, "patches")), adata.obsm["patches"][chosen])


def test_a_file_without_its_patches_finds_them_in_their_store(slides, tmp_path):
    adata, files = slides
    kept = stored(adata, files, tmp_path / "p.zarr")
    del kept.obsm["patches"]
    kept.write_h5ad(tmp_path / "kept.h5ad")
    kept = ad.read_h5ad(tmp_path / "kept.h5ad")[::3].copy()
    assert isinstance(patches_of(kept, "patches"), StoredPatches)
    np.testing.assert_array_equal(np.asarray(patches_of(kept, "patches")), adata.obsm["patches"][::3])
    shutil.rmtree(tmp_path / "p.zarr")
    assert isinstance(patches_of(kept, "patches"), CutPatches)


def test_slides_stored_apart_can_be_joined(slides, tmp_path):
    adata, files = slides
    parts = []
    for name in ("slice2", "slice1"):
        part = adata[adata.obs["library_id"] == name].copy()
        bs.pp.extract_patches(part, files[name], size=SIZE, size_um=112, store=tmp_path / f"{name}.zarr")
        parts.append(part)
    joined = ad.concat(parts, uns_merge="unique")
    expected = np.concatenate([adata.obsm["patches"][adata.obs["library_id"] == name] for name in ("slice2", "slice1")])
    np.testing.assert_array_equal(np.asarray(patches_of(joined, "patches")), expected)


def test_features_and_models_are_the_same_from_a_store_and_from_the_slide(slides, tmp_path, query):
    adata, files = slides
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    kept = stored(adata, files, tmp_path / "p.zarr")
    uncut = adata.copy()
    del uncut.obsm["patches"]
    assert isinstance(patches_of(uncut, "patches"), CutPatches)
    config = bs.tl.FitConfig(max_epochs=2, train_encoder=True, batch_size=128)
    bs.tl.fit(adata, encoder="stain_stats", config=config, show_progress_bar=False)
    for other in (kept, uncut):
        bs.pp.image_features(other, "stain_stats", show_progress_bar=False)
        np.testing.assert_array_equal(other.obsm["X_stain_stats"], adata.obsm["X_stain_stats"])
        bs.tl.fit(other, encoder="stain_stats", config=config, show_progress_bar=False)
        np.testing.assert_allclose(other.obsm["X_bleep_image"], adata.obsm["X_bleep_image"], atol=1e-5)


def test_patches_that_leave_the_slide_are_left_out_of_a_store(slides, tmp_path):
    adata, files = slides
    del adata.obs["array_row"]  # a spot is put where its place on the array is not
    for name in ("slice1", "slice2"):
        first = np.flatnonzero(adata.obs["library_id"] == name)[0]
        adata.obsm["spatial"][first] = [1.0, 1.0]
    kept = stored(adata, files, tmp_path / "p.zarr", pad="drop", mpp=2.0)
    bs.pp.extract_patches(adata, files, size=SIZE, size_um=112, pad="drop", mpp=2.0)
    assert kept.n_obs == adata.n_obs
    np.testing.assert_array_equal(np.asarray(patches_of(kept, "patches")), adata.obsm["patches"])


def test_another_image_of_the_same_name_is_not_taken_for_the_first(slides, tmp_path):
    adata, files = slides
    stored(adata, files, tmp_path / "p.zarr")
    stored(adata, files, tmp_path / "p.zarr")  # found there
    Image.fromarray(255 - adata.uns["spatial"]["slice1"]["images"]["hires"]).save(files["slice1"])
    with pytest.raises(FileExistsError, match="images differ"):
        stored(adata, files, tmp_path / "p.zarr")
    with pytest.raises(FileExistsError, match="slides, images differ"):
        bs.pp.extract_patches(adata, files, size=12, store=tmp_path / "p.zarr")


def test_what_is_gone_is_named(slides, tmp_path):
    adata, files = slides
    kept = stored(adata, files, tmp_path / "p.zarr")
    shutil.rmtree(tmp_path / "p.zarr")
    with pytest.raises(FileNotFoundError, match=r"No store of patches at .*p\.zarr"):
        bs.pp.image_features(kept, "stain_stats", show_progress_bar=False)
    del adata.obsm["patches"]
    files["slice2"].unlink()
    with pytest.raises(FileNotFoundError, match=r"the image of slide 'slice2' is not at .*slice2\.png"):
        bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)


SCRIPT = """
import sys, numpy as np, anndata as ad, bleep_sc as bs

if __name__ == "__main__":
    adata, files = ad.read_h5ad(sys.argv[1]), dict(zip(["slice1", "slice2"], sys.argv[2:4]))
    bs.pp.extract_patches(adata, files, size=24, size_um=112, store=sys.argv[4])
    for n in (0, 2):
        bs.pp.image_features(adata, "stain_stats", num_workers=n, key_added=f"X_{n}", show_progress_bar=False)
    np.testing.assert_array_equal(adata.obsm["X_0"], adata.obsm["X_2"])
    config = bs.tl.FitConfig(max_epochs=2, train_encoder=True, batch_size=128)
    for n in (0, 1):
        bs.tl.fit(
            adata, encoder="stain_stats", config=config, num_workers=n, key_added=f"m{n}", show_progress_bar=False
        )
    np.testing.assert_array_equal(adata.obsm["X_m0_image"], adata.obsm["X_m1_image"])
    print("the same")
"""


@pytest.mark.slow
def test_spawned_workers_read_stores_and_change_nothing(slides, tmp_path):
    adata, files = slides
    adata = adata[::8].copy()
    del adata.obsm["patches"]
    adata.write_h5ad(tmp_path / "a.h5ad")
    (tmp_path / "script.py").write_text(SCRIPT)
    arguments = [tmp_path / "a.h5ad", *files.values(), tmp_path / "p.zarr"]
    command = [sys.executable, tmp_path / "script.py", *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "the same", done.stderr
