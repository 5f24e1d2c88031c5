import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

from bleep_sc.training.processes.group import ALONE, Processes, joined, launched

PARITY = """
import os, sys, traceback
import numpy as np, torch
import torch.distributed as dist
from torch import nn
from bleep_sc.models.bleep import BLEEP
from bleep_sc.models.encoders import load_encoder
from bleep_sc.models.losses import bleep_loss
from bleep_sc.training import checkpoint
from bleep_sc.training.config import FitConfig
from bleep_sc.training.processes.group import joined
from bleep_sc.training.pairs import Pairs
from bleep_sc.training.fit import fit_bleep

torch.set_num_threads(1)
torch.optim.AdamW([torch.zeros(1, requires_grad=True)]).step()  # imports what children need
folder = sys.argv[1]
checkpoint.MAX_SHARE = np.inf  # a checkpoint after every epoch
rng = np.random.default_rng(0)
features, expression = rng.normal(size=(43, 6)).astype("f4"), rng.normal(size=(43, 9)).astype("f4")
patches = rng.integers(0, 255, (43, 6, 6, 3), dtype=np.uint8)
slides = np.repeat(["a", "b"], [20, 23])
config = FitConfig(max_epochs=3, n_dims=8, views=("scaled",) * 2, n_components=4, batch_size=17, dropout=0)


def flat(model):
    return np.concatenate([tensor.flatten().numpy() for tensor in model.state_dict().values()])


def one_step(processes):
    "Loss and gradients of a batch of 17, in float64."
    torch.manual_seed(0)
    model = BLEEP(6, 9, n_dims=8, dropout=0).double()
    x, y = (torch.from_numpy(each[:17]).double() for each in (features, expression))
    mine = processes.share(17)
    image, other = (processes.gather(share, 17) for share in model(x[mine], y[mine]))
    loss = bleep_loss(image, other, 2.0)
    loss.backward()
    processes.sum_gradients(model.parameters())
    return np.concatenate([[loss.item()], *(each.grad.flatten().numpy() for each in model.parameters())])


def stop(epoch, loss):
    if epoch == 2:
        raise KeyboardInterrupt
    return False


def work(rank, n):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(n)}
    with joined("cpu") as processes:
        assert (processes.rank, processes.n) == (rank, n)
        step = one_step(processes)
        model, loss = fit_bleep(Pairs(features, expression), slides, config=config, show_progress_bar=False)
        torch.manual_seed(3)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        encoder = load_encoder(network, transform=nn.Identity())
        how = dict(config=FitConfig(**{**vars(config), "train_encoder": True, "stain_jitter": 0.2}), encoder=encoder)
        trained, _ = fit_bleep(Pairs(patches, expression), slides, **how, show_progress_bar=False)
        dropping = FitConfig(**{**vars(config), "dropout": 0.5})
        dropped, _ = fit_bleep(Pairs(features, expression), slides, config=dropping, show_progress_bar=False)
        how = dict(config=dropping, checkpoint_dir=f"{folder}/state{n}", show_progress_bar=False)
        try:
            fit_bleep(Pairs(features, expression), slides, on_epoch_end=stop, **how)
        except KeyboardInterrupt:
            resumed, _ = fit_bleep(Pairs(features, expression), slides, **how)
        broken = expression + (rank == n - 1)
        said = ""
        try:
            fit_bleep(Pairs(features, broken), slides, config=config, show_progress_bar=False)
        except ValueError as error:
            said = str(error)
    assert not dist.is_initialized()
    np.savez(
        f"{folder}/{n}-{rank}.npz", step=step, weights=flat(model), loss=loss, trained=flat(trained), refused=said,
        dropped=flat(dropped), resumed=flat(resumed),
    )


for n in (1, 2, 3):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[1 + n]}
    children = []
    for rank in range(n):
        pid = os.fork()  # torch is imported once, for all of them
        if not pid:
            try:
                work(rank, n)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * n
"""


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [str(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What every process of one, two and three found: {(n, rank): arrays}."""
    folder = tmp_path_factory.mktemp("parity")
    done = subprocess.run(
        [sys.executable, "-c", PARITY, str(folder), *free_ports(3)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return {(n, rank): dict(np.load(folder / f"{n}-{rank}.npz")) for n in (1, 2, 3) for rank in range(n)}


EVERY = [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]


@pytest.mark.parametrize("process", EVERY)
def test_loss_and_gradients_are_those_of_one_process(runs, process):
    np.testing.assert_allclose(runs[process]["step"], runs[1, 0]["step"], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("process", EVERY)
def test_trained_weights_are_those_of_one_process(runs, process):
    for name in ("weights", "trained", "loss"):
        np.testing.assert_allclose(runs[process][name], runs[1, 0][name], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("n", [2, 3])
def test_every_process_ends_with_the_same_weights(runs, n):
    for name in ("weights", "trained", "dropped"):
        for rank in range(1, n):
            np.testing.assert_array_equal(runs[n, rank][name], runs[n, 0][name])


def test_dropout_is_drawn_anew_in_every_process(runs):
    assert not np.allclose(runs[2, 0]["dropped"], runs[3, 0]["dropped"])


@pytest.mark.parametrize("process", [(1, 0), *EVERY])
def test_a_run_that_was_interrupted_goes_on_in_every_process(runs, process):
    np.testing.assert_array_equal(runs[process]["resumed"], runs[process]["dropped"])


@pytest.mark.parametrize("process", EVERY)
def test_processes_that_see_other_data_are_told_so(runs, process):
    said = str(runs[process]["refused"])
    assert re.match(rf"Processes {process[1]} and \d of {process[0]} were given different things", said)
    assert "expression is (43, 9)" in said
    assert "images" not in said


def test_shares_are_in_order_and_differ_by_one_at_most():
    for n, processes in ((17, 3), (3, 3), (2, 3), (256, 8)):
        shares = [np.arange(n)[Processes(rank, processes).share(n)] for rank in range(processes)]
        np.testing.assert_array_equal(np.concatenate(shares), np.arange(n))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_needs_no_group(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with joined("cpu") as processes:
        assert processes == ALONE
    tensor = torch.ones(3, requires_grad=True)
    assert processes.gather(tensor, 3) is tensor
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert launched() is None  # an allocation in which nobody has set up a group
    monkeypatch.setenv("MASTER_ADDR", "node1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert launched() == (1, 4)
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert launched() is None
    assert "RANK" in os.environ


def test_several_processes_do_not_train_on_mps(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ValueError, match="2 processes cannot train together on 'mps'"), joined("mps"):
        pass


def test_a_port_in_use_is_named(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(RuntimeError, match=rf"MASTER_PORT='{port}'.* set MASTER_PORT to another"), joined("cpu"):
            pass
    assert not torch.distributed.is_initialized()
