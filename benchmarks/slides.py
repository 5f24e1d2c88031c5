"""Cutting spots out of large slides: time and memory of bleep_sc beside the other ways to do it.

Slides that look like H&E are generated, one for each way in which their pixels may be laid out in a file, and patches
of 224 px are cut around random spots. Every measurement has a process of its own, so that memory over the baseline,
after imports, is that of reading alone. Ways that decode again for every spot read as many as fit into ``--seconds``.
Slides are removed afterwards, except with ``--keep``; raw pixels and the largest file take 6 GB together.

    python benchmarks/slides.py [--side 30000] [--spots 5000] [--layouts lzw_rows,jpeg] [--folder FOLDER]
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

PX = 224
LAYOUTS = {
    "lzw_rows": "TIFF, strips of 1 row, LZW",
    "jpeg_strips": "TIFF, strips of 16 rows, JPEG",
    "jpeg_tiles": "TIFF, tiles of 256 px, JPEG, pyramid",
    "lzw_one_strip": "TIFF, one strip, LZW",
    "jpeg": "JPEG",
}
IN_TILES_OR_STRIPS = ("lzw_rows", "jpeg_strips", "jpeg_tiles")
BY_VIPS = ("lzw_rows", "lzw_one_strip", "jpeg")
"""Layouts that bleep_sc may read with pyvips where it is installed."""
MOST_MB, CONTAINER, FASTEST = 700, 20, 1.3
"""Targets: MB at most in tiles or strips; times faster than ImageContainer; time over that of the fastest."""
N_COMPARED = 3
"""Spots that every way reads at least; their patches must be the same."""
PACKAGES = ("bleep-sc", "numpy", "tifffile", "imagecodecs", "pillow", "pyvips", "openslide-python", "zarr", "squidpy")

GLASS, PINK, PURPLE = np.array([[240, 238, 241], [222, 158, 196], [96, 62, 140]], dtype=np.float32)
TEXTURE, BAND = 2048, 64
"""Px after which nuclei repeat, and rows that are generated at once."""


def write_raw(path: Path, side: int) -> None:
    """Write a slide as raw RGB: glass, tissue, nuclei, fibres, and the noise of a camera."""
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(0)

    def clouds(side: int, size: float) -> np.ndarray:
        values = gaussian_filter(random.normal(size=(side, side)), size, mode="wrap")
        return (values / values.std()).astype(np.float32)

    tissue = Image.fromarray(np.clip(0.7 + clouds(side // BAND + 2, 12), 0, 1))  # a px for 64 of the slide
    nuclei = np.clip(2 * clouds(TEXTURE, 5) - 2, 0, 1)[..., None]
    noise = random.normal(0, 2, (TEXTURE, TEXTURE, 3)).astype(np.float32) + 9 * clouds(TEXTURE, 1)[..., None]
    across = np.arange(side)
    with path.open("wb") as file:
        for top in range(0, side, BAND):
            down = np.arange(top, min(top + BAND, side))
            box = (0, top / BAND, side / BAND, (top + len(down)) / BAND)
            share = np.asarray(tissue.resize((side, len(down)), Image.Resampling.BILINEAR, box))[..., None]
            stained = PINK + nuclei[np.ix_(down % TEXTURE, across % TEXTURE)] * (PURPLE - PINK)
            shifted = np.ix_((down + random.integers(TEXTURE)) % TEXTURE, (across + random.integers(TEXTURE)) % TEXTURE)
            band = GLASS + share * (stained - GLASS) + noise[shifted]
            np.clip(band, 0, 255).astype(np.uint8).tofile(file)


def write_layout(layout: str, raw: Path, path: Path, side: int) -> None:
    """Write a raw slide in one layout, in little memory."""
    import pyvips
    import tifffile

    image = pyvips.Image.rawload(str(raw), side, side, 3).copy(interpretation="srgb")
    jpeg = {"compression": "jpeg", "Q": 80}
    match layout:
        case "lzw_rows":
            lzw = {"compression": "lzw", "predictor": True, "rowsperstrip": 1}
            pixels = np.memmap(raw, np.uint8, "r", shape=(side, side, 3))
            tifffile.imwrite(path, pixels, photometric="rgb", bigtiff=True, **lzw)
        case "jpeg_strips":
            image.tiffsave(str(path), tile_height=16, **jpeg)
        case "jpeg_tiles":
            image.tiffsave(str(path), tile=True, tile_width=256, tile_height=256, pyramid=True, subifd=True, **jpeg)
        case "lzw_one_strip":
            image.tiffsave(str(path), tile_height=-(-side // 16) * 16, bigtiff=True, compression="lzw")
        case "jpeg":
            image.jpegsave(str(path), Q=80)


Patches = Iterator[tuple[int, np.ndarray]]
"""Rows of the spots, and their patches."""


def with_bleep_sc(path: Path, corners: np.ndarray) -> Patches:
    """Cut batch by batch, from top to bottom."""
    from bleep_sc.slides import open_slide, read_patches

    with open_slide(path) as slide:
        for rows, patches in read_patches(slide, corners + PX // 2, side=PX, size=PX):
            yield from zip(rows, patches, strict=True)


def decoding_whole(path: Path, corners: np.ndarray) -> Patches:
    """Decode the image whole, as the original BLEEP does."""
    import tifffile
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    pixels = np.asarray(Image.open(path)) if path.suffix == ".jpg" else tifffile.imread(path)
    for row, (x, y) in enumerate(corners):
        yield row, pixels[y : y + PX, x : x + PX].copy()


def with_image_container(path: Path, corners: np.ndarray) -> Patches:
    """Crop squidpy's container, and cut its odd crops to size."""
    import squidpy as sq

    container = sq.im.ImageContainer(str(path), lazy=True)
    for row, (x, y) in enumerate(corners):
        crop = container.crop_center(int(y) + PX // 2, int(x) + PX // 2, PX // 2)
        yield row, np.asarray(crop["image"])[:PX, :PX, 0]


def with_zarr(path: Path, corners: np.ndarray) -> Patches:
    """Slice tifffile's zarr store."""
    import tifffile
    import zarr

    opened = zarr.open(tifffile.imread(path, aszarr=True), mode="r")
    pixels = opened["0"] if isinstance(opened, zarr.Group) else opened
    for row, (x, y) in enumerate(corners):
        yield row, pixels[y : y + PX, x : x + PX]


def with_openslide(path: Path, corners: np.ndarray) -> Patches:
    """Read regions."""
    import openslide

    slide = openslide.OpenSlide(path)
    for row, (x, y) in enumerate(corners):
        yield row, np.asarray(slide.read_region((int(x), int(y)), 0, (PX, PX)).convert("RGB"))


def with_vips(path: Path, corners: np.ndarray) -> Patches:
    """Crop an image that is opened for random access."""
    import pyvips

    image = pyvips.Image.new_from_file(str(path), access="random", unlimited=True)
    for row, (x, y) in enumerate(corners):
        yield row, image.crop(int(x), int(y), PX, PX).numpy()


OURS, WITHOUT_VIPS, OF_SQUIDPY = "bleep_sc", "bleep_sc without pyvips", "squidpy ImageContainer"
WAYS: dict[str, tuple[Callable[[Path, np.ndarray], Patches], list[str]]] = {
    OURS: (with_bleep_sc, ["bleep_sc.slides", "tifffile", "imagecodecs", "pyvips", "PIL.Image"]),
    WITHOUT_VIPS: (with_bleep_sc, ["bleep_sc.slides", "tifffile", "imagecodecs", "PIL.Image"]),
    "decode whole, slice": (decoding_whole, ["tifffile", "imagecodecs", "PIL.Image"]),
    OF_SQUIDPY: (with_image_container, ["squidpy"]),
    "tifffile, zarr": (with_zarr, ["tifffile", "imagecodecs", "zarr"]),
    "OpenSlide": (with_openslide, ["openslide"]),
    "pyvips crop": (with_vips, ["pyvips"]),
}
"""How to read, and what that imports."""
SPOT_BY_SPOT = (OF_SQUIDPY, "tifffile, zarr", "OpenSlide")


def measure(way: str, path: Path, corners: np.ndarray, seconds: float) -> dict[str, object]:
    """Cut spots in one way, and tell its time, its memory over the baseline, and the colours of the first patches."""
    warnings.simplefilter("ignore")
    read, modules = WAYS[way]
    if way == WITHOUT_VIPS:
        sys.modules["pyvips"] = None  # type: ignore[assignment]
    for module in modules:
        import_module(module)
    process, done = psutil.Process(), threading.Event()
    baseline = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start, cpu, n, colors = time.perf_counter(), time.process_time(), 0, {}
    for row, patch in read(path, corners):
        n += 1
        if row < N_COMPARED:
            colors[int(row)] = patch.mean(axis=(0, 1)).tolist()
        if way in SPOT_BY_SPOT and n >= N_COMPARED and time.perf_counter() - start > seconds:
            break
    ms, cpu_ms = 1000 * (time.perf_counter() - start) / n, 1000 * (time.process_time() - cpu) / n
    done.set()
    watcher.join()
    megabytes = (peak - baseline) / 1e6
    return {"ms": ms, "cpu_ms": cpu_ms, "mb": megabytes, "spots": n, "colors": [colors[i] for i in range(N_COMPARED)]}


def measured_apart(way: str, path: Path, arguments: argparse.Namespace) -> dict[str, object] | None:
    """Measure in a fresh process, the file being in the system's cache; None where the way does not open the file."""
    with path.open("rb") as file:
        while file.read(2**26):
            pass
    options = {"measure": way, "file": path, "spots": arguments.spots, "side": arguments.side}
    command = [sys.executable, __file__, "--seconds", str(arguments.seconds)]
    command += [f"--{name}={value}" for name, value in options.items()]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": str(path.parent)}
    )
    if ran.returncode == 0:
        return json.loads(ran.stdout.splitlines()[-1])
    if way in (OURS, WITHOUT_VIPS):
        raise RuntimeError(ran.stderr)
    print(f"{way}: {ran.stderr.splitlines()[-1]}", file=sys.stderr, flush=True)
    return None


