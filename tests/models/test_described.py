"""Descriptions and tensors of hostile or damaged models, before anything is built from them."""

import dataclasses
import resource
import time

import numpy as np
import pytest
import safetensors.torch
import torch

from bleep_sc.models import BLEEP, FittedModel
from bleep_sc.models.described import check_description, checksum
from bleep_sc.models.embed import embed_images
from bleep_sc.models.fitted import Description
from bleep_sc.models.he2rna import HE2RNA
from bleep_sc.models.hist2rna import Hist2RNA
from bleep_sc.models.hist2st import Hist2ST
from bleep_sc.models.histogene import HisToGene
from bleep_sc.models.ridge import linear
from bleep_sc.models.saved import from_bytes, load, save
from bleep_sc.models.stnet import StNet

GENES = ["A", "B", "C"]
SMALL = {
    "bleep": (BLEEP, {"n_features": 6, "n_genes": 3, "n_dims": 8, "n_models": 2, "dropout": 0.1}),
    "ridge": (linear, {"n_features": 6, "n_genes": 3}),
    "stnet": (StNet, {"n_features": 6, "n_genes": 3}),
    "he2rna": (HE2RNA, {"n_features": 6, "n_genes": 3, "n_hidden": 4, "n_layers": 2, "dropout": 0.1}),
    "hist2rna": (Hist2RNA, {"n_features": 6, "n_genes": 3, "n_hidden": 4}),
    "histogene": (
        HisToGene,
        {"patch_size": 4, "n_genes": 3, "n_positions": 9, "n_dims": 8, "n_layers": 1, "n_heads": 2},
    ),
    "hist2st": (
        Hist2ST,
        {
            "patch_size": 4,
            "n_genes": 3,
            "tile_size": 2,
            "n_channels": 8,
            "kernel_size": 3,
            "n_mixers": 1,
            "n_layers": 1,
            "n_graph_layers": 1,
            "n_heads": 1,
            "n_positions": 9,
        },
    ),
}


def model_of(method):
    torch.manual_seed(0)
    network, architecture = SMALL[method]
    return FittedModel(network(**architecture).eval(), Description(method, architecture, GENES, {}))


def described(model, **changes):
    return dataclasses.replace(model.description, **changes)


@pytest.mark.parametrize("method", SMALL)
@pytest.mark.parametrize("value", [10**9, 2**70, -1, 0, 1.5, "many", None, True, [3], float("nan"), float("inf")])
def test_sizes_are_compared_before_memory_is_taken(method, value):
    model = model_of(method)
    weights, start = model.to_bytes(), time.monotonic()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in model.description.architecture:
        if name in ("n_heads", "dropout"):  # no sizes of tensors
            continue
        other = described(model, architecture={**model.description.architecture, name: value})
        with pytest.raises(ValueError, match=r"^uns\['m'\] is damaged: "):
            from_bytes(other, weights, place="uns['m']")
    assert time.monotonic() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # KiB


def test_no_dropout_is_no_damage():
    model = BLEEP(n_features=6, n_genes=3, n_dims=8, n_models=2, dropout=0)
    description = Description("bleep", {**SMALL["bleep"][1], "dropout": 0}, GENES, {})
    assert from_bytes(description, FittedModel(model, description).to_bytes(), place="").module.n_genes == 3


@pytest.mark.parametrize(
    "views", [["raw"], ["raw", "whitened"], ["raw", ["raw"]], ["raw", 1], ["raw", "aligned"], ["scaled", "raw"]]
)
def test_views_that_are_not_those_of_the_weights_are_refused(views):
    model = model_of("bleep")
    other = described(model, architecture={**model.description.architecture, "views": views})
    with pytest.raises(ValueError, match=r"^The model is damaged: "):
        from_bytes(other, model.to_bytes())


def test_a_model_of_version_0_1_sees_features_in_units_of_their_slide():
    """It named no views, and said how often there are heads in its configuration as well."""
    torch.manual_seed(0)
    sizes = {"n_features": 6, "n_genes": 3, "n_dims": 8, "n_models": 3, "dropout": 0.1}
    module = BLEEP(**sizes, views=("scaled",) * 3).eval()
    module.feature_mean += torch.arange(6)
    module.feature_std *= torch.linspace(0.5, 2, 6)
    rng = np.random.default_rng(0)
    features, slides = rng.normal(2, 3, size=(40, 6)).astype(np.float32), np.repeat(["a", "b"], 20)
    config = {"n_models": 3, "standardize": True, "n_dims": 8, "regression_penalty": 3.0, "weights": "uniform"}
    old = Description("bleep", {**sizes, "standardize": True}, GENES, {}, config, version="0.1.0")
    read = from_bytes(old, FittedModel(module, old).to_bytes())
    assert read.module.views == ("scaled",) * 3
    assert read.smoothing_um == 0
    np.testing.assert_array_equal(embed_images(read.module, features, slides), embed_images(module, features, slides))
    as_they_are = dataclasses.replace(old, architecture={**sizes, "standardize": False})
    raw = BLEEP(**sizes).eval()
    read = from_bytes(as_they_are, FittedModel(raw, as_they_are).to_bytes())
    assert not read.module.depends_on_slide
    np.testing.assert_array_equal(embed_images(read.module, features, slides), embed_images(raw, features, slides))


