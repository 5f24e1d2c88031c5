import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from bleep_sc.models.encoders import load_encoder
from bleep_sc.training import checkpoint, fit
from bleep_sc.training.config import FitConfig
from bleep_sc.training.fit import fit_bleep
from bleep_sc.training.pairs import Pairs

CONFIG = FitConfig(max_epochs=6, n_dims=8, views=("scaled",) * 2, n_components=5, batch_size=16)
KILLED = """
import os, random, signal, sys, time
import numpy as np, torch
from bleep_sc.training import checkpoint
from bleep_sc.training.config import FitConfig
from bleep_sc.training.pairs import Pairs
from bleep_sc.training.reference import fit_reference

torch.set_num_threads(1)
torch.optim.AdamW([torch.zeros(1, requires_grad=True)]).step()  # imports what children need
folder, n_kills = sys.argv[1], int(sys.argv[2])
checkpoint.MAX_SHARE = np.inf  # a checkpoint after every epoch
rng = np.random.default_rng(0)
pairs = Pairs(rng.normal(size=(48, 6)).astype("f4"), rng.normal(size=(48, 9)).astype("f4"))
config = FitConfig(max_epochs=12, n_dims=8, views=("scaled",) * 2, n_components=4, batch_size=16, n_neighbors=5)


def fit(name, checkpoint_dir):
    pid = os.fork()  # torch is imported once, for all of them
    if not pid:
        trained = fit_reference(
            pairs, np.repeat(["a", "b"], 24), config=config, checkpoint_dir=checkpoint_dir, show_progress_bar=False
        )
        weights = [tensor.flatten().numpy() for tensor in trained.model.state_dict().values()]
        np.savez(f"{folder}/{name}", *weights, trained.loss, trained.held_out.regressed, trained.held_out.retrieved)
        os._exit(0)
    return pid


started = time.monotonic()
assert os.waitstatus_to_exitcode(os.waitpid(fit("alone", f"{folder}/other"), 0)[1]) == 0
took = time.monotonic() - started
random.seed(0)
killed, left = 0, n_kills
while left:
    pid = fit("resumed", f"{folder}/state")
    time.sleep(random.uniform(0, 1.2 * took / n_kills))
    os.kill(pid, signal.SIGKILL)
    killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    left -= 1
assert os.waitstatus_to_exitcode(os.waitpid(fit("resumed", f"{folder}/state"), 0)[1]) == 0
print(killed)
"""


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    return Pairs(rng.normal(size=(40, 7)).astype(np.float32), rng.normal(size=(40, 9)).astype(np.float32))


def run(pairs, folder, config=CONFIG, groups=None, **how):
    groups = np.repeat(["a", "b"], len(pairs) // 2) if groups is None else groups
    return fit_bleep(pairs, groups, config=config, checkpoint_dir=folder, show_progress_bar=False, **how)


def weights(model):
    return torch.cat([tensor.flatten().float() for tensor in model.state_dict().values()])


class Stopped(Exception):
    pass


def stop_after(n_epochs):
    def on_epoch_end(epoch, loss):
        if epoch > n_epochs:
            raise Stopped  # before this epoch was saved
        return False

    return on_epoch_end


@pytest.fixture(autouse=True)
def _save_every_epoch(monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_SHARE", np.inf)


@pytest.mark.parametrize("n_kills", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_ends_as_one_that_was_left_alone(tmp_path, n_kills):
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(n_kills)]
    killed = int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout)
    assert killed >= n_kills // 2  # the others came too late
    with np.load(tmp_path / "alone.npz") as alone, np.load(tmp_path / "resumed.npz") as resumed:
        assert len(alone.files) == len(resumed.files) > 10
        for name in alone.files:
            np.testing.assert_array_equal(alone[name], resumed[name])


def test_an_interrupted_run_goes_on_where_it_was(pairs, tmp_path):
    alone, loss = run(pairs, None)
    with pytest.raises(Stopped):
        run(pairs, tmp_path, on_epoch_end=stop_after(3))
    seen = []
    resumed, history = run(pairs, tmp_path, on_epoch_end=lambda epoch, _: bool(seen.append(epoch)))
    assert seen == [4, 5, 6]
    assert history == loss
    assert torch.equal(weights(alone), weights(resumed))


def test_a_finished_run_is_not_trained_again(pairs, tmp_path):
    first, loss = run(pairs, tmp_path)
    again, history = run(pairs, tmp_path, on_epoch_end=stop_after(0))
    assert history == loss
    assert torch.equal(weights(first), weights(again))


def test_an_encoder_with_batch_norm_and_tied_weights_goes_on_too(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm, self.second = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)
            self.second.weight = self.first.weight

        def forward(self, images):
            return self.second(self.norm(self.first(images))).mean(dim=(2, 3))

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    pairs = Pairs(rng.integers(0, 255, (24, 6, 6, 3), dtype=np.uint8), rng.normal(size=(24, 5)).astype(np.float32))
    encoder = load_encoder(Tied(), transform=nn.Identity())
    config = replace(CONFIG, train_encoder=True, stain_jitter=0.2)
    alone, _ = run(pairs, None, config, encoder=encoder)
    with pytest.raises(Stopped):
        run(pairs, tmp_path, config, encoder=encoder, on_epoch_end=stop_after(2))
    resumed, _ = run(pairs, tmp_path, config, encoder=encoder)
    assert torch.equal(weights(alone), weights(resumed))
    assert resumed.state_dict()["encoder.network.norm.num_batches_tracked"] == 6


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_convolutions_in_channels_last_go_on_too(tmp_path, precision):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    pairs = Pairs(rng.integers(0, 255, (24, 9, 9, 3), dtype=np.uint8), rng.normal(size=(24, 5)).astype(np.float32))
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    encoder = load_encoder(network, transform=nn.Identity())
    config = replace(CONFIG, train_encoder=True, precision=precision)
    alone, _ = run(pairs, None, config, encoder=encoder)
    with pytest.raises(Stopped):
        run(pairs, tmp_path, config, encoder=encoder, on_epoch_end=stop_after(2))
    resumed, _ = run(pairs, tmp_path, config, encoder=encoder)
    assert torch.equal(weights(alone), weights(resumed))


def test_a_gpu_with_other_numbers_is_refused(tmp_path, monkeypatch):
    pairs = Pairs(np.zeros((24, 4, 4, 3), dtype=np.uint8), np.zeros((24, 5), dtype=np.float32))
    encoder = load_encoder(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), transform=nn.Identity())
    config = replace(CONFIG, train_encoder=True)
    run(pairs, tmp_path, config, encoder=encoder)
    monkeypatch.setattr(fit, "has_bfloat16", lambda device: True)
    with pytest.raises(ValueError, match=r"config\.precision was 'float32' and is 'bfloat16'"):
        run(pairs, tmp_path, config, encoder=encoder)


