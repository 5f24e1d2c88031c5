"""Retrieval beside what a user would use instead: time in one run, and peak memory.

At the size of the paper (2,277 queries, 6,992 references, 3,467 genes, 50 neighbours, 256 dimensions), on random
embeddings and sparse expression:

- the published notebook's way: one matrix product and top-k, then a loop over the queries that averages the rows of a
  dense matrix (written from its description);
- scikit-learn's nearest-neighbours regressor with brute force and cosine distance;
- bleep_sc.models.retrieval.impute.

Then the search alone beside FAISS: flat, and an inverted file with its recall, on embeddings with structure. FAISS is
given the same threads, and its time includes scaling and adding the embeddings, as ours does; and the average of sparse
expression beside scipy's product of sparse matrices.

With --large 100,000 queries of a million references and 2,000 genes, written to zarr, with peak memory. With --disk
a reference of --keys spots on disk, in files of 50,000, imputed by tl.impute with peak memory. With --growth how time
grows with queries, references and genes.

    python benchmarks/retrieval.py [--repeats 5] [--large | --disk | --growth] [--queries N] [--keys N] [--folder F]
"""

import argparse
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import torch
from machine import describe
from scipy import sparse
from sklearn.neighbors import KNeighborsRegressor

from bleep_sc.models import retrieval
from bleep_sc.models.search import search
from bleep_sc.models.weighted_sums import weighted_sums
from bleep_sc.tl._predictions.record import SPOTS, store_layer

N_QUERY, N_KEYS, N_GENES, N_DIMS, N_NEIGHBORS = 2277, 6992, 3467, 256, 50
LARGE_QUERY, LARGE_KEYS, LARGE_GENES, LARGE_DIMS = 100_000, 1_000_000, 2000, 256
DENSITY = 0.1
SEARCHES = ((2277, 6992, 256), (2000, 200_000, 256), (2000, 200_000, 768))
DISK_QUERY, DISK_KEYS, PER_FILE = 5000, 1_000_000, 50_000


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


def structured(n: int, n_dims: int, seed: int) -> np.ndarray:
    """Return embeddings around a thousand centres, in a tenth of the dimensions and with noise in all."""
    rng, few = np.random.default_rng(seed), n_dims // 10
    shared = np.random.default_rng(99)
    centers, axes = shared.standard_normal((1000, few)), shared.standard_normal((few, n_dims))
    places = centers[rng.integers(1000, size=n)] + 0.5 * rng.standard_normal((n, few))
    return (places @ axes + 0.3 * rng.standard_normal((n, n_dims))).astype(np.float32)


