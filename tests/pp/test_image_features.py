import errno
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

import bleep_sc as bs
from bleep_sc.training import features as features_module
from bleep_sc.training.processes.group import Processes


class Mean(nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3))


def test_features_and_their_recipe_are_written(toy):
    bs.pp.image_features(toy, Mean(), transform=nn.Identity(), key_added="X_mean", show_progress_bar=False)
    np.testing.assert_allclose(toy.obsm["X_mean"], toy.obsm["patches"].mean(axis=(1, 2)) / 255, rtol=1e-4)
    recipe = toy.uns["X_mean"]
    assert recipe["patches_key"] == "patches"
    assert (recipe["encoder"], recipe["size"], recipe["symmetries"]) == ("", 56, False)
    assert recipe["size_um"] == pytest.approx(112)


def test_names_of_keys(toy):
    bs.pp.image_features(toy, Mean(), transform=nn.Identity(), show_progress_bar=False)
    assert "X_encoder" in toy.obsm
    assert "X_stain_stats" in toy.obsm
    from bleep_sc._adata.keys import features

    assert features("hf-hub:owner/model") == "X_owner_model"


def test_copy_leaves_the_original(toy):
    result = bs.pp.image_features(toy, Mean(), transform=nn.Identity(), copy=True, show_progress_bar=False)
    assert "X_encoder" in result.obsm
    assert "X_encoder" not in toy.obsm


def test_a_failing_call_keeps_the_old_features(toy):
    before = toy.obsm["X_stain_stats"].copy()
    with pytest.raises(ValueError, match="must return pooled features"):
        bs.pp.image_features(toy, nn.Conv2d(3, 2, 1), transform=nn.Identity(), key_added="X_stain_stats")
    np.testing.assert_array_equal(toy.obsm["X_stain_stats"], before)
    with pytest.raises(KeyError, match=r"obsm\['none'\] not found .*Run bleep_sc.pp.extract_patches"):
        bs.pp.image_features(toy, "stain_stats", patches_key="none")


def stored(adata, path, encoder="stain_stats", **how):
    bs.pp.image_features(adata, encoder, store=path, key_added="X_new", show_progress_bar=False, **how)
    return adata.obsm["X_new"]


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(features_module, "BLOCK", 100)


def test_a_store_holds_the_features_that_memory_holds(toy, tmp_path, small_blocks):
    features = stored(toy, tmp_path / "f.zarr")
    assert hasattr(features, "dask")
    np.testing.assert_array_equal(features, toy.obsm["X_stain_stats"])
    assert toy.uns["X_new"] == toy.uns["X_stain_stats"]
    part = toy[::3].copy()
    np.testing.assert_array_equal(part.obsm["X_new"], part.obsm["X_stain_stats"])


def test_a_finished_store_is_not_computed_again(toy, tmp_path, small_blocks, monkeypatch):
    features = np.asarray(stored(toy, tmp_path / "f.zarr"))
    monkeypatch.setattr(features_module, "encode", lambda *args, **how: pytest.fail("it is complete"))
    np.testing.assert_array_equal(stored(toy, tmp_path / "f.zarr"), features)


def test_processes_do_as_the_first_of_them_saw_it_where_others_complete_a_store(toy, tmp_path, monkeypatch):
    """To the second of two it is complete already, to the first only when it has waited for those who write it."""
    features, asked = np.asarray(stored(toy, tmp_path / "f.zarr")), []

    class Second(Processes):
        def require_same(self, facts):
            pass

        def first_says(self, value):
            asked.append(value)
            return len(asked) > 1

    monkeypatch.setattr(features_module, "together", lambda: nullcontext((Second(1, 2), lambda: None)))
    np.testing.assert_array_equal(stored(toy, tmp_path / "f.zarr"), features)
    assert asked == [True, True]


