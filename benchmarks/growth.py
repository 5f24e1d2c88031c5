"""How time and memory grow: with spots, genes, queries, references, tiles, slides and processes.

Everything is made up and written to disk first. Every size is measured in a process of its own, whose memory begins
after imports, and whose clock begins when the data are read. The exponent is the slope of the logarithm of processor
time against that of the size, over the upper half of the sizes: 1 is twice the time for twice the size. What a run took
is also said when it ends, on the error stream.

Fits have three views as by default, heads of 64 dimensions instead of 256, features of 32, four slides (two of a donor)
and genes of which a tenth is found in a spot; the time of epochs is apart from all else. Those of which memory is
looked at have one view, heads of 16 dimensions, larger batches and five donors, so that expression is what is large.

    python benchmarks/growth.py [--parts fit,genes,...] [--largest 1000000] [--folder FOLDER]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

N_GENES, FOUND, N_FEATURES, N_DIMS, MPP, PITCH_UM = 2000, 0.1, 32, 64, 0.5, 100.0
OF_LARGE = 50_000
"""Spots from which one epoch is trained, instead of three."""

Run = dict[str, float]


class Clock:
    """Seconds of the wall and of the processor, with those of processes that have ended, and the most memory."""

    def __init__(self) -> None:
        self.run: Run = {}
        self.base = _peak()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what is done inside; a stage that is entered again adds up."""
        wall, cpu = time.perf_counter(), _cpu()
        yield
        for key, since in ((name, time.perf_counter() - wall), (f"{name}, cpu", _cpu() - cpu)):
            self.run[key] = self.run.get(key, 0.0) + since
        self.run["peak"] = _peak() - self.base


