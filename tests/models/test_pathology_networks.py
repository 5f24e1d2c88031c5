"""Networks with random weights: none of the published ones were at hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.functional import gelu, silu

from bleep_sc.models.contents import Unfilled
from bleep_sc.models.encoders import Encoder, Normalize, is_on_hub, load_encoder, require_consent
from bleep_sc.models.pathology_encoders import ENCODERS, find
from bleep_sc.models.pathology_networks import ClassAndMean, Keep, build

OF_TIMM = [row for row in ENCODERS if row.library == "timm"]
MILLIONS = {
    **{
        "uni": 303.4,
        "uni2-h": 681.4,
        "virchow": 631.2,
        "virchow2": 631.2,
        "h-optimus-0": 1134.8,
        "h-optimus-1": 1134.8,
    },
    **{"h0-mini": 85.7, "prov-gigapath": 1135.0, "gigapath-flash": 21.7, "keep": 304.7, "kaiko-vits8": 21.7},
    **{"kaiko-vits16": 21.7, "kaiko-vitb16": 85.8, "kaiko-vitb8": 85.8, "kaiko-vitl14": 304.4, "lunit-vits8": 21.7},
    "lunit-vits16": 21.7,
}
"""Parameters, as LazySlide's registry and the authors have them: UNI, UNI2-h, Virchow, H0-mini, GigaPath, Lunit."""
REGISTERS = {"uni2-h": 8, "virchow2": 4, "h-optimus-0": 4, "h-optimus-1": 4, "h0-mini": 4, "kaiko-vitl14": 4}


@pytest.mark.parametrize("row", OF_TIMM, ids=lambda row: row.name)
def test_the_whole_network_has_the_parameters_that_are_published(row):
    with torch.device("meta"), Unfilled():
        network = build(row, pretrained=False)
    count = sum(each.numel() for each in network.parameters())
    assert count / 1e6 == pytest.approx(MILLIONS[row.name], abs=0.06)
    shapes = {name.rpartition("network.")[2]: tuple(each.shape) for name, each in network.state_dict().items()}
    assert shapes.get("reg_token", (1, 0))[1] == REGISTERS.get(row.name, 0)


