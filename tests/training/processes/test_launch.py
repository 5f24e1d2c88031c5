import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from bleep_sc._arrays.sparse_rows import SparseRows
from bleep_sc.models.encoders import load_encoder
from bleep_sc.slides._lazy import ComputedPatches, StoredPatches
from bleep_sc.slides._store import write_store
from bleep_sc.training.config import FitConfig
from bleep_sc.training.pairs import Pairs
from bleep_sc.training.processes import launch
from bleep_sc.training.processes.launch import fit_in_processes
from bleep_sc.training.processes.task import read_result, read_task, write_result, write_task
from bleep_sc.training.reference import fit_reference

CONFIG = FitConfig(
    max_epochs=3, n_dims=8, views=("scaled",) * 2, n_components=4, batch_size=17, dropout=0, n_neighbors=5
)
TWO = [torch.device("cpu")] * 2
SLIDES = np.repeat(["a", "b"], [20, 23])
UNITS = np.repeat(["y", "x"], [20, 23])
"""Their donors, in the other order."""


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    return Pairs(rng.normal(size=(43, 6)).astype(np.float32), rng.normal(size=(43, 9)).astype(np.float32))


@pytest.fixture
def patches():
    return np.random.default_rng(0).integers(0, 255, (43, 6, 6, 3), dtype=np.uint8)


def weights(model):
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()]).numpy()


def is_mapped(array):
    while array is not None and not isinstance(array, mmap.mmap):
        array = getattr(array, "base", None)
    return array is not None


def left_behind(folder):
    """Processes that were started with a path under this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            pass  # it has ended
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_two_processes_give_what_one_gives(pairs, folder):
    config = replace(CONFIG, views=("raw", "aligned"), smoothing_um=75.0)
    centers = np.random.default_rng(0).uniform(0, 1000, (len(pairs), 2))
    how = {"units": UNITS, "centers_um": centers, "config": config, "show_progress_bar": False}
    together = fit_in_processes(pairs, SLIDES, devices=TWO, **how)
    alone = fit_reference(pairs, SLIDES, **how)
    np.testing.assert_allclose(weights(together.model), weights(alone.model), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(together.loss, alone.loss, rtol=1e-5)
    np.testing.assert_array_equal(together.held_out.slides, alone.held_out.slides)
    np.testing.assert_array_equal(together.held_out.units, alone.held_out.units)
    assert set(together.held_out.units) == {"x", "y"}
    np.testing.assert_allclose(together.held_out.regressed, alone.held_out.regressed, atol=1e-2)
    assert together.held_out.smoothing_um == alone.held_out.smoothing_um == 75
    assert together.model.views == ("raw", "aligned")
    assert not together.model.training
    assert not list(folder.glob("bleep_sc-*"))
    assert left_behind(folder) == []


def test_a_process_that_dies_ends_all_with_its_traceback(pairs, folder):
    (folder / "file").write_text("no folder")
    with pytest.raises(
        RuntimeError,
        match=r"(?s)2 processes failed\. Process [01] ended .*(FileExists|NotADirectory)Error: .*file.* Pass a path else",
    ):
        fit_in_processes(
            pairs, SLIDES, devices=TWO, config=CONFIG, checkpoint_dir=folder / "file", show_progress_bar=False
        )
    assert not list(folder.glob("bleep_sc-*"))
    assert left_behind(folder) == []


def interfere(folder, monkeypatch, act):
    """Act once, when the processes are in the middle of training."""
    waiting = [act]

    class Impatient:
        @staticmethod
        def sleep(seconds):
            time.sleep(seconds)
            if waiting and any(folder.glob("*/progress")):
                waiting.pop()()

    monkeypatch.setattr(launch, "time", Impatient)


def train_for_long(pairs):
    config = replace(CONFIG, max_epochs=100_000)
    fit_in_processes(pairs, SLIDES, devices=TWO, config=config, show_progress_bar=False)


@pytest.mark.slow
def test_an_interrupted_call_leaves_no_process_behind(pairs, folder, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    interfere(folder, monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_for_long(pairs)
    assert not list(folder.glob("bleep_sc-*"))
    time.sleep(2)  # for what looks now and then whether anybody waits for it
    assert left_behind(folder) == []


@pytest.mark.slow
def test_a_process_that_is_killed_from_outside_is_named(pairs, folder, monkeypatch):
    def kill_the_second():
        workers = [
            process for process in left_behind(folder) if b"RANK=1\0" in Path(f"/proc/{process}/environ").read_bytes()
        ]
        os.kill(workers[-1], signal.SIGKILL)

    interfere(folder, monkeypatch, kill_the_second)
    with pytest.raises(RuntimeError, match=r"(?s)Training in 2 processes failed.*SIGKILL"):
        train_for_long(pairs)
    assert left_behind(folder) == []


def test_an_encoder_without_a_name_is_refused(pairs, patches, folder):
    encoder = load_encoder(nn.Flatten(), transform=nn.Identity())
    with pytest.raises(ValueError, match=r"cannot build an encoder that was given as a module\. Pass its name"):
        fit_in_processes(Pairs(patches, pairs.expression), SLIDES, devices=TWO, config=CONFIG, encoder=encoder)


@pytest.mark.slow
def test_processes_end_with_the_one_that_waits_for_them(folder):
    """Even where that is killed and can tell nobody."""
    script = """
