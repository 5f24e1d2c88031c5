"""Search, sums and regression on a GPU: beside plain PyTorch and FAISS, and beside the same on the CPU. See gpu.py."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from bleep_sc.models import retrieval
from bleep_sc.models.exact_search import as_tensor, kept_on_device
from bleep_sc.models.regression import EmbeddingRegression
from bleep_sc.models.weighing import found_and_weighed

N_NEIGHBORS, N_CLUSTERS = 50, 200
SEARCHES = ((2277, 6992, 256), (20_000, 200_000, 768))
AT_ONCE = 1024
"""Queries that plain PyTorch compares at once with all keys."""


def structured(n: int, n_dims: int, seed: int) -> np.ndarray:
    """Return embeddings in clusters, as those of tissue are."""
    centers = np.random.default_rng(0).standard_normal((N_CLUSTERS, n_dims), dtype=np.float32)
    rng = np.random.default_rng(seed)
    return centers[rng.integers(N_CLUSTERS, size=n)] + 0.5 * rng.standard_normal((n, n_dims), dtype=np.float32)


def seconds(way: Callable[[], Any], device: torch.device, repeats: int = 3) -> tuple[float, Any]:
    """Return the median seconds of a way, after once that does not count, and what it gave last."""
    taken = []
    for repeat in range(repeats + 1):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        result = way()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if repeat:
            taken.append(time.perf_counter() - start)
    return float(np.median(taken)), result


def plain(query: Tensor, keys: Tensor) -> Tensor:
    """Find neighbours by products and top-k of as many queries as fit; (n_query, n_neighbors)."""
    query, keys = (torch.nn.functional.normalize(each) for each in (query, keys))
    return torch.cat([(part @ keys.T).topk(N_NEIGHBORS).indices for part in query.split(AT_ONCE)])


def faiss_on_gpu(query: np.ndarray, keys: np.ndarray) -> Callable[[], np.ndarray] | None:
    """Return a flat search by FAISS on a GPU, where it is built for one."""
    try:
        import faiss

        resources = faiss.StandardGpuResources()
    except (ImportError, AttributeError):
        return None

    def search() -> np.ndarray:
        unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (query, keys)]
        return faiss.knn_gpu(resources, *unit, N_NEIGHBORS, metric=faiss.METRIC_INNER_PRODUCT)[1]

    return search


def search(device: torch.device) -> None:
    """Print seconds of searches, from embeddings in memory of the host, and which neighbours they have in common."""
    print("\n| queries, keys, dimensions | way | s | neighbours in common | peak, GiB |\n|---|---|---|---|---|")
    for n_query, n_keys, n_dims in SEARCHES:
        query, keys = structured(n_query, n_dims, 1), structured(n_keys, n_dims, 2)

        def ours(keep: bool, query: np.ndarray = query, keys: np.ndarray = keys) -> np.ndarray:
            where = kept_on_device(keys, device) if keep else keys
            return retrieval.nearest(as_tensor(query).to(device), where, n_neighbors=N_NEIGHBORS)[1].cpu().numpy()

        ways: dict[str, Any] = {
            "plain torch": lambda q=query, k=keys: plain(*(as_tensor(x).to(device) for x in (q, k))).cpu().numpy(),
            "bleep_sc": lambda: ours(True),
            "bleep_sc, keys in blocks": lambda: ours(False),
            "FAISS": faiss_on_gpu(query, keys),
        }
        first = None
        for name, way in ways.items():
            if way is None:
                print(f"| {n_query}, {n_keys}, {n_dims} | {name} | not built for a GPU | | |")
                continue
            peak()
            taken, found = seconds(way, device)
            first = found if first is None else first
            common = np.mean(
                [len(set(one) & set(other)) / N_NEIGHBORS for one, other in zip(first, found, strict=True)]
            )
            print(f"| {n_query}, {n_keys}, {n_dims} | {name} | {taken:.3f} | {common:.4f} | {peak()} |", flush=True)


def peak() -> str:
    """Return the peak memory since it was last asked for, GiB."""
    if not torch.cuda.is_available():
        return "-"
    most = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return f"{most:.1f}"


def parity(device: torch.device) -> None:
    """Print how far predictions on a GPU are from those on the CPU, part by part, and the seconds of both."""
    query, keys, images = (structured(n, 256, seed) for seed, n in enumerate((2277, 6992, 6992)))
    values = sparse.random(6992, 3467, 0.1, format="csr", dtype=np.float32, random_state=0)

    def predicted(at: torch.device, weights: Any) -> dict[str, Any]:
        spots = as_tensor(query).to(at)
        found, shares = found_and_weighed(
            spots,
            kept_on_device(keys, at),
            weights=weights,
            embedding=query,
            images=images,
            slides=np.full(len(query), "slide"),
            n_neighbors=N_NEIGHBORS,
            metric="cosine",
        )
        return {
            "index": found.index.cpu().numpy(),
            "similarity": found.similarity.cpu().numpy(),
            "means": retrieval.average(found.index, shares, values),
            "regressed": EmbeddingRegression.fit(images, 10.0, device=at).predict(query, values),
        }

    columns = ["weights", "CPU, s", "GPU, s", "neighbours in the same places"]
    columns += [f"largest difference of {name}" for name in ("similarity", "means", "the regression")]
    print(f"\n| {' | '.join(columns)} |\n{len(columns) * '|---'}|")
    for weights in ("uniform", "distance", "anchors"):
        (here_s, here), (there_s, there) = (
            seconds(lambda at=at, weights=weights: predicted(at, weights), at, 1)
            for at in (torch.device("cpu"), device)
        )
        same = (here["index"] == there["index"]).mean() if here["index"].shape == there["index"].shape else 0.0
        differ = [f"{np.abs(here[name] - there[name]).max():.2g}" for name in ("similarity", "means", "regressed")]
        print(f"| {weights} | {here_s:.2f} | {there_s:.2f} | {same:.4f} | {' | '.join(differ)} |", flush=True)