def attention(tokens, weights, heads):
    """Of every token to every token, head by head."""
    n, d = tokens.shape
    q, k, v = (
        (tokens @ weights["attn.qkv.weight"].T + weights["attn.qkv.bias"]).reshape(n, 3, heads, d // heads).unbind(1)
    )
    out = torch.empty(n, heads, d // heads)
    for head in range(heads):
        scores = q[:, head] @ k[:, head].T / math.sqrt(d // heads)
        out[:, head] = torch.softmax(scores, dim=1) @ v[:, head]
    return out.reshape(n, d) @ weights["attn.proj.weight"].T + weights["attn.proj.bias"]


def feed_forward(tokens, weights, *, gated):
    hidden = tokens @ weights["mlp.fc1.weight"].T + weights["mlp.fc1.bias"]
    if gated:
        gate, value = hidden.chunk(2, dim=1)
        hidden = silu(gate) * value
    else:
        hidden = gelu(hidden)
    return hidden @ weights["mlp.fc2.weight"].T + weights["mlp.fc2.bias"]


def slow_tokens(image, weights, heads, *, gated):
    """A vision transformer, patch by patch and head by head, of an image (3, H, W): class, registers, patches."""

    def norm(x, name):
        return nn.functional.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-6)

    kernel = weights["patch_embed.proj.weight"]
    p = kernel.shape[-1]
    patches = torch.stack(
        [
            (kernel * image[:, y : y + p, x : x + p]).sum(dim=(1, 2, 3)) + weights["patch_embed.proj.bias"]
            for y in range(0, image.shape[1], p)
            for x in range(0, image.shape[2], p)
        ]
    )
    prefix = torch.cat(
        [weights["cls_token"][0], weights["reg_token"][0]] if "reg_token" in weights else [weights["cls_token"][0]]
    )
    places = weights["pos_embed"][0]
    if len(places) == len(patches):  # of the patches alone
        tokens = torch.cat([prefix, patches + places])
    else:
        tokens = torch.cat([prefix, patches]) + places
    blocks = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    for i in range(blocks):
        own = {
            name.removeprefix(f"blocks.{i}."): each for name, each in weights.items() if name.startswith(f"blocks.{i}.")
        }
        scale = [own.get(f"ls{j}.gamma", torch.ones(1)) for j in (1, 2)]
        tokens = tokens + scale[0] * attention(norm(tokens, f"blocks.{i}.norm1"), own, heads)
        tokens = tokens + scale[1] * feed_forward(norm(tokens, f"blocks.{i}.norm2"), own, gated=gated)
    return norm(tokens, "norm")


def drawn(row, **arguments):
    """The network of a row, shallower, with all its weights drawn: layer scale and places are next to nothing otherwise."""
    with Unfilled():
        network = build(replace(row, arguments={**row.arguments, **arguments}), pretrained=False).eval()
    torch.manual_seed(0)
    for each in network.parameters():
        nn.init.normal_(each, std=0.05)
    return network


HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16, 1536: 24}
GATED = {"uni2-h", "virchow", "virchow2", "h-optimus-0", "h-optimus-1", "h0-mini", "prov-gigapath", "gigapath-flash"}
SHALLOW = (
    "uni",
    "uni2-h",
    "virchow",
    "virchow2",
    "h-optimus-0",
    "h0-mini",
    "prov-gigapath",
    "gigapath-flash",
    "keep",
    "kaiko-vits16",
    "lunit-vits16",
)


@pytest.mark.parametrize("name", SHALLOW)
def test_features_of_two_layers_are_those_of_a_slow_computation(name):
    """Widths, tokens, registers, SwiGLU, layer scale, places, pooling and normalisation."""
    row = find(name)
    network = drawn(row, depth=2)
    encoder = Encoder(network, Normalize(*row.normalisation), name=row.name, input_size=row.size)
    image = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8)
    with torch.inference_mode():
        features = encoder(image)[0]
    state = {key.removeprefix("network.").removeprefix("visual."): each for key, each in network.state_dict().items()}
    mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in row.normalisation)
    heads = HEADS[len(state["norm.weight"])]
    with torch.inference_mode():
        tokens = slow_tokens((image[0] / 255 - mean) / std, state, heads, gated=name in GATED)
    n_prefix = 1 + REGISTERS.get(name, 0)
    assert len(tokens) == n_prefix + (224 // state["patch_embed.proj.weight"].shape[-1]) ** 2
    expected = tokens[0]
    if row.pooling == "class token and mean":
        expected = torch.cat([expected, sum(tokens[n_prefix:]) / len(tokens[n_prefix:])])
    elif row.pooling == "projection":
        hidden = gelu(expected @ state["visual_head.0.weight"].T + state["visual_head.0.bias"])
        expected = hidden @ state["visual_head.2.weight"].T + state["visual_head.2.bias"]
        expected = expected / expected.norm()
    assert features.shape == (row.width,)
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-3)


def test_patches_of_any_size_are_seen_at_the_size_that_was_trained_at():
    encoder = load_encoder("lunit-vits16", pretrained=False).eval()
    assert encoder.input_size == 224
    with torch.inference_mode():
        assert encoder(torch.rand(2, 3, 56, 56)).shape == (2, 384)


@pytest.mark.parametrize("form", ["file", "safetensors", "nested"])
def test_weights_of_a_file_make_the_same_encoder(form, tmp_path):
    torch.manual_seed(0)
    first = load_encoder("lunit-vits16", pretrained=False)
    state, path = first.network.state_dict(), tmp_path / ("w.safetensors" if form == "safetensors" else "w.bin")
    if form == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save({"model": state} if form == "nested" else state, path)
    again = load_encoder("Lunit-S16", weights=path)
    assert again.fingerprint() == first.fingerprint()
    assert again.name == first.name == "lunit-vits16"


