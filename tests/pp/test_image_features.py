import numpy as np
import pytest
import torch
from torch import nn

import bleep_sc as bs


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
    from bleep_sc._keys import features

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
