"""Work that is killed at any moment: what was done is kept where it can be, and nothing half-written is taken for whole.

Training has such a test of its own, in tests/training/test_checkpoint.py.
"""

import json
import re
import subprocess
import sys

import anndata as ad
import numpy as np
import pytest
import zarr
from PIL import Image

import bleep_sc as bs
from bleep_sc._output.disk import DRAFTS

pytestmark = pytest.mark.filterwarnings("ignore")  # what spatialdata, dask and zarr say of each other

SLIDES = ["s0", "s1", "s2"]
KILLED = """
import json, os, random, signal, sys, time, traceback
from pathlib import Path

import anndata as ad, dask.array, torch, zarr.codecs

import bleep_sc as bs
from bleep_sc import cli
from bleep_sc._output.disk import draft_path, read_json
from bleep_sc.cli import _impute
from bleep_sc.pp import _extract_patches
from bleep_sc.slides import _store
from bleep_sc.tl._predictions import layers, record
from bleep_sc.training import features

torch.set_num_threads(1)
files, folder, n_kills, names = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
if "command" in names:
    import matplotlib.pyplot, spatialdata
_store.SHARD, features.BLOCK, record.GENES = 4, 4, 60
record.SPOTS = layers.SPOTS = 4
ref, query = ad.read_h5ad(files / "ref.h5ad"), ad.read_h5ad(files / "query.h5ad")
log = folder / "log"


def noted(function, note):
    "The function, slower, with every call of it noted in a file."

    def slower(*args, **kwargs):
        with log.open("a") as file:
            print(note(*args, **kwargs), file=file)
        time.sleep(0.003)
        return function(*args, **kwargs)

    return slower


_extract_patches.cut = noted(_extract_patches.cut, lambda *args, done, **how: done)
features.encode = noted(features.encode, lambda encoder, patches, **how: len(patches))
_impute.tiles_of = noted(_impute.tiles_of, lambda slide, ref, options: options["library_id"])


def extract(store):
    bs.pp.extract_patches(query, files / "slide.png", size=24, size_um=112, store=store)


def describe(store):
    bs.pp.image_features(query, "stain_stats", store=store, key_added="X_new", show_progress_bar=False)


def predict(store):
    bs.tl.impute(query, ref=ref, store=store)


def command(out):
    arguments = ["--sheet", files / "sheet.csv", "--ref", files / "ref.h5ad", "--out", out, "--genes", "HAL,GLUL"]
    cli.main(["impute", *map(str, arguments), "--mpp", "2", "--spacing", "500"], standalone_mode=False)


DONE = {
    extract: lambda store: (read_json(draft_path(store) / "progress.json") or {"done": 0})["done"],
    describe: lambda store: len(list((draft_path(store) / "done").glob("*"))),
    predict: lambda store: 0,
    command: lambda out: len(list(out.glob("*.zarr"))),
}


def start(work, where):
    pid = os.fork()  # everything is imported once; nothing has used zarr yet, which would not survive it
    if not pid:
        try:
            work(where)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill(work):
    started = time.monotonic()
    assert ended(start(work, folder / work.__name__ / "alone")) == 0
    took = time.monotonic() - started
    random.seed(0)
    path, n_killed, kept = folder / work.__name__ / "killed", 0, [[]]
    for attempt in range(4 * n_kills):
        if n_killed == n_kills:
            break
        pid = start(work, path)
        time.sleep(random.uniform(0, took if work is predict else 0.6 * took))
        os.kill(pid, signal.SIGKILL)
        n_killed += ended(pid) == -signal.SIGKILL
        if path.exists() and (work is not command or DONE[work](path) == 3):  # it came too late: begin again
            path.rename(path.with_name(f"early{attempt}"))
            kept.append([])
        kept[-1].append(DONE[work](path))
    log.write_text("")
    assert ended(start(work, path)) == 0
    return {"killed": n_killed, "kept": kept, "did": log.read_text().splitlines()}


def both(work):
    "Let two processes do it at once, until each has been let do it alone; what they say is below the name of it."
    path = folder / work.__name__ / "both"
    print(f"== {work.__name__}", file=sys.stderr, flush=True)
    codes = [ended(pid) for pid in [start(work, path), start(work, path)]]
    codes.append(ended(start(work, path)) if work is not predict else 0)
    assert ended(start(work, folder / work.__name__ / "alone")) == 0
    return {"codes": codes}


do = kill if n_kills else both
print(json.dumps({work.__name__: do(work) for work in DONE if work.__name__ in names}))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory, _toy):
    """A reference, a query with places, its image, and a sheet of slides."""
    folder = tmp_path_factory.mktemp("files")
    ref = _toy[_toy.obs["library_id"] == "slice1"].copy()
    bs.tl.fit(
        ref, use_rep="X_stain_stats", config=bs.tl.FitConfig(max_epochs=2, views=("scaled",)), show_progress_bar=False
    )
    del ref.obsm["patches"]
    ref.write_h5ad(folder / "ref.h5ad")
    query = _toy[_toy.obs["library_id"] == "slice3"][:160].copy()
    query.write_h5ad(folder / "query.h5ad")
    Image.fromarray(query.uns["spatial"]["slice3"]["images"]["hires"]).save(folder / "slide.png")
    (folder / "sheet.csv").write_text("slide,name\n" + "".join(f"slide.png,{name}\n" for name in SLIDES))
    return folder


def kill(files, folder, n_kills, *names):
    """Where it was done, what had been kept at each kill, and what was left to do, for each of some works."""
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(files), str(folder), str(n_kills), *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    for result in results.values():
        assert result["killed"] == n_kills, results  # the others came too late
    return folder, results


@pytest.fixture(scope="module", params=[3, pytest.param(20, marks=pytest.mark.slow)])
def killed(request, files, tmp_path_factory):
    return kill(files, tmp_path_factory.mktemp("killed"), request.param, "extract", "describe", "predict")


def of(killed, name):
    """The folder of one of them, what was kept when it was last killed, and what was done then."""
    folder, results = killed
    kept = results[name]["kept"]
    assert kept == [sorted(each) for each in kept]
    left = [path for path in (folder / name).rglob("*") if path.suffix in (".part", ".partial") or DRAFTS in path.name]
    assert not left
    return folder / name, kept[-1][-1], max(map(max, filter(None, kept))), results[name]["did"]


def arrays(folder, name=""):
    """The array of the undisturbed run, and those of all others that came to an end."""
    alone, *others = (
        zarr.open_array(folder / run / name, mode="r")[:]
        for run in ["alone", "killed", *(path.name for path in folder.glob("early*"))]
    )
    return alone, others


def test_extraction_goes_on_where_it_was_killed(killed):
    folder, last, most, did = of(killed, "extract")
    assert most > 0 or killed[1]["extract"]["killed"] == 3  # three may all have come before anything was done
    assert did == [str(last)]
    alone, others = arrays(folder, "patches")
    assert len(alone) == 160
    for other in others:
        np.testing.assert_array_equal(other, alone)


def test_features_go_on_where_they_were_killed(files, killed):
    folder, last, most, did = of(killed, "describe")
    assert most > 0 or killed[1]["describe"]["killed"] == 3
    assert did.count("4") == 40 - last
    alone, others = arrays(folder, "features")
    expected = ad.read_h5ad(files / "query.h5ad").obsm["X_stain_stats"]
    assert alone.shape == expected.shape
    for other in others:
        np.testing.assert_array_equal(other, alone)


def test_an_imputation_that_was_killed_leaves_nothing_that_looks_whole(killed):
    folder, *_ = of(killed, "predict")
    alone, others = arrays(folder)
    assert np.isfinite(alone).all()
    for other in others:
        np.testing.assert_array_equal(other, alone)


def both(files, folder, *names):
    """Where it was done, how it ended, and what was said, for each of some works that two processes begin at once."""
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(files), str(folder), "0", *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    said = re.split("^== .*\n", done.stderr, flags=re.MULTILINE)[1:]
    return folder, json.loads(done.stdout.splitlines()[-1]), dict(zip(names, said, strict=True))


@pytest.fixture(scope="module")
def twice(files, tmp_path_factory):
    return both(files, tmp_path_factory.mktemp("twice"), "extract", "describe", "predict")


@pytest.mark.parametrize("name", ["extract", "describe", "predict", pytest.param("command", marks=pytest.mark.slow)])
def test_of_two_processes_one_writes_and_the_other_is_told(request, files, tmp_path, name):
    done = both(files, tmp_path, name) if name == "command" else request.getfixturevalue("twice")
    folder, results, said = done
    first, second, third = results[name]["codes"]
    assert {first, second} <= {0, 1}
    assert name == "command" or 0 in {first, second}  # of several slides each may leave one to the other
    assert third == 0
    if first or second:
        assert re.search("is being written by (another )?process|exists already", said[name])
    if name != "command":
        inside = {"extract": "patches", "describe": "features", "predict": ""}[name]
        alone, other = (zarr.open_array(folder / name / run / inside, mode="r")[:] for run in ("alone", "both"))
        np.testing.assert_array_equal(other, alone)
    assert not [path for path in (folder / name).rglob("*") if path.name.startswith(".bleep_sc")]


@pytest.mark.slow
def test_a_cohort_goes_on_with_the_slides_that_are_not_done(files, tmp_path):
    import spatialdata as sd

    folder, last, most, did = of(kill(files, tmp_path, 20, "command"), "command")
    assert most > 0
    assert did == SLIDES[last:]
    written = {path.name for path in (folder / "alone").iterdir()}
    assert written == {f"{name}{suffix}" for name in SLIDES for suffix in (".zarr", ".html", ".png")}
    for run in [folder / "killed", *folder.glob("early*")]:
        assert {path.name for path in run.iterdir()} == written
        for name in SLIDES:
            alone, other = (sd.read_zarr(path / f"{name}.zarr").tables["table"] for path in (folder / "alone", run))
            np.testing.assert_array_equal(other.X, alone.X)