def test_the_file_of_keep_has_more_and_an_older_name(tmp_path, monkeypatch):
    row = find("keep")
    row = replace(row, arguments={**row.arguments, "depth": 1})
    network = drawn(row)
    assert isinstance(network, Keep)
    state = {name.replace(".gamma", ".weight"): each for name, each in network.state_dict().items()}
    safetensors.torch.save_file(
        {**state, "text.embedding": torch.zeros(2), "logit_scale": torch.ones(1)}, tmp_path / "k.safetensors"
    )
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repository, file: tmp_path / "k.safetensors")
    for weights in (tmp_path / "k.safetensors", None):
        with Unfilled():
            again = build(row, weights=weights).state_dict()
        assert all(torch.equal(each, again[name]) for name, each in network.state_dict().items())


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(load_encoder("lunit-vits8", pretrained=False).network.state_dict(), tmp_path / "w.bin")
    with pytest.raises(ValueError, match=r"weights='.*w.bin' are not those of Lunit DINO ViT-S/16: .*of another shape"):
        load_encoder("lunit-vits16", weights=tmp_path / "w.bin")
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.bin")
    with pytest.raises(
        ValueError, match=r"missing .*1 are not known \('a'\).*Pass the file that https://huggingface.co"
    ):
        load_encoder("lunit-vits16", weights=tmp_path / "w.bin")
    with pytest.raises(FileNotFoundError, match=r"weights='.*none.bin' not found\. Pass the file"):
        load_encoder("uni", weights=tmp_path / "none.bin")
    with pytest.raises(ValueError, match=r"weights='w.bin' are for an encoder of .*encoder='resnet50' is none"):
        load_encoder("resnet50", weights="w.bin")


def saved(config, kind, folder):
    torch.manual_seed(0)
    network = kind(config).eval()
    for each in network.parameters():
        nn.init.normal_(each, std=0.05)
    network.save_pretrained(folder)
    return network


