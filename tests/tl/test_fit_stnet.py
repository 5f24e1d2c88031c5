import json

import anndata as ad
import numpy as np
import pytest
import torch
from torch import nn

import bleep_sc as bs
from bleep_sc.models import symmetries
from bleep_sc.tl import StNetConfig

QUICK = StNetConfig(learning_rates=(1e-3,), max_epochs=2, n_folds=2)


@pytest.fixture
def encoder():
    """A small convolutional network with random weights."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(3, 16, 5, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 5, stride=2), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )
    return bs.models.load_encoder(network, transform=lambda images: (images - 0.7) / 0.2)


def snapshot(adata):
    return set(adata.obsm), set(adata.uns), set(adata.layers), set(adata.var), set(adata.obs)


def description(adata, **kwargs):
    return bs.tl.load_model(adata, "stnet", **kwargs).description


def test_a_probe_finds_zonation_on_a_slide_that_it_never_saw(reference, query):
    """CYP3A4 follows the zonation, which the stains show: ridge has r = .80 here, so .7 asks for the same."""
    bs.tl.fit_stnet(reference, use_rep="X_stain_stats", show_progress_bar=False)
    bs.tl.predict(query, ref=reference, key="stnet")
    bs.tl.score(query, "stnet")
    assert query.var.loc["CYP3A4", "stnet_pearson"] > 0.7
    params = description(reference).params
    assert (params["variant"], params["backbone"]) == ("linear probe", "stain_stats")
    pearson = reference.uns["stnet"]["history"]["validation_pearson"]
    assert pearson.shape == (3, 30)
    rate, epoch = np.unravel_index(pearson.argmax(), pearson.shape)
    assert (params["learning_rate"], params["n_epochs"]) == (StNetConfig().learning_rates[rate], epoch + 1)
    assert query.uns["stnet_imputed"]["method"] == "stnet"
    assert query.uns["stnet_imputed"]["target_sum"] == 10000.0


def test_patches_train_end_to_end(reference, query, encoder):
    """From random weights, in seconds: r is .56 to .59 over seeds; none would be within .13, two standard errors."""
    for adata in (reference, query):
        adata.obsm["patches"] = np.ascontiguousarray(adata.obsm["patches"][:, ::2, ::2])
    config = StNetConfig(learning_rates=(1e-2,), max_epochs=20, n_folds=2)
    bs.tl.fit_stnet(reference, encoder=encoder, config=config, show_progress_bar=False)
    loss = reference.uns["stnet"]["history"]["loss"]
    assert loss[-1] < 0.95 * loss[0]
    bs.tl.predict(query, ref=reference, key="stnet", encoder=encoder)
    bs.tl.score(query, "stnet")
    assert query.var.loc["CYP3A4", "stnet_pearson"] > 0.45
    params = description(reference, encoder=encoder).params
    assert (params["variant"], params["backbone"]) == ("end to end", "Sequential")
    turned = query.copy()
    images = torch.from_numpy(query.obsm["patches"]).permute(0, 3, 1, 2)
    turned.obsm["patches"] = symmetries.transform(images, 5).permute(0, 2, 3, 1).numpy()
    bs.tl.predict(turned, ref=reference, key="stnet", encoder=encoder)
    np.testing.assert_allclose(turned.layers["stnet"], query.layers["stnet"], atol=1e-4)
    with pytest.raises(ValueError, match="pass a module of the same architecture as encoder="):
        bs.tl.predict(query, ref=reference, key="stnet")


def test_the_published_backbone_is_the_default(reference, query, monkeypatch):
    """DenseNet-121 with the weights of ImageNet, which are random here; a named network is built again by itself."""
    asked = []
    load_encoder = bs.models.load_encoder

    def without_download(encoder, **kwargs):
        asked.append((encoder, kwargs))
        return load_encoder(encoder, pretrained=False)

    monkeypatch.setattr("bleep_sc.models.encoders.load_encoder", without_download)
    few = reference[::40].copy()
    few.obsm["patches"] = few.obsm["patches"][:, :32, :32]
    torch.manual_seed(0)
    config = StNetConfig(learning_rates=(1e-6,), max_epochs=1, n_folds=2)
    bs.tl.fit_stnet(few, config=config, show_progress_bar=False)
    assert asked == [("densenet121", {})]
    record = json.loads(few.uns["stnet"]["params"])
    assert (record["variant"], record["backbone"]) == ("end to end", "densenet121")
    query.obsm["patches"] = query.obsm["patches"][:, :32, :32]
    first, again = (bs.tl.predict(query[:5].copy(), ref=few, key="stnet", copy=True) for _ in range(2))
    np.testing.assert_array_equal(first.layers["stnet"], again.layers["stnet"])
    genes = few.var_names[few.var["highly_variable"]]
    mean = few[:, genes].X.toarray().mean(axis=0)
    np.testing.assert_allclose(first[:, genes].layers["stnet"], np.tile(mean, (5, 1)), atol=0.01)  # one step of 1e-6


def test_several_features_are_put_side_by_side(reference):
    reference.obsm["X_more"] = np.random.default_rng(0).normal(size=(reference.n_obs, 4)).astype(np.float32)
    bs.tl.fit_stnet(reference, use_rep=["X_stain_stats", "X_more"], config=QUICK, show_progress_bar=False)
    assert description(reference).architecture["n_features"] == 40
    assert description(reference).params["backbone"] == "stain_stats, X_more"


@pytest.mark.parametrize("end_to_end", [False, True])
def test_a_file_gives_the_same_predictions(reference, query, encoder, tmp_path, end_to_end):
    images = {"encoder": encoder} if end_to_end else {"use_rep": "X_stain_stats"}
    bs.tl.fit_stnet(reference, **images, config=QUICK, show_progress_bar=False)
    reference.write_h5ad(tmp_path / "ref.h5ad")
    module = encoder if end_to_end else None
    results = [
        bs.tl.predict(query, ref=ref, key="stnet", encoder=module, copy=True)
        for ref in (reference, ad.read_h5ad(tmp_path / "ref.h5ad"))
    ]
    np.testing.assert_array_equal(results[0].layers["stnet"], results[1].layers["stnet"])
    assert np.isfinite(results[0].layers["stnet"][:, results[0].var["stnet_predicted"]]).all()


def test_harmony_output_can_be_the_target(reference, query):
    bs.pp.batch_correct(reference, batch_key="library_id")
    kwargs = {"use_rep": "X_stain_stats", "config": QUICK, "show_progress_bar": False}
    bs.tl.fit_stnet(reference, target_rep="X_harmony", **kwargs)
    assert description(reference).genes == reference.uns["X_harmony"]["var_names"].tolist()
    bs.tl.predict(query, ref=reference, key="stnet")
    assert query.uns["stnet_imputed"]["corrected"]


def test_copy_and_key_added(reference):
    before = snapshot(reference)
    kwargs = {"use_rep": "X_stain_stats", "config": QUICK, "show_progress_bar": False}
    fitted = bs.tl.fit_stnet(reference, key_added="mine", copy=True, **kwargs)
    assert snapshot(reference) == before
    assert set(fitted.uns) - set(reference.uns) == {"mine"}


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"use_rep": "X_none"}, KeyError, r"obsm\['X_none'\] not found .*image_features"),
        ({"use_rep": None, "patches_key": "tiles"}, KeyError, r"obsm\['tiles'\] not found .*extract_patches"),
        ({"encoder": "stain_stats"}, ValueError, "pass one of them"),
        ({"use_rep": None, "encoder": nn.Flatten()}, ValueError, "How to normalise images for encoder Flatten"),
        ({"layer": "counts"}, ValueError, "looks like counts"),
        ({"target_rep": "X_harmony"}, KeyError, r"obsm\['X_harmony'\] not found"),
        ({"library_key": "slide"}, KeyError, r"obs\['slide'\] not found"),
        ({"device": "cuda"}, ValueError, "'cuda' was asked for, and torch sees 'cpu'"),
        ({"config": StNetConfig(learning_rates=(1e30,))}, ValueError, "pass smaller ones"),
    ],
)
def test_bad_input_leaves_the_adata_as_it_was(reference, monkeypatch, kwargs, error, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = snapshot(reference)
    with pytest.raises(error, match=message):
        bs.tl.fit_stnet(
            reference, **{"use_rep": "X_stain_stats", "config": QUICK, "show_progress_bar": False, **kwargs}
        )
    assert snapshot(reference) == before
