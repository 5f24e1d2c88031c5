"""The workflow of a cohort, by Snakemake on this machine: killed and gone on with, a slide broken, a slide added."""

import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
import yaml

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # what spatialdata, dask and zarr say of each other
    pytest.mark.skipif(
        find_spec("snakemake") is None, reason="Snakemake is not installed: pip install '.[test-workflow]'"
    ),
]
WORKFLOW = Path(__file__).parents[1] / "workflow"
OPTIONS = {
    "prepare": "--n-top-genes 40 --min-spots 3",
    "features": "",
    "fit": "--set max_epochs=3 --set views=scaled",
    "impute": "--spacing 300",
}
SLIDES = {"a": "A1", "b": "B1", "c": "C1"}


def project(folder, data):
    """A folder as a user has it: two slides with expression, of two donors, and three to predict."""
    folder.mkdir()
    (folder / "reference.csv").write_text(f"folder,donor\n{data}/A1,P1\n{data}/B1,P2\n")
    lines = [f"{data}/{scan}/scan.tif,{name},1.25,P{name}" for name, scan in SLIDES.items()]
    (folder / "slides.csv").write_text("\n".join(["slide,name,mpp,patient", *lines, ""]))
    config = yaml.safe_load((WORKFLOW / "config.yaml").read_text())
    config |= {"encoder": "stain_stats", "options": OPTIONS, "gpus": 0}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def command(*arguments):
    snakefile, profile = WORKFLOW / "Snakefile", WORKFLOW / "profiles" / "local"
    options = ["--snakefile", snakefile, "--profile", profile, "--cores", 1, *arguments]
    return [sys.executable, "-m", "snakemake", *map(str, options)]


def environment():
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def snakemake(folder, *arguments):
    """Run the workflow in a folder; how it ended, and what it said."""
    done = subprocess.run(command(*arguments), cwd=folder, env=environment(), capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def kill(folder, when):
    """Start the workflow, and kill it with all that it has started as soon as a file of a pattern is there."""
    with subprocess.Popen(
        command(),
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        while not any(folder.glob(when)):
            assert process.poll() is None, f"ended before {when}"
            time.sleep(0.05)
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def times(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def data(_visium_slides, tmp_path_factory):
    """Three slides, with every fourth row of spots under the tissue; the second scan is no image yet."""
    folder = tmp_path_factory.mktemp("workflow") / "data"
    shutil.copytree(_visium_slides, folder)
    for name in SLIDES.values():
        path = folder / name / "outs" / "spatial" / "tissue_positions.csv"
        table = pd.read_csv(path)
        table["in_tissue"] = table["in_tissue"].where(table["array_row"] % 4 == 0, 0)
        table.to_csv(path, index=False)
    return folder


@pytest.fixture(scope="module")
def undisturbed(data):
    """The results where nothing went wrong, and what had been said of a slide that was broken at first."""
    folder = project(data.parent / "undisturbed", data)
    scan, whole = data / "C1" / "scan.tif", data / "C1" / "whole.tif"
    scan.rename(whole)
    scan.write_bytes(whole.read_bytes()[:1000])
    broken = snakemake(folder)
    index = (folder / "results" / "predicted" / "index.html").read_text()
    before = times(folder / "results")
    whole.replace(scan)
    mended = snakemake(folder)
    return folder / "results", broken, index, before, mended


def test_a_broken_slide_fails_alone_and_is_done_when_it_is_mended(undisturbed):
    results, (code, said), index, before, (mended, said_then) = undisturbed
    assert code == 1
    assert "c failed: " in said  # the log of the job
    assert "2 slides" in index
    assert "<h2>Not done</h2>\n<p>c</p>" in index
    assert not any(path.name == "c.html" for path in before)
    assert mended == 0, said_then
    after = times(results)
    assert {path.name for path in before if after.get(path) != before[path]} == {"index.html", "c.log"}
    index = (results / "predicted" / "index.html").read_text()
    assert "3 slides" in index
    assert "Not done" not in index


def test_killed_twice_it_ends_with_the_same(undisturbed, data):
    folder = project(data.parent / "killed", data)
    results = folder / "results"
    kill(folder, "results/logs/features.log")
    prepared = (results / "reference" / "prepared.h5ad").stat().st_mtime_ns
    code, said = snakemake(folder)
    assert code == 1
    assert "--unlock" in said
    assert snakemake(folder, "--unlock")[0] == 0
    kill(folder, "results/predicted/*.zarr/zarr.json")
    assert len(list((results / "predicted").glob("*.html"))) < 3
    fitted = (results / "reference" / "fitted.h5ad").stat().st_mtime_ns
    assert snakemake(folder, "--unlock")[0] == 0
    code, said = snakemake(folder)
    assert code == 0, said
    assert (results / "reference" / "prepared.h5ad").stat().st_mtime_ns == prepared
    assert (results / "reference" / "fitted.h5ad").stat().st_mtime_ns == fitted
    alone = undisturbed[0]
    left = {path.relative_to(alone) for path in alone.rglob("*") if "zarr" not in str(path)}
    assert {path.relative_to(results) for path in results.rglob("*") if "zarr" not in str(path)} == left
    references = [ad.read_h5ad(each / "reference" / "fitted.h5ad") for each in (alone, results)]
    np.testing.assert_array_equal(*(each.obsm["X_bleep_image"] for each in references))
    for name in SLIDES:
        tables = [sd.read_zarr(each / "predicted" / f"{name}.zarr").tables["table"] for each in (alone, results)]
        assert tables[0].n_obs > 10
        np.testing.assert_array_equal(*(table.X for table in tables))
        assert (tables[1].obs["patient"] == f"P{name}").all()


def test_a_slide_that_is_added_is_done_alone(undisturbed, data):
    """Its line is its own: that of another does not make it anew."""
    folder = undisturbed[0].parent
    with (folder / "slides.csv").open("a") as sheet:
        sheet.write(f"{data}/A1/scan.tif,d,1.25,P1\n")
    code, said = snakemake(folder, "--dry-run")
    assert code == 0, said
    rules = [line.split()[1].rstrip(":") for line in said.splitlines() if line.startswith(("rule ", "localrule "))]
    assert sorted(rules) == ["all", "impute", "index"]


def test_what_is_wrong_is_said_before_a_job_starts(data, tmp_path):
    folder = project(tmp_path / "wrong", data)
    (folder / "slides.csv").write_text("slide,mpp\nnowhere.svs,0.5\n")
    code, said = snakemake(folder, "--dry-run")
    assert code == 1
    assert "nowhere.svs', where there is no file (line 2)" in said
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(f"{config}encodr: resnet18\n")
    code, said = snakemake(folder, "--dry-run")
    assert code == 1
    assert "'encodr' was unexpected" in said


def test_it_is_clean(data, tmp_path):
    done = subprocess.run(
        command("--lint"), cwd=project(tmp_path / "lint", data), env=environment(), capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