def test_the_file_stays_as_it_was_while_training_goes_on(pairs, tmp_path, monkeypatch):
    with pytest.raises(Stopped):
        run(pairs, tmp_path, on_epoch_end=stop_after(2))
    (file,) = tmp_path.iterdir()
    before = file.read_bytes()
    monkeypatch.setattr(checkpoint.Checkpoint, "save", lambda *args, **kwargs: None)
    run(pairs, tmp_path)
    assert file.read_bytes() == before


def test_saving_takes_a_small_share_of_the_time(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_SHARE", 1e-9)
    saved = []
    monkeypatch.setattr(checkpoint.Checkpoint, "_write", lambda self, content: saved.append(content))
    run(pairs, tmp_path)
    assert len(saved) == 2  # the first epoch, and always the last
    assert [len(safetensors.torch.load(content)["history"]) for content in saved] == [1, 6]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": replace(CONFIG, temperature=2.0)}, r"config.temperature was 4.0 and is 2.0\. Pass what"),
        ({"random_state": 1}, "random_state was 0 and is 1"),
        ({"groups": np.repeat(["a", "c"], 20)}, "slides was '2 of 40 spots .*' and is '2 of 40 spots"),
        ({"groups": np.repeat(["a", "b"], [10, 30])}, "slides was "),
        ({"units": np.tile(["x", "y"], 20)}, "training: donors was None and is '2 of 40 spots"),
    ],
)
def test_another_training_is_refused_by_name(pairs, tmp_path, change, message):
    run(pairs, tmp_path)
    with pytest.raises(ValueError, match=message):
        run(pairs, tmp_path, **change)


def test_slides_as_what_is_held_out_are_nothing_that_differs(pairs, tmp_path):
    """As of an earlier version, which knew nothing else."""
    run(pairs, tmp_path)
    run(pairs, tmp_path, units=np.repeat(["a", "b"], 20))


def test_other_data_are_refused_by_name(pairs, tmp_path):
    run(pairs, tmp_path)
    images, expression = pairs.images.copy(), pairs.expression.copy()
    images[33, 2] += 1e-3
    expression[39, 8] += 1e-3
    with pytest.raises(ValueError, match=r"training: images was '\(40, 7\) \w+' and is '\(40, 7\) \w+'\. Pass"):
        run(Pairs(images, pairs.expression), tmp_path)
    with pytest.raises(ValueError, match=r"training: expression was '\(40, 9\)"):
        run(Pairs(pairs.images, expression), tmp_path)
    with pytest.raises(ValueError, match=r"images was '\(40, 7\) .*expression was .*slides was"):
        run(Pairs(pairs.images[:38], pairs.expression[:38]), tmp_path)


def test_what_is_no_whole_checkpoint_is_refused(pairs, tmp_path):
    run(pairs, tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:3], b"", b"something else, long enough to be read", b"\x80\x04N."):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"damaged or no checkpoint .*Remove '.*' to start anew"):
            run(pairs, tmp_path)
    for metadata in ({}, {"format": "bleep_sc checkpoint 0", "fingerprint": json.dumps({})}):
        file.write_bytes(safetensors.torch.save({"weight": torch.zeros(2)}, metadata))
        with pytest.raises(ValueError, match="no checkpoint of this version"):
            run(pairs, tmp_path)


def test_a_full_disk_is_named_and_the_last_checkpoint_kept(pairs, tmp_path, monkeypatch):
    with pytest.raises(Stopped):
        run(pairs, tmp_path, on_epoch_end=stop_after(2))
    (file,) = tmp_path.iterdir()
    before = file.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(
        OSError, match=r"The disk is full .*A checkpoint takes 0 MiB.* The last one is kept in "
    ) as error:
        run(pairs, tmp_path)
    assert error.value.errno == 28
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(OSError, match=r"The disk is full.* There is none yet in "):
        run(pairs, tmp_path / "new")
