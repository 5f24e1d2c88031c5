"""Commands in several processes, as torchrun and srun start them: one result, every slide once, no process alone."""

import json
import subprocess
import sys

import anndata as ad
import numpy as np
import pytest

import bleep_sc as bs

COMMANDS = """
import contextlib, io, json, os, socket, sys
import click, torch
import bleep_sc as bs
from bleep_sc import cli
from bleep_sc.training import features

torch.set_num_threads(1)
torch.optim.AdamW([torch.zeros(1, requires_grad=True)]).step()  # imports what children need
folder = sys.argv[1]
features.BLOCK = 40


def free_port():
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return str(each.getsockname()[1])


def run(name, n, arguments):
    "Run a command in n processes; what each said, and how it ended, goes to a file."
    port, children = free_port(), []
    for rank in range(n):
        pid = os.fork()  # all is imported once
        if not pid:
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            said, code = io.StringIO(), 0
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                try:
                    cli.main([each.format(rank=rank) for each in arguments], standalone_mode=False)
                except click.ClickException as error:
                    error.show()
                    code = error.exit_code
            with open(f"{folder}/{name}{rank}.json", "w") as file:
                json.dump({"said": said.getvalue(), "code": code}, file)
            os._exit(0)
        children.append(pid)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0


for name, arguments in json.loads(sys.argv[2]).items():
    run(name, 2, arguments)
"""
CONFIG = bs.tl.FitConfig(max_epochs=2, views=("scaled",), dropout=0)
SETTINGS = ["--set", "max_epochs=2", "--set", "views=scaled", "--set", "dropout=0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, _toy):
    """The files of a small cohort, and what commands made of them in two processes."""
    folder = tmp_path_factory.mktemp("commands")
    ref, query = (_toy[_toy.obs["library_id"] == name, :50].copy() for name in ("slice1", "slice3"))
    ref.write_h5ad(folder / "data0.h5ad")
    other = ref.copy()
    other.X[0, 0] += 1
    other.write_h5ad(folder / "data1.h5ad")
    bs.tl.fit(ref, use_rep="X_stain_stats", config=CONFIG, show_progress_bar=False)
    ref.write_h5ad(folder / "ref.h5ad")
    for name in ("one", "three"):
        query.write_h5ad(folder / f"{name}.h5ad")
    bad = query.copy()
    del bad.obsm["patches"], bad.obsm["X_stain_stats"], bad.uns["patches"]
    bad.write_h5ad(folder / "bad.h5ad")
    at = {path.name: str(path) for path in folder.glob("*.h5ad")}
    fit = ["fit", at["data0.h5ad"], "--use-rep", "X_stain_stats", *SETTINGS]
    features = ["features", at["one.h5ad"], "--encoder", "stain_stats", "--key-added", "X_new"]
    slides = [at["bad.h5ad"], at["one.h5ad"], at["three.h5ad"]]
    commands = {
        "fit": [*fit, "--out", f"{folder}/fitted.h5ad"],
        "differ": ["fit", f"{folder}/data{{rank}}.h5ad", *fit[2:], "--out", f"{folder}/differ.h5ad"],
        "features": [*features, "--store", f"{folder}/f.zarr", "--out", f"{folder}/features.h5ad"],
        "unstored": [*features, "--out", f"{folder}/unstored.h5ad"],
        "embed": ["embed", *slides, "--ref", at["ref.h5ad"], "--out", f"{folder}/embedded"],
        "single": ["impute", at["one.h5ad"], "--ref", at["ref.h5ad"], "--out", f"{folder}/single.zarr"],
    }
    command = [sys.executable, "-W", "ignore", "-c", COMMANDS, str(folder), json.dumps(commands)]
    subprocess.run(command, check=True, timeout=600)
    return folder


def said(folder, name):
    return [json.loads((folder / f"{name}{rank}.json").read_text()) for rank in range(2)]


def codes(folder, name):
    return [each["code"] for each in said(folder, name)]


def test_processes_train_one_model_and_the_first_writes_it(folder):
    first, second = said(folder, "fit")
    assert (first["code"], second["code"]) == (0, 0)
    assert "Written: " in first["said"]
    assert second["said"] == ""
    alone = ad.read_h5ad(folder / "data0.h5ad")
    bs.tl.fit(alone, use_rep="X_stain_stats", config=CONFIG, show_progress_bar=False)
    together = ad.read_h5ad(folder / "fitted.h5ad")
    np.testing.assert_allclose(
        together.uns["bleep"]["history"]["loss"], alone.uns["bleep"]["history"]["loss"], rtol=1e-5
    )
    np.testing.assert_allclose(together.obsm["X_bleep_image"], alone.obsm["X_bleep_image"], rtol=1e-3, atol=1e-4)


def test_processes_that_see_other_data_are_told_so(folder):
    for rank, each in enumerate(said(folder, "differ")):
        assert each["code"] == 1
        assert f"Processes {rank} and {1 - rank} of 2 were given different things: expression is (" in each["said"]
    assert not (folder / "differ.h5ad").exists()


def test_processes_share_the_features_of_one_file(folder):
    assert codes(folder, "features") == [0, 0]
    adata = ad.read_h5ad(folder / "features.h5ad")
    np.testing.assert_allclose(adata.obsm["X_new"], adata.obsm["X_stain_stats"], rtol=1e-5)
    assert not (folder / "f.zarr.part").exists()
    assert codes(folder, "unstored") == [2, 2]
    assert "2 processes share features out in a store. Pass --store." in said(folder, "unstored")[0]["said"]


def test_every_slide_is_taken_by_one_process_and_one_that_fails_stops_none(folder):
    first, second = (each["said"].splitlines() for each in said(folder, "embed"))
    assert codes(folder, "embed") == [1, 0]
    assert [line for line in first if line.startswith("[")] == ["[1/3] bad.h5ad", "[3/3] three.h5ad"]
    assert first[1].startswith("bad.h5ad failed: obsm['X_stain_stats'] not found")
    assert first[-1] == "Error: 1 of 2 slides failed: bad.h5ad. Call again."
    assert [line for line in second if line.startswith("[")] == ["[2/3] one.h5ad"]
    assert {path.name for path in (folder / "embedded").iterdir()} == {"one.h5ad", "three.h5ad"}
    assert "X_bleep_image" in ad.read_h5ad(folder / "embedded" / "three.h5ad").obsm


def test_one_slide_is_work_for_one_process(folder):
    for each in said(folder, "single"):
        assert each["code"] == 2
        assert "2 processes were started for one slide, which is work for one" in each["said"]
    assert not (folder / "single.zarr").exists()
