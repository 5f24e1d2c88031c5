"""From the folder of an instrument to the page of a slide, by the command line alone, for every layout at hand.

``prepare``, ``fit`` and ``impute``, which writes the page, one after another; the seconds of each, and what was printed
last. Counts are real where there are any. Scans that do not come with them are generated in the size that the folder
tells, and so are Xenium's folder and the SpatialData store; the table says so.

    python benchmarks/first_mile.py [--only her2st --only mob] [--out benchmarks/results/first_mile.md]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from os import environ
from pathlib import Path

import h5py
import machine
import numpy as np
import tifffile
from PIL import Image

import bleep_sc as bs

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import conftest  # the writers of folders that the tests use

QUICK = ["--encoder", "stain_stats", "--n-top-genes", "200"]
EPOCHS = ["--set", "max_epochs=20"]
SHOWN = 160
"""Letters of what a command printed last."""


@dataclass
class Layout:
    """What is given to ``prepare``; the slide that is then imputed, none where ``prepare`` has to stop."""

    what: str
    prepare: list[object]
    query: list[object] = field(default_factory=list)
    tile: list[object] = field(default_factory=list)
    """Options of ``tile`` and ``features`` where the slide goes through them."""


def paint(path: Path, width: int, height: int) -> Path:
    """Write generated H&E of a size, at about 2 µm per px, as a tiled TIFF."""
    tile = bs.datasets.toy(n_slices=1).uns["spatial"]["slice1"]["images"]["hires"][200:1000, 200:1000]
    rows, columns = -(-height // len(tile)), -(-width // len(tile))
    image = np.ascontiguousarray(np.tile(tile, (rows, columns, 1))[:height, :width])
    tifffile.imwrite(path, image, tile=(256, 256), compression="jpeg", photometric="rgb")
    return path


def scan_for(spatial: Path, path: Path) -> Path:
    """Generate the scan of a Space Ranger folder: its size is that of the small image over the scale factor."""
    factors = json.loads((spatial / "scalefactors_json.json").read_text())
    for which in ("hires", "lowres"):
        picture = spatial / f"tissue_{which}_image.png"
        if picture.exists():
            with Image.open(picture) as image:
                width, height = (round(side / factors[f"tissue_{which}_scalef"]) for side in image.size)
            return paint(path, width, height)
    raise FileNotFoundError(spatial)


def beside(data: Path, work: Path, *names: str) -> Path:
    """Return a folder with these files alone."""
    folder = work / "sections"
    folder.mkdir()
    for name in names:
        for file in [*data.glob(f"{name}[._]*"), *data.glob(f"*_{name}.tsv")]:
            (folder / file.name).symlink_to(file)
    return folder


def her2st(data: Path, work: Path) -> Layout:
    """Take original ST, two sections of breast tumour, real."""
    folder = beside(data / "her2st", work, "C2", "C3")
    return Layout(
        "original ST, her2st C2 and C3, real", [folder, "--pitch", 200], [data / "her2st/C4.jpg", "--mpp", 0.69]
    )


def mob(data: Path, work: Path) -> Layout:
    """Take original ST, a section of each animal, real."""
    folder = beside(data / "mob", work, "MOB1", "MOB3")
    donors = ["--donor", "MOB1=1", "--donor", "MOB3=2"]
    return Layout(
        "original ST, MOB1 and MOB3, real",
        [folder, "--pitch", 100, "--size-um", 300, *donors],
        [data / "mob/MOB2.jpg", "--mpp", 4.6],
    )


def cytassist_alone(data: Path, work: Path) -> Layout:
    """Take CytAssist as it comes here, without its scan."""
    return Layout("CytAssist, real, without its scan", [data / "visium_cytassist"])


def cytassist(data: Path, work: Path) -> Layout:
    """Take CytAssist with a scan."""
    scan = scan_for(data / "visium_cytassist/spatial", work / "scan.tif")
    query = paint(work / "other.tif", 3000, 2000)
    return Layout(
        "CytAssist, real counts, generated scan",
        [data / "visium_cytassist", "--image", scan, "--size-um", 300],
        [query, "--mpp", 4.67],
    )


def visium(data: Path, work: Path) -> Layout:
    """Take the Visium folder of Seurat's tests."""
    folder = data / "spaceranger/seurat_visium_hd/visium"
    scan = scan_for(folder / "spatial", work / "scan.tif")
    query = paint(work / "other.tif", 4000, 3000)
    given = [folder, "--image", scan, "--min-counts", 20]
    return Layout("Visium, 100 genes of Seurat's test, generated scan", given, [query, "--mpp", 0.5])


