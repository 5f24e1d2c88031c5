"""Two hundred thousand tiles of one generated slide: tile, describe, and impute 1,000 genes to zarr, in bounded memory.

Prints the seconds of every step, and the most memory that the process has had by its end, over what it had when a small
slide had passed by and so all was imported. Slides and the reference are made by other processes.

    python benchmarks/many_tiles.py [--side 32768] [--folder FOLDER]
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import scanpy as sc

import bleep_sc as bs

MPP, SPACING_UM, PATCH_UM, PATCH_PX, N_GENES = 0.5, 35.0, 56.0, 32, 1000
CHUNK, SMALL = 1024, 2048


def generate(path: Path, side: int) -> None:
    """Write a slide of repeated toy tissue as tiled JPEG, tile by tile."""
    import tifffile

    image = bs.datasets.toy(n_slices=1).uns["spatial"]["slice1"]["images"]["hires"]
    middle = image[300 : 300 + CHUNK, 400 : 400 + CHUNK]
    tiles = (
        np.ascontiguousarray(np.rot90(middle, (row + column) % 4))
        for row in range(side // CHUNK)
        for column in range(side // CHUNK)
    )
    tifffile.imwrite(
        path,
        tiles,
        shape=(side, side, 3),
        dtype=np.uint8,
        photometric="rgb",
        tile=(CHUNK, CHUNK),
        compression="jpeg",
        resolution=(1e4 / MPP, 1e4 / MPP),
        resolutionunit="CENTIMETER",
    )


def reference() -> object:
    """Train on three sections of her2st, with patches of the same size, and keep 1,000 genes."""
    ref = bs.datasets.her2st(["C2", "C3", "C5"])
    sc.pp.filter_cells(ref, min_counts=100)
    sc.pp.normalize_total(ref, target_sum=1e4)
    sc.pp.log1p(ref)
    bs.pp.extract_patches(ref, size=PATCH_PX, size_um=PATCH_UM)
    bs.pp.image_features(ref, "stain_stats", show_progress_bar=False)
    bs.pp.select_genes(ref, batch_key="library_id")
    kept = ref.var["highly_variable"].to_numpy().nonzero()[0][:N_GENES]
    ref = ref[:, kept].copy()
    del ref.obsm["patches"]
    bs.tl.fit(
        ref, use_rep="X_stain_stats", config=bs.tl.FitConfig(max_epochs=20, views=("scaled",)), show_progress_bar=False
    )
    return ref


def peak() -> float:
    """Return the most memory that the process has had, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def run(slide: Path, ref: object, store: Path, step: Callable[[str], None]) -> None:
    """Tile a slide, describe the tiles, impute them."""
    tiles = bs.pp.tile_slide(slide, ref=ref, spacing_um=SPACING_UM, layout="square", min_tissue=0, min_sharpness=0)
    step(f"{tiles.n_obs} tiles")
    bs.pp.image_features(tiles, "stain_stats", batch_size=256)
    step("features")
    bs.tl.impute(tiles, ref=ref, store=store)
    step(f"{tiles.n_vars} genes imputed to zarr")


def main() -> None:
    """Run every step and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=32768)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--generate", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--fit", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.generate is not None:
        generate(arguments.generate, arguments.side)
        return
    if arguments.fit is not None:
        reference().write_h5ad(arguments.fit)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        files = {folder / "small.tif": SMALL, folder / "slide.tif": arguments.side}
        for path, side in files.items():
            subprocess.run([sys.executable, __file__, "--generate", str(path), "--side", str(side)], check=True)
        subprocess.run([sys.executable, __file__, "--fit", str(folder / "ref.h5ad")], check=True)
        ref = ad.read_h5ad(folder / "ref.h5ad")
        run(folder / "small.tif", ref, folder / "small.zarr", lambda name: None)
        start, base = time.perf_counter(), peak()

        def step(name: str) -> None:
            nonlocal start
            took = time.perf_counter() - start
            print(f"{name}: {took:.0f} s, at most {peak() - base:.2f} GiB over {base:.2f} GiB so far", flush=True)
            start = time.perf_counter()

        run(folder / "slide.tif", ref, folder / "predicted.zarr", step)


if __name__ == "__main__":
    main()
