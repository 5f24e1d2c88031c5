import json

import pytest
import torch

from bleep_sc.models import BLEEP, FittedModel, load_encoder
from bleep_sc.models.fitted import Description
from bleep_sc.models.saved import from_bytes, load, save


@pytest.fixture
def model():
    torch.manual_seed(0)
    architecture = {"n_features": 6, "n_genes": 3, "n_dims": 8, "dropout": 0.1}
    return FittedModel(BLEEP(**architecture).eval(), Description("bleep", architecture, ["A", "B", "C"], {}))


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_round_trip_through_bytes_and_folder(model, tmp_path):
    assert same_weights(from_bytes(model.description, model.to_bytes()).module, model.module)
    save(model, tmp_path / "models" / "mine")
    loaded = load(tmp_path / "models" / "mine")
    assert same_weights(loaded.module, model.module)
    assert loaded.description == model.description
    assert not loaded.module.training
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["mine"]


def test_tied_weights_are_kept(model):
    model.module.image_heads[0].projection.bias = model.module.expression_heads[0].projection.bias
    assert same_weights(from_bytes(model.description, model.to_bytes()).module, model.module)


def test_an_existing_model_is_kept_unless_told_otherwise(model, tmp_path):
    save(model, tmp_path / "mine")
    before = (tmp_path / "mine" / "model.safetensors").read_bytes()
    with torch.no_grad():
        model.module.image_heads[0].projection.bias += 1
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        save(model, tmp_path / "mine")
    assert (tmp_path / "mine" / "model.safetensors").read_bytes() == before
    save(model, tmp_path / "mine", overwrite=True)
    assert same_weights(load(tmp_path / "mine").module, model.module)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_failing_save_leaves_the_old_model(model, tmp_path, monkeypatch):
    save(model, tmp_path / "mine")
    before = (tmp_path / "mine" / "model.safetensors").read_bytes()

    def full(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(json, "dumps", full)
    with pytest.raises(OSError, match="disk full"):
        save(model, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_is_no_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors and model\.json not found"):
        load(tmp_path)


def test_a_trained_module_is_asked_for_again():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    encoder = load_encoder(network, transform=torch.nn.Identity())
    architecture = {"n_features": 6, "n_genes": 3, "n_dims": 8, "dropout": 0.1}
    model = FittedModel(
        BLEEP(**architecture, encoder=encoder),
        Description("bleep", {**architecture, "encoder": ""}, ["A", "B", "C"], {}),
    )
    with pytest.raises(ValueError, match="pass a module of the same architecture as encoder="):
        from_bytes(model.description, model.to_bytes())
    fresh = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    again = from_bytes(model.description, model.to_bytes(), encoder=load_encoder(fresh, transform=torch.nn.Identity()))
    assert same_weights(again.module, model.module)
