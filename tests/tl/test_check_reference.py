import json

import anndata as ad
import numpy as np
import pytest
from click.testing import CliRunner

import bleep_sc as bs
from bleep_sc.cli import main


@pytest.fixture(scope="module")
def shared_folder(_fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared") / "ref"
    bs.tl.share_reference(_fitted, folder)
    return folder


@pytest.fixture
def changed(shared_folder, tmp_path):
    """Write a copy of the folder whose AnnData was changed, and check it."""

    def check(change):
        folder = tmp_path / "copy"
        folder.mkdir()
        for each in shared_folder.iterdir():
            (folder / each.name).write_bytes(each.read_bytes())
        adata = ad.read_h5ad(folder / "reference.h5ad")
        change(adata, folder)
        adata.write_h5ad(folder / "reference.h5ad")
        return bs.tl.check_reference(folder)

    return check


def verdicts(table):
    return {name: verdict for name, verdict in table["verdict"].items() if verdict != "ok"}


def test_what_wasshared_folder_is_well(shared_folder, fitted):
    table = bs.tl.check_reference(shared_folder)
    assert verdicts(table) == {"donors": "look"}  # which were not told
    assert table.loc["sha256 of README.md", "found"].isalnum()
    assert table.loc["units", "found"] == "logarithms of counts per 10,000"
    assert table.loc["encoder", "found"].startswith("stain_stats: BSD-3-Clause")
    median = fitted.var["bleep_predictability"].median()
    assert f"median predictability {median:.2f} over" in table.loc["scores", "found"]
    assert table.loc["scores", "found"].endswith("which is what the model promises")


def swap(adata, folder):
    adata.obsm["X_bleep_expression"] = adata.obsm["X_bleep_expression"][::-1].copy()


def one_value(adata, folder):
    adata.X.data[3] += 0.5


def better_scores(adata, folder):
    genes = json.loads((folder / "model.json").read_text())["genes"]
    adata.obsm["bleep_held_out"] = adata[:, genes].X.toarray()


def places(adata, folder):
    adata.obsm["spatial"] = np.ones((adata.n_obs, 2))
    adata.obs["biobank"] = "P-0815"


def barcodes(adata, folder):
    adata.obs_names = [f"ACGT{i}-1" for i in range(adata.n_obs)]


def paths(adata, folder):
    adata.uns["bleep"]["from"] = "/home/huber/slides/TCGA-BH-A0BZ.svs"


def counts(adata, folder):
    adata.X.data = np.ceil(adata.X.data) + 1


def more_files(adata, folder):
    (folder / "model.pkl").touch()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (swap, {"spots": "bad", "parts": "bad"}),
        (one_value, {"spots": "bad"}),
        (better_scores, {"scores": "bad"}),
        (places, {"other data": "bad"}),
        (barcodes, {"names": "bad"}),
        (paths, {"text": "look"}),
        (counts, {"units": "bad", "parts": "bad"}),
        (more_files, {"other files": "bad"}),
    ],
)
def test_what_was_changed_is_found(changed, change, found):
    table = changed(change)
    assert found.items() <= verdicts(table).items()
    if change in (places, barcodes, paths, more_files):
        assert verdicts(table) == {"donors": "look"} | found
    if change is paths:
        assert table.loc["text", "found"].count("reference.h5ad: '") == 2
    if change is places:
        assert table.loc["other data", "found"] == "\"obs['biobank']\", \"obsm['spatial']\""


def test_nothing_held_out_and_donors_are_said(reference, tmp_path):
    reference.obs["donor"] = reference.obs["library_id"].astype(str).replace("slice2", "slice1")
    config = bs.tl.FitConfig(max_epochs=1, cross_fit=False)
    bs.tl.fit(reference, use_rep="X_stain_stats", config=config, show_progress_bar=False)
    bs.tl.share_reference(reference, tmp_path / "ref")
    table = bs.tl.check_reference(tmp_path / "ref")
    assert table.loc["donors", "found"].startswith("1, with 2 slides and 457 spots: nothing tells of another")
    assert table.loc["scores", "found"] == "no spots were held out: how well it predicts is not known"


def test_from_the_command_line(fitted, tmp_path, monkeypatch):
    fitted.write_h5ad(tmp_path / "ref.h5ad")
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    share = run(main, ["share", "ref.h5ad", "--out", "shared", "--title", "Liver", "--license", "cc0-1.0"])
    assert share.exit_code == 0, share.output
    card = (tmp_path / "shared" / "README.md").read_text()
    assert "# Liver" in card
    assert 'license: "cc0-1.0"' in card
    assert "ok    names: of slides, spots and donors are numbers" in share.output
    assert run(main, ["share", "ref.h5ad", "--out", "shared"]).exit_code == 1
    (tmp_path / "shared" / "notes.txt").touch()
    check = run(main, ["check", "shared"])
    assert check.exit_code == 1
    assert "bad   other files: 'notes.txt'" in check.output
    assert "Not to be trusted, or not to be sent, as it is: other files." in check.output
