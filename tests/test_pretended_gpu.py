"""What a GPU would be given, on tensors that claim to lie on one: nothing is mixed, and the host waits where it may.

Tensors of the CPU are real. Those of a GPU know their shape and device alone; where the host would wait for a value, it
gets ones, and the place is noted. Backward passes are walked here, since PyTorch's own asks a driver for streams.
"""

import os
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn
from torch._C import DispatchKey
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bleep_sc.models import exact_search, on_device, retrieval
from bleep_sc.models.embed import embed_expression, embed_images
from bleep_sc.models.encoders import load_encoder
from bleep_sc.models.exact_search import as_tensor, kept_on_device
from bleep_sc.models.methods import METHODS
from bleep_sc.models.regression import EmbeddingRegression
from bleep_sc.models.weighing import found_and_weighed
from bleep_sc.training import device as devices
from bleep_sc.training import hist2st
from bleep_sc.training.config import FitConfig
from bleep_sc.training.fit import fit_bleep
from bleep_sc.training.pairs import Pairs
from bleep_sc.training.slide_pairs import Bag, SlidePairs

pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which tests marked gpu ask"),
    pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true"),
]
CUDA, aten = torch.device("cuda:0"), torch.ops.aten


class Pretended(TorchDispatchMode):
    """Tensors of a GPU that is not there; ``waits`` are where the host waited, and ``sent`` what was sent to it."""

    def __init__(self):
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.waits, self.sent = Counter(), Counter()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs, own = kwargs or {}, args[0] if args and isinstance(args[0], torch.Tensor) else None
        leaves = tree_leaves((args, kwargs))
        is_there = any(isinstance(each, FakeTensor) for each in leaves)
        asked = {each.type for each in leaves if isinstance(each, torch.device)}
        if operation in (aten.pin_memory.default, aten._pin_memory.default):
            return own
        if not is_there and "cuda" not in asked:
            return operation(*args, **kwargs)
        composite = DispatchKey.CompositeImplicitAutograd
        if operation.namespace == "aten" and operation.has_kernel_for_dispatch_key(composite):  # in inference mode
            with self:
                return operation.decompose(*args, **kwargs)
        if operation is aten._local_scalar_dense.default:
            self.waits[place()] += 1
            return torch.ones((), dtype=own.dtype).item()
        if is_there and "cpu" in asked:
            self.waits[place()] += 1
            return torch.ones(own.shape, dtype=kwargs.get("dtype") or own.dtype)
        if operation is aten.copy_.default and not isinstance(own, FakeTensor):
            self.waits[place()] += 1
            return own
        if operation in (aten.index.Tensor, aten.index_put_.default):
            mixed = [
                each for each in leaves if isinstance(each, torch.Tensor) and each.device.type == "cpu" and each.ndim
            ]
            assert not mixed, f"{operation} takes places on the CPU, at {place()}"
        if own is not None and not isinstance(own, FakeTensor) and "cuda" in asked:
            self.sent[place()] += own.nbytes
        with self.fake:
            return operation(*args, **kwargs)


def place():
    """The innermost function of the package that is at work."""
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if f"{os.sep}bleep_sc{os.sep}" in path and "tests" not in path:
            return f"{Path(path).stem}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "elsewhere"


BACKWARD = [0]
"""How many graphs were walked: what is forgotten is computed again once for each (torch.utils.checkpoint)."""


def backward(loss):
    """Walk the graph of a loss, as autograd does, and add gradients to its leaves."""
    BACKWARD[0] += 1
    order, seen, waiting = [], set(), [(loss.grad_fn, False)]
    while waiting:
        node, is_done = waiting.pop()
        if is_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            waiting.append((node, True))
            waiting += [(other, False) for other, _ in node.next_functions if other is not None]
    gradients = {loss.grad_fn: {0: torch.ones_like(loss)}}
    for node in reversed(order):
        given = gradients.pop(node, {})
        if hasattr(node, "variable"):
            leaf = node.variable
            assert given[0].device == leaf.device
            leaf.grad = given[0] if leaf.grad is None else leaf.grad + given[0]
            continue
        found = node(*(given.get(i) for i in range(len(node._input_metadata))))
        for (other, i), gradient in zip(
            node.next_functions, found if isinstance(found, tuple) else (found,), strict=True
        ):
            if other is None or gradient is None:
                continue
            own = other._input_metadata[i]
            assert gradient.device == own.device, f"a gradient of {node.name()} is on {gradient.device}"
            gradient = gradient.sum_to_size(own.shape).to(own.dtype)
            others = gradients.setdefault(other, {})
            others[i] = others[i] + gradient if i in others else gradient