import sys, tempfile, numpy as np, torch
from bleep_sc.training.config import FitConfig
from bleep_sc.training.pairs import Pairs
from bleep_sc.training.processes.launch import fit_in_processes
tempfile.tempdir = sys.argv[1]
rng = np.random.default_rng(0)
pairs = Pairs(rng.normal(size=(40, 6)).astype("f4"), rng.normal(size=(40, 9)).astype("f4"))
config = FitConfig(max_epochs=100_000, n_dims=8, views=("scaled",))
fit_in_processes(pairs, np.full(40, "a"), devices=[torch.device("cpu")] * 2, config=config, show_progress_bar=False)
"""
    waiting = subprocess.Popen([sys.executable, "-c", script, str(folder)])
    while not any(folder.glob("*/progress")):
        assert waiting.poll() is None
        time.sleep(0.1)
    waiting.kill()
    waiting.wait()
    for _ in range(100):
        if not left_behind(folder):
            break
        time.sleep(0.1)
    assert left_behind(folder) == []


def write(folder, pairs, encoder=None, centers_um=None):
    how = {"config": CONFIG, "encoder": encoder, "devices": ["cpu", "cpu"], "random_state": 4, "num_workers": 0}
    write_task(folder, pairs, SLIDES, units=UNITS, centers_um=centers_um, **how)
    return read_task(folder)


def test_a_task_is_read_as_it_was_written(pairs, folder):
    task = write(folder, pairs)
    np.testing.assert_array_equal(task.pairs.images, pairs.images)
    np.testing.assert_array_equal(task.pairs.expression, pairs.expression)
    assert isinstance(task.pairs.images, np.memmap)
    np.testing.assert_array_equal(task.groups, SLIDES)
    np.testing.assert_array_equal(task.units, UNITS)
    assert (task.config, task.encoder, task.devices, task.launcher) == (CONFIG, None, ["cpu", "cpu"], os.getpid())
    assert task.how == {"random_state": 4, "num_workers": 0}
    assert task.centers_um is None


def test_sparse_expression_stays_sparse_on_its_way(pairs, folder):
    values = np.maximum(pairs.expression, 0)
    read = write(folder, Pairs(pairs.images, SparseRows(sparse.csr_matrix(values)))).pairs.expression
    assert isinstance(read, SparseRows)
    assert is_mapped(read.stored.data)
    np.testing.assert_array_equal(read[:], values)


def test_places_travel_with_a_task(pairs, folder):
    centers = np.random.default_rng(0).uniform(0, 1000, (len(pairs), 2))
    np.testing.assert_array_equal(write(folder, pairs, centers_um=centers).centers_um, centers)


def test_patches_reach_other_processes_wherever_they_are(pairs, patches, folder):
    import dask.array as da

    write_store(folder / "store", lambda done: iter([patches]), n=43, size=6, recipe={})
    rows = np.arange(43)[::-1].copy()
    stored = StoredPatches((str(folder / "store"),), np.zeros(43, dtype=np.intp), rows)
    for images in (patches[::-1], ComputedPatches(da.from_array(patches[::-1], chunks=(10, 6, 6, 3))), stored):
        read = write(folder, Pairs(images, pairs.expression)).pairs
        np.testing.assert_array_equal(read.images[:], patches[::-1])
        assert isinstance(read.images, StoredPatches if images is stored else np.memmap)
        image, _ = read.batch(torch.tensor([2, 0]))
        np.testing.assert_array_equal(image.permute(0, 2, 3, 1), patches[::-1][[2, 0]])


def test_an_encoder_is_built_again_with_its_weights(pairs, patches, folder):
    encoder = load_encoder("mobilenet_v3_small", pretrained=False)  # random weights, of which nobody else has the seed
    read = write(folder, Pairs(patches, pairs.expression), encoder).encoder
    assert (read.name, read.fingerprint()) == (encoder.name, encoder.fingerprint())
    encoder.to(memory_format=torch.channels_last)  # as it lies in memory when it has been trained
    read = write(folder, Pairs(patches, pairs.expression), encoder).encoder
    assert read.fingerprint() == encoder.fingerprint()
    encoder.transform = nn.Identity()
    with pytest.raises(ValueError, match=r"The encoder is not 'mobilenet_v3_small' as .*load_encoder builds it"):
        write(folder, Pairs(patches, pairs.expression), encoder)


def test_a_result_is_read_as_it_was_written(pairs, folder):
    trained = fit_reference(pairs, SLIDES, config=CONFIG, show_progress_bar=False)
    write_result(folder, trained)
    read = read_result(folder, pairs, CONFIG, None)
    np.testing.assert_array_equal(weights(read.model), weights(trained.model))
    assert read.loss == trained.loss
    for name, array in vars(trained.held_out).items():
        np.testing.assert_array_equal(getattr(read.held_out, name), array)
