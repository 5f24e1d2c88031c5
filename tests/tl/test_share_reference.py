import json

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from anndata import read_h5ad
from anndata.tests.helpers import assert_equal
from torch import nn

import bleep_sc as bs

QUICK = bs.tl.FitConfig(max_epochs=2)


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, images):
        return self.factor * images.mean(dim=(2, 3))


def shared(ref, folder, **how):
    bs.tl.share_reference(ref, folder / "shared", **how)
    return bs.tl.load_reference(folder / "shared")


def imputed(query, ref, **how):
    result = bs.tl.impute(query, ref=ref, copy=True, **how)
    return {
        **{name: layer for name, layer in result.layers.items() if name is not None and name.startswith("bleep")},
        **{name: result.obs[name].to_numpy() for name in result.obs if name.startswith("bleep")},
        **{name: result.var[name].to_numpy() for name in result.var if name.startswith("bleep")},
        "weights": result.obsm["bleep_weights"].toarray(),
    }


def assert_same(one, other):
    assert set(one) == set(other)
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


def strings_in(file):
    """Every string in an HDF5 file: names, attributes and values."""
    found = []

    def visit(name, item):
        found.extend([name, *map(str, item.attrs.values())])
        if isinstance(item, h5py.Dataset) and h5py.check_string_dtype(item.dtype):
            found.extend(np.ravel(item.asstr()[()]).tolist())

    with h5py.File(file) as opened:
        opened.visititems(visit)
    return "\n".join(found)


def edited(ref, **fields):
    """The reference, with other entries in the description of its model."""
    ref.uns["bleep"].pop("checksum", None)
    for name, change in fields.items():
        ref.uns["bleep"][name] = json.dumps({**json.loads(ref.uns["bleep"][name]), **change})
    return ref


def test_predictions_are_the_same(fitted, query, tmp_path):
    expected = imputed(query, fitted, interval=0.9)
    assert {"bleep", "bleep_lower", "bleep_confidence", "bleep_typicality", "bleep_predictability"} <= set(expected)
    assert_same(imputed(query, shared(fitted, tmp_path), interval=0.9), expected)


def test_other_tools_take_it(fitted, query, tmp_path):
    ref = shared(fitted, tmp_path)
    bs.tl.impute(query, ref=ref)
    bs.tl.restore_variance(query, ref)
    bs.tl.joint_umap(query, ref)
    assert set(query.uns["bleep_umap"]["reference_library"]) == {"reference_1", "reference_2"}
    image = query.uns["spatial"]["slice3"]["images"]["hires"]
    tiles = bs.pp.tile_slide(image, ref=ref, mpp=1.0)
    bs.tl.impute(tiles, ref=ref)
    assert tiles.obsm["patches"].shape[1] == 56
    bs.tl.embed(query, ref, expression=True)
    bs.tl.load_model(tmp_path / "shared")


def test_nothing_tells_slides_and_spots(fitted, tmp_path):
    fitted.obs["biobank"] = "P-0815"
    fitted.obs_names = [f"BARCODE{i}-1" for i in range(fitted.n_obs)]
    fitted.var["source_file"] = "/clinic/Maier.h5"
    fitted.var["gene_name"] = pd.Categorical(fitted.var_names, categories=[*fitted.var_names, "Weber"])
    fitted.var.index.name = "Krause"
    fitted.uns["patches"]["slice1"]["image"] = "/clinic/Miller.svs"
    (made,) = json.loads(fitted.uns["bleep"]["recipe"])["features"]
    edited(fitted, recipe={"features": [{**made, "scanned_by": "Dr Huber"}]})
    fitted.write_h5ad(tmp_path / "whole.h5ad")
    secrets = (
        "slice1",
        "slice2",
        "BARCODE",
        "P-0815",
        "biobank",
        "Miller",
        "Huber",
        "source_file",
        "Maier",
        "Weber",
        "Krause",
        "tissue_hires_scalef",
        "zonation",
        "array_row",
    )
    whole = strings_in(tmp_path / "whole.h5ad")
    assert [secret for secret in secrets if secret not in whole] == []  # the search finds what is there
    ref = shared(fitted, tmp_path)
    files = {path.name: path for path in (tmp_path / "shared").iterdir()}
    assert set(files) == {"README.md", "model.json", "model.safetensors", "reference.h5ad"}
    written = [strings_in(files["reference.h5ad"]), files["README.md"].read_text(), files["model.json"].read_text()]
    written.append(files["model.safetensors"].read_bytes().decode("latin-1"))
    for secret in secrets:
        assert not any(secret in text for text in written), secret
    assert set(ref.obs) == {"library_id", "bleep_checksum"}
    assert set(ref.obsm) == {"X_bleep_image", "X_bleep_expression", "bleep_held_out"}
    assert set(ref.uns) == {"bleep", "log1p"}
    assert set(ref.layers) - {None} == set()
    assert ref.obs_names[[0, -1]].tolist() == [
        "reference_1_1",
        f"reference_2_{(fitted.obs['library_id'] == 'slice2').sum()}",
    ]


