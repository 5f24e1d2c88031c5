"""From the file of a slide to a map of 1,000 genes in zarr, stage by stage, beside bare passes and LazySlide.

A slide that looks like H&E is generated as a JPEG pyramid and as a TIFF in JPEG strips without one. Ours lays tiles,
computes features and imputes genes to zarr. Beside it stand the decoding of the same tiles alone, forward passes of the
same network alone, and LazySlide on the pyramid with the same network, in a Python of its own (``--lazyslide``), laying
tiles over the same squares. Every run is a process of its own and takes turns with the others; medians are shown. What
is counted begins after imports and after the network is built; peak memory is over what the process then had.

    python -m venv lazy && lazy/bin/pip install lazyslide
    python benchmarks/slide_to_map.py --lazyslide lazy/bin/python [--side 40000] [--encoder resnet18] [--threads 2]
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
from pathlib import Path

import numpy as np

PX, MPP, N_GENES, N_SPOTS = 224, 0.5, 1000, 600
PYRAMID, STRIPS = "JPEG pyramid", "JPEG strips, no pyramid"
LAYOUTS = {
    PYRAMID: {"tile": True, "tile_width": 256, "tile_height": 256, "pyramid": True},
    STRIPS: {"tile_height": 16},
}
BATCH, PREVIEW_PX = 10, 1000

Run = dict[str, float]


class Clock:
    """Seconds of the wall and of the processor, stage by stage, and the most memory."""

    def __init__(self) -> None:
        self.run: Run = {}
        self.base = _peak()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what is done inside."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.run[name], self.run[f"{name}, cpu"] = time.perf_counter() - wall, time.process_time() - cpu
        self.run["peak"] = _peak() - self.base


def _peak() -> float:
    """Return the most memory that the process has had, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def network(name: str, threads: int) -> object:
    """Return a network without weights of its own training, the same in every process."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if name == "stain_stats":
        from bleep_sc.models.stain_stats import StainStats

        return StainStats().eval()
    if name == "cheap":  # about 1 ms a tile
        layers = [torch.nn.Conv2d(3, 16, 8, stride=8), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1)]
        return torch.nn.Sequential(*layers, torch.nn.Flatten()).eval()
    import torchvision

    module = torchvision.models.get_model(name, weights=None)
    module.fc = torch.nn.Identity()
    return module.eval()


def encoder_of(arguments: argparse.Namespace) -> object:
    """Return the same network as an encoder of ours."""
    import torch

    from bleep_sc.models.encoders import Encoder, load_encoder

    if arguments.encoder == "stain_stats":
        network(arguments.encoder, arguments.threads)
        return load_encoder("stain_stats")
    return Encoder(network(arguments.encoder, arguments.threads), torch.nn.Identity())


def ours(path: Path, arguments: argparse.Namespace, folder: Path) -> Run:
    """Lay tiles, compute features, impute to zarr; then decode the tiles alone, and pass them through alone."""
    import torch
    from anndata import AnnData

    import bleep_sc as bs
    from bleep_sc._adata.patches import patches_of
    from bleep_sc.pp._tissue import tissue_mask

    encoder = encoder_of(arguments)
    tissue_mask(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))  # imports what it needs
    spacing = arguments.spacing * MPP
    quiet = {"show_progress_bar": False}
    clock = Clock()
    with clock.stage("tiles"):
        tiles = bs.pp.tile_slide(path, mpp=MPP, size=PX, spacing_um=spacing, layout="square", min_sharpness=0, **quiet)
    with clock.stage("features"):
        bs.pp.image_features(tiles, encoder, key_added="X_net", device="cpu", **quiet)
    ref = reference(tiles)
    query = AnnData(obs=tiles.obs, var=ref.var[[]], obsm=dict(tiles.obsm), uns=dict(tiles.uns))
    with clock.stage("genes to zarr"):
        bs.tl.impute(query, ref=ref, store=folder / "map.zarr")
    clock.run["n"] = tiles.n_obs
    with clock.stage("bare decoding"):
        for _ in patches_of(tiles, "patches").batches(BATCH):
            pass
    batch = torch.from_numpy(patches_of(tiles, "patches")[:BATCH]).permute(0, 3, 1, 2).float() / 255
    batch = batch.contiguous(memory_format=torch.channels_last)
    bare = encoder.network.to(memory_format=torch.channels_last)
    with clock.stage("bare forward passes"), torch.inference_mode():
        for _ in range(-(-tiles.n_obs // BATCH)):
            bare(batch)
    return clock.run


def reference(tiles: object) -> object:
    """Fit a model on some of the tiles with made-up counts, with 1,000 genes."""
    import pandas as pd
    from anndata import AnnData

    import bleep_sc as bs

    rng = np.random.default_rng(0)
    rows = rng.choice(tiles.n_obs, min(N_SPOTS, tiles.n_obs), replace=False)
    counts = np.log1p(rng.poisson(1.0, (len(rows), N_GENES))).astype(np.float32)
    names = pd.Categorical(np.where(np.arange(len(rows)) % 2, "a", "b"))
    ref = AnnData(counts, obs=pd.DataFrame({"library_id": names}, index=[f"s{row}" for row in rows]))
    ref.var_names = [f"g{i}" for i in range(N_GENES)]
    ref.obsm["X_net"], ref.obsm["spatial"] = np.asarray(tiles.obsm["X_net"])[rows], tiles.obsm["spatial"][rows]
    ref.uns["X_net"] = tiles.uns["X_net"]
    ref.var["highly_variable"] = True
    config = bs.tl.FitConfig(max_epochs=2, views=("scaled",), smoothing_um=0)
    bs.tl.fit(ref, use_rep="X_net", config=config, show_progress_bar=False)
    return ref


def lazyslide(path: Path, arguments: argparse.Namespace, folder: Path) -> Run:
    """Find tissue, lay tiles, compute features."""
    import lazyslide as zs
    import lazyslide_models  # noqa: F401 # which its features would import
    import torch
    import wsidata

    model = network(arguments.encoder, arguments.threads)

    def transform(image: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(image).permute(2, 0, 1).float() / 255

    own = {"stride_px": arguments.spacing, "background_fraction": 0.5}
    clock = Clock()
    with clock.stage("tiles"):
        wsi = wsidata.open_wsi(str(path), store=None)
        # Its own choice is the finest level that memory has room for, whose outlines take minutes to intersect.
        level = max(i for i, shape in enumerate(wsi.properties.level_shape) if i == 0 or min(shape) >= PREVIEW_PX)
        zs.pp.find_tissues(wsi, level=level)
        zs.pp.tile_tissues(wsi, PX, **own)
    with clock.stage("features"):
        zs.tl.feature_extraction(wsi, model, transform=transform, model_name="net", device="cpu", pbar=False)
    clock.run["n"] = len(wsi["tiles"])
    return clock.run


WAYS: dict[str, Callable[[Path, argparse.Namespace, Path], Run]] = {"ours": ours, "lazyslide": lazyslide}


def apart(way: str, python: str, path: Path, arguments: argparse.Namespace) -> Run:
    """Run one way in a process of its own."""
    options = {"one": way, "file": path, "encoder": arguments.encoder, "threads": arguments.threads}
    command = [python, __file__, *(f"--{name}={value}" for name, value in options.items())]
    ran = subprocess.run(
        [*command, f"--spacing={arguments.spacing}"], capture_output=True, text=True, check=False, cwd=path.parent
    )
    if ran.returncode:
        raise RuntimeError(ran.stderr)
    return json.loads(ran.stdout.splitlines()[-1])


def rows_of(label: str, runs: list[Run]) -> list[str]:
    """Return the lines of the table: ms a tile of every stage, and its ratio to the bare passes of its own run."""
    lines = []
    for stage in [name for name in runs[0] if f"{name}, cpu" in runs[0]]:
        wall, cpu = (np.median([1000 * run[name] / run["n"] for run in runs]) for name in (stage, f"{stage}, cpu"))
        lines.append(f"| {label} | {runs[0]['n']:.0f} | {stage} | {wall:.2f} | {cpu:.2f} |")
    peak = np.median([run["peak"] for run in runs])
    return [*lines, f"| {label} | {runs[0]['n']:.0f} | peak over what was imported, GiB | {peak:.2f} | |"]


def main() -> None:
    """Generate, measure in turn, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=40_000, help="px of the slide")
    parser.add_argument("--spacing", type=int, default=112, help="px between tiles of 224 px")
    parser.add_argument("--encoder", default="resnet18", help="stain_stats, cheap, or a torchvision name; no weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--lazyslide", default=None, help="a Python that has lazyslide")
    parser.add_argument("--slide", type=Path, default=None, help="a slide to take instead of generated ones")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        with tempfile.TemporaryDirectory(dir=arguments.file.parent) as folder:
            print(json.dumps(WAYS[arguments.one](arguments.file, arguments, Path(folder))))
        return
    from machine import describe

    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        files = {arguments.slide.name: arguments.slide} if arguments.slide else generated(Path(name), arguments)
        print(
            f"{describe()}\n\n{arguments.encoder}, tiles of {PX} px every {arguments.spacing} px, on {', '.join(files)}"
        )
        print(f"Medians of {arguments.repeats}.\n\n| | tiles | stage | ms a tile | of the processor |")
        print("|---|---|---|---|---|")
        for label, path in files.items():
            pythons = {"ours": sys.executable}
            if arguments.lazyslide and label != STRIPS:
                pythons["lazyslide"] = arguments.lazyslide
            runs: dict[str, list[Run]] = {way: [] for way in pythons}
            for _ in range(arguments.repeats):
                for way, python in pythons.items():
                    runs[way].append(apart(way, python, path, arguments))
            for way, each in runs.items():
                print("\n".join(rows_of(f"{label}, {way}", each)), flush=True)
            of_bare = [run["features"] / run["bare forward passes"] for run in runs["ours"]]
            print(f"| {label} | | features of bare passes, same run | {np.median(of_bare):.2f} | |", flush=True)


def generated(folder: Path, arguments: argparse.Namespace) -> dict[str, Path]:
    """Write the slide in every layout."""
    import pyvips
    from slides import write_raw

    raw = folder / "slide.raw"
    write_raw(raw, arguments.side)
    image = pyvips.Image.rawload(str(raw), arguments.side, arguments.side, 3).copy(interpretation="srgb")
    files = {label: folder / f"{number}.tif" for number, label in enumerate(LAYOUTS)}
    resolution = {"xres": 1000 / MPP, "yres": 1000 / MPP, "resunit": "cm"}  # px per mm
    for label, path in files.items():
        image.tiffsave(str(path), compression="jpeg", Q=80, **LAYOUTS[label], **resolution)
    raw.unlink()
    return files


if __name__ == "__main__":
    main()
