"""What only a GPU shows; run with -m gpu where there is one."""

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from bleep_sc.models import retrieval
from bleep_sc.models.encoders import Normalize, load_encoder
from bleep_sc.training import checkpoint
from bleep_sc.training.config import FitConfig
from bleep_sc.training.fit import fit_bleep
from bleep_sc.training.pairs import Pairs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
SLIDES = np.full(48, "a")


class Stopped(Exception):
    pass


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    brightness = rng.uniform(40, 215, 48)
    images = np.broadcast_to(brightness[:, None, None, None], (48, 32, 32, 3)).astype(np.uint8)
    return Pairs(images, (brightness[:, None] / 100 * rng.normal(size=(1, 9))).astype(np.float32))


def run(pairs, *, precision="auto", device="cuda", **how):
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3),
        nn.AdaptiveAvgPool2d(1),
    ]
    encoder = load_encoder(nn.Sequential(*layers, nn.Flatten()), transform=Normalize((0.5,) * 3, (0.25,) * 3))
    config = FitConfig(
        max_epochs=6, n_dims=16, views=("scaled",), batch_size=24, dropout=0, train_encoder=True, precision=precision
    )
    return fit_bleep(pairs, SLIDES, config=config, encoder=encoder, device=device, show_progress_bar=False, **how)


def test_float32_learns_what_the_cpu_learns(pairs):
    on_cpu, on_gpu = (run(pairs, precision="float32", device=device)[1] for device in ("cpu", "cuda"))
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=0.02)


def test_by_default_it_learns_as_well_with_fewer_bits(pairs):
    full, short = (run(pairs, precision=precision)[1] for precision in ("float32", "auto"))
    np.testing.assert_allclose(short, full, rtol=0.1)


def test_a_run_that_was_interrupted_goes_on_where_it_was(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_SHARE", np.inf)  # a checkpoint after every epoch

    def stop(epoch, loss):
        if epoch > 3:
            raise Stopped
        return False

    _, alone = run(pairs)
    with pytest.raises(Stopped):
        run(pairs, checkpoint_dir=tmp_path, on_epoch_end=stop)
    _, resumed = run(pairs, checkpoint_dir=tmp_path)
    np.testing.assert_allclose(resumed, alone, rtol=1e-3)


def test_a_step_does_not_wait_for_the_gpu(pairs):
    """Copies from pinned memory, symmetries and the optimiser; an epoch waits once, for its loss."""
    waits = []
    mode = torch.cuda.get_sync_debug_mode()

    def watch(epoch, loss):
        torch.cuda.set_sync_debug_mode("warn")
        return False

    try:
        with pytest.warns(UserWarning, match="synchronizing CUDA operation") as caught:
            run(pairs, on_epoch_end=watch)
        waits = [str(each.filename) for each in caught if "synchronizing" in str(each.message)]
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    assert not [
        name for name in waits if name.endswith(("symmetries.py", "fit.py", "losses.py", "on_device.py", "feed.py"))
    ]


def test_what_keeps_keys_on_a_gpu_keeps_those_of_the_cpu():
    rng = np.random.default_rng(0)
    query, keys = (rng.normal(size=(n, 64)).astype(np.float32) for n in (300, 5000))
    for metric in ("cosine", "euclidean"):
        here = retrieval.nearest(query, keys, n_neighbors=50, metric=metric)
        there = retrieval.nearest(torch.from_numpy(query).cuda(), keys, n_neighbors=50, metric=metric)
        np.testing.assert_allclose(there[0].cpu(), here[0], atol=1e-3)
        assert (there[1].cpu() == here[1]).float().mean() > 0.99
    values = rng.poisson(0.1, size=(5000, 40)).astype(np.float32)
    index, shares = here[1], retrieval.neighbor_weights(here[0])
    for kind in (np.asarray, sparse.csr_matrix):
        means = [retrieval.average(index.to(at), shares.to(at), kind(values)) for at in ("cpu", "cuda")]
        np.testing.assert_allclose(*means, atol=1e-5)