def visium_hd(data: Path, work: Path) -> Layout:
    """Take the Visium HD folder of Seurat's tests."""
    folder = data / "spaceranger/seurat_visium_hd/visium_hd"
    scan = scan_for(folder / "binned_outputs/square_016um/spatial", work / "scan.tif")
    query = paint(work / "other.tif", 4000, 3000)
    return Layout(
        "Visium HD, 16 µm, Seurat's test, generated scan", [folder, "--image", scan, "--bin", 16], [query, "--mpp", 0.5]
    )


def raw_alone(data: Path, work: Path) -> Layout:
    """Take a section of VisiumIO's tests, of which the raw matrix alone is there."""
    return Layout("Visium, VisiumIO's test, raw matrix alone", [data / "spaceranger/visiumio_hd/10xVisium/section1"])


def bins_of_2(data: Path, work: Path) -> Layout:
    """Take the HD folder of VisiumIO's tests: ten bins of 2 µm."""
    return Layout("Visium HD, VisiumIO's test, ten bins of 2 µm", [data / "spaceranger/visiumio_hd"])


def xenium(data: Path, work: Path) -> Layout:
    """Generate a Xenium folder."""
    folder = conftest.write_xenium(work / "lobe", conftest.scanned(bs.datasets.toy(n_slices=1)))
    query = paint(work / "other.tif", 3000, 2000)
    return Layout(
        "Xenium with its H&E, generated", [folder, "--spot-um", 100, "--min-spots", 1], [query, "--mpp", 1.25]
    )


def xenium_core(data: Path, work: Path) -> Layout:
    """Gather the cells of a real core in Python: it is no folder of Xenium's."""
    import anndata as ad

    cells = ad.read_h5ad(data / "xenium_lung_core/NCBI858.h5ad")
    cells.obsm["spatial"] = cells.obs[["y_pixel", "x_pixel"]].to_numpy(dtype=float)
    image = data / "xenium_lung_core/NCBI858.jpg"
    spots = bs.pp.gather_cells(cells, image, mpp=2.0, spot_um=100, library_id="core")
    spots.write_h5ad(work / "core.h5ad")
    given = [work / "core.h5ad", "--min-spots", 5, "--mpp", 2.0]
    return Layout("Xenium, 200 cells of a lung core, real, as h5ad", given, [image, "--mpp", 2.0])


def spatialdata_store(data: Path, work: Path) -> Layout:
    """Make a SpatialData store, as spatialdata_io makes it of a generated Visium folder."""
    import spatialdata_io

    outs = conftest.write_space_ranger(work / "outs", conftest.scanned(bs.datasets.toy(n_slices=1)))
    spatialdata_io.visium(outs, dataset_id="toy", fullres_image_file=outs / "scan.tif").write(work / "A1.zarr")
    query = paint(work / "other.tif", 3000, 2000)
    return Layout("SpatialData store, generated", [work / "A1.zarr"], [query, "--mpp", 1.25])


def svs(data: Path, work: Path) -> Layout:
    """Take a real SVS, of which QuPath drew a region, and a reference of breast tumour."""
    folder = beside(data / "her2st", work, "C2", "C3")
    ring = [[300, 300], [2000, 300], [2000, 2600], [300, 2600], [300, 300]]
    about = {"objectType": "annotation", "classification": {"name": "Tumor", "color": [200, 0, 0]}}
    drawn = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": about}
    region = work / "region.geojson"
    region.write_text(json.dumps({"type": "FeatureCollection", "features": [drawn]}))
    query = [data / "wsi/CMU-1-Small-Region.svs", "--region", region, "--geojson"]
    return Layout("a real SVS with a region of QuPath", [folder, "--pitch", 200], query)