def compare(layout: str, path: Path, arguments: argparse.Namespace) -> pd.DataFrame:
    """Measure all ways in turn, several times over so that other load meets all of them; return the medians."""
    ways = [way for way in WAYS if way != WITHOUT_VIPS or layout in BY_VIPS]
    if layout == "jpeg":
        ways.remove("tifffile, zarr")
    rows = []
    for repeat in range(arguments.repeats):
        for way in ways.copy():
            result = measured_apart(way, path, arguments)
            if result is None:
                ways.remove(way)
                continue
            rows.append({"way": way, **result})
            shown = ", ".join(f"{result[key]:.5g} {key}" for key in ("ms", "cpu_ms", "mb", "spots"))
            print(f"{layout}, {way}, {repeat + 1}: {shown}", file=sys.stderr, flush=True)
    colors = np.array([row.pop("colors") for row in rows])
    if np.ptp(colors, axis=0).max() > 2:
        raise RuntimeError(f"The ways do not read the same patches of {path.name}.")
    return pd.DataFrame(rows).groupby("way", sort=False).median()


def ratios(layout: str, table: pd.DataFrame) -> dict[str, str]:
    """Compare with the targets."""
    ours, others = table.loc[OURS], table["ms"].drop([OURS, WITHOUT_VIPS], errors="ignore")
    container, fastest = others[OF_SQUIDPY] / ours["ms"], ours["ms"] / others.min()
    megabytes = f"{ours['mb']:.0f}"
    if layout in IN_TILES_OR_STRIPS:
        megabytes += said(ours["mb"] <= MOST_MB)
    return {
        "layout": LAYOUTS[layout],
        f"peak MB (tiles, strips: at most {MOST_MB})": megabytes,
        f"times faster than ImageContainer (at least {CONTAINER})": f"{container:.0f}{said(container >= CONTAINER)}",
        f"time over the fastest other's (at most {FASTEST})": f"{fastest:.2f}{said(fastest <= FASTEST)}",
        "fastest other": str(others.idxmin()),
    }