def test_a_store_of_other_features_is_never_taken_for_these(toy, tmp_path, small_blocks):
    stored(toy, tmp_path / "f.zarr")
    with pytest.raises(FileExistsError, match=r"holds other features: symmetries differ\. Pass another path"):
        stored(toy, tmp_path / "f.zarr", symmetries=True)
    with pytest.raises(FileExistsError, match="fingerprint differ"):
        stored(toy, tmp_path / "f.zarr", Mean(), transform=nn.Identity())
    other = toy[::-1].copy()
    with pytest.raises(FileExistsError, match="spots, coordinates, pixels differ"):
        stored(other, tmp_path / "f.zarr")
    toy.obsm["patches"][7, 0, 0, 0] ^= 1
    with pytest.raises(FileExistsError, match="features: pixels differ"):
        stored(toy, tmp_path / "f.zarr")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileExistsError, match="is no store of features"):
        stored(toy, tmp_path / "folder")


def test_a_full_disk_keeps_the_blocks_that_are_done(toy, tmp_path, small_blocks, monkeypatch):
    encode, blocks = features_module.encode, []

    def full(encoder, patches, **how):
        blocks.append(len(patches))
        if len(blocks) == 4:  # the first one tells the width
            raise OSError(errno.ENOSPC, "No space left on device")
        return encode(encoder, patches, **how)

    monkeypatch.setattr(features_module, "encode", full)
    with pytest.raises(
        OSError,
        match=r"The disk is full \(No space left on device\)\. Blocks that are done are kept in .*f\.zarr\.part.*call again",
    ):
        stored(toy, tmp_path / "f.zarr")
    assert "X_new" not in toy.obsm
    blocks.clear()
    monkeypatch.setattr(features_module, "encode", lambda *args, **how: blocks.append(1) or encode(*args, **how))
    np.testing.assert_array_equal(stored(toy, tmp_path / "f.zarr"), toy.obsm["X_stain_stats"])
    assert len(blocks) == -(-toy.n_obs // 100) - 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_computes_the_same(toy):
    features = toy.obsm["X_stain_stats"].copy()
    bs.pp.image_features(toy, "stain_stats", device="cuda", show_progress_bar=False)
    np.testing.assert_allclose(toy.obsm["X_stain_stats"], features, rtol=0.05, atol=0.05)


@pytest.mark.gpu
def test_features_of_a_gpu_are_those_of_the_cpu(toy):
    toy = toy[:40].copy()
    encoder = bs.models.load_encoder("resnet18", pretrained=False)
    bs.pp.image_features(toy, encoder, device="cpu", key_added="X_cpu", show_progress_bar=False)
    bs.pp.image_features(toy, encoder, device="cuda", key_added="X_gpu", show_progress_bar=False)
    assert toy.uns["X_cpu"]["fingerprint"] == toy.uns["X_gpu"]["fingerprint"]
    assert np.corrcoef(toy.obsm["X_cpu"].ravel(), toy.obsm["X_gpu"].ravel())[0, 1] > 0.99


def test_an_encoder_of_pathology_is_recorded_by_its_own_name_and_warns_of_the_scale(toy, monkeypatch):
    from bleep_sc.models import pathology_networks

    monkeypatch.setattr(pathology_networks, "build", lambda row, **how: Mean())
    few = toy[:6].copy()
    bs.pp.image_features(few, "UNI2", show_progress_bar=False)  # 112 µm, as trained at 0.5 µm per px
    assert few.obsm["X_uni2-h"].shape == (6, 3)
    assert few.uns["X_uni2-h"]["encoder"] == "uni2-h"
    colours = few.obsm["patches"].mean(axis=(1, 2)) / 255
    expected = (colours - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(few.obsm["X_uni2-h"], expected, atol=0.02)  # enlarged to 224 px
    for record in few.uns["patches"].values():
        record["size_um"] = 400.0
    with pytest.warns(
        UserWarning, match=r"UNI2-h was trained at 0.5 µm per px; patches of 400 µm show it tissue at 1.8"
    ):
        bs.pp.image_features(few, "uni2", show_progress_bar=False)
