"""Retrieval beside what a user would use instead: time in one run, and peak memory.

At the size of the paper (2,277 queries, 6,992 references, 3,467 genes, 50 neighbours, 256 dimensions), on random
embeddings and sparse expression:

- the published notebook's way: one matrix product and top-k, then a loop over the queries that averages the rows of a
  dense matrix (written from its description);
- scikit-learn's nearest-neighbours regressor with brute force and cosine distance;
- bleep_sc.models.retrieval.impute.

With --large also 100,000 queries of a million references and 2,000 genes, written to zarr, with peak memory.

    python benchmarks/retrieval.py [--repeats 5] [--large]
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from sklearn.neighbors import KNeighborsRegressor

from bleep_sc.models import retrieval
from bleep_sc.tl._prediction import SPOTS, store_layer

N_QUERY, N_KEYS, N_GENES, N_DIMS, N_NEIGHBORS = 2277, 6992, 3467, 256, 50
LARGE_QUERY, LARGE_KEYS, LARGE_GENES, LARGE_DIMS = 100_000, 1_000_000, 2000, 256
DENSITY = 0.1


def embeddings(n: int, n_dims: int, seed: int) -> np.ndarray:
    """Return random embeddings."""
    return np.random.default_rng(seed).standard_normal((n, n_dims), dtype=np.float32)


def expression(n: int, n_genes: int, n_found: int) -> sparse.csr_matrix:
    """Return sparse expression of so many genes in every spot."""
    rng = np.random.default_rng(2)
    genes = rng.integers(n_genes, size=(n, n_found), dtype=np.int32)
    values = rng.random((n, n_found), dtype=np.float32)
    return sparse.csr_matrix((values.ravel(), genes.ravel(), np.arange(0, n * n_found + 1, n_found)), (n, n_genes))


def matches(query: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return the nearest keys of every query, (n_query, n_neighbors), as the notebook finds them."""
    unit = [torch.nn.functional.normalize(torch.from_numpy(each), p=2, dim=-1) for each in (query, keys)]
    return torch.topk(unit[0] @ unit[1].T, k=N_NEIGHBORS).indices.numpy()


def notebook(query: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Average neighbours query by query, as the notebook does."""
    return loop(matches(query, keys), values)


def loop(index: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Average rows of a dense matrix, query by query."""
    result = np.zeros((len(index), values.shape[1]))
    for i in range(len(index)):
        result[i] = np.average(values[index[i]], axis=0)
    return result


def medians(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median seconds of every way; they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(each)) for name, each in seconds.items()}


def at_the_papers_size(repeats: int) -> None:
    """Print seconds, and as a share of the notebook's."""
    query, keys = embeddings(N_QUERY, N_DIMS, 0), embeddings(N_KEYS, N_DIMS, 1)
    values = sparse.random(N_KEYS, N_GENES, DENSITY, format="csr", dtype=np.float32, random_state=2)
    dense = values.toarray()
    regressor = KNeighborsRegressor(N_NEIGHBORS, algorithm="brute", metric="cosine").fit(keys, dense)
    index = matches(query, keys)
    as_tensors = torch.from_numpy(index), torch.full(index.shape, 1 / N_NEIGHBORS)
    ours, _ = retrieval.impute(query, keys, values, n_neighbors=N_NEIGHBORS)
    np.testing.assert_allclose(ours, notebook(query, keys, dense), atol=1e-4)
    whole = {
        "the notebook's way": lambda: notebook(query, keys, dense),
        "scikit-learn, brute force": lambda: regressor.predict(query),
        "bleep_sc, dense expression": lambda: retrieval.impute(query, keys, dense, n_neighbors=N_NEIGHBORS),
        "bleep_sc, sparse expression": lambda: retrieval.impute(query, keys, values, n_neighbors=N_NEIGHBORS),
    }
    parts = {
        "matrix product and top-k alone": lambda: matches(query, keys),
        "averaging alone: the notebook's way": lambda: loop(index, dense),
        "averaging alone: bleep_sc, dense": lambda: retrieval.average(*as_tensors, dense),
        "averaging alone: bleep_sc, sparse": lambda: retrieval.average(*as_tensors, values),
    }
    seconds = medians({**whole, **parts}, repeats)
    for name, each in seconds.items():
        first = "averaging alone: the notebook's way" if name.startswith("averaging") else "the notebook's way"
        print(f"{name}: {each:.3f} s, {each / seconds[first]:.2f} of the notebook's")


def large(n_query: int) -> None:
    """Print seconds and peak memory of a large prediction to zarr."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    query, keys = embeddings(n_query, LARGE_DIMS, 0), embeddings(LARGE_KEYS, LARGE_DIMS, 1)
    values = expression(LARGE_KEYS, LARGE_GENES, 40)
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = time.perf_counter()
    similarity, index = retrieval.nearest(query, keys, n_neighbors=N_NEIGHBORS)
    weights = retrieval.neighbor_weights(similarity)
    print(f"nearest: {time.perf_counter() - start:.0f} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        store_layer(
            Path(folder) / "predicted.zarr",
            (n_query, LARGE_GENES),
            np.ones(LARGE_GENES, dtype=bool),
            lambda edges: retrieval.averages(index, weights, values, edges, n_rows=SPOTS),
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"to zarr: {time.perf_counter() - start:.0f} s; peak {peak:.2f} GiB, of which imports {before:.2f} and "
          f"embeddings and expression {loaded - before:.2f}")  # fmt: skip


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--queries", type=int, default=LARGE_QUERY, help="queries of the large prediction")
    arguments = parser.parse_args()
    if arguments.large:
        large(arguments.queries)
        return
    at_the_papers_size(arguments.repeats)


if __name__ == "__main__":
    main()