def said(is_met: bool) -> str:
    """Say whether a target is met."""
    return ", met" if is_met else ", missed"


def measurements(layout: str, table: pd.DataFrame) -> list[dict[str, str]]:
    """List what was measured."""
    rows = []
    for way in WAYS:
        row = {"layout": LAYOUTS[layout], "way": way}
        if way in table.index:
            of = table.loc[way]
            row |= {"ms a patch": f"{of['ms']:.2f}", "of the processor": f"{of['cpu_ms']:.2f}"}
            rows.append({**row, "peak MB": f"{of['mb']:.0f}", "spots": f"{of['spots']:.0f}"})
        elif way != WITHOUT_VIPS:
            rows.append({**row, "ms a patch": "does not open it", "of the processor": "", "peak MB": "", "spots": ""})
    return rows


def markdown(rows: list[dict[str, str]]) -> str:
    """Write rows as a table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report(tables: dict[str, pd.DataFrame], arguments: argparse.Namespace) -> str:
    """Describe the run and the machine, and show the tables."""
    memory = psutil.virtual_memory().total / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    options = {name: getattr(arguments, name) for name in ("side", "spots", "layouts", "repeats", "seconds")}
    command = " ".join(f"--{name} {value}" for name, value in options.items())
    parts = [
        "# Cutting spots out of large slides",
        f"`python benchmarks/slides.py {command}`",
        f"Slides of {arguments.side:,} × {arguments.side:,} px, {arguments.spots:,} random spots of {PX} px; medians "
        f"of {arguments.repeats}. Peak MB are over the baseline after imports. Ways that decode again for every spot "
        f"read as many as fit into {arguments.seconds:.0f} s, at least {N_COMPARED}, as the last column says.",
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}; other work ran on them, "
        "so compare rows of a layout, and not runs. "
        f"Python {platform.python_version()}, {packages}.",
        markdown([row for layout, table in tables.items() for row in measurements(layout, table)]),
        "## Targets",
        markdown([ratios(layout, table) for layout, table in tables.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Generate slides, measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=30000, help="px of the slides")
    parser.add_argument("--spots", type=int, default=5000)
    parser.add_argument("--layouts", default=",".join(LAYOUTS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30, help="for ways that decode again for every spot")
    parser.add_argument("--folder", type=Path, default=None, help="where slides are written")
    parser.add_argument("--keep", action="store_true", help="keep the slides")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "slides.md")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        corners = np.random.default_rng(1).integers(0, arguments.side - PX, (arguments.spots, 2))
        print(json.dumps(measure(arguments.measure, arguments.file, corners, arguments.seconds)))
        return
    tables = {}
    folder = Path(tempfile.mkdtemp(prefix="slides_", dir=arguments.folder))
    try:
        raw = folder / "slide.raw"
        write_raw(raw, arguments.side)
        for layout in arguments.layouts.split(","):
            path = folder / f"{layout}.{'jpg' if layout == 'jpeg' else 'tif'}"
            write_layout(layout, raw, path, arguments.side)
            print(f"{path.name}: {path.stat().st_size / 1e6:.0f} MB", file=sys.stderr, flush=True)
            tables[layout] = compare(layout, path, arguments)
            if not arguments.keep:
                path.unlink()
    finally:
        if not arguments.keep:
            shutil.rmtree(folder)
    text = report(tables, arguments)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