def _peak() -> float:
    """Return the most memory that this process, or one that it has started, has had, GiB."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 2**20


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@dataclass(frozen=True)
class Size:
    """How much there is of everything."""

    spots: int = 10_000
    genes: int = N_GENES
    slides: int = 4
    queries: int = 2000
    tiles: int = 500
    processes: int = 1
    cross_fit: bool = False
    is_narrow: bool = False
    """Whether heads are narrow, and batches larger."""

    @property
    def epochs(self) -> int:
        """Passes over the spots."""
        return 1 if self.spots > OF_LARGE else 3


def sparse_expression(n: int, n_genes: int, rng: np.random.Generator) -> Any:
    """Return logarithms of expression of which a tenth of the genes is found in every spot, CSR."""
    from scipy import sparse

    found = max(1, int(FOUND * n_genes))
    step = n_genes // found  # a gene of every few, so that none is found twice
    genes = np.arange(found, dtype=np.int32) * step + rng.integers(step, size=(n, found), dtype=np.int32)
    values = rng.random((n, found), dtype=np.float32) + np.float32(0.5)
    return sparse.csr_matrix((values.ravel(), genes.ravel(), np.arange(0, n * found + 1, found)), (n, n_genes))


def made_up(n: int, n_genes: int, n_slides: int, seed: int = 0) -> Any:
    """Return spots of slides, in squares, with features and sparse expression."""
    import pandas as pd
    from anndata import AnnData

    rng = np.random.default_rng(seed)
    slides = np.sort(np.arange(n) % n_slides)
    place = np.arange(n) - np.searchsorted(slides, slides)
    width = int(np.ceil(np.sqrt(n / n_slides)))
    features = rng.standard_normal((n, 4), dtype=np.float32) @ rng.standard_normal((4, N_FEATURES), dtype=np.float32)
    names = np.char.add(f"slide{seed}-", slides.astype(str))
    obs = pd.DataFrame(
        {
            "library_id": pd.Categorical(names),
            "donor": pd.Categorical(np.char.add("donor", (slides // 2).astype(str))),
            "array_row": place // width,
            "array_col": place % width,
        },
        index=np.char.add("s", np.arange(n).astype(str)),
    )
    adata = AnnData(sparse_expression(n, n_genes, rng), obs=obs)
    adata.var_names = [f"g{i}" for i in range(n_genes)]
    adata.obsm["X_net"] = features + 0.3 * rng.standard_normal((n, N_FEATURES), dtype=np.float32)
    adata.obsm["spatial"] = PITCH_UM / MPP * np.stack([place % width, place // width], axis=1).astype(np.float64)
    adata.uns["log1p"] = {}
    adata.uns["spatial"] = {str(name): {"scalefactors": {"microns_per_pixel": MPP}} for name in np.unique(names)}
    return adata


def config(size: Size) -> Any:
    """Return the configuration of all fits."""
    from bleep_sc.tl import FitConfig

    if size.is_narrow:
        return FitConfig(max_epochs=1, n_dims=16, views=("raw",), batch_size=512, cross_fit=size.cross_fit)
    return FitConfig(max_epochs=size.epochs, n_dims=N_DIMS, cross_fit=size.cross_fit)


def write_spots(folder: Path, size: Size) -> None:
    """Write what is fitted on."""
    made_up(size.spots, size.genes, size.slides).write_h5ad(folder / "spots.h5ad")


def fit_in_processes(folder: Path, size: Size) -> Run:
    """Fit on spots in processes, which are started for it where there are several."""
    import anndata as ad

    import bleep_sc as bs

    clock = Clock()
    adata = ad.read_h5ad(folder / "spots.h5ad")
    devices = "cpu" if size.processes == 1 else ["cpu"] * size.processes
    with clock.stage("all"):
        bs.tl.fit(adata, use_rep="X_net", config=config(size), devices=devices, show_progress_bar=False)
    return clock.run


def fit(folder: Path, size: Size) -> Run:
    """Fit on spots, and tell epochs from all else."""
    import anndata as ad

    import bleep_sc as bs
    from bleep_sc.training import fit as loop

    clock, train, n_trained = Clock(), loop.train, 0

    def timed(*args: Any, **how: Any) -> Any:
        nonlocal n_trained
        n_trained += 1
        with clock.stage("epochs"):
            return train(*args, **how)

    loop.train = timed
    adata = ad.read_h5ad(folder / "spots.h5ad")
    with clock.stage("all"):
        bs.tl.fit(adata, use_rep="X_net", config=config(size), devices="cpu", show_progress_bar=False)
    n_epochs = size.epochs * n_trained
    for clocked in ("", ", cpu"):
        epochs = clock.run.pop(f"epochs{clocked}")
        clock.run[f"outside epochs{clocked}"] = clock.run.pop(f"all{clocked}") - epochs
        clock.run[f"an epoch{clocked}"] = epochs / n_epochs
    return clock.run


def write_reference(folder: Path, size: Size) -> None:
    """Write a reference that was fitted, on a few of its spots, and a query."""
    import bleep_sc as bs

    ref = made_up(size.spots, size.genes, size.slides)
    few = ref[:: max(1, size.spots // 2000)].copy()
    how = replace(size, spots=few.n_obs, cross_fit=True)
    bs.tl.fit(few, use_rep="X_net", config=config(how), show_progress_bar=False)
    ref.uns["bleep"] = few.uns["bleep"]
    bs.tl.embed(ref, few, expression=True)
    ref.write_h5ad(folder / "ref.h5ad")
    query = made_up(size.queries, 1, 1, seed=1)
    query = query[:, []].copy()
    query.write_h5ad(folder / "query.h5ad")


def impute(folder: Path, size: Size) -> Run:
    """Predict a slide, to zarr."""
    import anndata as ad

    import bleep_sc as bs

    clock = Clock()
    ref, query = (ad.read_h5ad(folder / f"{name}.h5ad") for name in ("ref", "query"))
    query = ad.AnnData(obs=query.obs, var=ref.var[[]], obsm=dict(query.obsm), uns=dict(query.uns))
    with clock.stage("all"):
        bs.tl.impute(query, ref=ref, store=folder / "predicted.zarr", device="cpu")
    return clock.run


def write_slide(folder: Path, size: Size) -> None:
    """Write a slide with room for so many tiles."""
    from many_tiles import CHUNK, generate

    side = int(np.ceil(np.sqrt(size.tiles) * PITCH_UM / MPP / CHUNK)) * CHUNK
    generate(folder / "slide.tif", side)


def tile(folder: Path, size: Size) -> Run:
    """Lay tiles and compute their colours."""
    import torch

    import bleep_sc as bs
    from bleep_sc.models.encoders import Encoder
    from bleep_sc.pp._tissue import tissue_mask

    tissue_mask(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))  # imports what it needs
    encoder = Encoder(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten()), torch.nn.Identity())
    clock, quiet = Clock(), {"show_progress_bar": False}
    with clock.stage("tiles"):
        tiles = bs.pp.tile_slide(
            folder / "slide.tif", mpp=MPP, size=224, spacing_um=PITCH_UM, layout="square", min_tissue=0, min_sharpness=0
        )
    with clock.stage("features"):
        bs.pp.image_features(tiles, encoder, key_added="X_net", device="cpu", **quiet)
    clock.run["n"] = tiles.n_obs
    return clock.run


def write_sheet(folder: Path, size: Size) -> None:
    """Write slides, a sheet of them and a reference."""
    import scanpy as sc
    from many_tiles import generate

    import bleep_sc as bs

    ref = bs.datasets.toy(n_slices=3)
    sc.pp.normalize_total(ref, target_sum=1e4)
    sc.pp.log1p(ref)
    bs.pp.extract_patches(ref, size=32, size_um=112)
    bs.pp.image_features(ref, "stain_stats", show_progress_bar=False)
    del ref.obsm["patches"]
    bs.tl.fit(ref, use_rep="X_stain_stats", config=bs.tl.FitConfig(max_epochs=3), show_progress_bar=False)
    ref.write_h5ad(folder / "ref.h5ad")
    for number in range(size.slides):
        generate(folder / f"{number}.tif", 2048)
    lines = ["slide", *(f"{number}.tif" for number in range(size.slides))]
    (folder / "slides.csv").write_text("\n".join(lines))


def impute_sheet(folder: Path, size: Size) -> Run:
    """Predict the slides of a sheet by the command."""
    import bleep_sc  # noqa: F401

    command = ["impute", "--sheet", str(folder / "slides.csv"), "--ref", str(folder / "ref.h5ad")]
    clock = Clock()
    with clock.stage("all"):
        subprocess.run(
            [sys.executable, "-m", "bleep_sc", *command, "--out", str(folder / "out")],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
    return clock.run


@dataclass(frozen=True)
class Part:
    """What is doubled, and what is measured of it."""

    title: str
    sizes: list[Size]
    of: str
    """The field of a size that grows."""
    write: Callable[[Path, Size], None]
    measure: Callable[[Path, Size], Run]


def grown(of: str, first: int, n: int = 3, by: int = 4, **others: Any) -> list[Size]:
    """Return sizes of which each is so many times the one before."""
    return [Size(**{of: first * by**i}, **others) for i in range(n)]


def parts(largest: int) -> dict[str, Part]:
    """Return all parts, with fits on so many spots at most."""
    spots = [n for n in (10_000, 30_000, 100_000, 300_000, 1_000_000) if n <= largest]
    fits = [Size(spots=n) for n in spots]
    crossed = [replace(size, cross_fit=True) for size in fits]
    more = [Size(slides=n, spots=250 * n, cross_fit=True) for n in (4, 16, 64)]
    return {
        "fit": Part("spots of a fit", fits, "spots", write_spots, fit),
        "cross_fit": Part("spots of a fit with cross-fitting", crossed, "spots", write_spots, fit),
        "memory": Part(
            "spots of a fit with cross-fitting, narrow heads",
            grown("spots", 100_000, 2, 2, slides=10, cross_fit=True, is_narrow=True),
            "spots",
            write_spots,
            fit,
        ),
        "genes": Part(
            "genes of a fit of 4,000 spots",
            grown("genes", 500, spots=4000, cross_fit=True),
            "genes",
            write_spots,
            fit,
        ),
        "same_slides": Part(
            "slides of a fit, 8,000 spots in all",
            grown("slides", 4, spots=8000, cross_fit=True),
            "slides",
            write_spots,
            fit,
        ),
        "more_slides": Part("slides of a fit, 250 spots each", more, "slides", write_spots, fit),
        "queries": Part("spots of a query", grown("queries", 2500), "queries", write_reference, impute),
        "references": Part("spots of a reference", grown("spots", 10_000), "spots", write_reference, impute),
        "tiles": Part("tiles of a slide", grown("tiles", 500), "tiles", write_slide, tile),
        "sheet": Part("slides of a sheet", grown("slides", 2, by=2), "slides", write_sheet, impute_sheet),
        "processes": Part(
            "processes of a fit of 10,000 spots",
            grown("processes", 1, 2, 2, cross_fit=True),
            "processes",
            write_spots,
            fit_in_processes,
        ),
    }


def apart(part: str, number: int, arguments: argparse.Namespace) -> Run:
    """Write in one process what is measured in another."""
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for step in ("write", "measure"):
            options = {"one": part, "number": number, "step": step, "folder": folder, "largest": arguments.largest}
            command = [sys.executable, __file__, *(f"--{name}={value}" for name, value in options.items())]
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
            if ran.returncode:
                raise RuntimeError(ran.stderr[-3000:])
        print(part, number, ran.stdout.splitlines()[-1], file=sys.stderr, flush=True)
        return json.loads(ran.stdout.splitlines()[-1])


def exponent(sizes: list[float], seconds: list[float]) -> float:
    """Return the slope of log time against log size over the upper half of the sizes; NaN of one size."""
    if len(sizes) < 2:
        return float("nan")
    upper = slice((len(sizes) - 1) // 2, None)
    return float(np.polyfit(np.log(sizes[upper]), np.log(np.maximum(seconds[upper], 1e-3)), 1)[0])


def main() -> None:
    """Measure every part, and print a line for every stage of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=None, help="separated by commas; all by default")
    parser.add_argument("--largest", type=int, default=100_000, help="spots of a fit")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    every = parts(arguments.largest)
    if arguments.one:
        part = every[arguments.one]
        size = part.sizes[arguments.number]
        print(json.dumps(getattr(part, arguments.step)(arguments.folder, size)))
        return
    from machine import describe

    print(f"{describe()}\n")
    header = ["what grows", "sizes", "stage", "s of the processor", "s", "exponent", "GiB over imports"]
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for name in every if arguments.parts is None else arguments.parts.split(","):
        part = every[name]
        runs = [apart(name, number, arguments) for number in range(len(part.sizes))]
        sizes = [run.get("n", getattr(size, part.of)) for run, size in zip(runs, part.sizes, strict=True)]
        for stage in [stage for stage in runs[0] if f"{stage}, cpu" in runs[0]]:
            cpu, wall, peak = ([run[key] for run in runs] for key in (f"{stage}, cpu", stage, "peak"))
            cells = [part.title, listed(sizes, "{:,.0f}"), stage, listed(cpu), listed(wall)]
            print(f"| {' | '.join([*cells, f'{exponent(sizes, cpu):.2f}', listed(peak, '{:.2f}')])} |", flush=True)


def listed(values: list[float], how: str = "{:.3g}") -> str:
    """Return numbers as a cell of the table."""
    return ", ".join(map(how.format, values))


if __name__ == "__main__":
    main()