def faiss_flat(query: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return the neighbours by cosine, as a user of FAISS finds them."""
    query, keys = query.copy(), keys.copy()
    faiss.normalize_L2(query)
    faiss.normalize_L2(keys)
    index = faiss.IndexFlatIP(keys.shape[1])
    index.add(keys)
    return index.search(query, N_NEIGHBORS)[1]


def beside_faiss(sizes: tuple[tuple[int, int, int], ...], repeats: int) -> None:
    """Print seconds of the search alone, and as a share of those of FAISS's flat index."""
    faiss.omp_set_num_threads(torch.get_num_threads())
    for n_query, n_keys, n_dims in sizes:
        query, keys = structured(n_query, n_dims, 0), structured(n_keys, n_dims, 1)
        options = {"n_neighbors": N_NEIGHBORS, "metric": "cosine"}
        found = search(query, keys, index="faiss", **options)
        ours = search(query, keys, index="exact", **options).index.numpy()
        same = np.mean([np.isin(*pair).mean() for pair in zip(ours, faiss_flat(query, keys), strict=True)])
        seconds = medians(
            {
                "FAISS, flat": lambda: faiss_flat(query, keys),  # noqa: B023
                "bleep_sc, exact": lambda: search(query, keys, index="exact", **options),  # noqa: B023
                'bleep_sc, index="faiss"': lambda: search(query, keys, index="faiss", **options),  # noqa: B023
            },
            repeats,
        )
        print(f"search of {n_query} among {n_keys} in {n_dims} dimensions; {same:.4f} of the neighbours are the same")
        for name, each in seconds.items():
            recall = f", recall {found.recall:.3f}" if "faiss" in name and found.recall is not None else ""
            print(f"  {name}: {each:.3f} s, {each / seconds['FAISS, flat']:.2f} of FAISS, flat{recall}")


def sparse_products(n_keys: int, repeats: int) -> None:
    """Print seconds of an average of sparse expression, and as a share of those of scipy's product."""
    rng, values = np.random.default_rng(0), expression(n_keys, 1024, 100)
    values.sum_duplicates()
    index = torch.from_numpy(rng.integers(n_keys, size=(4096, N_NEIGHBORS), dtype=np.int32))
    matrix = retrieval.weight_matrix(index, torch.full(index.shape, 1 / N_NEIGHBORS), n_keys)
    np.testing.assert_allclose(weighted_sums(matrix, values), (matrix @ values).toarray(), atol=1e-5)
    ways = {
        "scipy": lambda: (matrix @ values).toarray(),
        "bleep_sc": lambda: weighted_sums(matrix, values),
    }
    for name, each in (seconds := medians(ways, repeats)).items():
        print(f"sparse average of 4096 among {n_keys}: {name} {each:.3f} s, {each / seconds['scipy']:.2f} of scipy's")


def growth(n_query: int, n_keys: int, repeats: int) -> None:
    """Print seconds of a whole imputation, of one thing doubled twice after the other."""
    base = {"queries": n_query, "references": n_keys, "genes": 1000}
    print("| | 1 x | 2 x | 4 x |\n|---|---|---|---|")
    for name in base:
        cells = []
        for factor in (1, 2, 4):
            size = {**base, name: factor * base[name]}
            query, keys = embeddings(size["queries"], N_DIMS, 0), embeddings(size["references"], N_DIMS, 1)
            values = expression(size["references"], size["genes"], size["genes"] // 20)
            way = {"": lambda: retrieval.impute(query, keys, values, n_neighbors=N_NEIGHBORS)}  # noqa: B023
            cells.append(f"{medians(way, repeats)['']:.2f} s")
        print(f"| {name}, {base[name]} | {' | '.join(cells)} |")


def write_reference(folder: Path, n_keys: int) -> tuple[list[Path], object]:
    """Write a reference of made-up spots in files of 50,000, and return them and a query of it."""
    import anndata as ad
    import pandas as pd
    import scanpy as sc

    import bleep_sc as bs

    ad.settings.zarr_write_format = 3
    toy = bs.datasets.toy(n_slices=3)
    sc.pp.normalize_total(toy, target_sum=1e4)
    sc.pp.log1p(toy)
    bs.pp.extract_patches(toy, size=32, size_um=112)
    bs.pp.image_features(toy, "stain_stats", show_progress_bar=False)
    fitted, query = (
        toy[mask].copy() for mask in (toy.obs["library_id"] != "slice3", toy.obs["library_id"] == "slice3")
    )
    config = bs.tl.FitConfig(max_epochs=3, views=("scaled",))  # as wide as the paper's
    bs.tl.fit(fitted, use_rep="X_stain_stats", config=config, show_progress_bar=False)
    n_dims = fitted.obsm["X_bleep_image"].shape[1]
    genes = [*fitted.var_names, *(f"MORE{i}" for i in range(LARGE_GENES - fitted.n_vars))]
    paths = []
    for number, start in enumerate(range(0, n_keys, PER_FILE)):
        n = min(PER_FILE, n_keys - start)
        ref = ad.AnnData(
            expression(n, LARGE_GENES, 40),
            obs=pd.DataFrame({"library_id": f"section{number}"}, index=[f"{number}-{i}" for i in range(n)]),
            var=pd.DataFrame(index=genes),
            uns={"bleep": fitted.uns["bleep"], "log1p": {}},
            obsm={f"X_bleep_{side}": structured(n, n_dims, seed) for seed, side in enumerate(("image", "expression"))},
        )
        paths.append(folder / f"{number}.zarr")
        if not paths[-1].exists():
            ref.write_zarr(paths[-1])
    rows = np.arange(DISK_QUERY) % query.n_obs
    features, uns = query.obsm["X_stain_stats"][rows], {"X_stain_stats": query.uns["X_stain_stats"]}
    obs = pd.DataFrame({"library_id": "query"}, index=[f"q{i}" for i in range(DISK_QUERY)])
    return paths, ad.AnnData(obs=obs, var=pd.DataFrame(index=genes), obsm={"X_stain_stats": features}, uns=uns)


def disk(n_query: int, n_keys: int, folder: Path) -> None:
    """Print seconds and peak memory of a prediction from a reference on disk."""
    import anndata as ad

    import bleep_sc as bs

    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:  # whose memory does not count
        paths, query = other.submit(write_reference, folder, n_keys).result()
    query = query[:n_query].copy()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = time.perf_counter()
    refs = [ad.experimental.read_lazy(path) for path in paths]
    store = folder / "predicted.zarr"
    bs.tl.impute(query, ref=refs, store=store)
    shutil.rmtree(store)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    size = sum(file.stat().st_size for path in paths for file in path.rglob("*") if file.is_file()) / 2**30
    print(f"{n_query} queries of {n_keys} references on disk ({size:.1f} GiB), {LARGE_GENES} genes, to zarr: "
          f"{time.perf_counter() - start:.0f} s; peak {peak:.2f} GiB, before {before:.2f}")  # fmt: skip


def large(n_query: int, n_keys: int) -> None:
    """Print seconds and peak memory of a large prediction to zarr."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    query, keys = embeddings(n_query, LARGE_DIMS, 0), embeddings(n_keys, LARGE_DIMS, 1)
    values = expression(n_keys, LARGE_GENES, 40)
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
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--disk", action="store_true")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--queries", type=int, help="of --large, --disk and --growth")
    parser.add_argument("--keys", type=int, help="reference spots of --large, --disk, --growth and of the searches")
    parser.add_argument("--folder", type=Path, help="where --disk keeps the reference; a temporary folder otherwise")
    arguments = parser.parse_args()
    print(describe())
    if arguments.large:
        large(arguments.queries or LARGE_QUERY, arguments.keys or LARGE_KEYS)
    elif arguments.growth:
        growth(arguments.queries or N_QUERY, arguments.keys or 20_000, arguments.repeats)
    elif arguments.disk:
        with tempfile.TemporaryDirectory() as temporary:
            folder = arguments.folder or Path(temporary)
            disk(arguments.queries or DISK_QUERY, arguments.keys or DISK_KEYS, folder)
    else:
        at_the_papers_size(arguments.repeats)
        sizes = SEARCHES if arguments.keys is None else ((arguments.queries or 500, arguments.keys, N_DIMS),)
        beside_faiss(sizes, arguments.repeats)
        sparse_products(arguments.keys or 200_000, arguments.repeats)


if __name__ == "__main__":
    main()