def clam(data: Path, work: Path) -> Layout:
    """Take a real SVS in the tiles of a file as CLAM writes it."""
    folder = beside(data / "her2st", work, "C2", "C3")
    side = 224
    corners = np.array([[x, y] for y in range(300, 2500, side) for x in range(300, 1800, side)])
    with h5py.File(work / "slide.h5", "w") as file:
        file["coords"] = corners
        file["coords"].attrs.update({"patch_size": side, "patch_level": 0})
        file["features"] = np.random.default_rng(0).normal(size=(len(corners), 16)).astype(np.float32)
    query = [data / "wsi/CMU-1-Small-Region.svs"]
    return Layout("a real SVS in the tiles of CLAM", [folder, "--pitch", 200], query, ["--centers", work / "slide.h5"])


LAYOUTS: dict[str, Callable[[Path, Path], Layout]] = {
    each.__name__: each
    for each in (
        *(her2st, mob, cytassist_alone, cytassist, visium, visium_hd, raw_alone, bins_of_2),
        *(xenium, xenium_core, spatialdata_store, svs, clam),
    )
}


def run(*arguments: object) -> tuple[float, int, str]:
    """Run a command; return its seconds, its exit status and the last line that it printed."""
    start = time.perf_counter()
    command = [sys.executable, "-W", "ignore", "-m", "bleep_sc", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    seconds = time.perf_counter() - start
    print(f"$ bleep-sc {' '.join(map(str, arguments))}\n{done.stdout}", flush=True)
    lines = [line for line in done.stdout.splitlines() if line.strip() and "--traceback" not in line]
    return seconds, done.returncode, lines[-1] if lines else ""


def told(work: Path, data: Path, line: str) -> str:
    """Return what a command printed without the paths of this machine."""
    line = line.replace(str(work), ".").replace(str(data), "data").replace("|", "/")
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}..."


def measure(name: str, data: Path) -> list[str]:
    """Go from a folder to a page; return the row of the table."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        work = Path(folder)
        layout = LAYOUTS[name](data, work)
        ref, seconds = work / "ref.h5ad", ["", "", ""]
        steps = [("prepare", *layout.prepare, *QUICK, "--out", ref), ("fit", ref, *EPOCHS)]
        if layout.tile:
            steps += [("tile", *layout.query, *layout.tile, "--ref", ref, "--out", work / "tiles.h5ad")]
        query = [work / "tiles.h5ad"] if layout.tile else layout.query
        steps += [("impute", *query, "--ref", ref, "--out", work / "slide.zarr")]
        said = ""
        for command in steps:
            took, status, said = run(*command)
            place = min({"prepare": 0, "fit": 1}.get(str(command[0]), 2), 2)
            seconds[place] = f"{took + float(seconds[place] or 0):.0f}"
            if status:
                said = f"stops: {said}"
                break
        page = work / "slide.html"
        size = f"{page.stat().st_size / 1e6:.1f}" if page.exists() else ""
        if page.exists() and (kept := environ.get("KEEP_PAGES")):
            (Path(kept) / f"{name}.html").write_bytes(page.read_bytes())
        return [layout.what, *seconds, size, told(work, data, said)]


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=LAYOUTS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "first_mile.md")
    arguments = parser.parse_args()
    data = Path(environ["BLEEP_SC_DATA"])
    head = ["folder", "prepare, s", "fit, s", "impute and page, s", "page, MB", "printed last"]
    rows = [head, ["---"] * len(head)]
    for name in arguments.only or LAYOUTS:
        rows.append(measure(name, data))
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        print(table, flush=True)
        given = f"`prepare {' '.join(QUICK)}` and `fit {' '.join(EPOCHS)}`"
        note = f"{given} for all; every command starts Python anew, which is in its seconds."
        arguments.out.write_text(f"{machine.describe()}\n\n{note}\n\n{table}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
