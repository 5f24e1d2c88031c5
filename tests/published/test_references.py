"""References that are published, served on this machine, in Python and on the command line."""

import hashlib
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import anndata as ad
import numpy as np
import pooch
import psutil
import pytest
from click.testing import CliRunner
from PIL import Image

import bleep_sc as bs
from bleep_sc import cli
from bleep_sc.tl import _load_reference

NAME = "toy-liver"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def published(_fitted, tmp_path_factory):
    """A folder with an index and a reference."""
    root = tmp_path_factory.mktemp("published")
    bs.tl.share_reference(_fitted, root / NAME, tissue="generated")
    files = {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in (root / NAME).iterdir()}
    entry = {"name": NAME, "title": "Toy liver", "organism": "none", "organ": "liver", "technology": "generated"}
    entry |= {"encoder": "stain_stats", "encoder_license": "BSD-3-Clause", "slides": 2, "donors": 2, "spots": 457}
    entry |= {"genes": 60, "held_out": "slides", "scores": {"hvg": 0.5, "hvg_ridge": 0.4}, "license": "cc0-1.0"}
    entry |= {"citation": "nobody", "address": NAME, "files": files, "n_bytes": 100_000, "of_later_versions": 1}
    (root / "index.json").write_text(json.dumps({"format": 1, "references": [entry]}))
    return root