def stay(parameter, other):
    """Leave a parameter of a module that is moved to where it is: it has no values that would be laid out anew."""
    assert parameter.device == other.device


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of 16 GB that is pretended."""

    @contextmanager
    def current(device):
        yield

    event = SimpleNamespace(record=lambda stream: None, synchronize=lambda: None)
    on_cuda = {"_lazy_init": lambda: None, "Event": lambda: event, "current_stream": lambda device: None}
    on_cuda |= {"current_device": lambda: 0, "device": current, "manual_seed": lambda seed: None}
    on_cuda |= {"get_rng_state": lambda device: None, "set_rng_state": lambda state, device: None}
    on_cuda |= {"is_bf16_supported": lambda including_emulation=True: True}
    for name, instead in on_cuda.items():
        monkeypatch.setattr(torch.cuda, name, instead)
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.Tensor, "backward", backward)
    monkeypatch.setattr(torch._C, "_current_graph_task_id", lambda: BACKWARD[0])
    monkeypatch.setattr(torch.utils, "swap_tensors", stay)
    only_lifts = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(device=) sends what it made, as under FakeTensorMode
    monkeypatch.setattr(on_device, "free_bytes", lambda device: 2**34)
    monkeypatch.setattr(exact_search, "free_bytes", lambda device: 2**34)
    monkeypatch.setattr(devices, "_there", lambda: {"cuda": 1, "cpu": 1})
    monkeypatch.setattr("bleep_sc.training.fit.has_bfloat16", lambda device: device.type == "cuda")
    monkeypatch.setattr(on_device, "has_bfloat16", lambda device: device.type == "cuda")
    with torch.backends.cudnn.flags(enabled=False), Pretended() as pretended:
        torch.empty(0, device=CUDA)  # the first one asks for less than those that follow
        yield pretended
    torch._C._set_only_lift_cpu_tensors(only_lifts)


@pytest.fixture
def embeddings():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, 8)).astype(np.float32) for n in (40, 700)]


def test_tensors_of_both_kinds_are_not_mixed(gpu):
    there, here = torch.ones(3, 3, device="cuda"), torch.ones(3, 3)
    with pytest.raises(RuntimeError, match="on the same device"):
        there @ here
    with pytest.raises(AssertionError, match="places on the CPU"):
        there[torch.tensor([0, 1])]
    with pytest.raises(Exception, match="nonzero"):
        there.nonzero()
    assert here.tolist() == here.numpy().tolist()
    assert (there.sum().item(), gpu.waits) == (1, {"elsewhere": 1})
    weight = here.clone().requires_grad_()
    (weight.to("cuda") @ there).sum().backward()
    assert weight.grad.device.type == "cpu"


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("n_neighbors", [5, 200])
def test_a_search_waits_once_whatever_the_number_of_blocks(gpu, embeddings, metric, n_neighbors, monkeypatch):
    query, keys = embeddings
    monkeypatch.setattr(exact_search, "CHUNK_ON_GPU", 256)
    monkeypatch.setattr(exact_search, "ROOM_ON_GPU", 2**16)
    for where in (keys, kept_on_device(keys, CUDA)):
        gpu.waits.clear()
        found = exact_search.exact(as_tensor(query).to(CUDA), where, n_neighbors, metric)
        assert found.similarity.shape == found.index.shape == (40, n_neighbors)
        assert found.similarity.device == found.index.device == torch.device("cuda:0")
        assert gpu.waits == {"exact_search.exact": 1}
    assert gpu.sent["on_device.transfer"] == keys.nbytes  # of those that were not there


@pytest.mark.parametrize("weights", ["uniform", "distance"])  # anchors are found by NumPy, which needs values
def test_neighbors_are_weighed_where_they_were_found(gpu, embeddings, weights):
    query, keys = embeddings
    found, shares = found_and_weighed(
        as_tensor(query).to(CUDA),
        kept_on_device(keys, CUDA),
        weights=weights,
        embedding=query,
        images=keys,
        slides=np.full(40, "a"),
        n_neighbors=5,
        metric="cosine",
        among=np.arange(700) % 2 == 0,
    )
    shares = retrieval.reweighted(shares, found.index, np.ones(700, dtype=np.float32))
    assert shares.device == found.index.device == torch.device("cuda:0")
    assert gpu.waits == {"exact_search.exact": 1}


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_sums_and_regression_are_on_the_device(gpu, embeddings, kind):
    query, keys = embeddings
    values = kind(np.random.default_rng(0).poisson(0.05, size=(700, 30)).astype(np.float32))
    index = torch.zeros(40, 5, dtype=torch.int32, device="cuda")
    shares = torch.ones(40, 5, device="cuda")
    blocks = list(retrieval.averages(index, shares, values, [0, 16, 30], n_rows=16))
    assert [mean.shape for _, _, mean in blocks] == [(16, 16), (16, 16), (8, 16), (16, 14), (16, 14), (8, 14)]
    assert gpu.waits == {"on_device.fetched": 6}
    regression = EmbeddingRegression.fit(keys, 1.0, device=CUDA)
    assert regression.predict(query, values).shape == (40, 30)
    assert gpu.waits == {"on_device.fetched": 6, "products.product": 3}


def tissue(n=24, side=None):
    """Spots with features, or with patches."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(n, 6)).astype(np.float32)
    if side is not None:
        images = rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    return Pairs(images, rng.random((n, 5), dtype=np.float32)), np.repeat(["a", "b"], n // 2)


def small_encoder():
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return load_encoder(nn.Sequential(*layers), transform=nn.Identity())


@pytest.mark.parametrize("chunk_size", [None, 5])
@pytest.mark.parametrize("side", [None, 8])
def test_bleep_is_trained_on_the_device_and_an_epoch_waits_once(gpu, side, chunk_size):
    pairs, slides = tissue(side=side)
    config = FitConfig(
        max_epochs=3, n_dims=8, batch_size=12, chunk_size=chunk_size, train_encoder=side is not None,
        stain_jitter=0.1 if side else 0, views=("raw", "components", "aligned"), n_components=4,
    )  # fmt: skip
    kept = []

    def after_epoch(epoch, loss):
        kept.append((gpu.waits.copy(), gpu.sent.copy()))
        return False

    how = {"config": config, "device": CUDA, "encoder": small_encoder() if side else None}
    model, loss = fit_bleep(pairs, slides, **how, on_epoch_end=after_epoch, show_progress_bar=False)
    assert len(loss) == 3
    (waited, sent), (waited_later, sent_later) = kept[1:]
    assert waited_later - waited == {"loop.train": 1}
    # Rows of a batch are sent, or its patches, with their expression, how they are turned, and their stains.
    of_steps = {"on_device.transfer": 2 * 12 * (8 + 8 * 8 * 3 + 5 * 4 + 6 * 4) + 2 * 72 if side else 2 * 12 * 8}
    assert sent_later - sent == of_steps
    embedding = embed_images(model, pairs.images, slides, device=CUDA)
    assert embedding.shape == embed_expression(model, pairs.expression, device=CUDA).shape == (24, 24)


def tile_bags():
    """Eight slides of tiles, and what each expresses."""
    rng = np.random.default_rng(0)
    tiles = [rng.normal(size=(7, 6)).astype(np.float32) for _ in range(8)]
    bags = [Bag(str(number), [own], np.arange(7)) for number, own in enumerate(tiles)]
    return SlidePairs(bags, rng.random((8, 5), dtype=np.float32)), np.arange(8).astype(str)


SMALL = {
    "stnet": {"max_epochs": 2, "n_folds": 2, "batch_size": 8},
    "histogene": {"max_epochs": 2, "n_dims": 8, "n_heads": 2, "n_layers": 1, "max_spots": 8},
    "hist2st": {"max_epochs": 2, "n_channels": 16, "n_heads": 2, "n_layers": 1, "max_spots": 8},
    "he2rna": {"max_epochs": 2, "n_folds": 2, "n_supertiles": None},
    "hist2rna": {"max_epochs": 2, "n_folds": 2},
}
"""Configurations of the methods that are fitted by gradients."""


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.load("fit") is not None])
def test_every_method_is_trained_and_predicts_on_the_device(gpu, name, monkeypatch):
    method = METHODS[name]
    # torchvision waits where it turns images: it asks which of their pixels come from outside.
    turns = [each for each in hist2st.AUGMENTATIONS if "Rotation" not in type(each).__name__]
    monkeypatch.setattr(hist2st, "AUGMENTATIONS", turns)
    pairs, slides = tile_bags() if method.of_slides else tissue(side=None if method.images == "features" else 14)
    config = None if method.config is None else replace(method.load("config")(), **SMALL[name])
    how = {"units": slides, "config": config, "encoder": small_encoder() if method.images == "any" else None}
    places = {}
    if method.in_sections:
        places["positions"] = np.stack([np.arange(24) % 12, np.arange(24) // 12], axis=1)
    if method.with_neighbors:
        places["centers"] = 100.0 * places["positions"]
    counts = {"counts": np.ones((24, 5), dtype=np.float32)} if method.in_counts else {}
    learnt = method.load("fit")(
        pairs, slides, **how, **places, **counts, random_state=0, device=CUDA, show_progress_bar=False
    )
    images = np.concatenate([bag.read(slice(None)) for bag in pairs.bags]) if method.of_slides else pairs.images
    places |= {"sections": slides} if method.in_sections else {}
    config = {"max_spots": 8} if method.in_sections else {}
    predicted = method.load("predict")(learnt.module, images, **places, config=config, device=CUDA)
    assert predicted.shape == (len(images), 5)
    assert next(learnt.module.parameters()).device.type == "cuda"