def test_identifiers_of_genes_stay(fitted, query, tmp_path):
    fitted.var["gene_ids"] = [f"ENSG{i:011d}" for i in range(fitted.n_vars)]
    fitted.var["mean_counts"], fitted.var["symbol"] = 1.0, fitted.var_names
    query.var_names = fitted.var["gene_ids"]
    ref = shared(fitted, tmp_path)
    assert "mean_counts" not in ref.var
    assert_same(imputed(query, ref, gene_key="gene_ids"), imputed(query, fitted, gene_key="gene_ids"))
    assert "symbol" not in ref.var
    bs.tl.share_reference(fitted, tmp_path / "more", gene_columns=["symbol"])
    assert bs.tl.load_reference(tmp_path / "more").var["symbol"].tolist() == fitted.var["symbol"].tolist()
    with pytest.raises(KeyError, match=r"gene_columns='none' are no columns of var"):
        bs.tl.share_reference(fitted, tmp_path / "none", gene_columns=["none"])


def test_what_the_model_was_fitted_on_is_kept(reference, query, tmp_path):
    reference.layers["logs"] = reference.X.copy()
    reference.X = reference.layers["counts"].copy()
    bs.tl.fit(reference, use_rep="X_stain_stats", layer="logs", config=QUICK, show_progress_bar=False)
    ref = shared(reference, tmp_path)
    assert set(ref.layers) - {None} == {"logs"}
    assert_same(imputed(query, ref, interval=0.8), imputed(query, reference, interval=0.8))
    reference.X = reference.layers["logs"].copy()
    panel = reference.var_names[reference.var["highly_variable"]]
    reference.obsm["X_mine"] = reference[:, panel].X.toarray() + 1
    reference.uns["X_mine"] = {"var_names": panel.to_numpy(dtype=str), "params": "of patient P-0815"}
    bs.tl.fit(reference, use_rep="X_stain_stats", target_rep="X_mine", config=QUICK, show_progress_bar=False)
    bs.tl.share_reference(reference, tmp_path / "shared", overwrite=True)
    ref = bs.tl.load_reference(tmp_path / "shared")
    for how in ({}, {"target_rep": "X_mine", "interval": 0.8}):
        assert_same(imputed(query, ref, **how), imputed(query, reference, **how))
    assert set(ref.uns["X_mine"]) == {"var_names"}


def test_stains_of_the_reference_are_still_a_target(reference, query, tmp_path):
    bs.pp.normalize_stains(reference)
    how = {"patches_key": "patches_normalized", "key_added": "X_even", "show_progress_bar": False}
    bs.pp.image_features(reference, "stain_stats", **how)
    bs.tl.fit(reference, use_rep="X_even", config=QUICK, show_progress_bar=False)
    ref = shared(reference, tmp_path)
    expected = bs.pp.normalize_stains(query, ref=reference, copy=True)
    bs.pp.normalize_stains(query, ref=ref)
    np.testing.assert_array_equal(query.obsm["patches_normalized"], expected.obsm["patches_normalized"])
    bs.tl.impute(query, ref=ref)


def test_a_trained_encoder_needs_a_licence_that_allows_it(reference, query, tmp_path):
    config = bs.tl.FitConfig(train_encoder=True, cross_fit=False, max_epochs=1)
    encoder = bs.models.load_encoder(Mean(), transform=nn.Identity())
    bs.tl.fit(reference, encoder=encoder, config=config, show_progress_bar=False)
    with pytest.raises(ValueError, match=r"'given as a module'.*Read its terms, and pass encoder_license="):
        bs.tl.share_reference(reference, tmp_path / "shared", encoder=encoder)
    with pytest.raises(ValueError, match=r"encoder_license='CC BY-NC-ND 4.0' allows no derivatives"):
        bs.tl.share_reference(reference, tmp_path / "shared", encoder=encoder, encoder_license="CC BY-NC-ND 4.0")
    assert list(tmp_path.iterdir()) == []
    ref = shared(reference, tmp_path, encoder=encoder, encoder_license="MIT")
    assert_same(imputed(query, ref, encoder=encoder), imputed(query, reference, encoder=encoder))
    card = (tmp_path / "shared" / "README.md").read_text()
    assert "`a module`: MIT, as those who share this reference state" in card
    assert "Its weights were trained further and are in `model.safetensors`" in card
    assert "pass one of the same architecture as `encoder=`" in card


def test_a_trained_encoder_whose_licence_forbids_it_is_refused_at_once(fitted, tmp_path):
    edited(fitted, architecture={"encoder": "hf-hub:MahmoodLab/UNI2-h"})
    with pytest.raises(ValueError, match=r"CC-BY-NC-ND-4.0, gated\) does not let.*Fit with the encoder frozen"):
        bs.tl.share_reference(fitted, tmp_path / "shared", encoder_license="MIT")
    assert list(tmp_path.iterdir()) == []


