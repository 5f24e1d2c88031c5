import weakref

import numpy as np
import pytest
import torch
from torch import nn

from bleep_sc.models import symmetries
from bleep_sc.models.encode import encode
from bleep_sc.models.encoders import Encoder, Normalize, is_on_hub, load_encoder, require_consent


class MeanColour(nn.Module):
    """The mean of every channel and its width-wise slope, which turns and mirror images change."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, images):
        mean = images.mean(dim=(2, 3))
        slope = images[..., : images.shape[-1] // 2].mean(dim=(2, 3)) - mean
        return self.scale * torch.cat([mean, slope], dim=1)


@pytest.fixture
def patches():
    return np.random.default_rng(0).integers(0, 256, (11, 32, 32, 3), dtype=np.uint8)


def test_features_do_not_depend_on_the_batches(patches):
    encoder = load_encoder(MeanColour(), transform=Normalize((0.5, 0.4, 0.3), (0.2, 0.2, 0.2)))
    whole, parts = (encode(encoder, patches, batch_size=size, show_progress_bar=False) for size in (64, 3))
    np.testing.assert_allclose(whole, parts, rtol=1e-6)
    colour = patches.mean(axis=(1, 2)) / 255
    np.testing.assert_allclose(whole[:, :3], 2 * (colour - [0.5, 0.4, 0.3]) / 0.2, rtol=1e-4, atol=1e-4)


def test_symmetric_features_do_not_change_when_a_patch_is_turned(patches):
    encoder = load_encoder(MeanColour(), transform=nn.Identity())
    turned = np.ascontiguousarray(np.rot90(patches, axes=(1, 2))[:, :, ::-1])
    plain, moved = (encode(encoder, p, show_progress_bar=False) for p in (patches, turned))
    assert not np.allclose(plain, moved, atol=1e-4)
    plain, moved = (encode(encoder, p, symmetries=True, show_progress_bar=False) for p in (patches, turned))
    np.testing.assert_allclose(plain, moved, atol=1e-5)
    images = torch.from_numpy(patches).permute(0, 3, 1, 2)
    slow = np.mean([encoder(symmetries.transform(images, k)).detach().numpy() for k in range(8)], axis=0)
    np.testing.assert_allclose(plain, slow, atol=1e-5)


@pytest.mark.parametrize("symmetries", [False, True])
def test_convolutions_see_channels_last_and_give_the_same_features(patches, symmetries):
    seen = []

    class Watch(nn.Module):
        def forward(self, images):
            seen.append(images.is_contiguous(memory_format=torch.channels_last))
            return images

    torch.manual_seed(0)
    network = nn.Sequential(
        Watch(), nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 7, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    encoder = load_encoder(network, transform=Normalize((0.5,) * 3, (0.25,) * 3)).eval()
    features = encode(encoder, patches, symmetries=symmetries, batch_size=4, show_progress_bar=False)
    assert len(seen) == (24 if symmetries else 3)
    assert all(seen)
    assert network[1].weight.is_contiguous()  # the user's module stays as it is
    images = (torch.from_numpy(patches).permute(0, 3, 1, 2).float().contiguous() / 255 - 0.5) / 0.25
    with torch.inference_mode():
        views = [symmetries_of(images, k) for k in range(8 if symmetries else 1)]
        plain = torch.stack([network(view) for view in views]).mean(dim=0)
    np.testing.assert_allclose(features, plain.numpy(), rtol=1e-4, atol=1e-5)


def symmetries_of(images, k):
    return symmetries.transform(images, k).contiguous()


def test_too_little_memory_names_the_knob_and_is_given_back(patches):
    held = []

    class Large(nn.Module):
        def forward(self, images):
            activations = images.float() + 1
            held.append(weakref.ref(activations))
            raise torch.OutOfMemoryError("CUDA out of memory.")

    encoder = load_encoder(Large(), transform=nn.Identity())
    for batch_size, note in (
        (64, "Pass bleep_sc.pp.image_features(batch_size=32), or less"),
        (1, "A single patch is too much for this GPU"),
    ):
        with pytest.raises(torch.OutOfMemoryError) as error:
            encode(encoder, patches, batch_size=batch_size, show_progress_bar=False)
        assert error.value.__notes__[0].startswith(note)
        assert held.pop()() is None  # though the error and its traceback are there


def test_batches_are_halved_until_they_fit_and_one_warning_says_so(patches):
    class Large(nn.Module):
        def forward(self, images):
            if len(images) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return images.float().mean(dim=(2, 3))

    encoder = load_encoder(Large(), transform=nn.Identity())
    expected = encode(encoder, patches, batch_size=2, show_progress_bar=False)
    with pytest.warns(UserWarning, match="patches at once do not fit into the memory of the GPU") as caught:
        found = encode(encoder, patches, show_progress_bar=False)
    assert len(caught) == 1
    np.testing.assert_array_equal(found, expected)


def test_a_module_says_how_it_is_normalised_or_is_refused():
    with pytest.raises(ValueError, match=r"no pretrained_cfg. Pass bleep_sc.models.load_encoder"):
        load_encoder(MeanColour())
    module = MeanColour()
    module.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    white = load_encoder(module)(torch.full((1, 3, 8, 8), 255, dtype=torch.uint8))
    torch.testing.assert_close(white[:, :3], torch.full((1, 3), 4.0))
    with pytest.raises(ValueError, match="brings its own normalisation"):
        load_encoder("stain_stats", transform=nn.Identity())


def test_unpooled_features_are_refused(patches):
    encoder = load_encoder(nn.Conv2d(3, 4, 3), transform=nn.Identity())
    with pytest.raises(
        ValueError, match=r"must return pooled features \(batch, width\), but returned \(11, 4, 30, 30\)"
    ):
        encode(encoder, patches, show_progress_bar=False)


def test_the_fingerprint_knows_weights_and_normalisation():
    torch.manual_seed(0)
    module = MeanColour()
    first = load_encoder(module, transform=nn.Identity()).fingerprint()
    assert load_encoder(module, transform=nn.Identity()).fingerprint() == first
    assert load_encoder(module, transform=Normalize((0.5,) * 3, (0.5,) * 3)).fingerprint() != first
    with torch.no_grad():
        module.scale += 1
    assert load_encoder(module, transform=nn.Identity()).fingerprint() != first


@pytest.mark.parametrize(
    ("name", "width"), [("resnet18", 512), ("densenet121", 1024), ("efficientnet_b0", 1280), ("vit_b_16", 768)]
)
def test_torchvision_models_return_what_they_would_classify(name, width):
    encoder = load_encoder(name, pretrained=False).eval()
    with torch.inference_mode():
        assert encoder(torch.rand(1, 3, 96, 96)).shape == (1, width)
    torch.testing.assert_close(encoder.transform.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))


def test_weights_come_from_the_cache_of_torch_hub(tmp_path, monkeypatch):
    from torchvision.models import ResNet18_Weights, resnet18

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    torch.manual_seed(0)
    state = resnet18().state_dict()
    (tmp_path / "checkpoints").mkdir()
    torch.save(state, tmp_path / "checkpoints" / ResNet18_Weights.DEFAULT.url.rpartition("/")[2])
    loaded = load_encoder("resnet18").network.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in loaded)
    assert set(state) - set(loaded) == {"fc.weight", "fc.bias"}


def test_missing_weights_are_explained(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(OSError, match=r"weights of encoder 'resnet18' could not be downloaded .*stain_stats"):
        load_encoder("resnet18")
    with pytest.raises(OSError, match=r"weights of encoder 'resnet10t' could not be loaded .*encoder="):
        load_encoder("resnet10t")


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="Encoder 'resnet5000' is not known"):
        load_encoder("resnet5000")


def test_timm_models_bring_their_normalisation_and_their_size():
    encoder = load_encoder("test_vit", pretrained=False).eval()
    assert encoder.input_size == 160
    with torch.inference_mode():
        assert encoder(torch.rand(1, 3, 64, 64)).ndim == 2


def test_lite0_weights_load_from_their_wheel():
    from lite0 import load_lite0

    encoder = load_lite0().eval()
    with torch.inference_mode():
        features = encoder(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert features.shape == (2, 1280)
    assert isinstance(encoder, Encoder)


@pytest.mark.parametrize(
    ("name", "asks", "asks_for_weights"),
    [
        ("", False, False),
        ("stain_stats", False, False),
        ("resnet50", False, False),
        ("vit_small_patch16_224", False, True),
        ("hf-hub:owner/model", True, True),
    ],
)
def test_a_hub_is_asked_by_name_alone_where_the_user_says_it(name, asks, asks_for_weights):
    assert (is_on_hub(name), is_on_hub(name, pretrained=True)) == (asks, asks_for_weights)
    require_consent("hf-hub:owner/model", "hf-hub:owner/model")
    require_consent("hf-hub:owner/model", torch.nn.Identity())
    for other in (None, "hf-hub:owner/other", "resnet50"):
        with pytest.raises(ValueError, match=r"If you trust who made the model, pass encoder='hf-hub:owner/model'"):
            require_consent("hf-hub:owner/model", other)