@pytest.mark.parametrize("name", ["phikon", "phikon-v2", "midnight-12k", "plip"])
@pytest.mark.filterwarnings("ignore")  # what transformers says of itself
def test_networks_of_transformers_are_pooled_and_normalised(name, tmp_path):
    """Of one layer, at the published width; a saved model is what the hub would send."""
    transformers = pytest.importorskip(
        "transformers", reason="transformers is not installed: pip install 'bleep-sc[transformers]'"
    )
    row, sizes = find(name), {"num_hidden_layers": 1, "image_size": 224}
    config = {
        "phikon": lambda: transformers.ViTConfig(**sizes),
        "phikon-v2": lambda: transformers.Dinov2Config(
            hidden_size=1024, num_attention_heads=16, patch_size=16, **sizes
        ),
        "midnight-12k": lambda: transformers.Dinov2Config(
            hidden_size=1536, num_attention_heads=24, patch_size=14, use_swiglu_ffn=True, **sizes
        ),
        "plip": lambda: transformers.CLIPVisionConfig(patch_size=32, projection_dim=512, **sizes),
    }[name]()
    network = saved(config, getattr(transformers, row.architecture), tmp_path)
    encoder = load_encoder(name, weights=tmp_path).eval()
    image = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in row.normalisation)
    with torch.inference_mode():
        features, out = encoder(image), network((image / 255 - mean) / std)
        if name == "plip":
            pooled = network.vision_model.post_layernorm(out.last_hidden_state[:, 0])
            expected = pooled @ network.visual_projection.weight.T
    if name != "plip":
        tokens = out.last_hidden_state
        assert tokens.shape[1] == 1 + (256 if name == "midnight-12k" else 196)
        expected = tokens[:, 0]
        if name == "midnight-12k":
            expected = torch.cat([expected, tokens[:, 1:].sum(dim=1) / 256], dim=1)
    assert features.shape == (2, row.width)
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore")  # what open_clip says of itself
def test_networks_of_open_clip_are_the_side_of_the_images(tmp_path):
    open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed: pip install 'bleep-sc[open-clip]'")
    import json

    vision = {"image_size": 224, "layers": 1, "width": 768, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 100, "width": 64, "heads": 2, "layers": 1}
    config = {"model_cfg": {"embed_dim": 512, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = open_clip.CLIP(embed_dim=512, vision_cfg=vision, text_cfg=text).eval()
    torch.save(model.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    encoder = load_encoder("quiltnet-b-16", weights=tmp_path).eval()
    image = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in find("quiltnet").normalisation)
    with torch.inference_mode():
        expected = model.encode_image((image / 255 - mean) / std, normalize=False)
        torch.testing.assert_close(encoder(image), expected, rtol=1e-3, atol=1e-4)
    assert expected.shape == (2, 512)


@pytest.mark.parametrize("name", ["uni", "uni2", "virchow2", "h-optimus-0", "midnight"])
def test_without_access_it_is_said_where_to_ask_and_what_is_free(name):
    with pytest.raises(
        OSError, match=r"(?s)could not be loaded.*[Aa]sk.*https://huggingface.co/.*weights='path'.*'keep'"
    ) as error:
        load_encoder(name)
    said = str(error.value)
    assert find(name).repository in said
    assert "h-optimus-1" not in said.partition("without asking:")[2]


@pytest.mark.parametrize("reached", [True, False])
def test_a_hub_that_was_not_reached_comes_before_access(monkeypatch, reached):
    import timm

    def fails(*_, **__):
        error = OSError("401: restricted")
        if reached:
            error.response = "401"
        raise error from ConnectionError("no route")

    monkeypatch.setattr(timm, "create_model", fails)
    with pytest.raises(OSError, match=r"could not be loaded.* Ask for access at") as error:
        load_encoder("uni2")
    assert ("could not be loaded: the hub was not reached, so check the network" in str(error.value)) is not reached


@pytest.mark.parametrize("name", ["hibou-b", "conch", "CONCH v1.5", "ctranspath", "genbio-pathfm"])
def test_code_of_the_authors_is_not_run(name):
    row = find(name)
    with pytest.raises(
        ValueError, match=r"runs code of its authors.*load_encoder\(module, transform=.*read_features"
    ) as error:
        load_encoder(name)
    assert f"(B, {row.width})" in str(error.value)
    assert str(row.normalisation[0]) in str(error.value)


def test_a_library_that_is_not_there_is_named(monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "transformers":
            raise ImportError("No module named 'transformers'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"'phikon' needs transformers: pip install 'bleep-sc\[transformers\]'"):
        load_encoder("phikon")


def test_files_of_features_are_no_encoders():
    for name in ("feat.h5", "folder/SLIDE.H5", "features.pt"):
        with pytest.raises(ValueError, match=r"is a file.*bleep_sc.pp.read_features\(adata, "):
            load_encoder(name)
    with pytest.raises(ValueError, match=r"Encoder 'virchov2' is not known\. Did you mean 'virchow2'"):
        load_encoder("virchov2")


@pytest.mark.parametrize(("name", "asks"), [("uni2", False), ("virchow2", False), ("phikon", True), ("quiltnet", True)])
def test_what_a_stranger_recorded_is_not_fetched_unasked(name, asks):
    """Weights never; what it is neither, where the table does not say it."""
    assert is_on_hub(name) == asks
    assert is_on_hub(name, pretrained=True)
    recorded = find(name).name
    for consent in (name, recorded, f"hf-hub:{find(name).repository}", [name, "resnet50"], nn.Identity()):
        require_consent(recorded, consent)
    for other in (None, "uni", ["plip"]):
        with pytest.raises(ValueError, match=rf"pass encoder='{recorded}'"):
            require_consent(recorded, other)


def test_pooling_is_part_of_the_fingerprint():
    network = drawn(find("virchow2"), depth=1)
    assert isinstance(network, ClassAndMean)
    transform = Normalize(*find("virchow2").normalisation)
    assert Encoder(network, transform).fingerprint() != Encoder(network.network, transform).fingerprint()
    assert np.isclose(network.n_prefix, 5)