def test_a_frozen_encoder_with_terms_is_warned_of_and_listed(fitted, tmp_path):
    (made,) = json.loads(fitted.uns["bleep"]["recipe"])["features"]
    edited(fitted, recipe={"features": [{**made, "encoder": "hf-hub:MahmoodLab/UNI"}]})
    with pytest.warns(UserWarning, match="None of the weights of encoder 'hf-hub:MahmoodLab/UNI' are in the files"):
        bs.tl.share_reference(fitted, tmp_path / "shared")
    card = (tmp_path / "shared" / "README.md").read_text()
    assert "- `hf-hub:MahmoodLab/UNI`: CC-BY-NC-ND-4.0, gated. Copies may not be distributed" in card


def test_the_card_says_what_is_inside(fitted, tmp_path):
    bs.tl.share_reference(
        fitted, tmp_path / "shared", title="Liver", organism="human", tissue="liver", license="cc-by-4.0"
    )
    card = (tmp_path / "shared" / "README.md").read_text()
    front = card.split("---\n")[1]
    yaml = pytest.importorskip("yaml")
    facts = yaml.safe_load(front)
    assert facts["license"] == "cc-by-4.0"
    assert facts["library_name"] == "bleep_sc"
    assert "spatial-transcriptomics" in facts["tags"]
    assert "# Liver\n" in card
    n = fitted.n_obs
    assert f"Expression profiles of {n} spots in {fitted.n_vars} genes." in card
    assert "| organism | human |\n| tissue | liver |\n| slides | 2: reference_1 (" in card
    assert "FitConfig() with max_epochs=60" in card
    assert f"bleep_sc {bs.__version__}" in card
    r = fitted.var["bleep_predictability"].dropna()
    best = r.idxmax()
    assert f"| best | {best} ({r[best]:.2f})" in card
    assert f"| Pearson r, median (quartiles) | {r.median():.2f} (" in card
    assert "- `stain_stats`: BSD-3-Clause." in card


def test_one_slide_has_no_scores(toy, tmp_path):
    one = toy[toy.obs["library_id"] == "slice1"].copy()
    bs.tl.fit(one, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)
    bs.tl.share_reference(one, tmp_path / "shared")
    card = (tmp_path / "shared" / "README.md").read_text()
    assert "No slide was held out when it was fitted: how well it predicts is not known." in card
    assert "None is stated: ask those who share it" in card
    assert "license" not in card.split("---\n")[1]


def test_slides_of_others_that_the_model_was_fitted_on_are_renamed_too(fitted, query, tmp_path):
    bs.tl.embed(query, fitted, expression=True)
    ref = shared(query, tmp_path)
    assert list(bs.tl.load_model(ref).description.slides) == ["reference_2", "reference_3"]
    assert set(ref.obs["library_id"]) == {"reference_1"}


def test_what_cannot_be_shared_is_said(fitted, query, tmp_path):
    folder = tmp_path / "shared"
    bs.tl.fit_ridge(fitted, use_rep="X_stain_stats")
    with pytest.raises(ValueError, match=r"is a ridge model.*bleep_sc.tl.save_model\("):
        bs.tl.share_reference(fitted, folder, key="ridge")
    with pytest.raises(KeyError, match=r"Run bleep_sc.tl.fit\(adata_ref\) first"):
        bs.tl.share_reference(query, folder)
    bs.tl.impute(query, ref=fitted)
    bs.tl.embed(query, fitted, expression=True, layer="bleep")
    with pytest.raises(ValueError, match=r"\(layers\['bleep'\]\) is a prediction. Share the measured reference"):
        bs.tl.share_reference(query, folder)
    assert list(tmp_path.iterdir()) == []
    folder.mkdir()
    (folder / "thesis.docx").touch()
    with pytest.raises(FileExistsError, match="is no saved model, and would be lost"):
        bs.tl.share_reference(fitted, folder, overwrite=True)
    assert [path.name for path in folder.iterdir()] == ["thesis.docx"]


def test_a_reference_on_disk_is_loaded_first(fitted, tmp_path):
    fitted.write_h5ad(tmp_path / "whole.h5ad")
    backed = read_h5ad(tmp_path / "whole.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"adata = adata.to_memory\(\)"):
        bs.tl.share_reference(backed, tmp_path / "shared")
    backed.file.close()
    assert not (tmp_path / "shared").exists()


def test_incomplete_and_newer_folders_are_said(fitted, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"reference.h5ad, .*README.md not found.*snapshot_download"):
        bs.tl.load_reference(tmp_path)
    bs.tl.share_reference(fitted, tmp_path / "shared")
    file = tmp_path / "shared" / "model.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": "9.0", "mood": "good"}))
    with pytest.raises(ValueError, match=r"was written by bleep_sc 9.0, .*: mood. Update bleep_sc"):
        bs.tl.load_reference(tmp_path / "shared")


def test_the_reference_itself_is_as_it_was(fitted, tmp_path):
    before = fitted.copy()
    bs.tl.share_reference(fitted, tmp_path / "shared")
    assert_equal(fitted, before)
