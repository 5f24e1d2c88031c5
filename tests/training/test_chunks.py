import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from bleep_sc.models.bleep import BLEEP
from bleep_sc.models.encoders import load_encoder
from bleep_sc.models.losses import bleep_loss
from bleep_sc.training.chunks import embed_in_chunks, number_of_chunks
from bleep_sc.training.config import FitConfig
from bleep_sc.training.fit import fit_bleep
from bleep_sc.training.pairs import Pairs


def batch(n=23):
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(n, width, generator=generator, dtype=torch.float64) for width in (6, 9))


def model(dropout):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Dropout(dropout), nn.Linear(64, 5))
    return BLEEP(5, 9, n_dims=8, dropout=dropout, encoder=encoder).double()


def at_once(network, images, expression, n_chunks):
    parts = zip(images.tensor_split(n_chunks), expression.tensor_split(n_chunks), strict=True)
    return tuple(map(torch.cat, zip(*(network(*part) for part in parts), strict=True)))


def loss_and_gradients(embed, dropout, n_chunks):
    network = model(dropout)
    torch.manual_seed(7)
    loss = bleep_loss(*embed(network, *batch(), n_chunks), 2.0)
    torch.manual_seed(8)  # whatever is drawn before the backward pass changes nothing
    loss.backward()
    return torch.cat([loss.detach()[None], *(each.grad.flatten() for each in network.parameters())])


@pytest.mark.parametrize("n_chunks", [1, 2, 5, 23])
def test_gradients_are_those_of_the_whole_batch(n_chunks):
    chunked = loss_and_gradients(embed_in_chunks, 0, n_chunks)
    torch.testing.assert_close(chunked, loss_and_gradients(at_once, 0, 1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n_chunks", [2, 5])
def test_dropout_is_replayed(n_chunks):
    chunked = loss_and_gradients(embed_in_chunks, 0.5, n_chunks)
    torch.testing.assert_close(chunked, loss_and_gradients(at_once, 0.5, n_chunks), rtol=1e-10, atol=1e-12)


def test_activations_of_the_chunks_are_not_kept():
    kept = []
    for embed in (embed_in_chunks, at_once):
        sizes = []

        def note(tensor, sizes=sizes):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            embed(model(0.5), *batch(), 4)
        kept.append(sum(sizes))
    assert kept[0] < 0.1 * kept[1]


@pytest.mark.parametrize(("precision", "rtol"), [("float32", 1e-5), ("bfloat16", 1e-2)])
def test_training_in_chunks_is_training(precision, rtol):
    rng = np.random.default_rng(0)
    pairs = Pairs(rng.integers(0, 255, (24, 6, 6, 3), dtype=np.uint8), rng.normal(size=(24, 5)).astype(np.float32))
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    encoder = load_encoder(network, transform=nn.Identity())
    config = FitConfig(
        max_epochs=3, n_dims=8, views=("scaled",) * 2, batch_size=12, dropout=0, train_encoder=True, precision=precision
    )
    whole, chunked = (
        fit_bleep(pairs, np.full(24, "a"), config=each, encoder=encoder, show_progress_bar=False)
        for each in (config, replace(config, chunk_size=5))
    )
    np.testing.assert_allclose(whole[1], chunked[1], rtol=rtol)
    for one, other in zip(whole[0].parameters(), chunked[0].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=10 * rtol)


def test_too_little_memory_names_the_knob_and_is_given_back():
    held = []

    class Large(nn.Module):
        def forward(self, images):
            if torch.is_grad_enabled() and not torch.is_inference_mode_enabled():
                activations = images.float()
                held.append(weakref.ref(activations))
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return images.mean(dim=(2, 3))

    pairs = Pairs(np.zeros((24, 4, 4, 3), dtype=np.uint8), np.zeros((24, 5), dtype=np.float32))
    encoder = load_encoder(Large(), transform=nn.Identity())
    for chunk_size, note in (
        (None, "Pass FitConfig(chunk_size=12), or less"),
        (6, "Pass FitConfig(chunk_size=3), or less"),
        (1, "A single patch is too much for this GPU"),
    ):
        config = FitConfig(max_epochs=1, train_encoder=True, chunk_size=chunk_size)
        with pytest.raises(torch.OutOfMemoryError) as error:
            fit_bleep(pairs, np.full(24, "a"), config=config, encoder=encoder, show_progress_bar=False)
        assert error.value.__notes__[0].startswith(note)
        assert held.pop()() is None  # though the error and its traceback are there


@pytest.mark.parametrize(
    ("size", "chunk_size", "n_processes", "expected"),
    [(8, None, 1, 1), (8, 8, 1, 1), (9, 8, 1, 2), (8, 3, 2, 2), (9, 4, 2, 2), (7, 1, 3, 2)],
)
def test_every_process_has_as_many_chunks_and_none_is_empty(size, chunk_size, n_processes, expected):
    assert number_of_chunks(size, chunk_size, n_processes) == expected  # of 7 spots one of 3 processes has but 2