@pytest.fixture
def served(published, tmp_path, monkeypatch):
    """The same over HTTP, with an empty cache; ``stop`` ends it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(published)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("BLEEP_SC_REFERENCES", f"http://127.0.0.1:{server.server_address[1]}/")
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")

    def stop():
        server.shutdown()
        server.server_close()

    yield stop
    stop()


def test_a_published_reference_predicts_as_the_one_it_was_made_of(served, query, fitted, tmp_path):
    table = bs.datasets.references()
    assert table.loc[NAME, ["organ", "donors", "r_hvg", "r_hvg_ridge", "mb"]].tolist() == ["liver", 2, 0.5, 0.4, 0.1]
    assert "files" not in table
    ref = bs.tl.load_reference(NAME)
    expected = bs.tl.impute(query, ref=fitted, copy=True).layers["bleep"]
    np.testing.assert_array_equal(bs.tl.impute(query, ref=ref, copy=True).layers["bleep"], expected)
    served()  # what was fetched is kept, and so is the index
    assert bs.tl.load_reference(NAME).shape == ref.shape
    assert bs.datasets.references().equals(table)
    lazy = bs.tl.load_reference(NAME, lazy=True)
    assert not isinstance(lazy.obsm["X_bleep_expression"], np.ndarray)
    assert bs.tl.load_model(lazy).description == bs.tl.load_model(ref).description
    bs.tl.impute(query, ref=lazy)
    np.testing.assert_allclose(query.layers["bleep"], expected, atol=1e-4)


def test_a_reference_bigger_than_memory_stays_on_disk(published, monkeypatch):
    few = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: few)
    assert not isinstance(bs.tl.load_reference(published / NAME).obsm["X_bleep_expression"], np.ndarray)
    monkeypatch.undo()
    assert isinstance(bs.tl.load_reference(published / NAME).obsm["X_bleep_expression"], np.ndarray)


def test_what_is_not_there_is_said(served):
    with pytest.raises(ValueError, match=r"'toy-livers' is neither here nor in the index of .*'toy-liver'"):
        bs.tl.load_reference("toy-livers")
    served()
    with pytest.raises(OSError, match=r"could not be downloaded .*bleep_sc.tl.load_reference\(folder\)"):
        bs.tl.load_reference(NAME)


def test_without_a_network_it_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
    for address, error, said in (
        ("http://127.0.0.1:9", OSError, r"The index of references, http://127.0.0.1:9/index.json, could not be read"),
        ("/home/me", ValueError, r"BLEEP_SC_REFERENCES='/home/me' must be an address"),
    ):
        monkeypatch.setenv("BLEEP_SC_REFERENCES", address)
        with pytest.raises(error, match=rf"{said}.*bleep_sc.tl.load_reference\(folder\)"):
            bs.tl.load_reference(NAME)


def test_a_changed_file_is_refused(served, published):
    card = published / NAME / "README.md"
    before = card.read_bytes()
    try:
        card.write_bytes(before + b"\n")
        with pytest.raises(ValueError, match="does not match the known hash"):
            bs.tl.load_reference(NAME)
    finally:
        card.write_bytes(before)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"files": {"../../evil": "0"}}, "has files"),
        ({"name": "../evil"}, "is no name of a reference"),
        ({"slides": "two"}, "slides holds str"),
    ],
)
def test_an_index_that_cannot_be_is_refused(served, published, changes, said):
    index = published / "index.json"
    before = index.read_text()
    try:
        content = json.loads(before)
        content["references"][0] |= changes
        index.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=f"is damaged: .*{said}"):
            bs.datasets.references()
        index.write_text(json.dumps({"format": 2}))
        with pytest.raises(ValueError, match=r"is an index of format 2, .*Update bleep_sc"):
            bs.datasets.references()
    finally:
        index.write_text(before)


def run(*arguments):
    return CliRunner().invoke(cli.main, list(map(str, arguments)))


@pytest.fixture
def references(published, fitted, tmp_path):
    """The same reference in all ways that ``--ref`` takes."""
    del fitted.obsm["patches"]
    fitted.write_h5ad(tmp_path / "ref.h5ad")
    return {"file": tmp_path / "ref.h5ad", "folder": published / NAME, "name": NAME}


@pytest.mark.filterwarnings("ignore")  # what spatialdata, dask and zarr say of each other
@pytest.mark.parametrize("large", [False, True])
def test_a_slide_is_predicted_alike_from_a_file_a_folder_and_a_name(
    served, references, query, tmp_path, monkeypatch, large
):
    import spatialdata as sd

    monkeypatch.setattr(_load_reference, "_is_large", lambda file: large)
    part = np.ascontiguousarray(query.uns["spatial"]["slice3"]["images"]["hires"][400:1000, 400:1000])
    Image.fromarray(part).save(tmp_path / "new.png", compress_level=1)
    (tmp_path / "sheet.csv").write_text("slide,mpp\nnew.png,1\n")
    slide, sheet = (tmp_path / "new.png", "--mpp", 1), ("--sheet", tmp_path / "sheet.csv")
    said = {}
    for how, given, out, store in (
        ("file", slide, "file.zarr", "file.zarr"),
        ("folder", slide, "folder.zarr", "folder.zarr"),
        ("name", slide, "name.zarr", "name.zarr"),
        ("name", sheet, "sheet", "sheet/new.zarr"),
    ):
        ref = references[how]
        result = run("impute", *given, "--ref", ref, "--spacing", 100, "--genes", "CYP3A4", "--out", tmp_path / out)
        assert result.exit_code == 0, result.output
        said[store] = sd.read_zarr(tmp_path / store).tables["table"].X
    file, *others = said.values()
    assert len(file) > 4
    for other in others:
        np.testing.assert_allclose(other, file, atol=1e-4)


def test_every_command_takes_a_file_a_folder_and_a_name(served, references, query, fitted, tmp_path):
    bs.tl.impute(query, ref=fitted)
    query.write_h5ad(tmp_path / "query.h5ad")
    Image.fromarray(query.uns["spatial"]["slice3"]["images"]["hires"]).save(tmp_path / "new.png", compress_level=1)
    for how, ref in references.items():
        for command, slide, out in (
            ("tile", "new.png --mpp 1 --spacing 300", f"{how}.h5ad"),
            ("embed", "query.h5ad", how),
            ("page", "query.h5ad", f"{how}.html"),
        ):
            name, *options = slide.split()
            result = run(command, tmp_path / name, *options, "--ref", ref, "--out", tmp_path / out)
            assert result.exit_code == 0, result.output
        assert ad.read_h5ad(tmp_path / f"{how}.h5ad").uns["patches"]
        embedded = ad.read_h5ad(tmp_path / how / "query.h5ad").obsm["X_bleep_image"]
        np.testing.assert_allclose(embedded, bs.tl.embed(query, fitted, copy=True).obsm["X_bleep_image"], atol=1e-5)
        result = run("check", ref)
        assert result.exit_code == (how == "file"), result.output
        assert ("is no shared reference" if how == "file" else "scores: ") in result.output


def test_on_the_command_line_a_name_that_is_unknown_is_told_from_a_file_that_is_missing(served, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "new.png")
    call = ["impute", tmp_path / "new.png", "--out", tmp_path / "out.zarr", "--ref"]
    result = run(*call, "toy-livers")
    assert result.exit_code == 1
    assert "'toy-livers' is neither here nor in the index of" in result.output
    assert f"(it has: '{NAME}'). Did you mean '{NAME}'?" in " ".join(result.output.split())
    result = run(*call, "toy-liver.h5ad")
    assert result.exit_code == 2
    assert "'toy-liver.h5ad' does not exist" in result.output
    result = run(*call, tmp_path)
    assert result.exit_code == 1
    assert "is no shared reference: reference.h5ad" in result.output
    assert "bleep-sc share writes one" in result.output
    served()
    result = run(*call, "toy-livers")  # with what the index said before
    assert f"(it has: '{NAME}')" in result.output


def test_without_a_network_it_is_said_that_a_name_was_meant(monkeypatch, tmp_path):
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
    result = run("check", "liver")
    assert result.exit_code == 1
    assert "could not be read" in result.output
    assert "--ref FOLDER" in result.output
    assert "Nothing is called 'liver' here" in result.output


def test_what_a_shared_folder_holds_is_not_replaced(published, query, tmp_path):
    query.write_h5ad(tmp_path / "reference.h5ad")
    folder = published / NAME
    result = run("embed", tmp_path / "reference.h5ad", "--ref", folder, "--out", folder, "--overwrite")
    assert result.exit_code == 2
    assert "would replace" in result.output
    assert "which is read" in result.output