@pytest.mark.parametrize("method", SMALL)
def test_weights_that_are_not_the_models_are_refused(method):
    model = model_of(method)
    tensors = safetensors.torch.load(model.to_bytes())
    name = next(each for each in sorted(tensors) if tensors[each].is_floating_point())
    of_others = {
        "renamed": {**{each: tensors[each] for each in tensors if each != name}, "other": tensors[name]},
        "missing": {each: tensors[each] for each in tensors if each != name},
        "one more": {**tensors, "other": torch.zeros(2)},
        "another shape": {**tensors, name: torch.zeros(2, 2)},
        "another type": {**tensors, name: tensors[name].half()},
        "whole numbers": {**tensors, name: tensors[name].to(torch.int8)},
        "NaN": {**tensors, name: torch.full_like(tensors[name], torch.nan)},
        "infinite": {**tensors, name: torch.full_like(tensors[name], torch.inf)},
        "calibration of another kind": {**tensors, "calibration/shrinkage": torch.zeros(3)},
    }
    for each in of_others.values():
        with pytest.raises(ValueError, match=r"^The model is damaged: "):
            from_bytes(model.description, safetensors.torch.save(each))
    for cut in (0, 4, 100, len(model.to_bytes()) - 1):
        with pytest.raises(ValueError, match=r"^The model is damaged: its weights cannot be read"):
            from_bytes(model.description, model.to_bytes()[:cut])
    huge = (2**62).to_bytes(8, "little") + model.to_bytes()[8:]
    with pytest.raises(ValueError, match=r"^The model is damaged: its weights cannot be read"):
        from_bytes(model.description, huge)


@pytest.mark.parametrize(
    "changes",
    [
        {"genes": []},
        {"genes": ["A", "B"]},
        {"genes": ["A", "A", "B"]},
        {"genes": ["A", 1, "C"]},
        {"params": {"library_key": 3}},
        {"params": {"units": "log1p"}},
        {"params": {"units": {"target_sum": "many"}}},
        {"params": {"units": {"transform": "logx(1+x)"}}},
        {"params": {"units": {"transform": "log-1(1+x)"}}},
        {"params": {"units": {"transform": "log1(1+x)"}}},
        {"params": {"units": {"transform": "log1.2.3(1+x)"}}},
        {"params": {"units": {"transform": "log2"}}},
        {"recipe": {"use_rep": ["X"], "features": []}},
        {"recipe": {"use_rep": "X", "features": [{}]}},
        {"recipe": {"use_rep": ["X"], "features": [[]]}},
        {"recipe": {"size": "large"}},
        {"config": {"n_neighbors": "many"}},
        {"config": {"n_neighbors": True}},
        {"config": {"n_neighbors": 1.5}},
        {"config": {"n_neighbors": -1}},
        {"config": {"metric": "other"}},
        {"config": {"regression_penalty": float("nan")}},
        {"config": {"regression_penalty": float("inf")}},
        {"config": {"regression_penalty": -1.0}},
        {"config": {"regression": "yes"}},
        {"config": {"views": "raw"}},
        {"config": {"views": ["raw", "whitened"]}},
        {"config": {"views": 3}},
        {"config": {"smoothing_um": "far"}},
        {"config": {"smoothing_um": -1.0}},
        {"architecture": {**SMALL["bleep"][1], "views": "raw"}},
        {"config": []},
        {"slides": None},
    ],
)
def test_values_of_other_kinds_are_refused(changes):
    with pytest.raises(ValueError, match=r"^here is damaged: "):
        check_description(described(model_of("bleep"), **changes), "here")


def test_what_was_learnt_has_its_shape_and_is_finite(fitted):
    import bleep_sc as bs

    model = bs.tl.load_model(fitted)
    bad = {
        "shrinkage": np.full_like(model.calibration.shrinkage, np.nan),
        "typical_shrinkage": np.array(np.inf, dtype=np.float32),
        "std": model.calibration.std[:-1],
        "errors": model.calibration.errors[:5],
        "levels": model.calibration.levels[:, :-1],
        "smoothing_um": np.array(np.nan),
    }
    for name, values in bad.items():
        other = dataclasses.replace(model, calibration=dataclasses.replace(model.calibration, **{name: values}))
        with pytest.raises(ValueError, match=f"is damaged: {name} of its calibration"):
            from_bytes(model.description, other.to_bytes())
    outside = {"shrinkage": model.calibration.shrinkage + 2, "smoothing_um": np.array(-1.0)}
    for name, values in outside.items():
        far = dataclasses.replace(model.calibration, **{name: values})
        with pytest.raises(ValueError, match="is damaged: shrinkage, std or smoothing_um of its calibration lies outs"):
            from_bytes(model.description, dataclasses.replace(model, calibration=far).to_bytes())
    tissue = dataclasses.replace(model.typicality, variances=-model.typicality.variances)
    with pytest.raises(ValueError, match="is damaged: variances of its typicality"):
        from_bytes(model.description, dataclasses.replace(model, typicality=tissue).to_bytes())


def test_a_checksum_tells_whether_a_folder_is_what_was_written(tmp_path):
    model = model_of("ridge")
    save(model, tmp_path / "m")
    text = (tmp_path / "m" / "model.json").read_text()
    assert checksum(model.description, model.to_bytes()) in text
    (tmp_path / "m" / "model.json").write_text(text.replace('"A"', '"Z"'))
    with pytest.raises(ValueError, match=r"is damaged: model.safetensors or model.json is not what was written"):
        load(tmp_path / "m")
    (tmp_path / "m" / "model.json").write_text(text)
    weights = bytearray((tmp_path / "m" / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "m" / "model.safetensors").write_bytes(weights)
    with pytest.raises(ValueError, match=r"is damaged: model.safetensors or model.json is not what was written"):
        load(tmp_path / "m")
    for hostile in ("[" * 100_000, "[]", "{", '{"method": {"a": 1}}', '{"method": "ridge"}', "\x00"):
        (tmp_path / "m" / "model.json").write_text(hostile)
        with pytest.raises(ValueError, match=r"is damaged: |is not known"):
            load(tmp_path / "m")
